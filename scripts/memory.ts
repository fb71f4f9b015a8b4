// Compares the estimate of lib/model/memory.ts with the peak memory of processes that train, phase by phase. Weights are random, and
// every completion is as long as it may become. Linux only: it reads the process's high-water mark.
//
//   npx tsx scripts/memory.ts CONFIG [CASE …]     CONFIG: a model's config.json; CASE: index into the cases below
//
// A process of its own measures each case, one thread, on the CPU.

import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { CausalLM, LoraConfig } from "grpo";
import { estimateMemory, type MemoryRun, type Phase } from "../lib/model/memory.js";
import { processMemory, resetPeak } from "./process-memory.js";

interface Case {
  readonly dtype?: "float32" | "bfloat16";
  readonly full?: boolean;
  readonly targets?: readonly string[];
  readonly optimizer?: "adamw" | "adamw_8bit";
  readonly run: Partial<MemoryRun>;
}

const usual: MemoryRun = {
  promptTokens: 100,
  completionTokens: 128,
  groupSize: 8,
  prompts: 1,
  completionsPerStep: 8,
  maxTokensPerMicroBatch: 2048,
  gradientCheckpointing: false,
  dropout: false,
  sortsVocabulary: false,
  repetitionPenalty: false,
  scores: false,
  reference: false,
  copiesCheckpoints: false,
  optimizer: "adamw",
};

const cases: readonly Case[] = [
  { run: {} },
  { run: { gradientCheckpointing: true } },
  { run: { maxTokensPerMicroBatch: 512, dropout: true } },
  { dtype: "bfloat16", targets: ["q_proj", "v_proj"], run: { prompts: 2, completionsPerStep: 16 } },
  { run: { promptTokens: 500, completionTokens: 64, scores: true } },
  { run: { prompts: 8, completionsPerStep: 64, sortsVocabulary: true, maxTokensPerMicroBatch: 256 } },
  { full: true, run: { groupSize: 4, completionsPerStep: 4, completionTokens: 64, reference: true, scores: true } },
  {
    full: true,
    dtype: "bfloat16",
    optimizer: "adamw_8bit",
    run: { groupSize: 4, completionsPerStep: 4, completionTokens: 64 },
  },
];

const complete = ({ run, optimizer = "adamw" }: Case): MemoryRun => ({ ...usual, ...run, optimizer });

/** Largest resident bytes since the last call. */
function highWaterMark(): number {
  const bytes = processMemory("VmHWM");
  if (!resetPeak()) throw new Error("the high-water mark cannot be reset: this needs Linux, and /proc/self/clear_refs");
  return bytes;
}

async function measure(config: string, test: Case): Promise<void> {
  const run = complete(test);
  const { promptTokens, completionTokens, groupSize, prompts: count } = run;
  const options = { dtype: test.dtype ?? "float32", device: "cpu", threads: 1 } as const;
  const model = await CausalLM.fromConfig(JSON.parse(readFileSync(config, "utf8")), options);
  const targetModules = test.targets ?? "all-linear";
  if (!test.full) model.applyLora(new LoraConfig({ r: 8, targetModules, loraDropout: run.dropout ? 0.1 : 0 }));
  const facts = (await model.memory()).model;
  await model.beginTraining({ reference: run.reference });
  highWaterMark();
  const measured: Partial<Record<Phase, number>> = {};
  const ids = (length: number, seed: number) => Array.from({ length }, (_, i) => (seed * 31 + i * 7) % model.vocabSize);
  const prompts = Array.from({ length: count }, (_, p) => ids(promptTokens, p));
  // Random weights hardly ever end a completion.
  await model.sample(prompts, {
    groupSize,
    maxNewTokens: completionTokens,
    ...(run.sortsVocabulary ? { topP: 0.95 } : {}),
  });
  measured.rollout = highWaterMark();
  const batch = {
    promptIds: prompts.flatMap((prompt) => new Array<number[]>(groupSize).fill(prompt)),
    completionIds: Array.from({ length: count * groupSize }, (_, i) => ids(completionTokens, i)),
    advantages: Array.from({ length: count * groupSize }, (_, i) => (i % 2 ? 1 : -1)),
  };
  if (run.scores) {
    await model.logprobs(batch, { reference: run.reference });
    measured.scoring = highWaterMark();
  }
  const { maxTokensPerMicroBatch, gradientCheckpointing } = run;
  await model.forwardBackward(batch, { beta: 0, maxTokensPerMicroBatch, gradientCheckpointing });
  measured.update = highWaterMark();
  await model.optimizerStep({ learningRate: 1e-4, optimizer: test.optimizer ?? "adamw" });
  measured["optimizer step"] = highWaterMark();
  console.log(JSON.stringify({ measured, estimate: estimateMemory(facts, run) }));
}

function report(config: string, chosen: readonly number[]): void {
  const script = fileURLToPath(import.meta.url);
  for (const index of chosen) {
    const child = spawnSync(process.execPath, ["--import", "tsx", script, config, String(index), "--measure"], {
      encoding: "utf8",
      env: { ...process.env, OMP_NUM_THREADS: "1" },
    });
    if (child.status !== 0) throw new Error(child.stderr);
    const { measured, estimate } = JSON.parse(child.stdout) as {
      measured: Partial<Record<Phase, number>>;
      estimate: ReturnType<typeof estimateMemory>;
    };
    const peak = Math.max(...Object.values(measured));
    const sum = (bytes: object) => Object.values(bytes).reduce((a: number, b: number) => a + b, 0);
    const phases = Object.entries(measured).map(([phase, value]) => {
      const whole = sum(estimate.resident) + sum(estimate.phases[phase as Phase]);
      return `${phase} ${(whole / 1e6).toFixed(0)}/${(value / 1e6).toFixed(0)}`;
    });
    const ratio = (estimate.peak / peak).toFixed(2);
    console.log(`${ratio}  ${JSON.stringify(cases[index])}  MB, estimated/measured: ${phases.join(", ")}`);
  }
}

const [config = "scripts/assets/tiny-qwen2/config.json", ...rest] = process.argv.slice(2);
const chosen = rest.filter((word) => /^\d+$/.test(word)).map(Number);
const [first] = chosen;
const test = first === undefined ? undefined : cases[first];
if (rest.includes("--measure") && test) await measure(config, test);
else report(config, chosen.length > 0 ? chosen : [...cases.keys()]);
