// Finds the libtorch to use, without loading it and without running Python. Search order: LIBTORCH (explicit, so a broken
// setting is an error and never skipped), the managed cache that `grpo setup` fills, the active Python environment, system
// folders. The version decides which core is loaded: libtorch keeps no C++ ABI between minor versions.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { GrpoError } from "../errors.js";

export type LibtorchSource = "LIBTORCH" | "cache" | "VIRTUAL_ENV" | "CONDA_PREFIX" | "system";

export interface Libtorch {
  /** The folder that holds lib/, include/ and version.py or build-version. */
  readonly dir: string;
  /** "2.13.0" */
  readonly version: string;
  /** "2.13": names the core. */
  readonly minor: string;
  /** "cpu", "cu130", … */
  readonly flavour: string;
  readonly source: LibtorchSource;
}

/** A place that was looked at: a usable libtorch, or the reason why it is not one. */
export interface LibtorchCandidate {
  readonly dir: string;
  readonly source: LibtorchSource;
  readonly found?: Libtorch;
  readonly problem?: string;
  readonly unsupported?: boolean;
}

type Environment = Readonly<Record<string, string | undefined>>;

/** Minor versions that this release has been built and tested with, newest last. */
export const SUPPORTED_TORCH_MINORS: readonly string[] = ["2.13", "2.14"];

/** What `grpo setup` installs unless told otherwise. */
export const DEFAULT_TORCH_VERSION = "2.13.0";

const SYSTEM_FOLDERS = ["/usr/local/libtorch", "/opt/libtorch"];
const SETUP_HINT = "run `npx grpo setup` to fetch libtorch once, or set LIBTORCH to a libtorch folder";

/** $GRPO_CACHE, else $XDG_CACHE_HOME/grpo, else ~/.cache/grpo. */
export function cacheFolder(env: Environment = process.env): string {
  return resolve(env.GRPO_CACHE || join(env.XDG_CACHE_HOME || join(homedir(), ".cache"), "grpo"));
}

/** Where managed libtorch versions live: one folder each, named <version>+<flavour>. */
export function libtorchCacheFolder(env: Environment = process.env): string {
  return join(cacheFolder(env), "libtorch");
}

/** "libtorch.so", or what it is called on this platform. */
export function sharedLibraryName(name: string): string {
  return `lib${name}${process.platform === "darwin" ? ".dylib" : ".so"}`;
}

/** The libtorch to use; throws LIBTORCH_NOT_FOUND or LIBTORCH_UNSUPPORTED, naming every place that was looked at. */
export function findLibtorch(env: Environment = process.env): Libtorch {
  const looked: LibtorchCandidate[] = [];
  for (const candidate of libtorchCandidates(env)) {
    if (candidate.found) return candidate.found;
    if (candidate.source === "LIBTORCH") throw explicitSettingError(candidate);
    looked.push(candidate);
  }
  const unsupported = looked.find((candidate) => candidate.unsupported);
  if (unsupported) throw unsupportedError(unsupported);
  const places = looked.map((c) => `  ${c.dir}: ${c.problem}`).join("\n");
  throw new GrpoError("LIBTORCH_NOT_FOUND", `no libtorch was found; looked in:\n${places}`, { hint: SETUP_HINT });
}

/** Every place in search order, with what is there. `grpo doctor` prints this list. */
export function* libtorchCandidates(env: Environment = process.env): Generator<LibtorchCandidate> {
  if (env.LIBTORCH) yield inspectLibtorch(resolve(env.LIBTORCH), "LIBTORCH");
  yield* cachedCandidates(libtorchCacheFolder(env));
  for (const source of ["VIRTUAL_ENV", "CONDA_PREFIX"] as const) {
    const prefix = env[source];
    if (prefix) yield* pythonCandidates(resolve(prefix), source);
  }
  for (const dir of SYSTEM_FOLDERS) yield inspectLibtorch(dir, "system");
}

