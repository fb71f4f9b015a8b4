// `grpo quickstart`: GRPO from end to end on a tiny chat model that comes with the package, about a minute on two cores, no
// download. The model answers small sums; half of its answers have the asked format and fewer are right. Training rewards both.
// scripts/train-gsm8k.ts is the program to copy for a model of one's own.
import path from "node:path";
import { parseArgs } from "node:util";
import type { Dataset } from "../dataset/dataset.js";
import { loadDataset } from "../dataset/load.js";
import { GrpoError } from "../errors.js";
import { GRPOConfig } from "../grpo/config.js";
import type { Evaluation } from "../grpo/setup.js";
import { GRPOTrainer } from "../grpo/trainer.js";
import { LoraConfig } from "../model/lora/lora.js";
import { CausalLM } from "../model/model.js";
import { packageRoot } from "../package-files.js";
import { rewards } from "../rewards/index.js";
import { Tokenizer } from "../tokenizer/tokenizer.js";
import type { Message } from "../types.js";
import type { Command } from "./command.js";

const modelId = path.join(packageRoot, "scripts/assets/tiny-qwen2");

// q_proj and v_proj, the usual two, are not enough for a model this small to learn in so few steps.
const TARGET_MODULES: Readonly<Record<string, readonly string[]>> = {
  qv: ["q_proj", "v_proj"],
  all: ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
};

export const quickstartCommand: Command = {
  usage: `[--steps 120] [--problems 200] [--seed 42] [--output quickstart-output] [--targets all|qv] [--learning-rate 1e-3]

  Trains the bundled model on small sums with two rewards, and compares it before and after on other problems.`,

  async run(args) {
    const { values } = parseArgs({
      args: [...args],
      options: {
        steps: { type: "string", default: "120" },
        problems: { type: "string", default: "200" }, // held out, to measure with
        seed: { type: "string", default: "42" },
        output: { type: "string", default: "quickstart-output" },
        targets: { type: "string", default: "all" },
        "learning-rate": { type: "string", default: "1e-3" },
      },
    });
    const { output, targets, "learning-rate": learningRate, problems, seed, steps } = values;
    const numbers = {
      learningRate: Number(learningRate),
      problems: Number(problems),
      seed: Number(seed),
      steps: Number(steps),
    };
    await quickstart({ output, targets, ...numbers });
    return 0;
  },
};

interface Flags {
  readonly steps: number;
  readonly problems: number;
  readonly seed: number;
  readonly output: string;
  readonly targets: string;
  readonly learningRate: number;
}

type Row = { prompt: Message[]; solution: string };

const SYSTEM_PROMPT =
  "A conversation between User and Assistant. The user asks a question, and the Assistant solves it. The assistant " +
  "first thinks about the reasoning process in the mind and then provides the user with the answer. The reasoning " +
  "process and answer are enclosed within <think> </think> and <answer> </answer> tags, respectively, i.e., " +
  "<think> reasoning process here </think><answer> answer here </answer>";

/** A question for the prompt, and the solution for the reward. */
async function loadRows(split: "train" | "test"): Promise<Dataset<Row>> {
  const rows = await loadDataset<{ problem: string; solution: string }>(`${modelId}/${split}.jsonl`, {
    split: "train",
  });
  const message = (role: Message["role"], content: string): Message => ({ role, content });
  return rows
    .map(({ problem }) => ({ prompt: [message("system", SYSTEM_PROMPT), message("user", problem)] }))
    .removeColumns("problem");
}

// The form of the answer, and whether its last number is the solution's.
const format = rewards.perSample(function format({ text }) {
  return /^<think>[\s\S]*?<\/think>\s*<answer>[\s\S]*?<\/answer>$/.test(text) ? 1 : 0;
});
const lastInteger = (text: string) => text.match(/-?\d+/g)?.at(-1);
const accuracy = rewards.perSample<{ solution: string }>(function accuracy({ text, solution }) {
  return Number(lastInteger(text)) === Number(lastInteger(solution)) ? 1 : 0;
});

