// Whether sampling ahead of the trainer takes no longer than the slower side, and learns as taking turns does:
//
//   npx tsx scripts/check-asynchronous.ts [--seeds 3] [--steps 60] [--write docs/servers.md]
//
// Time: completions take as long as their lengths, which are drawn from a distribution with a long tail, and a step as long as it is told;
// both only wait, so that the machine does not matter. Learning: the bundled model's own task, sampled by a second copy of the model that
// is given the adapter of each version. --write puts both tables into a page. Exit status 1 where a step takes more than 1.1 times the
// slower side, or where the mean reward of the last third of the steps lies outside the spread of the seeds that take turns.

import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { CausalLM, GRPOConfig, GRPOTrainer, LoraConfig, loadDataset, rewards, type Sampler, tinyModel } from "grpo";
import { mixSeed } from "../lib/rollout/prompt-sampler.js";
import { FakePolicy, FakeTokenizer, fakeRows } from "../test/grpo/fake-policy.js";

const { values } = parseArgs({
  options: {
    seeds: { type: "string", default: "3" },
    /** Of a training that learns. */
    steps: { type: "string", default: "60" },
    write: { type: "string" },
  },
});
const STEPS = Number(values.steps);
const TIMED_STEPS = 30;
const STALENESS = [0, 1, 4];
const PROMPTS = 4;
const GROUP = 8;
/** Of completion lengths in tokens, log-normal as those of reasoning models: half are below the median, one in twenty above 4 times it. */
const MEDIAN_TOKENS = 300;
const SPREAD = 0.85;
const MOST_TOKENS = 2048;
const MILLISECONDS_PER_TOKEN = 0.2;
const MARGIN = 1.1;
const BEGIN = "<!-- asynchronous -->";
const END = "<!-- /asynchronous -->";

const folder = await mkdtemp(path.join(tmpdir(), "grpo-asynchronous-"));

function mean(list: readonly number[]): number {
  return list.reduce((a, b) => a + b, 0) / list.length;
}

/** Milliseconds that a completion takes. */
function latency(seed: number): number {
  const [u, v] = [mixSeed(seed, 1), mixSeed(seed, 2)].map((x) => (x + 1) / 2 ** 32);
  const normal = Math.sqrt(-2 * Math.log(u ?? 1)) * Math.cos(2 * Math.PI * (v ?? 0));
  return Math.min(MOST_TOKENS, MEDIAN_TOKENS * Math.exp(SPREAD * normal)) * MILLISECONDS_PER_TOKEN;
}

interface Timing {
  readonly maxStaleness: number;
  /** Seconds a step: of all, of the sampling of a generation, of an update. */
  readonly step: number;
  readonly sampler: number;
  readonly trainer: number;
  /** Seconds a step that either side waits. */
  readonly trainerWaits: number;
  readonly samplerWaits: number;
  readonly staleness: number;
}

/** A run in which both sides only wait. */
async function timeRun(maxStaleness: number, trainerSeconds: number): Promise<Timing> {
  const policy = new FakePolicy();
  const forwardBackward = policy.forwardBackward.bind(policy);
  policy.forwardBackward = async (batch, options) => {
    await sleep(trainerSeconds * 1000);
    return forwardBackward(batch, options);
  };
  const drawing = new FakePolicy();
  const sampler: Sampler = {
    elsewhere: true,
    maxPositions: 256,
    sample: async (prompts, options) => {
      const key = (options.step ?? 0) * 1000;
      const waits = prompts.flatMap((_, prompt) =>
        Array.from({ length: options.groupSize }, (_, i) => latency(key + prompt * options.groupSize + i)),
      );
      await sleep(Math.max(...waits), undefined, { signal: options.signal });
      return drawing.sample(prompts, options);
    },
  };
  const trainer = new GRPOTrainer({
    model: policy,
    sampler,
    processingClass: new FakeTokenizer(),
    args: new GRPOConfig({
      maxStaleness,
      maxSteps: TIMED_STEPS,
      numGenerations: GROUP,
      perDeviceTrainBatchSize: PROMPTS * GROUP,
      gradientAccumulationSteps: 1,
      maxCompletionLength: 8,
      saveStrategy: "no",
      loggingSteps: 1,
      outputDir: path.join(folder, "times"),
      logTo: [],
    }),
    rewardFuncs: [({ completionIds }) => completionIds.map((ids) => (ids.at(1) ?? 0) % 5)],
    trainDataset: fakeRows(64),
    output: { write: () => true },
  });
  await trainer.train();
  // The first steps fill the queue.
  const steps = trainer.state.logHistory.filter(({ step }) => (step ?? 0) > Math.max(...STALENESS));
  const of = (name: string) => mean(steps.map((line) => line[name] ?? 0));
  return {
    maxStaleness,
    step: of("step_time"),
    sampler: of("time/rollout"),
    trainer: of("time/update"),
    trainerWaits: maxStaleness === 0 ? of("time/rollout") : of("time/rollout_wait"),
    samplerWaits: maxStaleness === 0 ? of("time/update") : of("time/sampler_idle"),
    staleness: of("sample/staleness_mean"),
  };
}

interface Sum {
  readonly prompt: { role: "user"; content: string }[];
  readonly solution: string;
}
const format = rewards.perSample<Sum>(function format({ text }) {
  return /^<think>[\s\S]*?<\/think>\s*<answer>[\s\S]*?<\/answer>$/.test(text) ? 1 : 0;
});
const lastInteger = (text: string) => text.match(/-?\d+/g)?.at(-1);
const accuracy = rewards.perSample<Sum>(function accuracy({ text, solution }) {
  return Number(lastInteger(text)) === Number(lastInteger(solution)) ? 1 : 0;
});
const ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];

