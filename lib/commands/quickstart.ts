// `grpo quickstart`: GRPO from end to end on a tiny chat model that comes with the package, about a minute on two cores, no
// download. The model answers small sums; half of its answers have the asked format and fewer are right. Training rewards both.
// examples/ has the programs to copy for a model of one's own.
import path from "node:path";
import { parseArgs } from "node:util";
import type { Dataset } from "../dataset/dataset.js";
import { loadDataset } from "../dataset/load.js";
import { GrpoError } from "../errors.js";
import { GRPOConfig } from "../grpo/config.js";
import type { Evaluation } from "../grpo/setup.js";
import { GRPOTrainer } from "../grpo/trainer.js";
import { fixed } from "../log/format.js";
import { LoraConfig } from "../model/lora/lora.js";
import { CausalLM } from "../model/model.js";
import { packageRoot, tinyModel } from "../package-files.js";
import { rewards } from "../rewards/index.js";
import type { TrainResult } from "../run/progress.js";
import { Tokenizer } from "../tokenizer/tokenizer.js";
import type { Message, TrainerState } from "../types.js";
import type { Command } from "./command.js";

// q_proj and v_proj, the usual two, are not enough for a model this small to learn in so few steps.
const TARGET_MODULES: Readonly<Record<string, readonly string[]>> = {
  qv: ["q_proj", "v_proj"],
  all: ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
};

export const quickstartCommand: Command = {
  usage: `[--steps 120] [--problems 200] [--seed 42] [--output quickstart-output] [--targets all|qv] [--learning-rate 1e-3]

  Trains the bundled model on small sums with two rewards, and compares it before and after on other problems.
  With --steps 0 it only measures.`,

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
      problems: wholeNumber("problems", problems, 1),
      seed: wholeNumber("seed", seed, 0),
      steps: wholeNumber("steps", steps, 0),
    };
    await quickstart({ output, targets, ...numbers });
    return 0;
  },
};

function wholeNumber(name: string, text: string, min: number): number {
  const value = text.trim() === "" ? Number.NaN : Number(text);
  if (Number.isSafeInteger(value) && value >= min) return value;
  throw new GrpoError("BAD_OPTION", `--${name} must be a whole number, at least ${min}; found ${JSON.stringify(text)}`);
}

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
  const rows = await loadDataset<{ problem: string; solution: string }>(`${tinyModel}/${split}.jsonl`, {
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
  const processingClass = await Tokenizer.fromPretrained(tinyModel);
  const args = configFor(flags);
  const rewardFuncs = [format, accuracy];
  const trainer = new GRPOTrainer({ model, processingClass, trainDataset, evalDataset, rewardFuncs, args });

  // Before and after, on problems that are not trained on.
  const measure = async (when: string): Promise<Measured> => {
    console.log(`\n${when}: ${evalDataset.length} other problems, ${SAMPLES_OF_EACH} answers to each drawn at random`);
    const sampled = await trainer.evaluate({ numGenerations: SAMPLES_OF_EACH });
    console.log(`${when}: the same problems, the most likely answer to each`);
    return { sampled, greedy: await trainer.evaluate({ doSample: false }) };
  };
  const before = await measure("before training");
  if (flags.steps === 0) return; // to the trainer, 0 steps would mean whole epochs
  console.log("");
  const result = await trainer.train();
  const after = await measure("after training");
  await trainer.saveModel(flags.output);

  console.log("");
  printTable(`${evalDataset.length} held-out problems`, before, after);
  printExamples(evalDataset, before.sampled, after.sampled);
  printEnd(result, trainer.state.logHistory, flags.output);
}

/** What it took, and what to do with it. */
function printEnd({ globalStep, metrics }: TrainResult, history: TrainerState["logHistory"], output: string): void {
  const speeds = history.flatMap((entry) => entry.tokens_per_second ?? []);
  const speed = speeds.reduce((sum, value) => sum + value, 0) / speeds.length;
  console.log(`
${globalStep} steps in ${fixed(metrics.train_runtime, 0)} s, ${fixed(speed, 0)} tokens/s; the adapter is in ${output}

Next:
  npx grpo report ${output}    a page with curves and completions
  npx grpo generate --model ${path.relative("", tinyModel)} --adapter ${output} "What is 7 + 5?"
  ${path.relative("", path.join(packageRoot, "examples"))}/    programs to copy, for a model and rewards of your own`);
}

const SAMPLES_OF_EACH = 4;

/** The model with a small adapter, which is all that is trained. */
async function adaptedModel({ targets, seed }: Flags): Promise<CausalLM> {
  const modules = Object.hasOwn(TARGET_MODULES, targets) ? TARGET_MODULES[targets] : undefined;
  if (!modules) throw new GrpoError("BAD_OPTION", `--targets is "${targets}"; expected all or qv`);
  const model = await CausalLM.fromPretrained(tinyModel, { dtype: "float32" });
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
