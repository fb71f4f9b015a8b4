// `grpo generate`: one answer, several, or a chat on a terminal. Text appears as it is sampled; the statistics go to stderr, so
// that stdout holds the answer and nothing else.

import { createInterface } from "node:readline/promises";
import { text } from "node:stream/consumers";
import { parseArgs } from "node:util";
import { at } from "../at.js";
import { GrpoError } from "../errors.js";
import { completionConstraint } from "../grammar/completion-form.js";
import { readJsonObject } from "../json.js";
import { CausalLM } from "../model/model.js";
import type { FromPretrainedOptions } from "../model/model-options.js";
import type { GenerateOptions } from "../model/sampling.js";
import { Tokenizer } from "../tokenizer/tokenizer.js";
import type { Message } from "../types.js";
import type { Command } from "./command.js";

const options = {
  model: { type: "string" },
  adapter: { type: "string" },
  dtype: { type: "string" },
  device: { type: "string" },
  revision: { type: "string" },
  system: { type: "string" },
  raw: { type: "boolean" },
  "max-new-tokens": { type: "string" },
  temperature: { type: "string" },
  "top-p": { type: "string" },
  "top-k": { type: "string" },
  "min-p": { type: "string" },
  "repetition-penalty": { type: "string" },
  seed: { type: "string" },
  stop: { type: "string", multiple: true },
  regex: { type: "string" },
  "json-schema": { type: "string" },
  n: { type: "string" },
  json: { type: "boolean" },
  quiet: { type: "boolean" },
} as const;

type Values = ReturnType<typeof parseArgs<{ options: typeof options; allowPositionals: true }>>["values"];

export const generateCommand: Command = {
  usage:
    '--model <id or folder> [--adapter <id or folder>] ["question"]\n\n' +
    "  Without a question: reads it from a pipe, or chats on a terminal.\n\n" +
    "  --system TEXT              system message\n" +
    "  --raw                      the text as it is, without the chat template\n" +
    "  --max-new-tokens N         default: the model's, else 256\n" +
    "  --temperature T --top-p P --top-k K --min-p P --repetition-penalty R\n" +
    "                             sampling; without any of them the model's own settings, else greedy;\n" +
    "                             --temperature 0 is greedy in any case\n" +
    "  --seed N                   same seed, same answers (default 0)\n" +
    "  --stop TEXT                ends the answer; may be given several times\n" +
    "  --regex PATTERN            answers that the pattern fits as a whole\n" +
    "  --json-schema FILE         answers in JSON that fits the schema\n" +
    "  -n N, --n N                answers to the question\n" +
    "  --json                     one JSON object a line for each answer\n" +
    "  --quiet                    no statistics\n" +
    "  --dtype, --device, --revision   as of CausalLM.fromPretrained",

  async run(args) {
    const short = args.map((argument) => (argument === "-n" ? "--n" : argument));
    const { values, positionals } = parseArgs({ args: short, options, allowPositionals: true });
    if (values.model === undefined) {
      throw new GrpoError("BAD_OPTION", "which model?", { hint: "grpo generate --model <id or folder> …" });
    }
    const settings = generateOptions(values);
    const tokenizer = await Tokenizer.fromPretrained(values.model, source(values));
    const model = await CausalLM.fromPretrained(values.model, loadOptions(values));
    const session = new Session(model, tokenizer, values, { ...settings, ...(await formOf(values, tokenizer)) });
    try {
      if (positionals.length > 0) await session.answer([user(positionals.join(" "))]);
      else if (process.stdin.isTTY) await chat(session);
      else await session.answer([user((await text(process.stdin)).trimEnd())]);
    } finally {
      model.dispose();
    }
    return 0;
  },
};

const user = (content: string): Message => ({ role: "user", content });

function source({ revision }: Values): { revision?: string } {
  return revision === undefined ? {} : { revision };
}

function loadOptions(values: Values): FromPretrainedOptions {
  const { adapter, dtype, device } = values;
  const given = { adapter, dtype, device, revision: values.revision };
  // fromPretrained checks what they may be.
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)) as FromPretrainedOptions;
}

