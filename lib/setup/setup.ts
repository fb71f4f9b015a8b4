// `grpo setup`: puts one libtorch into the managed cache, from wheels that pip or a package index gives, or from files (--from).
// Complete downloads are kept until all is there, so that a setup that broke goes on. Unpacked beside its final place and
// renamed at the end, so a killed setup leaves nothing that could be taken for a libtorch.
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, statSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { GrpoError, reasonOf } from "../errors.js";
import { withFileLock } from "../hub/file-lock.js";
import { requireSupportedHost } from "../native/host.js";
import {
  cacheFolder,
  DEFAULT_TORCH_VERSION,
  inspectCached,
  type Libtorch,
  libtorchCacheFolder,
  SUPPORTED_TORCH_MINORS,
  sharedLibraryName,
} from "../native/libtorch.js";
import { freeBytes, isDiskFull, noRoom, requireSpace } from "./disk-space.js";
import { packageIndex } from "./package-index.js";
import { findPip } from "./pip.js";
import { normalName } from "./requirements.js";
import { type Flavour, nvidiaWheels, torchRequests } from "./torch-wheels.js";
import { readZipText, unzip, zipSize } from "./unzip.js";
import {
  describeRequest,
  type Environment,
  type TransferProgress,
  type WheelRequest,
  type WheelSource,
} from "./wheel-source.js";

export interface SetupOptions {
  /** Torch version; default 2.13.0. Ignored with `from`, which says its own version. */
  readonly torch?: string;
  /** Default "cpu". */
  readonly flavour?: Flavour;
  /** Wheels, a libtorch archive, or a folder of wheels on this machine, instead of a download. */
  readonly from?: readonly string[];
  /** A package index in place of the user's own. */
  readonly indexUrl?: string;
  /** Install again although that version is there. */
  readonly force?: boolean;
  readonly env?: Environment;
  /** Called with one line about what happens now. */
  readonly onProgress?: (line: string) => void;
  readonly onBytes?: TransferProgress["bytes"];
  /** Free bytes below a folder; tests have their own. */
  readonly freeBytes?: (folder: string) => number;
}

/** The room for the wheels and for what is in them, with a margin: 0.2 + 0.5 GB, and 2.8 + 4.3 GB with NVIDIA's libraries. */
const BYTES_NEEDED = { cpu: 1.2e9, cuda: 8e9 };

interface Job {
  readonly options: SetupOptions;
  readonly env: Environment;
  readonly cache: string;
  readonly free: (folder: string) => number;
  readonly report: (line: string) => void;
}

/** Fills the managed cache and returns what is there now. */
export async function setupLibtorch(options: SetupOptions = {}): Promise<Libtorch> {
  requireSupportedHost();
  const env = options.env ?? process.env;
  const cache = libtorchCacheFolder(env);
  const job: Job = {
    options,
    env,
    cache,
    free: options.freeBytes ?? freeBytes,
    report: options.onProgress ?? (() => {}),
  };
  checkVersion(options.torch ?? DEFAULT_TORCH_VERSION);
  const present = installed(job);
  if (present && !options.force && !options.from) return present;
  makeFolder(cache);
  try {
    // Two at once would download into the same files.
    return await withFileLock(join(cacheFolder(env), "setup.lock"), async () => {
      removeLeftovers(cache);
      return options.from ? await install(await localFiles(options.from), job) : await downloadAndInstall(job);
    });
  } catch (error) {
    if (isDiskFull(error)) throw noRoom(cache);
    throw error instanceof GrpoError ? error : notWritable(cache, error);
  }
}

function checkVersion(version: string): void {
  const supported = SUPPORTED_TORCH_MINORS.map((minor) => `${minor}.x`).join(", ");
  const minor = /^(\d+\.\d+)\.\d+$/.exec(version)?.[1];
  if (minor && SUPPORTED_TORCH_MINORS.includes(minor)) return;
  const message = `torch ${version} is not supported: expected a full version among ${supported}`;
  throw new GrpoError("LIBTORCH_UNSUPPORTED", message, {
    hint: `for example \`npx grpo setup --torch ${DEFAULT_TORCH_VERSION}\``,
  });
}

/** What the cache has of this version and flavour. */
function installed({ options, cache }: Job): Libtorch | undefined {
  const { torch = DEFAULT_TORCH_VERSION, flavour = "cpu" } = options;
  const names = existsSync(cache) ? readdirSync(cache) : [];
  const wanted = names.filter((name) =>
    flavour === "cuda" ? name.startsWith(`${torch}+cu`) : name === `${torch}+${flavour}`,
  );
  return wanted.map((name) => inspectCached(join(cache, name)).found).find((found) => found !== undefined);
}

