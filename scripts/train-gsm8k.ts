// GRPO on GSM8K with a real model: the script to copy. Give it a model (a folder or a Hub id); the data is openai/gsm8k, or a
// file, folder or Hub id with the columns question and answer ("… #### 42"). Every number is a flag; the last line of output is
// JSON.
//
//   npx tsx scripts/train-gsm8k.ts --model Qwen/Qwen2-0.5B-Instruct --steps 200

import { parseArgs } from "node:util";
import { CausalLM, type Device, datasets, GRPOConfig, GRPOTrainer, LoraConfig, rewards, Tokenizer } from "grpo";

const { values: flags } = parseArgs({
  options: {
    model: { type: "string" },
    data: { type: "string" },
    output: { type: "string", default: "gsm8k-grpo" },
    reward: { type: "string", default: "accuracy" }, // or length: -|60 - characters| / 60
    system: { type: "string", default: "" }, // system prompt; none by default
    dtype: { type: "string", default: "auto" },
    device: { type: "string", default: "auto" },
    seed: { type: "string", default: "42" },
    steps: { type: "string", default: "200" },
    batch: { type: "string", default: "16" }, // completions in one slice of a step
    accumulation: { type: "string", default: "1" }, // slices in one step
    "num-generations": { type: "string", default: "8" },
    "max-tokens": { type: "string", default: "256" },
    temperature: { type: "string", default: "1" },
    "top-p": { type: "string", default: "1" },
    beta: { type: "string", default: "0" },
    "learning-rate": { type: "string", default: "1e-5" },
    schedule: { type: "string", default: "linear" }, // or constant
    "lora-r": { type: "string", default: "16" },
    "lora-alpha": { type: "string", default: "32" },
    "lora-dropout": { type: "string", default: "0" },
    "lora-targets": { type: "string", default: "q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj" },
    "save-steps": { type: "string", default: "100" },
    resume: { type: "boolean", default: false }, // from the latest checkpoint in --output
  },
});
if (!flags.model) throw new Error("give --model <folder or Hub id>");

/** The last number of a text; GSM8K also writes "1,234" and "$18.00". */
const lastNumber = (text: string) =>
  text
    .replaceAll(",", "")
    .match(/-?\d+(?:\.\d+)?/g)
    ?.at(-1);

const rewardFunctions = {
  accuracy: rewards.perSample<{ solution: string }>(function accuracy({ text, solution }) {
    return Number(lastNumber(text)) === Number(solution) ? 1 : 0;
  }),
  length: rewards.perSample(function length({ text }) {
    return -Math.abs(60 - text.length) / 60;
  }),
};
if (flags.reward !== "accuracy" && flags.reward !== "length") throw new Error("--reward: choose accuracy or length");
const reward = rewardFunctions[flags.reward];

const trainDataset = await datasets.gsm8k({
  ...(flags.data && { source: flags.data }),
  ...(flags.system && { systemPrompt: flags.system }),
});

const seed = Number(flags.seed);
const model = await CausalLM.fromPretrained(flags.model, {
  dtype: flags.dtype as "auto" | "float32" | "bfloat16" | "float16",
  device: flags.device as Device,
});
model.applyLora(
  new LoraConfig({
    r: Number(flags["lora-r"]),
    loraAlpha: Number(flags["lora-alpha"]),
    loraDropout: Number(flags["lora-dropout"]),
    targetModules: flags["lora-targets"].split(","),
  }),
  { seed },
);
model.printTrainableParameters();

const trainer = new GRPOTrainer({
  model,
  processingClass: await Tokenizer.fromPretrained(flags.model),
  trainDataset,
  rewardFuncs: reward,
  args: new GRPOConfig({
    outputDir: flags.output,
    seed,
    maxSteps: Number(flags.steps),
    perDeviceTrainBatchSize: Number(flags.batch),
    gradientAccumulationSteps: Number(flags.accumulation),
    numGenerations: Number(flags["num-generations"]),
    maxCompletionLength: Number(flags["max-tokens"]),
    temperature: Number(flags.temperature),
    topP: Number(flags["top-p"]),
    beta: Number(flags.beta),
    learningRate: Number(flags["learning-rate"]),
    lrSchedulerType: flags.schedule as "linear" | "constant",
    loggingSteps: 1,
    saveSteps: Number(flags["save-steps"]),
    saveTotalLimit: 2,
  }),
});
const result = await trainer.train({ resumeFromCheckpoint: flags.resume });
await trainer.saveModel(flags.output);

const logged = trainer.state.logHistory.map((entry) => entry.reward ?? 0);
const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
const seconds = result.metrics.train_runtime ?? 0;
console.log(
  JSON.stringify({
    steps: result.globalStep,
    seconds,
    secondsPerStep: 1 / (result.metrics.train_steps_per_second ?? 0),
    // maxRSS is in kibibytes on every platform.
    peakMemoryGB: (process.resourceUsage().maxRSS * 1024) / 1e9,
    firstRewards: mean(logged.slice(0, 3)),
    lastRewards: mean(logged.slice(-3)),
    adapter: flags.output,
  }),
);
model.dispose();