/** A second copy of the model, with an adapter for each version. */
function samplerOf(copy: CausalLM): Sampler {
  let adapter = "";
  return {
    elsewhere: true,
    maxPositions: copy.maxPositions,
    follow: async (policy) => {
      adapter = `version-${policy.version}`;
      const written = path.join(folder, "adapters", adapter);
      await policy.savePretrained(written);
      await copy.loadAdapter(written, { name: adapter });
    },
    sample: (prompts, options) => copy.sample(prompts, { ...options, adapter } as Parameters<CausalLM["sample"]>[1]),
  };
}

/** Mean reward of the last third of the steps. */
async function learn(maxStaleness: number, seed: number): Promise<number> {
  const loading = { device: "cpu", dtype: "float32" } as const;
  await using policy = await CausalLM.fromPretrained(tinyModel, loading);
  await using copy = await CausalLM.fromPretrained(tinyModel, loading);
  policy.applyLora(new LoraConfig({ r: 16, loraAlpha: 32, targetModules: ALL }), { seed });
  const rows = await loadDataset<{ problem: string; solution: string }>(`${tinyModel}/train.jsonl`, { split: "train" });
  const trainer = new GRPOTrainer<Sum>({
    model: policy,
    sampler: samplerOf(copy),
    args: new GRPOConfig({
      maxStaleness,
      seed,
      maxSteps: STEPS,
      learningRate: 1e-3,
      lrSchedulerType: "constant",
      numGenerations: GROUP,
      perDeviceTrainBatchSize: GROUP,
      gradientAccumulationSteps: PROMPTS,
      maxCompletionLength: 32,
      saveStrategy: "no",
      loggingSteps: 1,
      outputDir: path.join(folder, "learning"),
      logTo: [],
    }),
    rewardFuncs: [format, accuracy],
    trainDataset: rows.map(({ problem, solution }) => ({
      prompt: [{ role: "user" as const, content: problem }],
      solution,
    })),
    output: { write: () => true },
  });
  await trainer.train();
  const rewardsOfSteps = trainer.state.logHistory.flatMap(({ reward }) => reward ?? []);
  return mean(rewardsOfSteps.slice(-Math.floor(STEPS / 3)));
}

function rowOf(cells: readonly (string | number)[]): string {
  return `| ${cells.join(" | ")} |`;
}

function timesTable(timings: readonly Timing[]): string[] {
  const seconds = (value: number) => value.toFixed(2);
  return [
    rowOf(["sampling", "update", "maxStaleness", "step", "trainer waits", "sampler waits", "staleness"]),
    "|---|---|---|---|---|---|---|",
    ...timings.map((one) =>
      rowOf([
        `${seconds(one.sampler)} s`,
        `${seconds(one.trainer)} s`,
        one.maxStaleness,
        `${seconds(one.step)} s`,
        `${seconds(one.trainerWaits)} s`,
        `${seconds(one.samplerWaits)} s`,
        one.staleness.toFixed(1),
      ]),
    ),
  ];
}

function learningTable(learned: ReadonlyMap<number, readonly number[]>): string[] {
  const seeds = Array.from({ length: Number(values.seeds) }, (_, i) => `seed ${i + 1}`);
  return [
    rowOf(["maxStaleness", ...seeds, "mean"]),
    `|---|${"---|".repeat(seeds.length + 1)}`,
    ...[...learned].map(([staleness, list]) =>
      rowOf([staleness, ...[...list, mean(list)].map((value) => value.toFixed(3))]),
    ),
  ];
}

const timings: Timing[] = [];
for (const trainerSeconds of [0.12, 0.24, 0.48]) {
  for (const maxStaleness of STALENESS) timings.push(await timeRun(maxStaleness, trainerSeconds));
}
const tooSlow = timings.filter((one) => one.maxStaleness > 0 && one.step > MARGIN * Math.max(one.sampler, one.trainer));
console.log(timesTable(timings).join("\n"));
const learned = new Map<number, number[]>();
for (const maxStaleness of STALENESS) {
  const list: number[] = [];
  for (let seed = 1; seed <= Number(values.seeds); seed++) list.push(await learn(maxStaleness, seed));
  learned.set(maxStaleness, list);
}
console.log(learningTable(learned).join("\n"));
const turns = learned.get(0) ?? [];
const outside = [...learned].filter(([, list]) => mean(list) < Math.min(...turns) || mean(list) > Math.max(...turns));
for (const { maxStaleness, step } of tooSlow)
  console.log(`FAIL  a step takes ${step} s with maxStaleness ${maxStaleness}`);
for (const [maxStaleness] of outside)
  console.log(`FAIL  the reward with maxStaleness ${maxStaleness} is outside the spread`);
if (values.write !== undefined) {
  const page = await readFile(values.write, "utf8");
  const [before, after] = [page.indexOf(BEGIN), page.indexOf(END)];
  const tables = [...timesTable(timings), "", ...learningTable(learned)].join("\n");
  await writeFile(values.write, `${page.slice(0, before + BEGIN.length)}\n${tables}\n${page.slice(after)}`);
}
await rm(folder, { recursive: true, force: true });
process.exitCode = tooSlow.length + outside.length > 0 ? 1 : 0;
