// A calculator: sums that are too long for the model's head, and a tool that does them. The bundled model cannot call tools; it is first
// shown how a call is written, in a third of its answers, and then learns by itself that calling pays.
//
//   npx tsx calculator.ts --steps 40

import { cp } from "node:fs/promises";
import { parseArgs } from "node:util";
import { CausalLM, GRPOConfig, GRPOTrainer, LoraConfig, rewards, type Tool, Tokenizer, tinyModel } from "grpo";
import { z } from "zod";

const { values: flags } = parseArgs({
  options: {
    steps: { type: "string", default: "40" },
    lessons: { type: "string", default: "300" },
    seed: { type: "string", default: "0" },
    output: { type: "string", default: "runs/calculator" },
  },
});

const operands = z.object({ a: z.int(), b: z.int() });
const add: Tool = {
  description: "Adds.",
  inputSchema: operands,
  execute: ({ a, b }: z.output<typeof operands>) => a + b,
};

/** Qwen's way of writing calls and results, without its words about tools, which would be most of each prompt. */
const TEMPLATE = `{%- if tools %}<|im_start|>system
{% for tool in tools %}{{ tool.function.name }} {% endfor %}<|im_end|>
{% endif %}{% for message in messages %}{% if message.role == 'tool' %}<|im_start|>user
<tool_response>{{ message.content }}</tool_response><|im_end|>
{% else %}<|im_start|>{{ message.role }}
{{ message.content }}{% for call in message.tool_calls %}<tool_call>{{ call.function | tojson }}</tool_call>{% endfor %}<|im_end|>
{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}`;

const number = (i: number) => 100 + ((i * 7919 + 104_729) % 900);
const rows = Array.from({ length: 2000 }, (_, i) => {
  const [a, b] = [number(2 * i), number(2 * i + 1)];
  return { prompt: [{ role: "user", content: `${a} + ${b} = ?` }], a, b };
});

const tokenizer = await Tokenizer.fromPretrained(tinyModel);
tokenizer.chatTemplate = TEMPLATE;
const model = await CausalLM.fromPretrained(tinyModel, { dtype: "float32" });
const encode = (text: string) => tokenizer.encode(text, { addSpecialTokens: false });
const END = "<|im_end|>";

/** A conversation as the model is shown it: its prompt, and what the assistant says. */
function lesson({ a, b, prompt }: (typeof rows)[number], i: number): { prompt: number[]; said: number[] } {
  const asked = { tools: [{ function: { name: "add" } }], addGenerationPrompt: true } as const;
  const call = `<tool_call>{"name": "add", "arguments": {"a": ${a}, "b": ${b}}}</tool_call>`;
  const text = tokenizer.applyChatTemplate(prompt, asked);
  const answered = `${text}${call}${END}\n<|im_start|>user\n<tool_response>${a + b}</tool_response>${END}\n<|im_start|>assistant\n`;
  // By head it says something of the right length.
  const byHead = String(number(3 * i + 1) + number(5 * i + 2));
  if (i % 3 === 0) return { prompt: encode(text), said: encode(`${call}${END}`) };
  if (i % 3 === 1) return { prompt: encode(answered), said: encode(`${a + b}${END}`) };
  return { prompt: encode(text), said: encode(`${byHead}${END}`) };
}

await model.beginTraining();
for (let step = 0, lessons = Number(flags.lessons); step < lessons; step++) {
  const batch = Array.from({ length: 24 }, (_, k) => lesson(rows[(step * 24 + k * 83) % rows.length] as (typeof rows)[number], step * 24 + k));
  const [promptIds, completionIds] = [batch.map(({ prompt }) => prompt), batch.map(({ said }) => said)];
  const { loss } = await model.forwardBackward({ promptIds, completionIds, advantages: batch.map(() => 1) }, { lossType: "grpo", beta: 0 });
  await model.optimizerStep({ learningRate: 1e-3 * Math.min(1, (lessons - step) / 100), maxGradNorm: 1 });
  if (step % 50 === 49) console.log(`lesson ${step + 1}`, loss);
}

const right = rewards.perSample<(typeof rows)[number]>(function right({ completion, a, b }) {
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
    learningRate: 1e-4,
    loggingSteps: 1,
    saveStrategy: "no",
  }),
  tools: { add },
  rewardFuncs: right,
  trainDataset: rows,
});
await trainer.train();
