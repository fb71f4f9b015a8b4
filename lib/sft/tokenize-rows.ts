// Rows of a data set to tokens, and which of them count in the loss, as TRL's SFTTrainer prepares them: plain text, conversations, prompts
// with completions, and rows that are tokenized already. Where what TRL does trains on something else than was meant, a row is
// refused by its number, or what happened is counted.

import { at } from "../at.js";
import { show } from "../checks.js";
import { GrpoError, reasonOf } from "../errors.js";
import type { MaskedIds } from "../tokenizer/tokenizer.js";
import type { Message } from "../types.js";
import { assistantTokens } from "./assistant-turns.js";
import { type Example, part } from "./packing.js";
import type { TextTokenizer } from "./text-tokenizer.js";

type Row = Readonly<Record<string, unknown>>;

export interface RowOptions {
  readonly datasetTextField: string;
  readonly completionOnlyLoss: boolean | null;
  readonly assistantOnlyLoss: boolean;
  /** Turns a row into a plain text. */
  readonly formattingFunc?: ((row: never) => string) | undefined;
}

/** What a data set's rows were, beside their tokens. */
export interface RowNotes {
  /** Rows whose prompt alone is tokenized differently than with its completion. */
  differentPrompts: number;
  /** Beginnings and ends of text that would have been doubled. */
  doubled: number;
}

export class RowTokenizer {
  readonly notes: RowNotes = { differentPrompts: 0, doubled: 0 };
  readonly #tokenizer: TextTokenizer;
  readonly #options: RowOptions;

  constructor(tokenizer: TextTokenizer, options: RowOptions) {
    this.#tokenizer = tokenizer;
    this.#options = options;
  }

  /** The tokens of a row; `index` is for messages. Throws BAD_DATASET. */
  example(given: unknown, index: number): Example {
    const row = this.#normalized(given, index);
    if (Object.hasOwn(row, "input_ids")) return this.#tokenized(row, index);
    if (Object.hasOwn(row, "prompt") && Object.hasOwn(row, "completion")) return this.#completion(row, index);
    if (this.#options.completionOnlyLoss === true) {
      throw new GrpoError("BAD_DATASET", `row ${index}: completionOnlyLoss needs the columns prompt and completion`, {
        hint: "leave completionOnlyLoss out to train on whole rows, or set assistantOnlyLoss for conversations",
      });
    }
    const { messages } = row;
    if (isConversation(messages)) return this.#conversation(messages, row, index);
    const text = row[this.#options.datasetTextField];
    if (typeof text === "string") return this.#text(text, index);
    throw this.#unknownColumns(row, index);
  }

  /** The row as an object with messages in OpenAI's form. */
  #normalized(given: unknown, index: number): Row {
    if (typeof given !== "object" || given === null) {
      throw new GrpoError("BAD_DATASET", `row ${index}: expected an object with columns, found ${show(given)}`);
    }
    const row = given as Row;
    const { formattingFunc, datasetTextField } = this.#options;
    if (formattingFunc !== undefined && !Object.hasOwn(row, "input_ids")) {
      const text: unknown = formattingFunc(row as never);
      if (typeof text === "string") return { [datasetTextField]: text };
      throw new GrpoError("BAD_DATASET", `formattingFunc gave ${show(text)} for row ${index}; expected a text`);
    }
    if (Array.isArray(row.conversations)) {
      const { conversations, ...rest } = row;
      return { ...rest, messages: inOpenAiForm(conversations as unknown[]) };
    }
    return row;
  }