function makeFolder(folder: string): void {
  try {
    mkdirSync(folder, { recursive: true });
  } catch (error) {
    throw isDiskFull(error) ? noRoom(resolve(folder, "..")) : notWritable(folder, error);
  }
}

function notWritable(folder: string, error: unknown): GrpoError {
  return new GrpoError("SETUP_FAILED", `the folder ${folder} cannot be written: ${reasonOf(error)}`, {
    hint: "set GRPO_CACHE to a folder that can be written",
    cause: error,
  });
}

/** Unfinished folders of processes that no longer run: only one process is here, so all of them. */
function removeLeftovers(cache: string): void {
  for (const name of readdirSync(cache)) {
    if (name.startsWith(".partial-")) rmSync(join(cache, name), { recursive: true, force: true });
  }
}

async function downloadAndInstall(job: Job): Promise<Libtorch> {
  const { options, env } = job;
  const { torch = DEFAULT_TORCH_VERSION, flavour = "cpu" } = options;
  const downloads = join(cacheFolder(env), "downloads", `torch-${torch}-${flavour}`);
  makeFolder(downloads);
  const needed = flavour === "cpu" ? BYTES_NEEDED.cpu : BYTES_NEEDED.cuda;
  requireSpace(downloads, needed - sizeOfFiles(downloads), job.free(downloads));
  const progress: TransferProgress = { bytes: (...args) => options.onBytes?.(...args) };
  const source = (await findPip(env, progress)) ?? packageIndex(env, progress);
  const { wheel, request } = await fetchTorch(source, downloads, job);
  const rest = await nvidiaWheels(wheel, (requirement) => {
    job.report(`fetching ${requirement}`);
    return source.fetch({ ...request, requirement }, downloads);
  });
  const libtorch = await install([wheel, ...rest], job);
  rmSync(downloads, { recursive: true, force: true });
  return libtorch;
}

/** The torch wheel, and the request that brought it: what it needs comes from the same place. */
async function fetchTorch(
  source: WheelSource,
  downloads: string,
  { options, report }: Job,
): Promise<{ wheel: string; request: WheelRequest }> {
  const { torch = DEFAULT_TORCH_VERSION, flavour = "cpu" } = options;
  const failures: GrpoError[] = [];
  for (const request of torchRequests(torch, flavour, options.indexUrl)) {
    report(`fetching ${describeRequest(request)} through ${source.name}`);
    try {
      const wheel = await source.fetch(request, downloads);
      if (flavour !== "cuda" || (await flavourOf(wheel)) !== "cpu") return { wheel, request };
      rmSync(wheel);
      throw new GrpoError("DOWNLOAD_FAILED", `${describeRequest(request)} gave a CPU build`, {
        hint: "name the CUDA build, for example `npx grpo setup --flavour cu130`",
      });
    } catch (error) {
      if (!(error instanceof GrpoError) || error.code !== "DOWNLOAD_FAILED") throw error;
      failures.push(error);
    }
  }
  const reasons = failures.map(({ message, hint }) => message.replace(`\n  → ${hint}`, "")).join("\n");
  throw new GrpoError("DOWNLOAD_FAILED", reasons, { ...(failures[0]?.hint ? { hint: failures[0].hint } : {}) });
}

/** The files that --from names; of a folder torch's and NVIDIA's wheels. */
async function localFiles(paths: readonly string[]): Promise<string[]> {
  const files = paths.flatMap((path) => {
    const full = resolve(path);
    if (!existsSync(full)) throw new GrpoError("SETUP_FAILED", `${full}: no such file`);
    if (!statSync(full).isDirectory()) return [full];
    return wheelsIn(full);
  });
  const isNvidia = (file: string) => /^(nvidia|cuda)[-_]/.test(basename(file));
  const [torch, ...others] = files.filter((file) => !isNvidia(file));
  if (torch === undefined || others.length > 0) {
    const found = torch ? [torch, ...others].join(", ") : "none";
    throw new GrpoError("SETUP_FAILED", `--from needs one torch wheel or libtorch archive; found ${found}`);
  }
  const nvidia = files.filter(isNvidia);
  const metadata = await readable(torch, () => readZipText(torch, /^torch-[^/]+\.dist-info\/METADATA$/));
  // An archive has no METADATA, and brings its CUDA libraries with it.
  if (metadata === undefined) return [torch, ...nvidia];
  return [torch, ...(await nvidiaWheels(torch, async (requirement) => present(requirement, nvidia, torch)))];
}

