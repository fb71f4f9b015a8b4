// Whether Bun and Deno run what docs/installing.md says: a program that trains, with rewards in worker processes, the commands, Ctrl-C
// and resuming; its numbers are held against Node's. What was checked is printed; exit status 1 where something differs.
//
//   npx tsx scripts/check-runtimes.ts [--bun BUN] [--deno DENO]

import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { isDeepStrictEqual, parseArgs } from "node:util";
import { hubEnvironment } from "../test/docs/place.js";
import { HubServer } from "../test/support/hub-server.js";

const { values: flags } = parseArgs({ options: { bun: { type: "string" }, deno: { type: "string" } } });
const here = (name: string) => fileURLToPath(new URL(name, import.meta.url));
const TINY = here("assets/tiny-qwen2");
const SECONDS = 120;

const REWARDS = `
export const letters = ({ completions }) => completions.map((completion) => completion[0].content.length);
export const crashes = () => process.exit(3);
export const hangs = () => new Promise(() => setInterval(() => {}, 1000));
`;
const PROGRAM = `
import { CausalLM, GRPOConfig, GRPOTrainer, LoraConfig, loadDataset, rewards, Tokenizer, tinyModel, writeReport } from "grpo";
const [maxSteps, resume] = process.argv.slice(2);
const model = await CausalLM.fromPretrained(tinyModel, { dtype: "float32" });
model.applyLora(new LoraConfig({ r: 8, targetModules: "all-linear" }));
const rows = await loadDataset(tinyModel + "/train.jsonl", { split: "train" });
const parquet = await loadDataset(${JSON.stringify(here("../test/fixtures/data/rows-zstd.parquet"))}, { split: "train" });
const fetched = await loadDataset("checks/sums", { split: "train" });
const inWorker = (name) => rewards.worker(new URL("rewards.mjs", import.meta.url), { export: name, timeout: 3, concurrency: 1 });
const isShort = Number(maxSteps) < 100;
const trainer = new GRPOTrainer({
  model,
  processingClass: await Tokenizer.fromPretrained(tinyModel),
  args: new GRPOConfig({
    outputDir: isShort ? "run" : "long", maxSteps: Number(maxSteps), saveSteps: 2, loggingSteps: 1, perDeviceTrainBatchSize: 16,
    lrSchedulerType: "constant", evalStrategy: "steps", evalSteps: 2, onRewardError: "null", learningRate: 1e-3,
  }),
  trainDataset: rows.map(({ problem }) => ({ prompt: [{ role: "user", content: problem }] })),
  evalDataset: rows.select([0, 1]).map(({ problem }) => ({ prompt: [{ role: "user", content: problem }] })),
  rewardFuncs: [rewards.accuracy, ...(isShort ? ["letters", "crashes", "hangs"].map(inWorker) : [])],
});
await trainer.train({ resumeFromCheckpoint: resume === "resume" });
await writeReport(isShort ? "run" : "long");
const logged = trainer.state.logHistory.map((entry) =>
  Object.fromEntries(Object.entries(entry).filter(([name]) => !/time|_per_second|memory/.test(name))));
console.log("LOGGED " + JSON.stringify({ logged, rows: [parquet.length, fetched.length] }));
`;
const RECIPE = `
model_name_or_path: ${TINY}
dataset_name: ${TINY}/train.jsonl
dataset_prompt_column: problem
reward_funcs: [think_format_reward]
use_peft: true
max_steps: 1
per_device_train_batch_size: 16
output_dir: recipe
`;

interface Runtime {
  readonly name: string;
  readonly command: readonly string[];
  readonly folder: string;
}
interface Ended {
  readonly output: string;
  /** Exit status, the signal that ended it, or "killed" where it did not end by itself. */
  readonly end: number | string;
}
const hub = new HubServer();
let failures = 0;

function check(what: string, found: unknown, expected: unknown): void {
  const same = isDeepStrictEqual(found, expected);
  if (!same) failures++;
  console.log(
    same ? `ok        ${what}` : `DIFFERENT ${what}\n  found    ${show(found)}\n  expected ${show(expected)}`,
  );
}

const show = (value: unknown) => JSON.stringify(value)?.slice(0, 500);