  #text(text: string, index: number): Example {
    this.#refuseAssistantOnly(index);
    const ids = this.#encode(this.#ended(text));
    return { ids: Int32Array.from(ids), counts: new Uint8Array(ids.length).fill(1) };
  }

  #conversation(messages: readonly Message[], row: Row, index: number): Example {
    const { ids, assistantMask } = this.#render(messages, row, index);
    return { ids: Int32Array.from(ids), counts: Uint8Array.from(assistantMask) };
  }

  /** What counts begins where the prompt alone and the prompt with its completion diverge. */
  #completion(row: Row, index: number): Example {
    const { prompt, completion } = row;
    let promptIds: number[];
    let whole: MaskedIds;
    if (typeof prompt === "string" && typeof completion === "string") {
      this.#refuseAssistantOnly(index);
      promptIds = this.#encode(prompt);
      const ids = this.#encode(prompt + this.#ended(completion));
      whole = { ids, assistantMask: ids.map(() => 1) };
    } else if (isConversation(prompt) && isConversation(completion)) {
      promptIds = this.#prompt(prompt, row, index);
      whole = this.#render([...prompt, ...completion], row, index);
    } else {
      const found = `${kindOf(prompt)} and ${kindOf(completion)}`;
      throw new GrpoError("BAD_DATASET", `row ${index}: expected prompt and completion of one kind, found ${found}`, {
        hint: "both are texts, or both are lists of messages",
      });
    }
    const start = commonPrefix(promptIds, whole.ids);
    if (start < promptIds.length) this.notes.differentPrompts++;
    const counts = Uint8Array.from(whole.assistantMask);
    if (this.#options.completionOnlyLoss ?? true) counts.fill(0, 0, start);
    return { ids: Int32Array.from(whole.ids), counts };
  }

  #prompt(messages: readonly Message[], row: Row, index: number): number[] {
    return this.#template(index, () =>
      this.#tokenizer.applyChatTemplate(messages, {
        ...templateOptions(row),
        addGenerationPrompt: true,
        tokenize: true,
      }),
    );
  }

  /** A conversation, and which tokens of it count: all, or those of the assistant. */
  #render(messages: readonly Message[], row: Row, index: number): MaskedIds {
    const options = { ...templateOptions(row), addGenerationPrompt: false, tokenize: true } as const;
    if (!this.#options.assistantOnlyLoss) {
      const ids = this.#template(index, () => this.#tokenizer.applyChatTemplate(messages, options));
      return { ids, assistantMask: ids.map(() => 1) };
    }
    const masked = this.#template(index, () => assistantTokens(this.#tokenizer, messages, templateOptions(row)));
    if (masked.assistantMask.includes(1)) return masked;
    throw new GrpoError("BAD_DATASET", `row ${index}: the chat template marks nothing of it as the assistant's`, {
      hint: "look whether the row has a message of the assistant, or leave assistantOnlyLoss out",
    });
  }

  #template<T>(index: number, render: () => T): T {
    try {
      return render();
    } catch (cause) {
      const code = cause instanceof GrpoError ? cause.code : "BAD_TEMPLATE";
      const hint = cause instanceof GrpoError && cause.hint !== undefined ? { hint: cause.hint } : {};
      const [reason = ""] = reasonOf(cause).split("\n");
      throw new GrpoError(code, `the chat template failed on row ${index}: ${reason}`, { ...hint, cause });
    }
  }

  /** A text gets the end token at its end, once. */
  #ended(text: string): string {
    const { eosToken } = this.#tokenizer;
    if (eosToken === undefined) {
      throw new GrpoError("BAD_INPUT", "the tokenizer has no end token, and a text must end with one", {
        hint: "set eosToken of SFTConfig to a token of the vocabulary",
      });
    }
    return text.endsWith(eosToken) ? text : text + eosToken;
  }

  /** With the special tokens of the tokenizer, none of them twice at an end: a text may bring its own. */
  #encode(text: string): number[] {
    const ids = this.#tokenizer.encode(text);
    const { bosTokenId: bos, eosTokenId: eos } = this.#tokenizer;
    const start = bos !== undefined && ids[0] === bos && ids[1] === bos ? 1 : 0;
    const end = eos !== undefined && ids.at(-1) === eos && ids.at(-2) === eos && ids.length > start + 2 ? 1 : 0;
    this.notes.doubled += start + end;
    return ids.slice(start, ids.length - end);
  }

  /** Of a row that is tokenized: labels as they are, else what the masks that there are say together. */
  #tokenized(row: Row, index: number): Example {
    const ids = numbersOf(row, "input_ids", index);
    const has = (name: string) => row[name] !== undefined && row[name] !== null;
    const masks = has("labels")
      ? [this.#labelled(row, ids, index)]
      : [
          ...(has("completion_mask") && this.#options.completionOnlyLoss === true ? ["completion_mask"] : []),
          ...(has("assistant_masks") ? ["assistant_masks"] : []),
        ].map((name) => numbersOf(row, name, index).map((mark) => (mark === 0 ? 0 : 1)));
    const wrong = masks.find((mask) => mask.length !== ids.length);
    if (wrong !== undefined) {
      throw new GrpoError("BAD_DATASET", `row ${index}: ${ids.length} input_ids, and a mask of ${wrong.length}`);
    }
    const counts = Uint8Array.from(ids, (_, i) => (masks.every((mask) => mask[i] === 1) ? 1 : 0));
    return { ids: Int32Array.from(ids), counts };
  }

  #labelled(row: Row, ids: readonly number[], index: number): number[] {
    const labels = numbersOf(row, "labels", index);
    const other = labels.findIndex((label, i) => label !== -100 && label !== ids[i]);
    if (other >= 0) {
      const found = `${at(labels, other)} at token ${other}, whose id is ${ids[other]}`;
      throw new GrpoError("BAD_DATASET", `row ${index}: labels must be -100 or the token itself, found ${found}`);
    }
    return labels.map((label) => (label === -100 ? 0 : 1));
  }

  #refuseAssistantOnly(index: number): void {
    if (!this.#options.assistantOnlyLoss) return;
    throw new GrpoError("BAD_DATASET", `row ${index} is plain text, and assistantOnlyLoss needs conversations`, {
      hint: "leave assistantOnlyLoss out",
    });
  }

  #unknownColumns(row: Row, index: number): GrpoError {
    const { datasetTextField } = this.#options;
    const expected = `messages, prompt and completion, ${datasetTextField}, or input_ids`;
    return new GrpoError("BAD_DATASET", `row ${index}: expected ${expected}; found ${Object.keys(row).join(", ")}`, {
      hint: "set datasetTextField, or rename a column: dataset.renameColumn(…)",
    });
  }
}

