// Style, which no rule can measure: another model is the judge. Length is kept in check by a rule, since judges like long answers.
//
//   npx tsx style.ts --model Qwen/Qwen2.5-0.5B-Instruct --judge http://localhost:8000/v1 --judge-model Qwen/Qwen2.5-7B-Instruct
//
// --judge is any server with OpenAI's interface (vLLM, llama.cpp, Ollama, a provider; its key in OPENAI_API_KEY). Without it
// --judge-model is loaded into this process.

import { parseArgs } from "node:util";
import { CausalLM, GRPOConfig, GRPOTrainer, LoraConfig, rewards, Tokenizer, tinyModel } from "grpo";

const { values: flags } = parseArgs({
  options: {
    model: { type: "string", default: tinyModel }, // shows that it runs; give an instruct model to learn something
    judge: { type: "string" },
    "judge-model": { type: "string", default: tinyModel },
    steps: { type: "string", default: "20" },
    output: { type: "string", default: "runs/style" },
  },
});

type Ask = (content: string, signal: AbortSignal) => Promise<string>;

function remoteJudge(url: string, model: string): Ask {
  const headers = { "content-type": "application/json", authorization: `Bearer ${process.env.OPENAI_API_KEY ?? ""}` };
  return async (content, signal) => {
    const body = JSON.stringify({ model, temperature: 0, max_tokens: 8, messages: [{ role: "user", content }] });
    const response = await fetch(`${url}/chat/completions`, { method: "POST", headers, body, signal });
    if (!response.ok) throw new Error(`the judge answered ${response.status}`);
    const { choices } = (await response.json()) as { choices: { message: { content: string } }[] };
    return choices[0]?.message.content ?? "";
  };
}

async function localJudge(id: string): Promise<Ask> {
  const [model, tokenizer] = await Promise.all([CausalLM.fromPretrained(id), Tokenizer.fromPretrained(id)]);
  return async (content, signal) => {
    const rendering = { addGenerationPrompt: true, tokenize: true } as const;
    const prompt = tokenizer.applyChatTemplate([{ role: "user", content }], rendering);
    const [answer] = await model.generate([prompt], { maxNewTokens: 8, doSample: false, signal });
    return tokenizer.decode(answer?.ids ?? [], { skipSpecialTokens: true });
  };
}

const ask = flags.judge ? remoteJudge(flags.judge, flags["judge-model"]) : await localJudge(flags["judge-model"]);

const style = rewards.perSample<{ subject: string }>(async function style({ text, subject, signal }) {
  const question = `How well does this text explain ${subject} to a child, from 0 to 10? Reply with the number only.`;
  const grade = Number.parseFloat(await ask(`${question}\n\n${text}`, signal));
  return Number.isNaN(grade) ? null : Math.min(Math.max(grade, 0), 10) / 10; // null: the judge gave no grade
});

const short = rewards.perSample(function short({ text }) {
  return text.length <= 300 ? 0 : -1;
});

const subjects = ["rain", "the moon", "bread", "magnets", "bees", "why leaves fall", "echoes", "how ice melts"];
const trainDataset = subjects.map((subject) => {
  return { prompt: [{ role: "user", content: `Explain ${subject} to a child of five.` }], subject };
});

const trainer = new GRPOTrainer({
  model: flags.model,
  peftConfig: new LoraConfig({ r: 16, loraAlpha: 32, targetModules: "all-linear" }),
  trainDataset,
  rewardFuncs: [style, short],
  args: new GRPOConfig({
    outputDir: flags.output,
    maxSteps: Number(flags.steps),
    modelInitKwargs: { dtype: "auto" },
    perDeviceTrainBatchSize: 16,
    numGenerations: 8,
    maxCompletionLength: 96,
    learningRate: 1e-5,
    rewardConcurrency: 8, // groups that are judged at once
    rewardTimeout: 60, // seconds
    onRewardError: "null", // a judge that fails has no opinion
    loggingSteps: 1,
  }),
});
await trainer.train();
await trainer.saveModel();
