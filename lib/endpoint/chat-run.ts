// One request of a chat, whichever protocol it came in: the prompt's ids, and the model's turns while they are sampled. A conversation
// that this session has had before continues on its own ids.

import type { ChatDelta, ChatMessage, ChatTool, ParsedMessage, ResponseStream } from "../chat/chat-format.js";
import type { Grammar } from "../grammar/grammar.js";
import type { JsonObject } from "../json.js";
import type { FinishReason } from "../types.js";
import type { CallForm, TextForm } from "./answer-form.js";
import type { DrawingFields } from "./fields.js";
import type { DrawnToken, GenerationRequest } from "./generator.js";
import { readableHistory } from "./history.js";
import type { Call } from "./http-server.js";
import { checkTextLength, modelOf, type Served, stopStringsOf, toGeneration } from "./served.js";
import type { Drawing } from "./session.js";
import { TokenText } from "./token-text.js";
import type { AskedTurn, History } from "./turn-recorder.js";

/** What is asked, in no protocol's terms. */
export interface ChatRequest {
  /** The id of the answer. */
  readonly answerId: string;
  readonly model: string | null | undefined;
  readonly messages: readonly ChatMessage[];
  readonly tools: readonly ChatTool[];
  /** Whether more than the first call of a turn counts. */
  readonly parallelCalls: boolean;
  /** The calls that the turn must be; undefined where the model may choose. */
  readonly mustCall: CallForm | undefined;
  /** The form of the turn's content. */
  readonly text: TextForm | undefined;
  /** Of the chat template. */
  readonly variables: JsonObject;
  readonly drawing: DrawingFields;
  readonly logprobs: boolean;
  readonly topLogprobs: number;
}

/** What one more token, or the end, adds to a turn. */
export interface TurnStep {
  readonly turn: ChatTurn;
  readonly deltas: readonly ChatDelta[];
  readonly token: DrawnToken | undefined;
}

/** What distinguishes conversations beside their messages. */
type Setting = readonly [readonly ChatTool[], JsonObject, string | null | undefined];

export class ChatRun {
  readonly answerId: string;
  readonly model: string;
  readonly promptIds: readonly number[];
  readonly turns: readonly ChatTurn[];
  /** Tokens of the prompt that were computed with an earlier request; known when a turn has ended. */
  cachedTokens = 0;
  readonly #served: Served;
  readonly #call: Call;
  readonly #request: ChatRequest;
  readonly #generation: GenerationRequest;
  readonly #setting: Setting;
  #history: History = "unknown";
  #drawing: Drawing | undefined;

  /** Throws what is wrong with the request. */
  constructor(served: Served, call: Call, request: ChatRequest) {
    const model = modelOf(served, request.model);
    const { tools, variables, drawing, logprobs, topLogprobs } = request;
    this.#served = served;
    this.#call = call;
    this.#request = request;
    this.#setting = [tools, variables, model.adapter];
    this.answerId = request.answerId;
    this.model = model.name;
    checkTextLength(served, request.messages);
    this.promptIds = this.#promptIds(readableHistory(request.messages));
    const { endIds } = served.format;
    const grammar = turnGrammar(served, request, this.promptIds);
    const { session: owner, signal } = call;
    const asked = { ids: this.promptIds, model, owner, signal, endIds, logprobs, topLogprobs, grammar };
    this.#generation = toGeneration(served, drawing, asked);
    this.turns = Array.from({ length: this.#generation.count }, (_, index) => {
      const newCallId = (i: number) => this.#drawing?.recording?.callId(index, i) ?? served.newCallId();
      return new ChatTurn(index, served, request, this.promptIds, newCallId);
    });
  }

  /** Tokens that were sampled so far, end tokens included. */
  get completionTokens(): number {
    return this.turns.reduce((sum, turn) => sum + turn.tokens.length, 0);
  }

  /** Samples all turns. */
  async *steps(): AsyncGenerator<TurnStep, void, undefined> {
    const { session } = this.#call;
    this.#drawing = session.ask(this.#asked());
    for await (const event of session.draw(this.#served.generator, this.#drawing)) {
      const turn = this.turns[event.index];
      if (turn === undefined) continue;
      if (event.type === "token") yield { turn, deltas: turn.push(event.token), token: event.token };
      else {
        this.cachedTokens = event.knownTokens ?? 0;
        yield { turn, deltas: turn.end(event.finishReason), token: undefined };
        this.#remember(turn);
      }
    }
  }

  /** Samples all turns, without looking. */
  async finish(): Promise<void> {
    for await (const _ of this.steps());
  }

  #asked(): AskedTurn {
    const { body, isRetry } = this.#call;
    const { messages, tools } = this.#request;
    const chat = { messages, tools, history: this.#history };
    const { answerId, model } = this;
    return { generation: this.#generation, answerId, model, body, isRetry, chat };
  }

  #promptIds(messages: readonly ChatMessage[]): readonly number[] {
    const { format } = this.#served;
    const { tools, variables } = this.#request;
    const options = { ...(tools.length > 0 ? { tools } : {}), variables };
    const held = this.#call.session.conversations.find(this.#setting, messages);
    const continued = held && format.continuation(held.ids, held.newMessages, { ...options, turn: held.turn });
    if (!held || !continued) return format.render(messages, options);
    this.#history = held.isSame ? "same" : "drifted";
    return [...held.ids, ...continued];
  }

  /** Of a turn whose text was cut, or that had calls which were left out, the client knows less than the ids say. */
  #remember(turn: ChatTurn): void {
    const said = saidBy(turn);
    this.#drawing?.recording?.said(turn.index, said);
    if (turn.stopReason === "stop" || turn.hasDropped) return;
    const ids = [...this.promptIds, ...turn.tokens.map(({ id }) => id)];
    this.#call.session.conversations.remember(this.#setting, [...this.#request.messages, said], ids);
  }
}