/** The row's own tools and variables of the template. */
function templateOptions({ tools, chat_template_kwargs: own }: Row): Readonly<Record<string, unknown>> {
  const parsed: unknown = typeof tools === "string" ? JSON.parse(tools) : tools;
  return { ...(parsed === undefined || parsed === null ? {} : { tools: parsed }), ...(own as object | null) };
}

/** ShareGPT's names: from and value, for role and content. */
function inOpenAiForm(messages: readonly unknown[]): unknown[] {
  return messages.map((message) => {
    if (typeof message !== "object" || message === null) return message;
    const { from, value, ...rest } = message as Row;
    return {
      ...(from === undefined ? {} : { role: from }),
      ...(value === undefined ? {} : { content: value }),
      ...rest,
    };
  });
}

function isConversation(value: unknown): value is readonly Message[] {
  const [first] = Array.isArray(value) ? (value as unknown[]) : [];
  return typeof first === "object" && first !== null && "role" in first;
}

function kindOf(value: unknown): string {
  return isConversation(value) ? "messages" : typeof value === "string" ? "text" : show(value);
}

function numbersOf(row: Row, name: string, index: number): number[] {
  const values = row[name];
  const list = ArrayBuffer.isView(values) ? Array.from(values as unknown as ArrayLike<number>, Number) : values;
  if (Array.isArray(list) && list.every((value) => Number.isInteger(value) || typeof value === "bigint")) {
    return list.map(Number);
  }
  throw new GrpoError("BAD_DATASET", `row ${index}: ${name} must be a list of whole numbers, found ${show(values)}`);
}

function commonPrefix(a: readonly number[], b: readonly number[]): number {
  const differs = a.findIndex((id, i) => id !== b[i]);
  return differs < 0 ? a.length : differs;
}

/** The tokens of a row within `maxLength`. */
export function truncate(example: Example, maxLength: number, mode: "keep_start" | "keep_end"): Example {
  if (example.ids.length <= maxLength) return example;
  return mode === "keep_start" ? part(example, 0, maxLength) : part(example, example.ids.length - maxLength);
}
