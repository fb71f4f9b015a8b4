// A turn as the events of the Responses API: items open, grow and close, one after the other, and every event has its number.

import type { ChatDelta } from "../chat/chat-format.js";
import type { JsonObject } from "../json.js";
import { newId } from "./ids.js";
import type { ServerEvent } from "./reply.js";
import { type ReasoningForm, turnItems } from "./response-items.js";

/** The item that is growing. */
interface OpenItem {
  readonly id: string;
  readonly type: "reasoning" | "message" | "call";
  /** Of the call, among the calls of the turn. */
  readonly index: number;
  readonly name: string;
  text: string;
  readonly logprobs: unknown[];
}

export class ResponseEvents {
  /** The items that are closed. */
  readonly output: JsonObject[] = [];
  readonly #form: ReasoningForm;
  readonly #callId: (index: number) => string;
  #open: OpenItem | undefined;
  #number = 0;

  /** `callId`: the id of a call of the turn. */
  constructor(form: ReasoningForm, callId: (index: number) => string) {
    this.#form = form;
    this.#callId = callId;
  }

  event(type: string, fields: object): ServerEvent {
    return { name: type, data: { type, sequence_number: this.#number++, ...fields } };
  }

  /** Events of a piece of the turn. `logprobs` are of tokens that no event has had. */
  *push(delta: ChatDelta, logprobs: readonly unknown[]): Generator<ServerEvent, void, undefined> {
    if (delta.type === "call") yield* this.#begin("call", delta.index, delta.name);
    else if (delta.type === "arguments") yield this.#grow("response.function_call_arguments.delta", delta.text, {});
    else if (delta.type === "content") {
      if (this.#open?.type !== "message") yield* this.#begin("message");
      this.#open?.logprobs.push(...logprobs);
      yield this.#grow("response.output_text.delta", delta.text, { content_index: 0, logprobs });
    } else {
      if (this.#open?.type !== "reasoning") yield* this.#begin("reasoning");
      yield this.#grow("response.reasoning_text.delta", delta.text, { content_index: 0 });
    }
  }

  /** Closes what is open. A turn without any item gets an empty message. */
  *end(): Generator<ServerEvent, void, undefined> {
    if (this.#open === undefined && this.output.length === 0) yield* this.#begin("message");
    yield* this.#close();
  }

  *#begin(type: OpenItem["type"], index = 0, name = ""): Generator<ServerEvent, void, undefined> {
    yield* this.#close();
    const id = newId({ reasoning: "rs", message: "msg", call: "fc" }[type]);
    this.#open = { id, type, index, name, text: "", logprobs: [] };
    const empty = type === "reasoning" ? { summary: [], content: [] } : type === "message" ? { content: [] } : {};
    const status = type === "reasoning" ? {} : { status: "in_progress" };
    const item = { ...this.#item(this.#open), ...empty, ...status };
    yield this.event("response.output_item.added", { output_index: this.output.length, item });
    if (type !== "call") yield this.#part("response.content_part.added", emptyPart(type));
  }

  #grow(type: string, text: string, fields: object): ServerEvent {
    if (this.#open) this.#open.text += text;
    return this.event(type, { ...this.#place(), ...fields, delta: text });
  }

  *#close(): Generator<ServerEvent, void, undefined> {
    const open = this.#open;
    if (open === undefined) return;
    const item = this.#item(open);
    const { text } = open;
    if (open.type === "call") {
      const fields = { ...this.#place(), arguments: text, name: open.name };
      yield this.event("response.function_call_arguments.done", fields);
    } else if (open.type === "message") {
      const fields = { ...this.#place(), content_index: 0, text, logprobs: open.logprobs };
      yield this.event("response.output_text.done", fields);
      yield this.#part("response.content_part.done", { ...emptyPart("message"), text, logprobs: open.logprobs });
    } else {
      yield this.event("response.reasoning_text.done", { ...this.#place(), content_index: 0, text });
      yield this.#part("response.content_part.done", { ...emptyPart("reasoning"), text });
      if (this.#form.summary) yield* this.#summary(text);
    }
    yield this.event("response.output_item.done", { output_index: this.output.length, item });
    this.output.push(item);
    this.#open = undefined;
  }

  *#summary(text: string): Generator<ServerEvent, void, undefined> {
    const place = { ...this.#place(), summary_index: 0 };
    const part = { type: "summary_text", text };
    yield this.event("response.reasoning_summary_part.added", { ...place, part: { ...part, text: "" } });
    yield this.event("response.reasoning_summary_text.delta", { ...place, delta: text });
    yield this.event("response.reasoning_summary_text.done", { ...place, text });
    yield this.event("response.reasoning_summary_part.done", { ...place, part });
  }

  #part(type: string, part: object): ServerEvent {
    return this.event(type, { ...this.#place(), content_index: 0, part });
  }

  #place() {
    return { item_id: this.#open?.id, output_index: this.output.length };
  }

  #item({ id, type, index, name, text, logprobs }: OpenItem): JsonObject {
    if (type === "reasoning") return turnItems.reasoning(id, text, this.#form);
    if (type === "message") return turnItems.message(id, text, logprobs);
    return turnItems.call(id, this.#callId(index), name, text);
  }
}

function emptyPart(type: "message" | "reasoning") {
  if (type === "reasoning") return { type: "reasoning_text", text: "" };
  return { type: "output_text", text: "", annotations: [], logprobs: [] };
}