function wheelsIn(folder: string): string[] {
  const names = readdirSync(folder).filter((name) => /^(torch|nvidia_.*|cuda_toolkit)-.*\.whl$/.test(name));
  if (names.length === 0) throw new GrpoError("SETUP_FAILED", `${folder} has no wheel of torch`);
  return names.sort().map((name) => join(folder, name));
}

function present(requirement: string, files: readonly string[], torch: string): string {
  const name = normalName(requirement.split(/[<>=!~]/)[0] ?? "");
  const file = files.find((path) => normalName(basename(path).split("-")[0] ?? "") === name);
  if (file) return file;
  throw new GrpoError("SETUP_FAILED", `${torch} needs ${requirement}, and there is no wheel of it among those given`, {
    hint: `fetch all of them with \`python3 -m pip download <torch wheel>\`, and give the folder to --from`,
  });
}

async function install(files: readonly string[], job: Job): Promise<Libtorch> {
  const [torch = "", ...nvidia] = files;
  const work = mkdtempSync(join(job.cache, `.partial-${process.pid}-`));
  const unpacked = join(work, "unpacked");
  try {
    // NVIDIA's wheels go where Python's site-packages has them: libtorch looks for these libraries in ../../nvidia.
    const place = placement(nvidia.length > 0);
    let total = 0;
    for (const file of files) total += await readable(file, () => zipSize(file, place));
    requireSpace(work, total, job.free(work));
    job.report(`unpacking ${(total / 1e9).toFixed(1)} GB`);
    let done = 0;
    const onBytes = (count: number) => {
      done += count;
      job.options.onBytes?.("unpacked", done, total);
    };
    for (const file of files) await readable(file, () => unzip(file, unpacked, place, onBytes));
    if (!existsSync(unpacked)) throw unusable(torch, "it holds no torch/lib or libtorch/lib");
    return moveIntoCache(unpacked, torch, work, job.cache);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

function moveIntoCache(unpacked: string, torch: string, work: string, cache: string): Libtorch {
  const { found, problem, unsupported } = inspectCached(unpacked);
  if (!found) {
    const code = unsupported ? "LIBTORCH_UNSUPPORTED" : "SETUP_FAILED";
    throw new GrpoError(code, `${torch}: ${problem}; supported versions are ${SUPPORTED_TORCH_MINORS.join(", ")}`);
  }
  const dir = join(cache, `${found.version}+${found.flavour}`);
  // A folder cannot be renamed onto a full one; the old one goes into the work folder and away with it.
  if (existsSync(dir)) renameSync(dir, join(work, "replaced"));
  renameSync(unpacked, dir);
  return { ...found, dir: inspectCached(dir).dir };
}

/** Where an entry of a wheel ("torch/lib/…") or archive ("libtorch/lib/…") goes; undefined: not needed. */
function placement(besideNvidia: boolean): (entry: string) => string | undefined {
  const python = `lib/${sharedLibraryName("torch_python")}`;
  return (entry) => {
    if (/^nvidia\/.+\/lib\/[^/]+\.so[.\d]*$/.test(entry)) return entry;
    const rest = /^(?:lib)?torch\/(.+)$/.exec(entry)?.[1];
    if (!rest || rest === python || !/^(lib\/|include\/|share\/cmake\/|version\.py$|build-version$)/.test(rest)) return;
    return besideNvidia ? `torch/${rest}` : rest;
  };
}

async function readable<T>(file: string, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (error) {
    if (error instanceof GrpoError || isDiskFull(error)) throw error;
    throw unusable(file, reasonOf(error));
  }
}

function unusable(file: string, reason: string): GrpoError {
  return new GrpoError("SETUP_FAILED", `${file} is not a usable torch wheel or libtorch archive: ${reason}`, {
    hint: "the file may be incomplete: fetch it again",
  });
}

async function flavourOf(wheel: string): Promise<"cpu" | "other"> {
  const version = await readable(wheel, () => readZipText(wheel, /^torch\/version\.py$/));
  return /^__version__ = '[^']*\+cpu'/m.test(version ?? "") ? "cpu" : "other";
}

function sizeOfFiles(folder: string): number {
  return readdirSync(folder).reduce((sum, name) => sum + statSync(join(folder, name)).size, 0);
}
