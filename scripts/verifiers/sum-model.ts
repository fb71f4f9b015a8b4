// A model for scripts/verifiers/sums.py: the bundled one, with the marks of Qwen3's calls as tokens of their own, which `renderers` needs, and
// Qwen3's chat template. For a few sums it is shown how a call is written, as often as a wrong guess; that calling pays it may learn.

import { cp, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { CausalLM, Tokenizer, tinyModel } from "grpo";
import { chatFormat } from "../../lib/chat/create-chat-format.js";
import { publishedTemplate } from "../../test/support/chat-formats.js";

/** Ids for which the bundled model has rows, and its tokenizer no tokens. */
const MARKS = ["<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "</think>"];
const FIRST_FREE_ID = 468;

/** As the environment's MCP server tells of it. */
const ADD = {
  type: "function",
  function: {
    name: "add",
    description: "Adds two numbers.",
    parameters: {
      type: "object",
      properties: { a: { title: "A", type: "integer" }, b: { title: "B", type: "integer" } },
      required: ["a", "b"],
      title: "addArguments",
    },
  },
} as const;
const STEPS = 300;

/** The sums of the environment's first tasks, of one digit. */
export function sums(count: number): { readonly a: number; readonly b: number }[] {
  const digit = (i: number) => 1 + ((7919 * i) % 9);
  return Array.from({ length: count }, (_, i) => ({ a: digit(2 * i), b: digit(2 * i + 1) }));
}

/** Writes the model, which knows so many sums, into a folder. */
export async function makeSumModel(folder: string, count: number): Promise<void> {
  // The weights come last, so that a folder that has them is whole.
  await cp(tinyModel, folder, { recursive: true, filter: (file) => !file.endsWith(".safetensors") });
  const file = path.join(folder, "tokenizer.json");
  const files = JSON.parse(await readFile(file, "utf8"));
  const like = files.added_tokens.at(-1);
  // Not special: they are part of what is read.
  const added = MARKS.map((content, i) => ({ ...like, id: FIRST_FREE_ID + i, content, special: false }));
  await writeFile(file, JSON.stringify({ ...files, added_tokens: [...files.added_tokens, ...added] }));
  // As Qwen's files say; transformers would take another token for it, which `renderers` refuses.
  const configFile = path.join(folder, "tokenizer_config.json");
  const config = JSON.parse(await readFile(configFile, "utf8"));
  await writeFile(configFile, JSON.stringify({ ...config, unk_token: null }));
  await writeFile(path.join(folder, "chat_template.jinja"), publishedTemplate("trl/qwen3"));
  const tokenizer = await Tokenizer.fromPretrained(folder);
  const model = await CausalLM.fromPretrained(tinyModel, { device: "cpu", dtype: "float32" });
  const format = chatFormat(tokenizer);
  const lessons = sums(count).flatMap(({ a, b }) => {
    const asked = [{ role: "user", content: `${a} + ${b} = ?` }] as const;
    const call = `<tool_call>\n{"name": "add", "arguments": {"a": ${a}, "b": ${b}}}\n</tool_call><|im_end|>`;
    const alone = format.render(asked);
    const told = format.render(asked, { tools: [ADD] });
    const answered = [...told, ...tokenizer.encode(call), ...resultIds(tokenizer, a + b)];
    return [
      { promptIds: told, said: call },
      { promptIds: told, said: `${a + b + 1}<|im_end|>` },
      { promptIds: answered, said: `${a + b}<|im_end|>` },
      { promptIds: alone, said: `${a + b}<|im_end|>` },
      { promptIds: alone, said: `${a + b + 1}<|im_end|>` },
    ];
  });
  const promptIds = lessons.map((lesson) => lesson.promptIds);
  const completionIds = lessons.map(({ said }) => tokenizer.encode(said));
  const advantages = lessons.map(() => 1);
  await model.beginTraining();
  for (let step = 0; step < STEPS; step++) {
    await model.forwardBackward({ promptIds, completionIds, advantages }, { lossType: "bnpo", beta: 0 });
    await model.optimizerStep({ learningRate: 1e-3 * Math.min(1, (STEPS - step) / 40), maxGradNorm: 1 });
  }
  await model.savePretrained(folder);
  model.dispose();
}

/** What Qwen3's template writes behind a call. */
function resultIds(tokenizer: Tokenizer, result: number): readonly number[] {
  const text = `\n<|im_start|>user\n<tool_response>\n${result}\n</tool_response><|im_end|>\n<|im_start|>assistant\n`;
  return tokenizer.encode(text);
}
