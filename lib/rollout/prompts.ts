// Rows to prompt token ids: chat template or plain text, and what to do with a prompt that is too long. Rendered once
// per row and kept, because every epoch and every resumed run needs the same ids.

import { GrpoError, reasonOf } from "../errors.js";
import type { ProcessingClass } from "../tokenizer/processing-class.js";
import type { Message, Prompt, TokenIds } from "../types.js";

/** A data set as the trainer reads it; Dataset and plain arrays both are. */
export interface RowSource<Row> {
  readonly length: number;
  /** The row of an index from 0. */
  at(index: number): Row | undefined;
  readonly columnNames?: readonly string[];
  /** Called before rows are asked for, where they have to be fetched first. */
  load?(signal?: AbortSignal): Promise<void>;
  /** These are the first rows of a stream, in the order in which they are to be used; `ended`: and all that it has. */
  readonly stream?: { readonly ended: boolean };
}

export interface PromptOptions {
  /** Longest prompt allowed, in tokens. */
  readonly maxLength: number;
  /** Where the limit comes from, for messages. */
  readonly limitName: string;
  readonly overflow: "error" | "drop" | "truncate";
  readonly chatTemplateKwargs: Readonly<Record<string, unknown>>;
  /** The tools of a row, which its conversation tells the model of. Absent: there are none. */
  readonly toolsOf?: ((row: unknown) => readonly unknown[]) | undefined;
  /** true: rows may have none, which is the text "" then and has an end token for its only one. Default false. */
  readonly optional?: boolean;
}

export interface PromptSurvey {
  readonly rows: number;
  readonly overlong: number;
  readonly longest: number;
}

export class PromptTable<Row> {
  readonly #rows: RowSource<Row>;
  readonly #tokenizer: ProcessingClass;
  readonly #options: PromptOptions;
  readonly #ids = new Map<number, TokenIds>();

  constructor(rows: RowSource<Row>, tokenizer: ProcessingClass, options: PromptOptions) {
    this.#rows = rows;
    this.#tokenizer = tokenizer;
    this.#options = options;
  }

  row(index: number): Row {
    const row = this.#rows.at(index);
    if (row === undefined)
      throw new GrpoError("BAD_DATASET", `the data set has no row ${index} of ${this.#rows.length}`);
    return row;
  }

  prompt(index: number): Prompt {
    const row = this.row(index);
    return this.#options.optional && !hasPrompt(row) ? "" : promptOf(row, index);
  }

  /** The prompt's ids within the length limit. */
  ids(index: number): TokenIds {
    const ids = this.#rendered(index);
    const { maxLength, overflow } = this.#options;
    if (ids.length <= maxLength) return ids;
    if (overflow === "truncate") return ids.slice(-maxLength);
    throw this.#overlong(index, ids.length);
  }

  /** Renders the given rows and counts the long ones, giving way to other work now and then. */
  async survey(indices: Iterable<number>, signal?: AbortSignal): Promise<PromptSurvey> {
    let rows = 0;
    let overlong = 0;
    let longest = 0;
    for (const index of indices) {
      const { length } = this.#rendered(index);
      if (length > this.#options.maxLength) {
        if (this.#options.overflow === "error") throw this.#overlong(index, length);
        overlong++;
      }
      longest = Math.max(longest, length);
      if (++rows % 256 === 0) await new Promise((resolve) => setImmediate(resolve));
      if (signal?.aborted) throw new GrpoError("CANCELLED", "stopped while rendering prompts");
    }
    return { rows, overlong, longest };
  }

  /** After survey(): whether the row's prompt fits. */
  fits(index: number): boolean {
    return this.#rendered(index).length <= this.#options.maxLength;
  }

  /** Why so many rows were left out, for messages. */
  whyDropped(rows: number): string {
    const { maxLength, limitName } = this.#options;
    return `${rows} were dropped, as their prompts have more than ${maxLength} tokens (${limitName})`;
  }

  #rendered(index: number): TokenIds {
    const known = this.#ids.get(index);
    if (known) return known;
    const prompt = this.prompt(index);
    const ids =
      typeof prompt === "string"
        ? this.#encode(prompt, index)
        : this.#renderConversation(prompt, this.row(index), index);
    if (ids.length === 0) throw new GrpoError("BAD_DATASET", `the prompt of row ${index} has no tokens`);
    this.#ids.set(index, ids);
    return ids;
  }

  #encode(prompt: string, index: number): TokenIds {
    if (prompt === "" && this.#options.optional) return this.#tokenizer.eosTokenIds.slice(0, 1);
    if (this.#options.toolsOf === undefined) return this.#tokenizer.encode(prompt);
    throw new GrpoError("BAD_DATASET", `row ${index}: beside tools a prompt must be a list of messages, found a text`, {
      hint: 'write prompt: [{ role: "user", content: "…" }]',
    });
  }

  #renderConversation(messages: readonly Message[], row: unknown, index: number): TokenIds {
    try {
      const { chatTemplateKwargs, toolsOf } = this.#options;
      return renderPrompt(this.#tokenizer, messages, { chatTemplateKwargs, tools: toolsOf?.(row) ?? [] });
    } catch (cause) {
      const code = cause instanceof GrpoError ? cause.code : "BAD_TEMPLATE";
      throw new GrpoError(code, `the chat template failed on row ${index}: ${reasonOf(cause)}`, { cause });
    }
  }

  #overlong(index: number, length: number): GrpoError {
    const { maxLength, limitName } = this.#options;
    return new GrpoError(
      "BAD_DATASET",
      `the prompt of row ${index} has ${length} tokens; at most ${maxLength} fit (${limitName})`,
      { hint: 'raise the limit, or set promptOverflow to "drop" or "truncate"' },
    );
  }
}

/** The ids of a conversation, with the header of the turn that is to be sampled. */
export function renderPrompt(
  tokenizer: ProcessingClass,
  messages: readonly Message[],
  { chatTemplateKwargs, tools }: Pick<PromptOptions, "chatTemplateKwargs"> & { readonly tools: readonly unknown[] },
): number[] {
  // Some templates write their words about tools for an empty list too.
  const given = tools.length > 0 ? { tools } : {};
  return tokenizer.applyChatTemplate(messages, {
    ...chatTemplateKwargs,
    ...given,
    addGenerationPrompt: true,
    tokenize: true,
  });
}

/** Whether a row has a column of that name with something in it. */
export function hasPrompt(row: unknown): boolean {
  return typeof row === "object" && row !== null && (Reflect.get(row, "prompt") ?? null) !== null;
}

function promptOf(row: unknown, index: number): Prompt {
  const prompt: unknown = typeof row === "object" && row !== null ? Reflect.get(row, "prompt") : undefined;
  if (typeof prompt === "string") return prompt;
  if (Array.isArray(prompt) && prompt.length > 0 && prompt.every(isMessage)) return prompt;
  const columns = typeof row === "object" && row !== null ? Object.keys(row).join(", ") : typeof row;
  const found = prompt === undefined ? `no prompt (columns: ${columns})` : JSON.stringify(prompt)?.slice(0, 80);
  throw new GrpoError("BAD_DATASET", `row ${index}: expected a prompt, text or a list of messages; found ${found}`, {
    hint: 'add a column "prompt" with dataset.map((row) => ({ prompt: … }))',
  });
}

function isMessage(value: unknown): value is Message {
  return typeof value === "object" && value !== null && typeof Reflect.get(value, "role") === "string";
}
