// The guide that people follow for GRPO, line by line: NuminaMath-TIR, Qwen2-0.5B-Instruct, LoRA, a reward for the format and
// one for the answer. Model, data and number of steps can be others:
//
//   npx tsx scripts/train-numina-math.ts [--model FOLDER] [--data FOLDER] [--steps 100] [--push your-username/name]

import { parseArgs } from "node:util";
import { CausalLM, GRPOConfig, GRPOTrainer, LoraConfig, loadDataset, type RewardFn, rewards, Tokenizer } from "grpo";

const { values: flags } = parseArgs({
  options: {
    model: { type: "string", default: "Qwen/Qwen2-0.5B-Instruct" },
    data: { type: "string", default: "AI-MO/NuminaMath-TIR" },
    output: { type: "string", default: "Qwen2-0.5B-GRPO-test" },
    steps: { type: "string", default: "-1" }, // -1: one epoch
    push: { type: "string" },
  },
});

// 1. The data: 5 % of each split, as conversations.
interface Row {
  problem: string;
  solution: string;
  messages: { content: string; role: string }[];
}
const [train, test] = await loadDataset<Row>(flags.data, { split: ["train[:5%]", "test[:5%]"] });
console.log(train);
console.log(train.at(0));

const SYSTEM_PROMPT =
  "The User asks a question, and the Assistant solves it. The Assistant first thinks about the reasoning process, then " +
  "answers: <think> reasoning </think><answer> answer </answer>";

const withPrompt = (dataset: typeof train) =>
  dataset
    .map((row) => ({
      prompt: [
        { role: "system", content: SYSTEM_PROMPT },
        { role: "user", content: row.problem },
      ],
    }))
    .removeColumns("messages", "problem");

// 2. The model, with LoRA on the query and value projections.
const model = await CausalLM.fromPretrained(flags.model, { dtype: "auto", device: "auto" });
const lora = new LoraConfig({
  taskType: "CAUSAL_LM",
  r: 8,
  loraAlpha: 32,
  loraDropout: 0.1,
  targetModules: ["q_proj", "v_proj"],
});
model.applyLora(lora);
model.printTrainableParameters();

// 3. The rewards: the format, and whether the answer is right.
const formatReward: RewardFn = function formatReward({ completions }) {
  const pattern = /^<think>[\s\S]*?<\/think>\s*<answer>[\s\S]*?<\/answer>$/;
  return completions.map((completion) => {
    const text = typeof completion === "string" ? completion : (completion[0]?.content ?? "");
    return pattern.test(text) ? 1 : 0;
  });
};

// 4. Training.
const args = new GRPOConfig({
  outputDir: flags.output,
  learningRate: 1e-5,
  removeUnusedColumns: false, // the rewards read the solution
  gradientAccumulationSteps: 16,
  numTrainEpochs: 1,
  maxSteps: Number(flags.steps),
  bf16: true,
  maxCompletionLength: 64,
  numGenerations: 2,
  maxPromptLength: 512,
  temperature: 1.0,
  topP: 0.95,
  rewardWeights: [0.5, 0.5],
  loggingSteps: 10,
  saveStrategy: "steps",
  saveSteps: 10,
});
const tokenizer = await Tokenizer.fromPretrained(flags.model);
tokenizer.padToken = tokenizer.eosToken;
const trainer = new GRPOTrainer({
  model,
  processingClass: tokenizer,
  args,
  rewardFuncs: [formatReward, rewards.accuracy],
  trainDataset: withPrompt(train),
  evalDataset: withPrompt(test),
});
await trainer.train();
await trainer.saveModel(flags.output);
if (flags.push !== undefined) {
  await model.pushToHub(flags.push);
  await tokenizer.pushToHub(flags.push);
}

// 5. A problem that it was not trained on.
const [question] = withPrompt(test);
if (question !== undefined) {
  const prompt = tokenizer.applyChatTemplate(question.prompt, { addGenerationPrompt: true, tokenize: true });
  const [answer] = await model.generate([prompt], { maxNewTokens: args.maxCompletionLength });
  console.log(question.prompt.at(-1)?.content);
  console.log(tokenizer.decode(answer?.ids ?? [], { skipSpecialTokens: true }));
  console.log(`solution: ${question.solution}`);
}
model.dispose();
