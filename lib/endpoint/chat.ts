// OpenAI's chat completions: POST /v1/chat/completions, whole or streamed.

import type { ChatDelta, ChatTool } from "../chat/chat-format.js";
import type { JsonObject } from "../json.js";
import { lazySchema } from "../zod.js";
import { callFormOf, textFormOf } from "./answer-form.js";
import { unsupportedField } from "./api-error.js";
import { ChatRun, type ChatTurn, type TurnStep } from "./chat-run.js";
import { drawingFields, MAX_TOP_LOGPROBS, readFields, streamFields } from "./fields.js";
import type { DrawnToken } from "./generator.js";
import type { Call } from "./http-server.js";
import { newId, now } from "./ids.js";
import { jsonReply, type Reply, type ServerEvent } from "./reply.js";
import type { Served } from "./served.js";
import { chatLogprobs, TokenNames } from "./token-logprobs.js";

const PATH = "/v1/chat/completions";

const chatSchema = lazySchema((z) => {
  const call = z.looseObject({ id: z.string().nullish(), function: z.looseObject({ name: z.string() }) });
  const message = z.looseObject({
    role: z.enum(["system", "developer", "user", "assistant", "tool"]),
    content: z.union([z.string(), z.array(z.unknown())]).nullish(),
    tool_calls: z.array(call).nullish(),
    tool_call_id: z.string().nullish(),
  });
  return z.object({
    ...drawingFields(z),
    ...streamFields(z),
    messages: z.array(message).min(1),
    tools: z.array(z.looseObject({ type: z.string() })).nullish(),
    tool_choice: z.unknown().optional(),
    parallel_tool_calls: z.boolean().nullish(),
    max_tokens: z.int().min(1).nullish(),
    max_completion_tokens: z.int().min(1).nullish(),
    logprobs: z.boolean().nullish(),
    top_logprobs: z.int().min(0).max(MAX_TOP_LOGPROBS).nullish(),
    reasoning_effort: z.string().nullish(),
    chat_template_kwargs: z.record(z.string(), z.unknown()).nullish(),
  });
});

type ChatFields = ReturnType<ReturnType<typeof chatSchema>["parse"]>;

export function answerChat(served: Served, call: Call): Reply {
  const fields = readFields(chatSchema(), call.body, served.notice(PATH));
  const topLogprobs = fields.top_logprobs ?? 0;
  const parallelCalls = fields.parallel_tool_calls ?? true;
  const tools = usableTools(fields.tools ?? [], fields.tool_choice);
  const run = new ChatRun(served, call, {
    answerId: newId("chatcmpl"),
    model: fields.model,
    messages: fields.messages,
    tools,
    parallelCalls,
    mustCall: callFormOf(tools, fields.tool_choice, parallelCalls),
    text: textFormOf(fields),
    variables: templateVariables(served, fields.chat_template_kwargs, fields.reasoning_effort),
    drawing: { ...fields, max_tokens: fields.max_completion_tokens ?? fields.max_tokens },
    logprobs: fields.logprobs === true,
    topLogprobs: fields.logprobs === true ? topLogprobs : 0,
  });
  const writer = new ChatWriter(served, run, fields);
  if (!fields.stream) return jsonReply(() => writer.whole());
  return { type: "events", events: () => writer.chunks(), failure: (error) => ({ data: error.body }) };
}

/** The tools that the model is told of. Throws 400 for what is no function. */
export function usableTools(tools: readonly ChatTool[], choice: unknown): readonly ChatTool[] {
  tools.forEach(({ type }, i) => {
    if (type !== "function")
      throw unsupportedField(`tools.${i}.type`, `tools are functions, found ${JSON.stringify(type)}`);
  });
  // A model that may not call is not told of what it could.
  return choice === "none" ? [] : tools;
}

/** What the chat template is told beside messages and tools. */
export function templateVariables(
  { variables }: Served,
  given: JsonObject | null | undefined,
  effort: string | null | undefined,
): JsonObject {
  return { ...variables, ...(effort == null ? {} : { reasoning_effort: effort }), ...given };
}

class ChatWriter {
  readonly #run: ChatRun;
  readonly #fields: ChatFields;
  readonly #names: TokenNames;
  readonly #head: { readonly id: string; readonly created: number; readonly model: string };
  /** Tokens whose log-probabilities no chunk has had, by turn. */
  readonly #untold = new Map<ChatTurn, DrawnToken[]>();

  constructor(served: Served, run: ChatRun, fields: ChatFields) {
    this.#run = run;
    this.#fields = fields;
    this.#names = new TokenNames(served.tokenizer, fields.return_tokens_as_token_ids === true);
    this.#head = { id: run.answerId, created: now(), model: run.model };
  }