async function quickstart(flags: Flags): Promise<void> {
  const model = await adaptedModel(flags);
  try {
    await trainAndCompare(model, flags);
  } finally {
    model.dispose();
  }
}

async function trainAndCompare(model: CausalLM, flags: Flags): Promise<void> {
  const [trainDataset, evalDataset] = [await loadRows("train"), (await loadRows("test")).take(flags.problems)];
  const processingClass = await Tokenizer.fromPretrained(modelId);
  const args = configFor(flags);
  const rewardFuncs = [format, accuracy];
  const trainer = new GRPOTrainer({ model, processingClass, trainDataset, evalDataset, rewardFuncs, args });

  // Before and after, on problems that are not trained on.
  const measure = async () => ({
    sampled: await trainer.evaluate({ numGenerations: SAMPLES_OF_EACH }),
    greedy: await trainer.evaluate({ doSample: false }),
  });
  const before = await measure();
  const result = await trainer.train();
  const after = await measure();
  await trainer.saveModel(flags.output);

  printTable(`${evalDataset.length} held-out problems`, before, after);
  printExamples(evalDataset, before.sampled, after.sampled);
  const speeds = trainer.state.logHistory.map((entry) => entry.tokens_per_second ?? 0);
  const summary = {
    before: scores(before.sampled),
    after: scores(after.sampled),
    steps: result.globalStep,
    seconds: Math.round(result.metrics.train_runtime ?? 0),
    tokensPerSecond: Math.round(speeds.reduce((sum, speed) => sum + speed, 0) / speeds.length),
    adapter: flags.output,
  };
  console.log(JSON.stringify(summary));
}

const SAMPLES_OF_EACH = 4;

/** The model with a small adapter, which is all that is trained. */
async function adaptedModel({ targets, seed }: Flags): Promise<CausalLM> {
  const modules = Object.hasOwn(TARGET_MODULES, targets) ? TARGET_MODULES[targets] : undefined;
  if (!modules) throw new GrpoError("BAD_OPTION", `--targets is "${targets}"; expected all or qv`);
  const model = await CausalLM.fromPretrained(modelId, { dtype: "float32" });
  model.applyLora(new LoraConfig({ r: 8, loraAlpha: 32, loraDropout: 0.1, targetModules: modules }), { seed });
  model.printTrainableParameters();
  return model;
}

function configFor({ output, seed, steps, learningRate }: Flags): GRPOConfig {
  return new GRPOConfig({
    outputDir: output,
    seed,
    maxSteps: steps,
    perDeviceTrainBatchSize: 64,
    numGenerations: 8,
    maxCompletionLength: 48,
    learningRate,
    rewardWeights: [0.5, 0.5],
    loggingSteps: 1,
  });
}

interface Measured {
  readonly sampled: Evaluation;
  readonly greedy: Evaluation;
}

const scores = ({ metrics }: Evaluation) => ({
  reward: metrics.eval_reward ?? 0,
  format: metrics["eval_rewards/format/mean"] ?? 0,
  accuracy: metrics["eval_rewards/accuracy/mean"] ?? 0,
});

function printTable(title: string, before: Measured, after: Measured): void {
  const rows = (["sampled", "greedy"] as const).flatMap((how) => [
    { [title]: `${how}, before`, ...scores(before[how]) },
    { [title]: `${how}, after`, ...scores(after[how]) },
  ]);
  console.table(rows);
}

function printExamples(problems: Dataset<Row>, before: Evaluation, after: Evaluation): void {
  for (const [i, row] of [...problems.take(3)].entries()) {
    console.log(`\n${row.prompt[1]?.content}  (solution ${row.solution})`);
    console.log(`  before  ${JSON.stringify(before.completions[i * SAMPLES_OF_EACH]?.completion)}`);
    console.log(`  after   ${JSON.stringify(after.completions[i * SAMPLES_OF_EACH]?.completion)}`);
  }
}
