// The stub and the core as they are built: load errors, one core in a process, worker threads, what the files export.
import { spawnSync } from "node:child_process";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { Worker } from "node:worker_threads";
import { expect, test } from "vitest";
import { librariesToOpen } from "../../lib/native/libraries.js";
import { findLibtorch, sharedLibraryName } from "../../lib/native/libtorch.js";
import type { NativeCore } from "../../lib/native/native.js";
import { bindingRevision, checkRevision, findCore, loadCore } from "../../lib/native/native-loader.js";
import { fakeLibtorch, temporaryFolder } from "./fake-libtorch.js";

const libtorch = findLibtorch();
const core = findCore(libtorch);
const stub = join(dirname(core), "grpo.node");
const paths = { libraries: librariesToOpen(libtorch, core), core };

/** Runs a script in a process of its own, where nothing is loaded yet, and gives what it printed. */
function inChild(script: string): string {
  const prelude = `const stub = require(${JSON.stringify(stub)}); const paths = ${JSON.stringify(paths)};`;
  const child = spawnSync(process.execPath, ["-e", prelude + script], { encoding: "utf8" });
  expect(child.stderr).toBe("");
  expect(child.status).toBe(0);
  return child.stdout.trim();
}

function withLibtorch<T>(dir: string, run: () => T): T {
  const before = process.env.LIBTORCH;
  process.env.LIBTORCH = dir;
  try {
    return run();
  } finally {
    if (before === undefined) delete process.env.LIBTORCH;
    else process.env.LIBTORCH = before;
  }
}

test("a libtorch without a core for its version is NATIVE_NOT_BUILT, naming the core", () => {
  const found = { ...libtorch, minor: "2.99" };
  expect(() => findCore(found)).toThrow(expect.objectContaining({ code: "NATIVE_NOT_BUILT" }));
  expect(() => findCore(found)).toThrow(sharedLibraryName("grpo-core-torch2.99"));
});

test("a libtorch that does not load is a typed error with the loader's own reason, and a good one still loads after it", () => {
  const broken = fakeLibtorch(temporaryFolder(), libtorch.version);
  const attempt = () => withLibtorch(broken, loadCore);
  expect(attempt).toThrow(expect.objectContaining({ code: "LIBTORCH_LOAD_FAILED" }));
  expect(attempt).toThrow(/could not be loaded: .*libtorch\.(so|dylib)/);
  expect(loadCore().torchVersion()).toMatch(new RegExp(`^${libtorch.minor.replace(".", "\\.")}\\.`));
});

test("a core carries the hash of the sources it was built from", () => {
  expect(loadCore().bindingRevision).toBe(bindingRevision());
});

test("a core that was built from other sources is refused, with the command that mends it", () => {
  const stale = { ...loadCore(), bindingRevision: "of yesterday" };
  expect(checkRevision(loadCore(), core)).toBe(loadCore());
  expect(() => checkRevision(stale, core)).toThrow(
    expect.objectContaining({ code: "NATIVE_NOT_BUILT", hint: "run `npm run build:native`" }),
  );
  const { bindingRevision: _, ...older } = loadCore();
  expect(() => checkRevision(older as NativeCore, core)).toThrow(
    `${core} was built from another version of the sources`,
  );
});

test("loading again gives the same exports", () => {
  expect(loadCore()).toBe(loadCore());
  const again = createRequire(import.meta.url)(stub).load(paths);
  expect(again).toBe(loadCore());
});

test("the stub names a library that it cannot open, and does not call it a crash", () => {
  const libraries = JSON.stringify([{ path: "/no/libtorch.so", global: false }]);
  const output = inChild(
    `try { stub.load({ ...paths, libraries: ${libraries} }) } catch (e) { console.log(e.code, e.message) }`,
  );
  expect(output).toMatch(/^ERR_DLOPEN .*\/no\/libtorch\.so/);
});

test.each(["", "undefined", "3", "{}", "{ core: 3 }", "{ core: 'x' }", "{ core: 'x', libraries: [1] }"])(
  "the stub refuses load(%s)",
  (argument) => {
    expect(inChild(`try { stub.load(${argument}) } catch (e) { console.log(e.code) }`)).toBe("ERR_INVALID_ARGUMENT");
  },
);

test("a core without the init function is refused", () => {
  const other = JSON.stringify(join(libtorch.dir, "lib", sharedLibraryName("c10")));
  const output = inChild(
    `try { stub.load({ ...paths, core: ${other} }) } catch (e) { console.log(e.code, e.message) }`,
  );
  expect(output).toBe("ERR_DLOPEN the core does not export grpo_core_init");
});

test("a process has one core: a second one is refused by name", () => {
  const script = `stub.load(paths); try { stub.load({ ...paths, core: "/other" }) } catch (e) { console.log(e.code, e.message) }`;
  expect(inChild(script)).toBe(`ERR_OTHER_CORE ${core}`);
});

test("worker threads load the core at the same time, each with its own exports, and end", async () => {
  const main = loadCore();
  const script = `
    const { parentPort, workerData } = require("node:worker_threads");
    const core = require(workerData.stub).load(workerData.paths);
    parentPort.postMessage(core.torchVersion());`;
  const versions = await Promise.all([1, 2, 3].map(() => runWorker(script)));
  expect(versions).toEqual([1, 2, 3].map(() => main.torchVersion()));
});

test("a core that only a worker loaded can be loaded by the main thread after the worker has ended", () => {
  const script = `
    const { Worker, isMainThread } = require("node:worker_threads");
    const source = "require(" + ${JSON.stringify(JSON.stringify(stub))} + ").load(" + JSON.stringify(paths) + ")";
    new Worker(source, { eval: true }).on("exit", (code) => console.log(code, typeof stub.load(paths).torchVersion));`;
  expect(inChild(script)).toBe("0 function");
});

test.runIf(process.platform === "linux")(
  "no library path is written into the files, and each exports its entry only",
  () => {
    const read = (args: string[]) => spawnSync(args[0] ?? "", args.slice(1), { encoding: "utf8" }).stdout;
    for (const file of [stub, core]) expect(read(["readelf", "-d", file])).not.toMatch(/RUNPATH|RPATH/);
    const exported = (file: string) =>
      [...read(["nm", "-D", "--defined-only", file]).matchAll(/ [A-Za-z] (\S+)$/gm)].map((match) => match[1]);
    expect(exported(core)).toEqual(["grpo_core_init"]);
    expect(exported(stub)).toEqual(["napi_register_module_v1", "node_api_module_get_api_version_v1"]);
    expect(read(["readelf", "-d", stub])).not.toMatch(/torch|c10|stdc\+\+/);
  },
);

function runWorker(script: string): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(script, { eval: true, workerData: { stub, paths } });
    let message: unknown;
    worker.on("message", (value) => {
      message = value;
    });
    worker.on("error", reject);
    worker.on("exit", (code) => (code === 0 ? resolve(message) : reject(new Error(`exit code ${code}`))));
  });
}
