// A small real training run of an agent with a tool, which can be killed at any of its moments: in a request, in the tool, in the update.
// As a process: killable-rollouts.ts OUTPUT_DIR [MOMENT]; without a moment it runs to its end and prints how many there were.

import { fileURLToPath } from "node:url";
import { CausalLM, GRPOConfig, GRPOTrainer, LoraConfig, type RolloutContext, Tokenizer, tinyModel } from "grpo";
import { DEVICE } from "../support/device.js";
import { runToMoment } from "../support/killed-at.js";

export interface CardRow {
  readonly prompt: { readonly role: string; readonly content: string }[];
  readonly answer: number;
}

export const cardRows: readonly CardRow[] = [3, 1, 4, 2, 5, 9].map((number) => ({
  prompt: [{ role: "user", content: `Ada has ${number} cards and gets 3 more. How many cards does Ada have now?` }],
  answer: number + 3,
}));

/** What the model drew, as a client is told. */
export interface Drawn {
  readonly prompt: readonly number[];
  readonly ids: readonly number[];
}

/** Asks for a draft, has it judged, which takes its time, and asks for a final answer. */
export async function judged(context: RolloutContext<CardRow>, watch: (moment: string) => void = () => {}) {
  const { row, endpoint, signal } = context;
  const drawn: Drawn[] = [];
  const ask = async (messages: readonly object[]) => {
    const response = await fetch(`${endpoint.baseURL}/chat/completions`, {
      method: "POST",
      headers: { "content-type": "application/json", authorization: `Bearer ${endpoint.apiKey}` },
      body: JSON.stringify({ model: endpoint.model, messages, return_token_ids: true }),
      signal,
    });
    const { prompt_token_ids: prompt, choices } = (await response.json()) as {
      prompt_token_ids: number[];
      choices: [{ message: { content: string }; token_ids: number[] }];
    };
    watch("request");
    drawn.push({ prompt, ids: choices[0].token_ids });
    return choices[0].message.content;
  };
  const draft = await ask(row.prompt);
  await new Promise((resolve) => setTimeout(resolve, (draft.length + row.answer) % 7));
  watch("tool");
  const verdict = { role: "user", content: draft.length % 2 ? "Is that so?" : "Say it shorter." };
  const last = await ask([...row.prompt, { role: "assistant", content: draft.trim() }, verdict]);
  return { reward: (last.length * row.answer) % 7, drawn };
}

export async function killableRollouts(outputDir: string, resume: boolean, watch: (moment: string) => void = () => {}) {
  const model = await CausalLM.fromPretrained(tinyModel, { dtype: "float32", device: DEVICE, threads: 1 });
  model.applyLora(new LoraConfig({ r: 2 }), { seed: 5 });
  const trainer = new GRPOTrainer<CardRow>({
    model,
    processingClass: await Tokenizer.fromPretrained(tinyModel),
    args: new GRPOConfig({
      outputDir,
      maxSteps: 3,
      saveSteps: 1,
      loggingSteps: 1,
      logTo: ["jsonl"],
      learningRate: 1e-2,
      perDeviceTrainBatchSize: 4,
      numGenerations: 4,
      maxCompletionLength: 8,
      temperature: 1.5,
    }),
    rollout: async (context) => {
      const { reward } = await judged(context, watch);
      return { reward };
    },
    trainDataset: [...cardRows],
    callbacks: [{ onStepEnd: () => watch("update") }],
    output: { write: () => true },
  });
  await trainer.train({ resumeFromCheckpoint: resume });
  model.dispose();
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const moments = await runToMoment((outputDir, watch) => killableRollouts(outputDir, false, watch));
  console.log(moments.length);
}
