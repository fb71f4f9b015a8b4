// Is the package that would be published one that works? Packs it, installs the tarball with install scripts disabled in an empty
// project outside the repository, and uses it there: type-checks a program, the README's and the examples, trains two steps and the
// README's program with each libtorch, loads in a worker thread. Then looks into the prebuilt files: search paths, undefined symbols, the glibc that they ask for.
//
//   node scripts/verify-pack.mjs [--libtorch <folder>]… [--glibc 2.28] [--clean] [--keep]
//
// Without --libtorch: every one in the managed cache. --glibc fails where a file needs a newer one. --clean does what a new user
// does, with no compiler on PATH and an empty cache: setup, then the quickstart; it downloads libtorch.
import { spawnSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { delimiter, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { checkFiles } from "./verify-files.mjs";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const { libtorchCandidates, findLibtorch } = await import("../dist/native/libtorch.js");

const program = `import { CausalLM, GRPOConfig, GRPOTrainer, LoraConfig, loadDataset, rewards, Tokenizer, tinyModel, type Message } from "grpo";
import { parse, verify } from "grpo/math";

const model = await CausalLM.fromPretrained(tinyModel, { dtype: "float32", device: "cpu" });
model.applyLora(new LoraConfig({ r: 8, loraAlpha: 32, targetModules: ["q_proj", "v_proj"] }));
const rows = await loadDataset<{ problem: string; solution: string }>(tinyModel + "/train.jsonl", { split: "train[:64]" });
const trainDataset = rows.map(({ problem }): { prompt: Message[] } => ({ prompt: [{ role: "user", content: problem }] }));
const right = rewards.perSample<{ solution: string }>(function right({ text, solution }) {
  return verify(parse(solution), parse(text)) ? 1 : 0;
});
const args = new GRPOConfig({ outputDir: "out", maxSteps: 2, perDeviceTrainBatchSize: 8, maxCompletionLength: 16 });
const processingClass = await Tokenizer.fromPretrained(tinyModel);
const trainer = new GRPOTrainer({ model, processingClass, args, trainDataset, rewardFuncs: [right, rewards.thinkFormat] });
const { globalStep } = await trainer.train();
await trainer.saveModel();
model.dispose();
console.log("trained " + globalStep + " steps");
`;

const workerProgram = `import { Worker, isMainThread } from "node:worker_threads";
import { fileURLToPath } from "node:url";
import { CausalLM, tinyModel } from "grpo";
if (isMainThread) {
  const worker = new Worker(fileURLToPath(import.meta.url));
  worker.on("exit", (code) => console.log("worker ended with " + code));
} else {
  const model = await CausalLM.fromPretrained(tinyModel, { device: "cpu" });
  const [answer] = await model.generate([[1, 2, 3]], { maxNewTokens: 2 });
  console.log(answer.ids.length + " tokens");
  model.dispose();
}
`;

function main() {
  const { values } = parseArgs({
    options: {
      libtorch: { type: "string", multiple: true, default: [] },
      glibc: { type: "string" },
      clean: { type: "boolean", default: false },
      keep: { type: "boolean", default: false },
    },
  });
  const work = mkdtempSync(join(tmpdir(), "grpo-pack-"));
  try {
    const tarball = pack(work);
    const libtorchs = values.libtorch.length
      ? values.libtorch.map((dir) => findLibtorch({ LIBTORCH: dir }))
      : [...libtorchCandidates()].flatMap(({ found }) => found ?? []);
    if (values.clean) useCleanly(work, tarball);
    else use(work, tarball, libtorchs, values.glibc);
    console.log("\nthe package works");
  } finally {
    if (values.keep) console.log(`kept: ${work}`);
    else rmSync(work, { recursive: true, force: true });
  }
}

function pack(work) {
  const output = run("npm", ["pack", "--json", "--ignore-scripts", "--pack-destination", work], { cwd: root });
  const [{ filename, files, size, unpackedSize }] = JSON.parse(output);
  const names = files.map(({ path }) => path);
  const unwanted = names.filter((name) => /^(binding\.gyp|test\/|build\/|\.)|node_modules|\.stamp$/.test(name));
  if (unwanted.length > 0) fail(`the tarball has ${unwanted.join(", ")}`);
  const platform = `prebuilds/${process.platform}-${process.arch}/`;
  const wanted = [
    "dist/index.js",
    "dist/index.d.ts",
    "dist/cli.js",
    "LICENSE",
    "README.md",
    "CMakeLists.txt",
    "scripts/build.mjs",
  ];
  wanted.push(
    "native/stub/stub.c",
    "scripts/assets/tiny-qwen2/model.safetensors",
    "docs/train.schema.json",
    "docs/troubleshooting.md",
  );
  const missing = wanted.filter((name) => !names.includes(name));
  if (missing.length > 0) fail(`the tarball lacks ${missing.join(", ")}`);
  if (!names.some((name) => name.startsWith(platform)))
    fail(`the tarball has no ${platform}: run \`npm run prebuilds\``);
  console.log(`packed     ${names.length} files, ${megabytes(size)} MB, unpacked ${megabytes(unpackedSize)} MB`);
  return join(work, filename);
}

function use(work, tarball, libtorchs, glibc) {
  const project = install(work, tarball);
  const packed = join(project, "node_modules/grpo");
  if (existsSync(join(packed, "build"))) fail("something was built at install time");
  checkFiles(join(packed, "prebuilds", `${process.platform}-${process.arch}`), libtorchs, glibc);
  typeCheck(project);
  if (libtorchs.length === 0) fail("there is no libtorch to train with: name one with --libtorch");
  for (const libtorch of libtorchs) {
    const env = { ...process.env, LIBTORCH: libtorch.dir, PREBUILDS_ONLY: "1" };
    const name = `torch ${libtorch.version}+${libtorch.flavour}`;
    expect(run(process.execPath, ["train.js"], { cwd: project, env }), "trained 2 steps", name);
    expect(run(process.execPath, ["readme.js"], { cwd: project, env }), "50/50  reward", name);
    expect(run(process.execPath, ["worker.mjs"], { cwd: project, env }), "2 tokens\nworker ended with 0", name);
    console.log(`${name.padEnd(18)} trains, and works in a worker thread`);
  }
}

function install(work, tarball) {
  const project = join(work, "project");
  mkdirSync(project);
  writeFileSync(join(project, "package.json"), JSON.stringify({ name: "project", private: true, type: "module" }));
  const started = Date.now();
  run("npm", ["install", tarball, "--ignore-scripts", "--no-audit", "--no-fund"], { cwd: project });
  const modules = join(project, "node_modules");
  console.log(`installed  ${megabytes(sizeOf(modules))} MB in ${seconds(started)} s`);
  writeFileSync(join(project, "train.ts"), program);
  writeFileSync(join(project, "worker.mjs"), workerProgram);
  const packed = join(modules, "grpo");
  const [, readme] = /^```ts\n([\s\S]*?)^```$/m.exec(readFileSync(join(packed, "README.md"), "utf8"));
  writeFileSync(join(project, "readme.ts"), readme);
  cpSync(join(packed, "examples"), join(project, "examples"), { recursive: true });
  return project;
}

/** Checks the types with this repository's compiler, but without its settings: what a user's own tsconfig would say. */
function typeCheck(project) {
  const require = createRequire(import.meta.url);
  const tsc = join(dirname(require.resolve("typescript/package.json")), "bin/tsc");
  const types = dirname(dirname(require.resolve("@types/node/package.json")));
  const options = ["--strict", "--target", "es2022", "--module", "nodenext", "--typeRoots", types, "--types", "node"];
  const examples = readdirSync(join(project, "examples")).map((name) => join("examples", name));
  const programs = ["train.ts", "readme.ts", ...examples];
  run(process.execPath, [tsc, ...programs, "--ignoreConfig", "--skipLibCheck", "false", ...options], { cwd: project });
  const wrong = program.replace("loraAlpha: 32", "loraAlhpa: 32");
  writeFileSync(join(project, "wrong.ts"), wrong);
  const { status, stdout } = spawnSync(process.execPath, [tsc, "wrong.ts", "--noEmit", "--ignoreConfig", ...options], {
    cwd: project,
    encoding: "utf8",
  });
  if (status === 0 || !stdout.includes("loraAlhpa")) fail(`a misspelt option compiled:\n${stdout}`);
  console.log("types      the programs compile; one with a misspelt option does not");
}

/** A new user: no compiler, no cache, no settings but those of npm and pip. */
function useCleanly(work, tarball) {
  const bin = join(work, "bin");
  mkdirSync(bin);
  for (const tool of ["node", "npm", "npx", "sh", "env", "python3"]) {
    const folders = (process.env.PATH ?? "").split(delimiter);
    const path = tool === "python3" ? realPython() : folders.map((dir) => join(dir, tool)).find(existsSync);
    if (path) symlinkSync(path, join(bin, tool));
  }
  const { LIBTORCH: _, VIRTUAL_ENV: __, CONDA_PREFIX: ___, ...rest } = process.env;
  const env = { ...rest, PATH: bin, GRPO_CACHE: join(work, "cache") };
  const started = Date.now();
  const project = install(work, tarball);
  const steps = [
    ["npx grpo setup", ["grpo", "setup"]],
    ["npx grpo quickstart", ["grpo", "quickstart"]],
  ];
  for (const [name, args] of steps) {
    const since = Date.now();
    console.log(`\n$ ${name}`);
    const output = run("npx", ["--no-install", ...args], { cwd: project, env });
    console.log(output.trim().split("\n").slice(-12).join("\n"));
    console.log(`${name}: ${seconds(since)} s`);
  }
  const bytes = [join(project, "node_modules"), env.GRPO_CACHE].map((folder) => megabytes(sizeOf(folder)));
  console.log(`\nin all ${seconds(started)} s; ${bytes[0]} MB in node_modules, ${bytes[1]} MB in the cache`);
}

/** The program itself: what PATH has may be a script of a version manager, which needs more programs. */
function realPython() {
  return spawnSync("python3", ["-c", "import sys; print(sys.executable)"], { encoding: "utf8" }).stdout?.trim();
}

function run(program, args, options) {
  const { status, stdout, stderr, error } = spawnSync(program, args, {
    encoding: "utf8",
    maxBuffer: 1 << 28,
    ...options,
  });
  if (error) throw error;
  if (status !== 0) fail(`${program} ${args.join(" ")} ended with ${status}:\n${stdout}${stderr}`);
  return stdout;
}

function expect(output, wanted, what) {
  if (!output.includes(wanted)) fail(`${what}: expected "${wanted}", found:\n${output}`);
}

function fail(message) {
  throw new Error(message);
}

function sizeOf(folder) {
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true });
  return entries.reduce(
    (sum, entry) => sum + (entry.isFile() ? statSync(join(entry.parentPath ?? entry.path, entry.name)).size : 0),
    0,
  );
}

const megabytes = (bytes) => (bytes / 1e6).toFixed(1);
const seconds = (since) => ((Date.now() - since) / 1000).toFixed(0);

try {
  main();
} catch (error) {
  console.error(`verify-pack: ${error.message}`);
  process.exitCode = 1;
}
