// GRPO from end to end on a tiny chat model that comes with the project: about two minutes on a laptop, no download. The
// model answers small sums; half of its answers have the asked format and fewer are right. Training rewards both.
//
//   npm run quickstart -- [--steps 120] [--problems 200] [--seed 42] [--output quickstart-output] [--targets all|qv]
//                         [--learning-rate 1e-3]

import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { CausalLM, type Evaluation, GRPOConfig, GRPOTrainer, LoraConfig, loadDataset, rewards, Tokenizer } from "grpo";

const { values: flags } = parseArgs({
  options: {
    steps: { type: "string", default: "120" },
    problems: { type: "string", default: "200" }, // held out, to measure with
    seed: { type: "string", default: "42" },
    output: { type: "string", default: "quickstart-output" },
    targets: { type: "string", default: "all" },
    "learning-rate": { type: "string", default: "1e-3" },
  },
});
const seed = Number(flags.seed);
// q_proj and v_proj, the usual two, are not enough for a model this small to learn in so few steps.
const targets = {
  qv: ["q_proj", "v_proj"],
  all: ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
}[flags.targets];
if (!targets) throw new Error(`--targets ${flags.targets}: choose all or qv`);

// 1. The data: a question for the prompt, and the solution for the reward.

const SYSTEM_PROMPT =
  "A conversation between User and Assistant. The user asks a question, and the Assistant solves it. The assistant " +
  "first thinks about the reasoning process in the mind and then provides the user with the answer. The reasoning " +
  "process and answer are enclosed within <think> </think> and <answer> </answer> tags, respectively, i.e., " +
  "<think> reasoning process here </think><answer> answer here </answer>";

const modelId = fileURLToPath(new URL("assets/tiny-qwen2", import.meta.url));
const load = async (split: "train" | "test") => {
  const rows = await loadDataset<{ problem: string; solution: string }>(`${modelId}/${split}.jsonl`, {
    split: "train",
  });
  return rows
    .map((row) => ({
      prompt: [
        { role: "system", content: SYSTEM_PROMPT },
        { role: "user", content: row.problem },
      ],
    }))
    .removeColumns("problem");
};
const [trainDataset, evalDataset] = [await load("train"), (await load("test")).take(Number(flags.problems))];

// 2. The model, with a small adapter that is all that will be trained.

const model = await CausalLM.fromPretrained(modelId, { dtype: "float32" });
model.applyLora(new LoraConfig({ r: 8, loraAlpha: 32, loraDropout: 0.1, targetModules: targets }), { seed });
model.printTrainableParameters();
const tokenizer = await Tokenizer.fromPretrained(modelId);

// 3. Two rewards: the form of the answer, and whether its last number is the solution's.

const format = rewards.perSample(function format({ text }) {
  return /^<think>[\s\S]*?<\/think>\s*<answer>[\s\S]*?<\/answer>$/.test(text) ? 1 : 0;
});
const lastInteger = (text: string) => text.match(/-?\d+/g)?.at(-1);
const accuracy = rewards.perSample<{ solution: string }>(function accuracy({ text, solution }) {
  return Number(lastInteger(text)) === Number(lastInteger(solution)) ? 1 : 0;
});

// 4. Train, and measure before and after on problems that were not trained on.

const trainer = new GRPOTrainer({
  model,
  processingClass: tokenizer,
  trainDataset,
  evalDataset,
  rewardFuncs: [format, accuracy],
  args: new GRPOConfig({
    outputDir: flags.output,
    seed,
    maxSteps: Number(flags.steps),
    perDeviceTrainBatchSize: 64,
    numGenerations: 8,
    maxCompletionLength: 48,
    learningRate: Number(flags["learning-rate"]),
    rewardWeights: [0.5, 0.5],
    loggingSteps: 1,
  }),
});

const samples = 4; // of each problem
const measure = async () => ({
  sampled: await trainer.evaluate({ numGenerations: samples }),
  greedy: await trainer.evaluate({ doSample: false }),
});
const before = await measure();
const result = await trainer.train();
const after = await measure();
await trainer.saveModel(flags.output);

// 5. What it came to.

const summary = ({ metrics }: Evaluation) => ({
  reward: metrics.eval_reward ?? 0,
  format: metrics["eval_rewards/format/mean"] ?? 0,
  accuracy: metrics["eval_rewards/accuracy/mean"] ?? 0,
});
const heldOut = `${evalDataset.length} held-out problems`;
const table = (["sampled", "greedy"] as const).flatMap((how) => [
  { [heldOut]: `${how}, before`, ...summary(before[how]) },
  { [heldOut]: `${how}, after`, ...summary(after[how]) },
]);
console.table(table);
for (const [i, row] of [...evalDataset.take(3)].entries()) {
  console.log(`\n${row.prompt[1]?.content}  (solution ${row.solution})`);
  console.log(`  before  ${JSON.stringify(before.sampled.completions[i * samples]?.completion)}`);
  console.log(`  after   ${JSON.stringify(after.sampled.completions[i * samples]?.completion)}`);
}
const speeds = trainer.state.logHistory.map((entry) => entry.tokens_per_second ?? 0);
console.log(
  JSON.stringify({
    before: summary(before.sampled),
    after: summary(after.sampled),
    steps: result.globalStep,
    seconds: Math.round(result.metrics.train_runtime ?? 0),
    tokensPerSecond: Math.round(speeds.reduce((sum, speed) => sum + speed, 0) / speeds.length),
    adapter: flags.output,
  }),
);
model.dispose();
