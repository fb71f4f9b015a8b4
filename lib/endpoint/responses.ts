// OpenAI's Responses API: POST /v1/responses, whole or streamed, and what was stored of it. It is what the AI SDK's openai() and the
// Agents SDKs call unless told otherwise.

import type { JsonObject } from "../json.js";
import { lazySchema } from "../zod.js";
import { callFormOf, textFormOf } from "./answer-form.js";
import { ApiError } from "./api-error.js";
import { templateVariables, usableTools } from "./chat.js";
import { ChatRun, type ChatTurn } from "./chat-run.js";
import { drawingFields, MAX_TOP_LOGPROBS, readFields } from "./fields.js";
import type { DrawnToken } from "./generator.js";
import type { Call } from "./http-server.js";
import { newId, now } from "./ids.js";
import { jsonReply, type Reply, type ServerEvent } from "./reply.js";
import { ResponseEvents } from "./response-events.js";
import { followReferences, itemsOf, type ReasoningForm, toChatTools, toMessages } from "./response-items.js";
import type { StoredResponse } from "./response-store.js";
import type { Served } from "./served.js";
import type { Session } from "./session.js";
import { chatLogprobs, TokenNames } from "./token-logprobs.js";

const PATH = "/v1/responses";
const LOGPROBS = "message.output_text.logprobs";
const KEPT_REASONING = "reasoning.encrypted_content";

const responseSchema = lazySchema((z) => {
  const object = z.record(z.string(), z.unknown());
  return z.object({
    ...drawingFields(z),
    model: z.string().nullish(),
    input: z.union([z.string(), z.array(object).min(1)]),
    instructions: z.string().nullish(),
    previous_response_id: z.string().nullish(),
    store: z.boolean().nullish(),
    stream: z.boolean().nullish(),
    max_output_tokens: z.int().min(1).nullish(),
    include: z.array(z.string()).nullish(),
    top_logprobs: z.int().min(0).max(MAX_TOP_LOGPROBS).nullish(),
    tools: z.array(object).nullish(),
    tool_choice: z.unknown().optional(),
    parallel_tool_calls: z.boolean().nullish(),
    text: z.looseObject({ format: z.looseObject({ type: z.string() }).nullish() }).nullish(),
    reasoning: z.looseObject({ effort: z.string().nullish(), summary: z.string().nullish() }).nullish(),
    truncation: z.enum(["auto", "disabled"]).nullish(),
    metadata: object.nullish(),
    user: z.string().nullish(),
    chat_template_kwargs: object.nullish(),
  });
});

type ResponseFields = ReturnType<ReturnType<typeof responseSchema>["parse"]>;

export function answerResponses(served: Served, call: Call): Reply {
  const { session } = call;
  const fields = readFields(responseSchema(), call.body, served.notice(PATH));
  const items = [...earlierItems(session, fields.previous_response_id), ...inputItems(fields.input, session)];
  const system = fields.instructions == null ? [] : [{ role: "system", content: fields.instructions }];
  const logprobs = fields.include?.includes(LOGPROBS) === true || (fields.top_logprobs ?? 0) > 0;
  const parallelCalls = fields.parallel_tool_calls ?? true;
  const tools = usableTools(toChatTools(fields.tools ?? []), fields.tool_choice);
  const run = new ChatRun(served, call, {
    answerId: newId("resp"),
    model: fields.model,
    messages: [...system, ...toMessages(items)],
    tools,
    parallelCalls,
    mustCall: callFormOf(tools, fields.tool_choice, parallelCalls),
    text: textFormOf({ ...fields, response_format: fields.text?.format ?? fields.response_format }, "text.format"),
    variables: templateVariables(served, fields.chat_template_kwargs, fields.reasoning?.effort),
    drawing: { ...fields, n: 1, max_tokens: fields.max_output_tokens },
    logprobs,
    topLogprobs: fields.top_logprobs ?? 0,
  });
  const writer = new ResponseWriter(served, session, run, fields, items);
  if (!fields.stream) return jsonReply(() => writer.whole());
  return { type: "events", events: () => writer.events(), failure: (error) => writer.failure(error) };
}

/** GET and DELETE /v1/responses/ID. */
export function answerStoredResponse({ id, session }: Call): Reply {
  const { response } = stored(session, id);
  return jsonReply(() => response);
}

export function deleteStoredResponse({ id, session }: Call): Reply {
  stored(session, id);
  session.responses.delete(id);
  return jsonReply(() => ({ id, object: "response", deleted: true }));
}

function stored(session: Session, id: string): StoredResponse {
  const found = session.responses.response(id);
  if (found) return found;
  const message = `there is no response ${JSON.stringify(id)} here; it was not stored, or long ago`;
  throw new ApiError(404, "response_not_found", message, { param: "previous_response_id" });
}

function earlierItems(session: Session, id: string | null | undefined): readonly JsonObject[] {
  return id == null ? [] : stored(session, id).items;
}

