// The search for libtorch: order, explicit settings, versions. Uses folders with the right names only.
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { GrpoError } from "../../lib/errors.js";
import { librariesToOpen } from "../../lib/native/libraries.js";
import { coreFileName, findLibtorch, sharedLibraryName } from "../../lib/native/libtorch.js";
import { fakeLibtorch, temporaryFolder, writeFiles } from "./fake-libtorch.js";

/** One libtorch in each place that the search knows, with different versions so that the choice shows. */
function everywhere(): { env: Record<string, string>; dirs: Record<string, string> } {
  const root = temporaryFolder();
  const site = "lib/python3.11/site-packages/torch";
  const dirs = {
    LIBTORCH: fakeLibtorch(join(root, "explicit"), "2.13.1+cpu"),
    cache: fakeLibtorch(join(root, "cache/libtorch/2.13.0+cpu"), "2.13.0+cpu"),
    VIRTUAL_ENV: fakeLibtorch(join(root, "venv", site), "2.14.0+cu130", "13.0"),
    CONDA_PREFIX: fakeLibtorch(join(root, "conda", site), "2.14.1", "12.6"),
  };
  const env = {
    LIBTORCH: dirs.LIBTORCH,
    GRPO_CACHE: join(root, "cache"),
    VIRTUAL_ENV: join(root, "venv"),
    CONDA_PREFIX: join(root, "conda"),
  };
  return { env, dirs };
}

function errorOf(run: () => unknown): GrpoError {
  try {
    run();
  } catch (error) {
    if (error instanceof GrpoError) return error;
    throw error;
  }
  throw new Error("expected a GrpoError");
}

test("LIBTORCH wins, then the managed cache, then VIRTUAL_ENV, then CONDA_PREFIX", () => {
  const { env, dirs } = everywhere();
  expect(findLibtorch(env)).toMatchObject({ dir: dirs.LIBTORCH, source: "LIBTORCH", version: "2.13.1", minor: "2.13" });
  const withoutExplicit = { ...env, LIBTORCH: undefined };
  expect(findLibtorch(withoutExplicit)).toMatchObject({ dir: dirs.cache, source: "cache", flavour: "cpu" });
  const withoutCache = { ...withoutExplicit, GRPO_CACHE: temporaryFolder() };
  expect(findLibtorch(withoutCache)).toMatchObject({ dir: dirs.VIRTUAL_ENV, minor: "2.14", flavour: "cu130" });
  const condaOnly = { ...withoutCache, VIRTUAL_ENV: undefined };
  expect(findLibtorch(condaOnly)).toMatchObject({ dir: dirs.CONDA_PREFIX, version: "2.14.1", flavour: "cu126" });
});

test("the cache gives the newest version, and of equal ones the accelerated build; unfinished downloads are not seen", () => {
  const cache = temporaryFolder();
  for (const name of ["2.13.0+cpu", "2.13.0+cu130", ".partial-1-x"]) fakeLibtorch(join(cache, "libtorch", name), name);
  expect(findLibtorch({ GRPO_CACHE: cache })).toMatchObject({ version: "2.13.0", flavour: "cu130" });
  fakeLibtorch(join(cache, "libtorch/2.14.0+cpu"), "2.14.0+cpu");
  expect(findLibtorch({ GRPO_CACHE: cache })).toMatchObject({ version: "2.14.0", flavour: "cpu" });
});

test("the cache folder follows XDG_CACHE_HOME", () => {
  const xdg = temporaryFolder();
  const dir = fakeLibtorch(join(xdg, "grpo/libtorch/2.13.0+cpu"), "2.13.0+cpu");
  expect(findLibtorch({ XDG_CACHE_HOME: xdg }).dir).toBe(dir);
});

test("a broken LIBTORCH is an error that names it, although another libtorch could be used", () => {
  const { env } = everywhere();
  const empty = temporaryFolder();
  for (const [dir, reason] of [
    [empty, `${join("lib", sharedLibraryName("torch"))} is missing`],
    [join(empty, "absent"), "no such folder"],
  ] as const) {
    const error = errorOf(() => findLibtorch({ ...env, LIBTORCH: dir }));
    expect(error.code).toBe("LIBTORCH_NOT_FOUND");
    expect(error.message).toContain(`LIBTORCH is set to ${dir}`);
    expect(error.message).toContain(reason);
  }
});