  async whole(): Promise<unknown> {
    await this.#run.finish();
    const choices = this.#run.turns.map((turn) => ({
      index: turn.index,
      message: messageOf(turn),
      logprobs: this.#logprobs(turn.tokens) ?? null,
      finish_reason: turn.finishReason,
      ...this.#tokenIds(turn.tokens),
    }));
    return { object: "chat.completion", ...this.#head, choices, usage: this.#usage(), ...this.#promptIds() };
  }

  async *chunks(): AsyncGenerator<ServerEvent, void, undefined> {
    let first = true;
    for await (const step of this.#run.steps()) {
      if (first) for (const { index } of this.#run.turns) yield this.#chunk(index, { role: "assistant", content: "" });
      first = false;
      yield* this.#stepChunks(step);
    }
    if (this.#fields.stream_options?.include_usage) {
      yield { data: { ...this.#chunkHead(), choices: [], usage: this.#usage() } };
    }
    yield { data: "[DONE]" };
  }

  *#stepChunks({ turn, deltas, token }: TurnStep): Generator<ServerEvent, void, undefined> {
    const tokens = this.#untold.get(turn) ?? [];
    this.#untold.set(turn, tokens);
    if (token) tokens.push(token);
    for (const delta of deltas) yield this.#chunk(turn.index, deltaOf(delta, turn), tokens.splice(0));
    if (turn.stopReason !== undefined) yield this.#chunk(turn.index, {}, tokens.splice(0), turn.finishReason);
  }

  #chunk(index: number, delta: object, tokens: readonly DrawnToken[] = [], finish: string | null = null): ServerEvent {
    const logprobs = tokens.length > 0 ? this.#logprobs(tokens) : undefined;
    const choice = {
      index,
      delta,
      finish_reason: finish,
      ...(logprobs === undefined ? {} : { logprobs }),
      ...(tokens.length > 0 ? this.#tokenIds(tokens) : {}),
    };
    const beginning = "role" in delta ? this.#promptIds() : {};
    return { data: { ...this.#chunkHead(), choices: [choice], ...this.#noUsage(), ...beginning } };
  }

  #chunkHead() {
    return { object: "chat.completion.chunk", ...this.#head };
  }

  /** With include_usage, chunks before the last say that they have none. */
  #noUsage() {
    return this.#fields.stream_options?.include_usage ? { usage: null } : {};
  }

  #logprobs(tokens: readonly DrawnToken[]) {
    return this.#fields.logprobs ? { content: chatLogprobs(tokens, this.#names), refusal: null } : undefined;
  }

  #tokenIds(tokens: readonly DrawnToken[]) {
    return this.#fields.return_token_ids ? { token_ids: tokens.map(({ id }) => id) } : {};
  }

  #promptIds() {
    return this.#fields.return_token_ids ? { prompt_token_ids: this.#run.promptIds } : {};
  }

  #usage() {
    return usageOf(this.#run.promptIds.length, this.#run.completionTokens, this.#run.cachedTokens);
  }
}

/** Sampled ids count, all of them. `cached`: of the prompt, what was computed with an earlier request. */
export function usageOf(prompt: number, completion: number, cached = 0) {
  return {
    prompt_tokens: prompt,
    completion_tokens: completion,
    total_tokens: prompt + completion,
    prompt_tokens_details: { cached_tokens: cached },
  };
}

/**
 * Reasoning has one name: with two at once some clients send it back under neither. Without calls "" stays "", since an agent
 * takes null for no answer and asks again.
 */
function messageOf(turn: ChatTurn) {
  const { content, reasoning, toolCalls } = turn.message;
  const calls = toolCalls.map(({ name, argumentsText }, i) => ({
    id: turn.callIds[i],
    type: "function",
    function: { name, arguments: argumentsText },
  }));
  return {
    role: "assistant",
    content: content === "" && calls.length > 0 ? null : content,
    refusal: null,
    ...(reasoning === "" ? {} : { reasoning }),
    ...(calls.length > 0 ? { tool_calls: calls } : {}),
  };
}

/** `index` in every piece of a call; id, type and name in its first alone, or clients glue or lose calls. */
function deltaOf(delta: ChatDelta, turn: ChatTurn): object {
  if (delta.type === "content") return { content: delta.text };
  if (delta.type === "reasoning") return { reasoning: delta.text };
  const { index } = delta;
  if (delta.type === "arguments") return { tool_calls: [{ index, function: { arguments: delta.text } }] };
  const call = { index, id: turn.callIds[index], type: "function", function: { name: delta.name, arguments: "" } };
  return { tool_calls: [call] };
}
