// `grpo setup`: puts one libtorch into the managed cache. The wheel comes through pip, which knows the user's own index,
// mirror, proxy and certificates, or from a file (--from). Unpacked beside its final place and renamed at the end, so a
// killed setup leaves nothing that could be taken for a libtorch.
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, statfsSync } from "node:fs";
import { join, resolve } from "node:path";
import { GrpoError, reasonOf } from "../errors.js";
import {
  defaultTorchVersion,
  inspectLibtorch,
  type Libtorch,
  libtorchCacheFolder,
  supportedTorchMinors,
} from "./libtorch.js";
import { unzip, zipSize } from "./libtorch-unzip.js";

export interface SetupOptions {
  /** Torch version; default 2.13.0. Ignored with `from`, which says its own version. */
  readonly torch?: string;
  /** A torch wheel or a libtorch archive on this machine, instead of a download. */
  readonly from?: string;
  /** Install again although that version is there. */
  readonly force?: boolean;
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Called with one line about what happens now. */
  readonly onProgress?: (line: string) => void;
}

/** The least room for the CPU wheel (0.2 GB) and what is in it (0.6 GB), with a margin. */
const bytesForDownload = 1.2e9;

/** Fills the managed cache and returns what is there now. */
export async function setupLibtorch(options: SetupOptions = {}): Promise<Libtorch> {
  const env = options.env ?? process.env;
  const version = checkVersion(options.torch ?? defaultTorchVersion);
  const cache = libtorchCacheFolder(env);
  const report = options.onProgress ?? (() => {});
  const present = inspectLibtorch(join(cache, `${version}+cpu`), "cache").found;
  if (present && !options.force && !options.from) return present;

  try {
    mkdirSync(cache, { recursive: true });
  } catch (error) {
    throw new GrpoError("SETUP_FAILED", `The cache folder ${cache} cannot be made: ${reasonOf(error)}`, {
      hint: "set GRPO_CACHE to a folder that can be written",
    });
  }
  removeLeftovers(cache);
  const work = mkdtempSync(join(cache, `.partial-${process.pid}-`));
  try {
    const archive = options.from ? resolve(options.from) : await download(version, work, env, report);
    return await install(archive, work, cache, report);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

function checkVersion(version: string): string {
  const supported = supportedTorchMinors.map((minor) => `${minor}.x`).join(", ");
  const minor = /^(\d+\.\d+)\.\d+$/.exec(version)?.[1];
  if (minor && supportedTorchMinors.includes(minor)) return version;
  const message = `torch ${version} is not supported: expected a full version among ${supported}`;
  throw new GrpoError("LIBTORCH_UNSUPPORTED", message, {
    hint: `for example \`grpo setup --torch ${defaultTorchVersion}\``,
  });
}

/** Unfinished folders of processes that no longer run. */
function removeLeftovers(cache: string): void {
  for (const name of readdirSync(cache)) {
    const pid = /^\.partial-(\d+)-/.exec(name)?.[1];
    if (pid && !isRunning(Number(pid))) rmSync(join(cache, name), { recursive: true, force: true });
  }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && "code" in error && error.code === "EPERM";
  }
}

/**
 * The command lines to try, in order. On Linux the plain wheel of the public index is the CUDA one without its libraries, so
 * the CPU build is asked for by its local version: first where the user's pip looks anyway, then in PyTorch's own index,
 * where any Python's wheel will do, for libtorch does not depend on it. On macOS the plain wheel is the right one.
 */
export function pipRequests(version: string, platform: string = process.platform): string[][] {
  if (platform === "darwin") return [[`torch==${version}`]];
  const index = "https://download.pytorch.org/whl/cpu";
  return [[`torch==${version}+cpu`], [`torch==${version}+cpu`, "--index-url", index, "--python-version", "3.12"]];
}

async function download(
  version: string,
  work: string,
  env: Readonly<Record<string, string | undefined>>,
  report: (line: string) => void,
): Promise<string> {
  requireSpace(work, bytesForDownload);
  const fixed = ["-m", "pip", "download", "--no-deps", "--retries", "0", "--only-binary", ":all:", "--dest", work];
  const failures: string[] = [];
  for (const request of pipRequests(version)) {
    report(`downloading torch ${version} (0.2 GB): python3 -m pip download ${request.join(" ")}`);
    const { status, output } = await runPython([...fixed, ...request], env);
    const wheel = readdirSync(work).find((name) => name.endsWith(".whl"));
    if (status === 0 && wheel) return join(work, wheel);
    failures.push(`python3 -m pip download ${request.join(" ")}\n${lastLines(output)}`);
  }
  throw new GrpoError("SETUP_FAILED", `pip could not download torch ${version}:\n${failures.join("\n")}`, {
    hint:
      "check the network and pip's settings (`python3 -m pip config list`), install python3-pip if it is missing, or fetch a " +
      "torch wheel or libtorch archive elsewhere and run `grpo setup --from <file>`",
  });
}

function runPython(
  args: string[],
  env: Readonly<Record<string, string | undefined>>,
): Promise<{ status: number | null; output: string }> {
  return new Promise((settle) => {
    let output = "";
    const child = spawn("python3", args, { env: { ...env }, stdio: ["ignore", "pipe", "pipe"] });
    child.stdout.on("data", (chunk) => (output += chunk));
    child.stderr.on("data", (chunk) => (output += chunk));
    child.on("error", (error) => settle({ status: null, output: reasonOf(error) }));
    child.on("close", (status) => settle({ status, output }));
  });
}

function lastLines(text: string): string {
  const lines = text.trim().split("\n").slice(-4);
  return lines.map((line) => `    ${line}`).join("\n");
}

async function install(
  archive: string,
  work: string,
  cache: string,
  report: (line: string) => void,
): Promise<Libtorch> {
  if (!existsSync(archive)) throw new GrpoError("SETUP_FAILED", `${archive}: no such file`);
  const unpacked = join(work, "unpacked");
  try {
    const bytes = await zipSize(archive, placeInLibtorch);
    if (bytes === 0) throw new Error("it holds no torch/lib or libtorch/lib");
    requireSpace(work, bytes);
    report(`unpacking ${(bytes / 1e9).toFixed(1)} GB`);
    await unzip(archive, unpacked, placeInLibtorch);
  } catch (error) {
    if (error instanceof GrpoError) throw error;
    throw new GrpoError(
      "SETUP_FAILED",
      `${archive} is not a usable torch wheel or libtorch archive: ${reasonOf(error)}`,
      {
        hint: "the file may be incomplete: fetch it again",
      },
    );
  }
  const { found, problem, unsupported } = inspectLibtorch(unpacked, "cache");
  if (!found) {
    const code = unsupported ? "LIBTORCH_UNSUPPORTED" : "SETUP_FAILED";
    throw new GrpoError(code, `${archive}: ${problem}; supported versions are ${supportedTorchMinors.join(", ")}`);
  }
  const dir = join(cache, `${found.version}+${found.flavour}`);
  // A folder cannot be renamed onto a full one; the old one goes into the work folder and away with it.
  if (existsSync(dir)) renameSync(dir, join(work, "replaced"));
  renameSync(unpacked, dir);
  return { ...found, dir };
}

/** Where an entry of a wheel ("torch/lib/…") or archive ("libtorch/lib/…") goes; undefined: not needed. */
function placeInLibtorch(entry: string): string | undefined {
  const rest = /^(?:lib)?torch\/(.+)$/.exec(entry)?.[1];
  return rest && /^(lib\/|include\/|share\/cmake\/|version\.py$|build-version$)/.test(rest) ? rest : undefined;
}

function requireSpace(dir: string, bytes: number): void {
  const { bavail, bsize } = statfsSync(dir);
  if (bavail * bsize >= bytes) return;
  const [needed, free] = [bytes, bavail * bsize].map((n) => (n / 1e9).toFixed(1));
  throw new GrpoError("SETUP_FAILED", `Not enough room in ${dir}: ${needed} GB are needed, ${free} GB are free`, {
    hint: "free some space, or set GRPO_CACHE to a folder on another disk",
  });
}