/** Reads one folder: is it a libtorch, which version, and is that version supported? */
export function inspectLibtorch(dir: string, source: LibtorchSource): LibtorchCandidate {
  if (!existsSync(dir)) return { dir, source, problem: "no such folder" };
  const library = join("lib", sharedLibraryName("torch"));
  if (!existsSync(join(dir, library))) return { dir, source, problem: `${library} is missing` };
  const release = readRelease(dir);
  if (!release) return { dir, source, problem: "neither version.py nor build-version tells the version" };
  const minor = release.version.split(".").slice(0, 2).join(".");
  if (!SUPPORTED_TORCH_MINORS.includes(minor)) {
    return { dir, source, unsupported: true, problem: `torch ${release.version} is not supported` };
  }
  return { dir, source, found: { dir, source, minor, ...release } };
}

/** Reads one folder of the managed cache: a libtorch, or one that lies beside NVIDIA's libraries as in site-packages. */
export function inspectCached(dir: string): LibtorchCandidate {
  const inner = join(dir, "torch");
  return inspectLibtorch(existsSync(inner) ? inner : dir, "cache");
}

/** File name of the core for a torch minor version. */
export function coreFileName(minor: string): string {
  return sharedLibraryName(`grpo-core-torch${minor}`);
}

function* cachedCandidates(cache: string): Generator<LibtorchCandidate> {
  // A name that starts with a dot is an unfinished download.
  const names = listFolder(cache).filter((name) => !name.startsWith("."));
  if (names.length === 0) yield { dir: cache, source: "cache", problem: "nothing is installed there" };
  for (const name of names.sort(newestAndAcceleratedFirst)) yield inspectCached(join(cache, name));
}

function* pythonCandidates(prefix: string, source: LibtorchSource): Generator<LibtorchCandidate> {
  const pythons = listFolder(join(prefix, "lib")).filter((name) => /^python3\.\d+$/.test(name));
  if (pythons.length === 0) yield { dir: prefix, source, problem: "no lib/python3.*" };
  for (const python of pythons) yield inspectLibtorch(join(prefix, "lib", python, "site-packages", "torch"), source);
}

/** "2.14.0+cpu" before "2.13.0+cu130" before "2.13.0+cpu". */
function newestAndAcceleratedFirst(a: string, b: string): number {
  const [versionA = "", flavourA = ""] = a.split("+");
  const [versionB = "", flavourB = ""] = b.split("+");
  const byVersion = versionB.localeCompare(versionA, "en", { numeric: true });
  return byVersion || Number(flavourA === "cpu") - Number(flavourB === "cpu");
}

/** Version and flavour from version.py (wheels) or build-version (archives). */
function readRelease(dir: string): { version: string; flavour: string } | undefined {
  const python = readText(join(dir, "version.py"));
  const text = python ? /__version__ = '([^']+)'/.exec(python)?.[1] : readText(join(dir, "build-version"))?.trim();
  const match = /^(\d+\.\d+\.\d+)[^+]*(?:\+(.+))?$/.exec(text ?? "");
  if (!match?.[1]) return undefined;
  const cuda = python ? /^cuda(?:: [^=]+)? = '([^']+)'/m.exec(python)?.[1] : undefined;
  return { version: match[1], flavour: match[2] ?? (cuda ? `cu${cuda.replace(".", "")}` : "cpu") };
}

function explicitSettingError(candidate: LibtorchCandidate): GrpoError {
  if (candidate.unsupported) return unsupportedError(candidate);
  return new GrpoError(
    "LIBTORCH_NOT_FOUND",
    `LIBTORCH is set to ${candidate.dir}, which is not a usable libtorch: ${candidate.problem}`,
    {
      hint: "point LIBTORCH at a folder that holds lib/ and include/, or unset it to use the one `npx grpo setup` fetches",
    },
  );
}

function unsupportedError(candidate: LibtorchCandidate): GrpoError {
  const supported = SUPPORTED_TORCH_MINORS.map((minor) => `${minor}.x`).join(", ");
  return new GrpoError(
    "LIBTORCH_UNSUPPORTED",
    `${candidate.dir} (from ${candidate.source}): ${candidate.problem}; supported versions are ${supported}`,
    { hint: `run \`npx grpo setup\` to fetch torch ${DEFAULT_TORCH_VERSION}, or set LIBTORCH to a supported version` },
  );
}

function listFolder(dir: string): string[] {
  try {
    return readdirSync(dir);
  } catch {
    return [];
  }
}

function readText(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return undefined;
  }
}