function inputItems(input: ResponseFields["input"], { responses }: Session): JsonObject[] {
  return typeof input === "string" ? [{ role: "user", content: input }] : followReferences(input, responses);
}

class ResponseWriter {
  readonly #served: Served;
  readonly #session: Session;
  readonly #run: ChatRun;
  readonly #fields: ResponseFields;
  readonly #items: readonly JsonObject[];
  readonly #names: TokenNames;
  readonly #createdAt = now();
  readonly #form: ReasoningForm;
  readonly #turn: ChatTurn;
  readonly #events: ResponseEvents;
  /** Tokens before the first piece that is no reasoning. */
  #reasoningTokens = 0;

  constructor(served: Served, session: Session, run: ChatRun, fields: ResponseFields, items: readonly JsonObject[]) {
    const [turn] = run.turns as readonly [ChatTurn];
    this.#served = served;
    this.#session = session;
    this.#run = run;
    this.#fields = fields;
    this.#items = items;
    this.#names = new TokenNames(served.tokenizer, false);
    this.#turn = turn;
    this.#form = {
      summary: fields.reasoning?.summary != null,
      keep: fields.include?.includes(KEPT_REASONING) === true,
    };
    this.#events = new ResponseEvents(this.#form, (index) => String(turn.callIds[index]));
  }

  async whole(): Promise<unknown> {
    for await (const { deltas } of this.#run.steps()) this.#countReasoning(deltas);
    const output = itemsOf(this.#turn, this.#form, this.#logprobs(this.#turn.tokens));
    return this.#finished(output);
  }

  async *events(): AsyncGenerator<ServerEvent, void, undefined> {
    const events = this.#events;
    const untold: DrawnToken[] = [];
    let begun = false;
    for await (const { deltas, token } of this.#run.steps()) {
      if (!begun) {
        yield events.event("response.created", { response: this.#response("in_progress", []) });
        yield events.event("response.in_progress", { response: this.#response("in_progress", []) });
        begun = true;
      }
      if (token) untold.push(token);
      this.#countReasoning(deltas);
      for (const delta of deltas) yield* events.push(delta, this.#logprobs(untold.splice(0)));
    }
    yield* events.end();
    const response = this.#finished(events.output);
    yield events.event(`response.${response.status}`, { response });
  }

  failure({ code, message, param }: ApiError): ServerEvent {
    return this.#events.event("error", { code, message, param });
  }

  /** The response as it is answered; kept for later requests unless the client wants otherwise. */
  #finished(output: readonly JsonObject[]): JsonObject {
    const cut = this.#turn.stopReason === "length";
    const response = this.#response(cut ? "incomplete" : "completed", output);
    if (this.#fields.store !== false) {
      this.#session.responses.put(this.#run.answerId, { response, items: [...this.#items, ...output] }, output);
    }
    return response;
  }

  #response(status: string, output: readonly JsonObject[]): JsonObject {
    const { defaults } = this.#served;
    const fields = this.#fields;
    return {
      id: this.#run.answerId,
      object: "response",
      created_at: this.#createdAt,
      status,
      background: false,
      error: null,
      incomplete_details: status === "incomplete" ? { reason: "max_output_tokens" } : null,
      instructions: fields.instructions ?? null,
      max_output_tokens: fields.max_output_tokens ?? null,
      model: this.#run.model,
      output,
      parallel_tool_calls: fields.parallel_tool_calls ?? true,
      previous_response_id: fields.previous_response_id ?? null,
      reasoning: { effort: fields.reasoning?.effort ?? null, summary: fields.reasoning?.summary ?? null },
      store: fields.store ?? true,
      temperature: fields.temperature ?? defaults.temperature,
      text: { format: fields.text?.format ?? { type: "text" } },
      tool_choice: fields.tool_choice ?? "auto",
      tools: fields.tools ?? [],
      top_p: fields.top_p ?? defaults.topP,
      truncation: fields.truncation ?? "disabled",
      usage: status === "in_progress" ? null : this.#usage(),
      user: fields.user ?? null,
      metadata: fields.metadata ?? {},
    };
  }

  #usage() {
    const [input, output] = [this.#run.promptIds.length, this.#run.completionTokens];
    return {
      input_tokens: input,
      input_tokens_details: { cached_tokens: this.#run.cachedTokens },
      output_tokens: output,
      output_tokens_details: { reasoning_tokens: this.#reasoningTokens },
      total_tokens: input + output,
    };
  }

  #countReasoning(deltas: readonly { readonly type: string }[]): void {
    if (deltas.some(({ type }) => type === "reasoning")) this.#reasoningTokens = this.#turn.tokens.length;
  }

  #logprobs(tokens: readonly DrawnToken[]): readonly unknown[] {
    const { include, top_logprobs: top } = this.#fields;
    const asked = include?.includes(LOGPROBS) === true || (top ?? 0) > 0;
    return asked ? chatLogprobs(tokens, this.#names) : [];
  }
}
