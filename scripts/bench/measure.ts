// One case on this side, in a process of its own so that the high-water mark of memory is the case's. Prints one JSON line.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import {
  CausalLM,
  type Device,
  GRPOConfig,
  GRPOTrainer,
  LoraConfig,
  type LoraOptions,
  type ProcessingClass,
} from "grpo";
import { at } from "../../lib/at.js";
import { loadCore } from "../../lib/native/native-loader.js";
import { processMemory, resetPeak } from "../process-memory.js";
import { type BenchCase, promptIds, SMOLLM2_VOCABULARY, stopIds, vocabularyOf } from "./cases.js";
import { type Components, componentsOf } from "./components.js";
import { SHAPES, type ShapeName } from "./models.js";

export interface MeasureRequest {
  readonly bench: BenchCase;
  /** Absent: random weights without a folder. */
  readonly folder?: string;
  readonly device: Device;
  readonly threads: number;
}

/** Seconds are one entry per repeat. */
export interface Measurement {
  readonly step?: readonly number[];
  readonly rollout?: readonly number[];
  readonly update?: readonly number[];
  readonly firstToken?: readonly number[];
  /** Completion tokens of each repeat. */
  readonly tokens: readonly number[];
  /** Completion lengths of the last repeat. */
  readonly lengths: readonly number[];
  /** Seconds of the decode steps alone, without prompts. */
  readonly decode?: readonly number[];
  readonly decodeSteps?: readonly number[];
  readonly loadedBytes: number;
  readonly rolloutPeakBytes?: number;
  readonly updatePeakBytes?: number;
  readonly peakBytes: number;
  /** In use on a device with memory of its own, at the end: what its allocator took it keeps. */
  readonly deviceBytes?: number;
  /** Absent in results of an earlier version. */
  readonly components?: Components;
}

export async function measure(request: MeasureRequest): Promise<Measurement> {
  const { bench } = request;
  // libtorch is there, and no model.
  loadCore();
  const runtime = processMemory("VmRSS");
  const model = await load(request);
  // To make up weights takes more than to read them, and is not what is measured.
  if (!request.folder) resetPeak();
  if (bench.lora) {
    model.applyLora(new LoraConfig(loraOptions(bench.lora)), { seed: 1 });
    await model.beginTraining();
  }
  const loadedBytes = processMemory("VmRSS");
  const work = { step: steps, rollout: rollouts, update: updates, "first-token": rollouts, memory: peaks }[bench.work];
  const measured = await work(bench, model);
  const peakBytes = Math.max(processMemory("VmHWM"), measured.rolloutPeakBytes ?? 0, measured.updatePeakBytes ?? 0);
  const promptTokens = Math.max(...(await promptIds(bench, bench.prompts)).map((ids) => ids.length));
  const components = await componentsOf(bench, model, { runtime, peak: peakBytes, promptTokens });
  const deviceBytes = await model.deviceBytes();
  model.dispose();
  return { ...measured, loadedBytes, peakBytes, components, ...(deviceBytes !== undefined && { deviceBytes }) };
}

type Measured = Omit<Measurement, "loadedBytes" | "peakBytes" | "deviceBytes" | "components">;

function load({ bench, folder, device, threads }: MeasureRequest): Promise<CausalLM> {
  const options = { dtype: bench.dtype, device, threads };
  if (folder) return CausalLM.fromPretrained(folder, options);
  const config = { ...SHAPES[bench.model as ShapeName], vocab_size: vocabularyOf(bench) };
  return CausalLM.fromConfig(config, { ...options, seed: 1 });
}

function loraOptions(lora: NonNullable<BenchCase["lora"]>): LoraOptions {
  return { r: lora.r, loraAlpha: lora.alpha, targetModules: [...lora.targets] };
}

const seconds = (since: number) => (performance.now() - since) / 1000;

async function rollouts(bench: BenchCase, model: CausalLM): Promise<Measured> {
  const prompts = await promptIds(bench, bench.prompts * (bench.warmup + bench.repeats));
  const rollout: number[] = [];
  const tokens: number[] = [];
  const decode: number[] = [];
  const decodeSteps: number[] = [];
  let lengths: number[] = [];
  for (let i = 0; i < bench.warmup + bench.repeats; i++) {
    const began = performance.now();
    const { groups, stats } = await model.sample(prompts.slice(i * bench.prompts, (i + 1) * bench.prompts), {
      groupSize: bench.groupSize,
      maxNewTokens: bench.work === "first-token" ? 1 : bench.maxNewTokens,
      topP: bench.topP,
      stopIds: stopIds(bench),
      graphCapture: bench.graphCapture ?? false,
      step: i,
    });
    if (i < bench.warmup) continue;
    rollout.push(seconds(began));
    lengths = groups.flatMap((group) => group.completions.map(({ ids }) => ids.length));
    tokens.push(stats.tokens);
    decode.push(stats.decodeSeconds);
    decodeSteps.push(stats.decodeSteps);
  }
  return bench.work === "first-token"
    ? { firstToken: rollout, tokens, lengths }
    : { rollout, tokens, lengths, decode, decodeSteps };
}