/** generate() checks ranges; here text becomes numbers. */
function generateOptions(values: Values): GenerateOptions {
  const number = (flag: keyof Values, name: keyof GenerateOptions) => {
    const value = values[flag];
    if (value === undefined) return {};
    const parsed = typeof value === "string" && value.trim() !== "" ? Number(value) : Number.NaN;
    if (!Number.isNaN(parsed)) return { [name]: parsed };
    throw new GrpoError("BAD_OPTION", `--${flag} must be a number, found ${JSON.stringify(value)}`);
  };
  return {
    ...number("max-new-tokens", "maxNewTokens"),
    ...number("temperature", "temperature"),
    // As in other programs; for generate(), as for transformers, it is an error unless sampling is off.
    ...(Number(values.temperature) === 0 ? { doSample: false } : {}),
    ...number("top-p", "topP"),
    ...number("top-k", "topK"),
    ...number("min-p", "minP"),
    ...number("repetition-penalty", "repetitionPenalty"),
    ...number("seed", "seed"),
    ...number("n", "numReturnSequences"),
    ...(values.stop === undefined ? {} : { stopStrings: values.stop }),
  };
}

/** What keeps answers to the form that the flags ask for. */
async function formOf({ regex, "json-schema": file }: Values, tokenizer: Tokenizer): Promise<GenerateOptions> {
  if (regex === undefined && file === undefined) return {};
  const jsonSchema = file === undefined ? undefined : await readJsonObject(file, "BAD_INPUT");
  const form = { ...(regex === undefined ? {} : { regex }), ...(jsonSchema === undefined ? {} : { jsonSchema }) };
  return { constraint: completionConstraint(tokenizer, form) };
}

class Session {
  readonly #model: CausalLM;
  readonly #tokenizer: Tokenizer;
  readonly #values: Values;
  readonly #options: GenerateOptions;

  constructor(model: CausalLM, tokenizer: Tokenizer, values: Values, settings: GenerateOptions) {
    this.#model = model;
    this.#tokenizer = tokenizer;
    this.#values = values;
    this.#options = { ...settings, tokenizer, stop: tokenizer.eosTokenIds };
  }

  /** Prints the answers to a conversation; returns the first. */
  async answer(messages: readonly Message[]): Promise<string> {
    const { json, quiet } = this.#values;
    const began = performance.now();
    const several = (this.#options.numReturnSequences ?? 1) > 1;
    const stream = this.#tokenizer.decodeStream({ skipSpecialTokens: true });
    const show =
      json || several ? {} : { onToken: ({ id }: { id: number }) => void process.stdout.write(stream.push([id])) };
    const answers = await this.#model.generate([this.#encode(messages)], { ...this.#options, ...show });
    const texts = answers.map(({ ids }) => this.#tokenizer.decode(ids, { skipSpecialTokens: true }));
    if (json) {
      answers.forEach(({ ids, finishReason }, i) => {
        console.log(JSON.stringify({ completion: texts[i], finish_reason: finishReason, tokens: ids.length }));
      });
    } else if (several) {
      answers.forEach(({ ids, finishReason }, i) => {
        console.log(`--- ${i + 1}: ${ids.length} tokens, ${finishReason}\n${texts[i]}`);
      });
    } else {
      process.stdout.write(`${stream.end()}\n`);
    }
    const tokens = answers.reduce((sum, { ids }) => sum + ids.length, 0);
    const seconds = (performance.now() - began) / 1000;
    if (!quiet) console.error(`${tokens} tokens in ${seconds.toFixed(1)} s, ${(tokens / seconds).toFixed(1)} tokens/s`);
    return at(texts, 0);
  }

  #encode(messages: readonly Message[]): number[] {
    const { raw, system } = this.#values;
    if (raw) return this.#tokenizer.encode(messages.map(({ content }) => String(content)).join("\n"));
    const whole = system === undefined ? messages : [{ role: "system", content: system } as const, ...messages];
    return this.#tokenizer.applyChatTemplate(whole, { addGenerationPrompt: true, tokenize: true });
  }
}

/** Questions until an empty line or the end of input; each answer is remembered. */
async function chat(session: Session): Promise<void> {
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  const messages: Message[] = [];
  try {
    for (;;) {
      const question = await terminal.question("> ").catch(() => "");
      if (question.trim() === "") return;
      messages.push(user(question));
      messages.push({ role: "assistant", content: await session.answer(messages) });
    }
  } finally {
    terminal.close();
  }
}
