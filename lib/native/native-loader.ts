// Loads the engine: the stub (always loadable), then the libtorch that was found, then the core built for its minor version.
// The result is kept for this environment (main thread or worker); the process can have one core only.
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, sep } from "node:path";
import { GrpoError, reasonOf } from "../errors.js";
import { isCheckout, packageRequire, packageRoot } from "../package-files.js";
import { requireSupportedHost } from "./host.js";
import { type LibraryToOpen, librariesToOpen } from "./libraries.js";
import { coreFileName, findLibtorch, type Libtorch } from "./libtorch.js";
import type { NativeCore } from "./native.js";

/** What grpo.node exports. */
interface Stub {
  load(paths: { libraries: readonly LibraryToOpen[]; core: string }): NativeCore;
}

let loaded: NativeCore | undefined;

/**
 * The native core. Throws NATIVE_NOT_BUILT or a LIBTORCH_… error, each with the command that mends it; BAD_OPTION where
 * GRPO_INSTRUCTION_SET names what this processor does not have.
 */
export function loadCore(): NativeCore {
  if (loaded) return loaded;
  requireSupportedHost();
  loaded = loadFor(findLibtorch());
  return loaded;
}

/**
 * The file of the core for a libtorch; throws NATIVE_NOT_BUILT. Looks beside the stub and then where else builds and prebuilds
 * lie: who has built one core from source still has the others.
 */
export function findCore(libtorch: Libtorch): string {
  const prebuilds = join(packageRoot, "prebuilds", `${process.platform}-${process.arch}`);
  const folders = new Set([dirname(findStub()), join(packageRoot, "build", "Release"), prebuilds]);
  const name = coreFileName(libtorch.minor);
  const core = [...folders].map((folder) => join(folder, name)).find((path) => existsSync(path));
  if (core) return core;
  throw notBuilt(`there is no core for torch ${libtorch.minor} (${name} in ${[...folders].join(", ")})`);
}

function loadFor(libtorch: Libtorch): NativeCore {
  const core = findCore(libtorch);
  const stub = loadStub();
  try {
    return checkRevision(stub.load({ libraries: librariesToOpen(libtorch, core), core }), core);
  } catch (error) {
    throw error instanceof GrpoError ? error : loadError(libtorch, core, error);
  }
}

/** Throws NATIVE_NOT_BUILT: a core from other sources may lack what is called here, or read its arguments otherwise. */
export function checkRevision(loaded: NativeCore, core: string): NativeCore {
  const wanted = bindingRevision();
  if (wanted === undefined || loaded.bindingRevision === wanted) return loaded;
  throw notBuilt(`${core} was built from another version of the sources`);
}

/** The hash of native/binding/ and of all headers that CMakeLists.txt compiles into the core; undefined where the sources were removed. */
export function bindingRevision(): string | undefined {
  const folder = join(packageRoot, "native");
  if (!existsSync(join(folder, "binding"))) return undefined;
  const sha256 = (data: string | Buffer) => createHash("sha256").update(data).digest("hex");
  const names = readdirSync(folder, { recursive: true, encoding: "utf8" })
    .map((name) => name.replaceAll(sep, "/"))
    .filter((name) => /\.h$|^binding\/[^/]*\.cc$/.test(name));
  return sha256(
    names
      .sort()
      .map((name) => `${sha256(readFileSync(join(folder, name)))} ${name}\n`)
      .join(""),
  );
}

function loadStub(): Stub {
  const file = findStub();
  try {
    return packageRequire(file);
  } catch (error) {
    throw notBuilt(`${file} does not load: ${reasonOf(error)}`, error);
  }
}

function findStub(): string {
  const { resolve }: { resolve(dir: string): string } = packageRequire("node-gyp-build");
  try {
    return resolve(packageRoot);
  } catch (error) {
    throw notBuilt("grpo.node was not found for this platform", error);
  }
}

function notBuilt(what: string, cause?: unknown): GrpoError {
  const hint = isCheckout ? "run `npm run build:native`" : "run `npx grpo build` (needs a C++20 compiler and CMake)";
  return new GrpoError("NATIVE_NOT_BUILT", `the native engine is not built: ${what}`, { hint, cause });
}

function loadError(libtorch: Libtorch, core: string, error: unknown): GrpoError {
  const reason = reasonOf(error);
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  if (code === "ERR_OTHER_CORE") {
    const message = `this process already uses ${reason}; it cannot also load ${core}`;
    return new GrpoError("LIBTORCH_LOAD_FAILED", message, {
      hint: "use one libtorch version in a process",
      cause: error,
    });
  }
  if (code === "BAD_OPTION") return new GrpoError(code, reason, { hint: hintOf(error), cause: error });
  if (reason.includes(core)) {
    return notBuilt(`${core} does not fit torch ${libtorch.version} in ${libtorch.dir}: ${reason}`, error);
  }
  const message = `torch ${libtorch.version} in ${libtorch.dir} could not be loaded: ${reason}`;
  return new GrpoError("LIBTORCH_LOAD_FAILED", message, { hint: loadHint(reason), cause: error });
}

/** What the core says to do next. */
function hintOf(error: unknown): string | undefined {
  const hint = error instanceof Error && "hint" in error ? error.hint : undefined;
  return typeof hint === "string" ? hint : undefined;
}

function loadHint(reason: string): string {
  if (/GLIBC|GLIBCXX/.test(reason))
    return "this libtorch needs a newer C or C++ library: use a newer Linux distribution";
  return "run `npx grpo setup --force` to fetch libtorch again, and unset LIBTORCH if it is set";
}