test("an explicit unsupported version is an error that says what was found and what is supported", () => {
  const dir = fakeLibtorch(temporaryFolder(), "2.9.1+cpu");
  const error = errorOf(() => findLibtorch({ LIBTORCH: dir }));
  expect(error.code).toBe("LIBTORCH_UNSUPPORTED");
  for (const part of [dir, "torch 2.9.1 is not supported", "2.13.x, 2.14.x", "grpo setup"]) {
    expect(error.message).toContain(part);
  }
});

test("an unsupported version in a Python environment is passed over for a later place, and named if there is none", () => {
  const { env, dirs } = everywhere();
  const old = temporaryFolder();
  fakeLibtorch(join(old, "lib/python3.9/site-packages/torch"), "2.1.0");
  const search = { VIRTUAL_ENV: old, GRPO_CACHE: temporaryFolder() };
  expect(findLibtorch({ ...search, CONDA_PREFIX: env.CONDA_PREFIX }).dir).toBe(dirs.CONDA_PREFIX);
  expect(errorOf(() => findLibtorch(search)).code).toBe("LIBTORCH_UNSUPPORTED");
});

test("when nothing is found every place is named with the reason, and the command that mends it", () => {
  const cache = temporaryFolder();
  const error = errorOf(() => findLibtorch({ GRPO_CACHE: cache, VIRTUAL_ENV: "/no/venv" }));
  expect(error.code).toBe("LIBTORCH_NOT_FOUND");
  expect(error.message).toContain(`${join(cache, "libtorch")}: nothing is installed there`);
  expect(error.message).toContain("/no/venv: no lib/python3.*");
  expect(error.hint).toContain("npx grpo setup");
});

test("the version of a libtorch archive is read from build-version", () => {
  const dir = temporaryFolder();
  writeFiles(dir, { [`lib/${sharedLibraryName("torch")}`]: "", "build-version": "2.14.0+cu130\n" });
  expect(findLibtorch({ LIBTORCH: dir })).toMatchObject({ version: "2.14.0", minor: "2.14", flavour: "cu130" });
});

test("a libtorch that does not tell its version is refused", () => {
  const dir = temporaryFolder();
  writeFiles(dir, { [`lib/${sharedLibraryName("torch")}`]: "", "version.py": "nothing of use" });
  expect(errorOf(() => findLibtorch({ LIBTORCH: dir })).message).toContain("neither version.py nor build-version");
});

test("only the library of libtorch's own dependencies is opened globally, and before libtorch", () => {
  const dir = fakeLibtorch(temporaryFolder(), "2.13.0+cpu");
  const torch = { path: join(dir, "lib", sharedLibraryName("torch")), global: false };
  expect(librariesToOpen(findLibtorch({ LIBTORCH: dir }), "/no/core.so")).toEqual([torch]);
  mkdirSync(join(dir, "lib"), { recursive: true });
  writeFiles(dir, { [`lib/${sharedLibraryName("torch_global_deps")}`]: "" });
  const deps = { path: join(dir, "lib", sharedLibraryName("torch_global_deps")), global: true };
  expect(librariesToOpen(findLibtorch({ LIBTORCH: dir }), "/no/core.so")).toEqual([deps, torch]);
});

test("graphs of CUDA are opened last, where they lie beside the core and libtorch is one for CUDA", () => {
  const built = temporaryFolder();
  const name = sharedLibraryName("grpo-cuda-graphs-torch2.14");
  writeFiles(built, { [name]: "" });
  const last = (version: string, core: string) => {
    const dir = fakeLibtorch(temporaryFolder(), version);
    return librariesToOpen(findLibtorch({ LIBTORCH: dir }), core).at(-1);
  };
  const core = join(built, coreFileName("2.14"));
  expect(last("2.14.1+cu130", core)).toEqual({ path: join(built, name), global: false, optional: true });
  for (const opened of [last("2.14.1+cpu", core), last("2.13.0+cu130", core), last("2.14.1+cu130", "/no/core.so")])
    expect(opened?.path).toMatch(/libtorch\./);
});

test("a core is named after the minor version of torch", () => {
  expect(coreFileName("2.13")).toBe(sharedLibraryName("grpo-core-torch2.13"));
});
