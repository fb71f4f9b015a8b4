// A calculator: sums that are too long to do by head, and a tool that does them. The bundled model cannot call tools, so it is first shown
// how a call is written, as often as a guess; that calling pays it learns from the reward. Some minutes on two cores.
//
//   npx tsx calculator.ts
//
// --taught is a folder for the model as it is after its lessons, from which further runs then begin.

import { existsSync } from "node:fs";
import { parseArgs } from "node:util";
import { CausalLM, GRPOConfig, GRPOTrainer, rewards, Tokenizer, type Tool, tinyModel } from "grpo";
import { z } from "zod";

const { values: flags } = parseArgs({
  options: {
    lessons: { type: "string", default: "600" },
    taught: { type: "string" },
    steps: { type: "string", default: "60" },
    seed: { type: "string", default: "0" },
    output: { type: "string", default: "runs/calculator" },
  },
});

const operands = z.object({ a: z.int(), b: z.int() });
const add: Tool = {
  description: "Adds two numbers.",
  inputSchema: operands,
  execute: ({ a, b }: z.output<typeof operands>) => a + b,
};

/** Calls and results as Qwen's models write them, without the words about tools that would be most of each prompt. */
const TEMPLATE = `{%- if tools %}<|im_start|>system
{% for tool in tools %}{{ tool.function.name }} {% endfor %}<|im_end|>
{% endif %}{% for message in messages %}{% if message.role == 'tool' %}<|im_start|>user
<tool_response>{{ message.content }}</tool_response><|im_end|>
{% else %}<|im_start|>{{ message.role }}
{{ message.content }}{% for call in message.tool_calls %}<tool_call>{{ call.function | tojson }}</tool_call>{% endfor %}<|im_end|>
{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}`;

/** From 100 to 999, in an order of no meaning. */
const threeDigits = (i: number) => 100 + ((i * 7919) % 900);
const trainDataset = Array.from({ length: 2000 }, (_, i) => {
  const [a, b] = [threeDigits(2 * i), threeDigits(2 * i + 1)];
  return { prompt: [{ role: "user", content: `${a} + ${b} = ?` }], a, b };
});
type Row = (typeof trainDataset)[number];

const start = flags.taught !== undefined && existsSync(flags.taught) ? flags.taught : tinyModel;
const tokenizer = await Tokenizer.fromPretrained(start);
tokenizer.chatTemplate = TEMPLATE;
const model = await CausalLM.fromPretrained(start, { dtype: "float32" });

/** A turn to repeat: a call, the answer behind its result, or a guess. */
function lesson({ a, b, prompt }: Row, i: number): { readonly prompt: string; readonly said: string } {
  const asked = tokenizer.applyChatTemplate(prompt, {
    tools: [{ function: { name: "add" } }],
    addGenerationPrompt: true,
  });
  const call = `<tool_call>{"name": "add", "arguments": {"a": ${a}, "b": ${b}}}</tool_call><|im_end|>`;
  const result = `\n<|im_start|>user\n<tool_response>${a + b}</tool_response><|im_end|>\n<|im_start|>assistant\n`;
  if (i % 3 === 0) return { prompt: asked, said: call };
  if (i % 3 === 1) return { prompt: asked + call + result, said: `${a + b}<|im_end|>` };
  return { prompt: asked, said: `${threeDigits(3 * i) + threeDigits(5 * i)}<|im_end|>` };
}

const BATCH = 24;
const lessons = start === tinyModel ? Number(flags.lessons) : 0;
await model.beginTraining();
for (let step = 0; step < lessons; step++) {
  const batch = Array.from({ length: BATCH }, (_, k) => {
    const i = step * BATCH + k;
    return lesson(trainDataset[(i * 83) % trainDataset.length] as Row, i);
  });
  const encode = (text: string) => tokenizer.encode(text, { addSpecialTokens: false });
  const promptIds = batch.map(({ prompt }) => encode(prompt));
  const completionIds = batch.map(({ said }) => encode(said));
  // With an advantage of 1 for all, the policy gradient is that of supervised learning.
  const advantages = batch.map(() => 1);
  await model.forwardBackward({ promptIds, completionIds, advantages }, { lossType: "bnpo", beta: 0 });
  await model.optimizerStep({ learningRate: 1e-3 * Math.min(1, (lessons - step) / 100), maxGradNorm: 1 });
  if (step % 100 === 99) console.log(`lesson ${step + 1} of ${lessons}`);
}

if (flags.taught !== undefined && start === tinyModel) {
  await model.savePretrained(flags.taught);
  await tokenizer.savePretrained(flags.taught);
}

/** What it says last. */
const right = rewards.perSample<Row>(function right({ completion, a, b }) {
  return completion.at(-1)?.content.trim() === String(a + b) ? 1 : 0;
});

const trainer = new GRPOTrainer({
  model,
  processingClass: tokenizer,
  args: new GRPOConfig({
    outputDir: flags.output,
    seed: Number(flags.seed),
    maxSteps: Number(flags.steps),
    perDeviceTrainBatchSize: 64,
    maxCompletionLength: 160,
    maxToolCallingIterations: 1,
    learningRate: 2e-4,
    loggingSteps: 1,
  }),
  tools: { add },
  rewardFuncs: right,
  trainDataset,
});
await trainer.train();
await trainer.saveModel();