/** Runs to its end, or to Ctrl-C once a text was printed. */
async function run({ command, folder }: Runtime, args: readonly string[], interruptAt?: string): Promise<Ended> {
  const [program = "", ...first] = command;
  const env = { ...process.env, ...hubEnvironment(hub, folder) };
  const child = spawn(program, [...first, ...args], { cwd: folder, env, stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  let isInterrupted = false;
  let isLate = false;
  const take = (part: Buffer) => {
    output += part;
    if (isInterrupted || interruptAt === undefined || !output.includes(interruptAt)) return;
    isInterrupted = true;
    child.kill("SIGINT");
  };
  child.stdout.on("data", take);
  child.stderr.on("data", take);
  const timer = setTimeout(() => {
    isLate = true;
    child.kill("SIGKILL");
  }, SECONDS * 1000);
  const [code, signal] = await once(child, "close");
  clearTimeout(timer);
  return { output, end: isLate ? "killed" : (code ?? signal) };
}

/** A folder in which the package is installed as a link to this checkout. */
function place(name: string, command: readonly string[]): Runtime {
  const folder = mkdtempSync(path.join(tmpdir(), `grpo-runtimes-${name}-`));
  mkdirSync(path.join(folder, "node_modules"));
  symlinkSync(here(".."), path.join(folder, "node_modules/grpo"));
  const files = { "package.json": '{ "type": "module", "dependencies": { "grpo": "*" } }', "rewards.mjs": REWARDS };
  for (const [file, content] of Object.entries({ ...files, "train.mjs": PROGRAM, "recipe.yaml": RECIPE })) {
    writeFileSync(path.join(folder, file), content);
  }
  return { name, command, folder };
}

/** What a runtime does, to be compared. */
async function everything(runtime: Runtime): Promise<Readonly<Record<string, unknown>>> {
  const command = (...args: readonly string[]) => run(runtime, ["node_modules/grpo/dist/cli.js", ...args]);
  const has = (...names: readonly string[]) => names.map((name) => existsSync(path.join(runtime.folder, name)));
  const logged = ({ output, end }: Ended) => [end, /LOGGED (.*)/.exec(output)?.[1] ?? output.slice(-2000)];
  const train = logged(await run(runtime, ["train.mjs", "4"]));
  const resumed = logged(await run(runtime, ["train.mjs", "6", "resume"]));
  const stopped = await run(runtime, ["train.mjs", "10000"], "5/10000");
  const isSaved = readdirSync(path.join(runtime.folder, "long")).some((name) => name.startsWith("checkpoint-"));
  const doctor = await command("doctor");
  const recipe = await command("train", "recipe.yaml");
  const script = await command("train", "train.mjs", "1");
  const adapter = ["--model", TINY, "--adapter", "recipe"];
  const generated = await command("generate", ...adapter, "--quiet", "What is 7 + 5?");
  const merged = await command("merge", ...adapter, "--output", "merged");
  const report = await command("report", "recipe");
  return {
    "training, with rewards in workers of which one crashes and one hangs": train,
    "going on from a checkpoint": resumed,
    "Ctrl-C saves and ends": [[130, "SIGINT"].includes(stopped.end), isSaved],
    "grpo doctor": [doctor.end, doctor.output.includes("everything works")],
    "grpo train with a configuration": [recipe.end, has("recipe/adapter_model.safetensors")],
    "grpo train with a script": script.end,
    "grpo generate": [generated.end, generated.output],
    "grpo merge": [merged.end, has("merged/model.safetensors")],
    "grpo report": [report.end, has("recipe/report.html", "run/report.html")],
  };
}

const node = place("node", [process.execPath]);
const runtimes: Runtime[] = [];
if (flags.bun) runtimes.push(place("bun", [path.resolve(flags.bun)]));
if (flags.deno) runtimes.push(place("deno", [path.resolve(flags.deno), "run", "--allow-all"]));
await hub.start();
hub.add("checks/sums", { type: "dataset", files: { "train.jsonl": '{"prompt": "1 + 1"}\n' } });
try {
  const expected = await everything(node);
  for (const [what, ofNode] of Object.entries(expected)) console.log(`node      ${what}: ${show(ofNode)}`);
  for (const runtime of runtimes) {
    const found = await everything(runtime);
    for (const [what, ofNode] of Object.entries(expected)) check(`${runtime.name}: ${what}`, found[what], ofNode);
  }
} finally {
  await hub.stop();
  for (const { folder } of [node, ...runtimes]) rmSync(folder, { recursive: true, force: true });
}
process.exitCode = failures > 0 ? 1 : 0;