async function updates(bench: BenchCase, model: CausalLM): Promise<Measured> {
  const update: number[] = [];
  const rows = bench.prompts * bench.groupSize;
  const prompts = await promptIds(bench, bench.prompts);
  const ids = Math.min(10_000, vocabularyOf(bench) || SMOLLM2_VOCABULARY);
  const batch = {
    promptIds: Array.from({ length: rows }, (_, b) => at(prompts, Math.floor(b / bench.groupSize))),
    completionIds: Array.from({ length: rows }, (_, b) =>
      Array.from({ length: bench.maxNewTokens }, (_, t) => (31 * (b * bench.maxNewTokens + t) + 7) % ids),
    ),
    advantages: Array.from({ length: rows }, (_, b) => (b % 2 === 0 ? 1 : -1)),
  };
  for (let i = 0; i < bench.warmup + bench.repeats; i++) {
    const began = performance.now();
    await model.forwardBackward(batch, { maxCompletionLength: bench.maxNewTokens });
    await model.optimizerStep({ learningRate: 1e-5 });
    if (i >= bench.warmup) update.push(seconds(began));
  }
  const lengths = batch.completionIds.map((ids) => ids.length);
  return { update, tokens: update.map(() => rows * bench.maxNewTokens), lengths };
}

/** High-water marks of a rollout and of an update, one after the other. */
async function peaks(bench: BenchCase, model: CausalLM): Promise<Measured> {
  resetPeak();
  const { rollout = [], ...sampled } = await rollouts(bench, model);
  const rolloutPeakBytes = processMemory("VmHWM");
  resetPeak();
  const { update = [] } = await updates(bench, model);
  return { ...sampled, rollout, update, rolloutPeakBytes, updatePeakBytes: processMemory("VmHWM") };
}

/** The trainer's own loop, timed from its metrics. Rewards alternate, so that every group has a spread and no row is skipped. */
async function steps(bench: BenchCase, model: CausalLM): Promise<Measured> {
  const count = bench.warmup + bench.repeats;
  const prompts = await promptIds(bench, bench.prompts * count);
  const timed = { step: [] as number[], rollout: [] as number[], update: [] as number[], tokens: [] as number[] };
  const outputDir = mkdtempSync(path.join(tmpdir(), "grpo-bench-"));
  const rows = bench.prompts * bench.groupSize;
  let lengths: number[] = [];
  const trainer = new GRPOTrainer({
    model,
    processingClass: numberTokenizer(),
    args: new GRPOConfig({
      outputDir,
      maxSteps: count,
      perDeviceTrainBatchSize: rows,
      numGenerations: bench.groupSize,
      maxCompletionLength: bench.maxNewTokens,
      topP: bench.topP,
      learningRate: 1e-5,
      shuffleDataset: false,
      saveStrategy: "no",
      logTo: ["jsonl"],
      seed: 1,
    }),
    rewardFuncs: ({ completionIds }) => {
      lengths = [...lengths, ...completionIds.map((ids) => ids.length)].slice(-rows);
      return completionIds.map((_, i) => i % 2);
    },
    trainDataset: prompts.map((ids) => ({ prompt: ids.join(" ") })),
    callbacks: [
      {
        onStepEnd: ({ metrics, state }) => {
          if (state.globalStep <= bench.warmup) return;
          const [step = 0, rollout = 0] = [metrics.step_time, metrics["time/rollout"]];
          timed.step.push(step);
          timed.rollout.push(rollout);
          timed.update.push(step - rollout - (metrics["time/reward"] ?? 0));
          timed.tokens.push(lengths.reduce((sum, length) => sum + length, 0));
        },
      },
    ],
  });
  try {
    await trainer.train();
  } finally {
    rmSync(outputDir, { recursive: true, force: true });
  }
  return { ...timed, lengths };
}

/** Tokens are spelt as their numbers: both sides get the same ids whatever the model, and no text decides where one ends. */
function numberTokenizer(): ProcessingClass {
  return {
    eosTokenIds: [],
    encode: (text) => text.split(" ").map(Number),
    decode: (ids) => ids.join(" "),
    applyChatTemplate: () => [],
    savePretrained: async () => {},
  };
}