/** Calls that a model may choose instead of a text that has a form. */
const MOST_CHOSEN_CALLS = 16;

/** The grammar of a turn, where its form is asked for. Throws 400. */
function turnGrammar(served: Served, request: ChatRequest, prompt: readonly number[]): Grammar | undefined {
  const { mustCall, text, tools, parallelCalls } = request;
  if (mustCall === undefined && text === undefined) return undefined;
  const { format, grammars } = served;
  // A model that may call a tool may do so in place of the text.
  const calls = mustCall ?? (mayCall(request) ? { tools, most: parallelCalls ? MOST_CHOSEN_CALLS : 1 } : undefined);
  const content = mustCall === undefined ? text : undefined;
  const reasoning = format.reasoningPlace(prompt);
  return grammars.get(JSON.stringify([reasoning, content?.key, calls]), () =>
    format.turnExpression({
      reasoning,
      ...(content && { content: content.write() }),
      ...(calls && { calls }),
    }),
  );
}

function mayCall({ tools, mustCall }: ChatRequest): boolean {
  return tools.length > 0 || mustCall !== undefined;
}

/** A turn as a message of the conversation. */
function saidBy({ message, callIds }: ChatTurn): ChatMessage {
  const { content, reasoning, toolCalls } = message;
  const calls = toolCalls.map(({ name, argumentsText }, i) => {
    return { id: callIds[i], type: "function", function: { name, arguments: argumentsText } };
  });
  return {
    role: "assistant",
    content,
    ...(reasoning === "" ? {} : { reasoning_content: reasoning }),
    ...(calls.length > 0 ? { tool_calls: calls } : {}),
  };
}

/** A turn of the model. */
export class ChatTurn {
  /** Among the turns of the request. */
  readonly index: number;
  readonly tokens: DrawnToken[] = [];
  /** Of the calls, in their order. */
  readonly callIds: string[] = [];
  /** Why the engine stopped; undefined while it has not. */
  stopReason: FinishReason | undefined;
  readonly #newCallId: (index: number) => string;
  readonly #parallelCalls: boolean;
  readonly #stream: ResponseStream;
  /** Text in place of ids, where a stop string may cut it. */
  readonly #text: TokenText | undefined;

  constructor(
    index: number,
    served: Served,
    request: ChatRequest,
    prompt: readonly number[],
    newCallId: (index: number) => string,
  ) {
    const { format, tokenizer } = served;
    const { tools, parallelCalls, drawing } = request;
    const stopStrings = stopStringsOf(drawing);
    this.index = index;
    this.#newCallId = newCallId;
    this.#parallelCalls = parallelCalls;
    // The model's text as it is: greedy text is that of generate().
    const readCalls = mayCall(request);
    const verbatim = request.text !== undefined && !readCalls;
    this.#stream = format.stream({ prompt, tools, readCalls, verbatim, keepSpace: true });
    const endIds = new Set([...format.endIds, ...(drawing.stop_token_ids ?? [])]);
    const options = {
      skipSpecialTokens: format.family === "plain",
      stopStrings,
      endIds,
      keepStop: drawing.include_stop_str_in_output === true,
    };
    this.#text =
      stopStrings.length > 0 || drawing.stop_token_ids?.length ? new TokenText(tokenizer, options) : undefined;
  }

  push(token: DrawnToken): ChatDelta[] {
    this.tokens.push(token);
    return this.#kept(this.#stream.push(this.#text ? this.#text.push(token.id) : [token.id]));
  }

  end(reason: FinishReason): ChatDelta[] {
    this.stopReason = reason;
    const rest = this.#text ? this.#stream.push(this.#text.end()) : [];
    return this.#kept([...rest, ...this.#stream.end()]);
  }

  /** The message so far. */
  get message(): ParsedMessage {
    const { message } = this.#stream;
    return this.#parallelCalls ? message : { ...message, toolCalls: message.toolCalls.slice(0, 1) };
  }

  /** Whether calls were left out. */
  get hasDropped(): boolean {
    return this.#stream.message.toolCalls.length > this.message.toolCalls.length;
  }

  /** OpenAI's word for why it ended. A turn that was cut off may have calls that are whole. */
  get finishReason(): "stop" | "length" | "tool_calls" {
    if (this.stopReason === "length") return "length";
    return this.callIds.length > 0 ? "tool_calls" : "stop";
  }

  /** The pieces that count; a call that begins gets its id. */
  #kept(deltas: readonly ChatDelta[]): ChatDelta[] {
    const kept = deltas.filter((delta) => this.#parallelCalls || !("index" in delta) || delta.index === 0);
    for (const delta of kept) if (delta.type === "call") this.callIds[delta.index] = this.#newCallId(delta.index);
    return kept;
  }
}
