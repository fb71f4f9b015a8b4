// Records one rollout: every turn that it draws through the endpoint, with the very ids, and what was asked and said. It also settles how
// turns are drawn (as the trainer samples, from seeds that depend on the rollout and the prompt alone) and which answers a client never
// had: those of requests that were cut off, and those of requests that came again.

import type { ChatMessage } from "../chat/chat-format.js";
import { ApiError } from "../endpoint/api-error.js";
import { traits } from "../endpoint/conversation-memory.js";
import type { DrawnToken, GenerationRequest, Sampling } from "../endpoint/generator.js";
import { callId } from "../endpoint/ids.js";
import type { AskedTurn, TurnRecorder, TurnRecording } from "../endpoint/turn-recorder.js";
import { GrpoError, type GrpoErrorCode } from "../errors.js";
import type { FinishReason, TokenIds } from "../types.js";
import { digest, numberFrom } from "./digest.js";
import { pathTo, type Turn, TurnTree } from "./turn-tree.js";

export interface RecorderOptions {
  /** How every turn is drawn, whatever its request says: the distribution that is trained. */
  readonly sampling: Sampling;
  /** New tokens of a turn at most. */
  readonly maxNewTokens: number;
  /** Ids that end a turn beside the endpoint's own. */
  readonly stopIds: readonly number[];
  /** What is drawn depends on it, on the prompt, and on how often that prompt was answered before. */
  readonly seed: number;
  /** The model whose turns are answered and not trained on. */
  readonly untrainedModel: string;
}

/** Why drawn tokens are not trained on. */
export const DROP_REASONS = ["cancelled", "repeated", "untrained_model"] as const;
export type DropReason = (typeof DROP_REASONS)[number];

/** What a rollout has drawn. */
export interface RecordedTurns {
  readonly tree: TurnTree;
  /** Tokens that are in no turn of the tree. */
  readonly dropped: Readonly<Record<DropReason, number>>;
  /** Requests that came again. */
  readonly repeated: number;
}

/** A request while it is drawn, and afterwards. */
interface Request {
  /** Aborted when its client has left. */
  readonly signal: AbortSignal;
  /** A digest of its ids. */
  readonly prompt: string;
  readonly parent: Turn | undefined;
  /** How many turns were asked for before it. */
  readonly askedAs: number;
  /** By the index of the turn in the request; those that ended are `turns`. */
  readonly drawn: DrawnToken[][];
  readonly turns: Turn[];
  isOpen: boolean;
  isAnswered: boolean;
}

export class RolloutRecorder implements TurnRecorder {
  readonly #options: RecorderOptions;
  readonly #tree = new TurnTree();
  /** By wording, in the order in which they ended. */
  readonly #saidBy = new Map<string, Turn[]>();
  /** Requests of which the client uses one answer: each but the last was sent again. By body and prompt, the newest of its kind. */
  readonly #questions = new Map<string, Request[]>();
  readonly #repeated: Request[][] = [];
  readonly #open = new Set<Request>();
  /** By prompt, how often it was answered, or is being answered. */
  readonly #answers = new Map<string, number>();
  readonly #dropped: Record<DropReason, number> = { cancelled: 0, repeated: 0, untrained_model: 0 };
  #recorded: RecordedTurns | undefined;
  #asked = 0;
  #ended = 0;
  #failure: unknown;

  constructor(options: RecorderOptions) {
    this.#options = options;
  }

  /** What the engine failed with, of its own accord. */
  get failure(): unknown {
    return this.#failure;
  }

  begin(asked: AskedTurn): TurnRecording {
    const { ids, signal } = asked.generation;
    const prompt = digest(ids);
    // Where a client has left, the engine may not have heard of it yet; what it asks now may be the same again.
    for (const request of this.#open) if (request.signal.aborted) this.#close(request);
    const answered = this.#answers.get(prompt) ?? 0;
    this.#answers.set(prompt, answered + 1);
    const seed = numberFrom([this.#options.seed, prompt, asked.generation.seed, answered]);
    const parent = this.#tree.parentOf(ids);
    if (parent) parent.isUsed = true;
    for (const turn of this.#repeatedBy(asked, parent)) turn.isUsed = true;
    const request: Request = {
      signal,
      prompt,
      parent,
      askedAs: this.#asked,
      drawn: Array.from({ length: asked.generation.count }, () => []),
      turns: [],
      isOpen: true,
      isAnswered: false,
    };
    this.#asked += asked.generation.count;
    this.#open.add(request);
    this.#ask(request, asked.isRetry, digest([asked.body, prompt]));
    return {
      generation: this.#asTrained(asked.generation, seed),
      callId: (turn, call) => callId(numberFrom([seed, turn, call])),
      token: (turn, token) => request.drawn[turn]?.push(token),
      // The history of every request, which is that of all before it, is not kept.
      end: (turn, reason) => this.#end(request, asked, turn, reason),
      said: (turn, message) => this.#said(request, turn, message),
      close: (error) => this.#close(request, error),
    };
  }

  /** Ends the recording: what is still being drawn is cut off. Asked again it says the same. */
  finish(): RecordedTurns {
    this.#recorded ??= this.#finish();
    return this.#recorded;
  }

  #finish(): RecordedTurns {
    for (const request of this.#open) this.#cutOff(request);
    const repeated = this.#repeated.flatMap(unusedTurns);
    for (const turn of repeated) {
      this.#tree.remove(turn);
      this.#dropped.repeated += turn.ids.length;
    }
    return {
      tree: this.#tree,
      dropped: this.#dropped,
      repeated: this.#repeated.reduce((sum, requests) => sum + requests.length - 1, 0),
    };
  }

  /** The turns whose messages a request has in its history, behind the one that its ids go on from: by wording, and by what came before. */
  #repeatedBy({ chat }: AskedTurn, parent: Turn | undefined): Turn[] {
    const messages = chat?.messages ?? [];
    const known = messagesUpTo(parent);
    return messages.flatMap((message, i) => {
      if (i < known || message.role !== "assistant") return [];
      const turns = this.#saidBy.get(wordingOf(message)) ?? [];
      // Ids of calls are in one turn only; the same text may be somebody else's.
      return Array.isArray(message.tool_calls) && message.tool_calls.length > 0
        ? turns
        : nearest(turns, messages.slice(0, i));
    });
  }

  #asTrained(generation: GenerationRequest, seed: number): GenerationRequest {
    const { sampling, maxNewTokens, stopIds } = this.#options;
    return {
      ...generation,
      sampling,
      maxNewTokens: Math.min(generation.maxNewTokens, maxNewTokens),
      stopIds: [...new Set([...generation.stopIds, ...stopIds])],
      seed,
      logprobs: true,
    };
  }

  /** Most clients send a request again without a word; one that is sent twice at the same time, or after its answer was used, is meant. */
  #ask(request: Request, isRetry: boolean, key: string): void {
    const before = this.#questions.get(key);
    const isSettled = ({ isOpen, turns }: Request) => !isOpen && !turns.some((turn) => turn.isUsed);
    if (before && (isRetry || before.every(isSettled))) {
      if (before.length === 1) this.#repeated.push(before);
      before.push(request);
    } else this.#questions.set(key, [request]);
  }

  #end(request: Request, asked: AskedTurn, index: number, finishReason: FinishReason): void {
    const { model, generation, chat, answerId } = asked;
    const { parent, drawn, turns, isOpen, signal } = request;
    const tokens = drawn[index];
    // Who has left is not answered: its tokens are cut off like those of a turn without an end.
    if (!isOpen || signal.aborted || tokens === undefined) return;
    drawn[index] = [];
    request.isAnswered = true;
    if (model === this.#options.untrainedModel) {
      this.#dropped.untrained_model += tokens.length;
      return;
    }
    const turn: Turn = {
      parent,
      given: behind(parent, generation.ids),
      ids: tokens.map(({ id }) => id),
      logprobs: tokens.map(({ logprob }) => logprobOf(logprob)),
      policySteps: tokens.map(({ policyStep }) => policyStep),
      finishReason,
      answerId,
      askedAs: request.askedAs + index,
      endedAs: this.#ended++,
      isDrifted: chat?.history === "drifted",
      messages: chat?.messages.slice(messagesUpTo(parent)),
      tools: chat?.tools ?? [],
      said: undefined,
      isUsed: false,
      children: [],
    };
    turns[index] = turn;
    this.#tree.add(turn);
  }

  #said({ turns }: Request, index: number, message: ChatMessage): void {
    const turn = turns[index];
    if (turn === undefined) return;
    turn.said = message;
    const wording = wordingOf(message);
    const others = this.#saidBy.get(wording);
    if (others) others.push(turn);
    else this.#saidBy.set(wording, [turn]);
  }

  #close(request: Request, error?: unknown): void {
    if (!request.isOpen) return;
    this.#cutOff(request);
    if (isOfTheEngine(error)) this.#failure ??= error;
    // Asked again, it is answered as it would have been.
    const { prompt, isAnswered } = request;
    if (!isAnswered) this.#answers.set(prompt, (this.#answers.get(prompt) ?? 1) - 1);
  }

  #cutOff(request: Request): void {
    request.isOpen = false;
    this.#open.delete(request);
    this.#dropped.cancelled += request.drawn.reduce((sum, tokens) => sum + tokens.length, 0);
  }
}

/** Of a request that was sent again, those that the client went on from; without any, those of the last one that was answered. */
function unusedTurns(requests: readonly Request[]): Turn[] {
  const answered = requests.filter(({ turns }) => turns.length > 0);
  const used = answered.filter(({ turns }) => turns.some((turn) => turn.isUsed));
  const kept = new Set(used.length > 0 ? used : answered.slice(-1));
  return answered.filter((request) => !kept.has(request)).flatMap(({ turns }) => turns.filter(Boolean));
}

/** Of turns that said the same, the one that said it after most of these messages, counted from the end; of several, the last. None that followed another message. */
function nearest(turns: readonly Turn[], before: readonly ChatMessage[]): Turn[] {
  const wanted = [START, ...before.map(wordingOf)];
  const shared = turns.map((turn) => {
    const found = [START, ...messagesBefore(turn).map(wordingOf)];
    const end = wanted.findLastIndex((wording, i) => wording !== found[found.length - wanted.length + i]);
    return wanted.length - 1 - end;
  });
  const most = Math.max(...shared);
  return most > 0 ? turns.slice(shared.lastIndexOf(most)).slice(0, 1) : [];
}

/** Stands before the first message of a conversation. */
const START = "";

function messagesBefore(turn: Turn): ChatMessage[] {
  return pathTo(turn).flatMap((other) => [
    ...(other.messages ?? []),
    ...(other !== turn && other.said ? [other.said] : []),
  ]);
}

function wordingOf(message: ChatMessage): string {
  return JSON.stringify(traits(message));
}

function behind(parent: Turn | undefined, prompt: TokenIds): TokenIds {
  return prompt.slice(pathTo(parent).reduce((sum, { given, ids }) => sum + given.length + ids.length, 0));
}

/** Messages of a conversation up to the end of a turn. */
function messagesUpTo(turn: Turn | undefined): number {
  return pathTo(turn).reduce((sum, { messages }) => sum + (messages === undefined ? 0 : messages.length + 1), 0);
}

function logprobOf(logprob: number | undefined): number {
  if (logprob !== undefined) return logprob;
  throw new GrpoError("INTERNAL", "expected a log-probability with every token that is recorded, found none");
}

/** What a request is to blame for, and what ends with it. */
const OF_REQUESTS: ReadonlySet<GrpoErrorCode> = new Set(["CANCELLED", "BAD_INPUT", "BAD_OPTION", "BAD_TEMPLATE"]);

function isOfTheEngine(error: unknown): boolean {
  if (error === undefined || error instanceof ApiError) return false;
  return !(error instanceof GrpoError && OF_REQUESTS.has(error.code));
}
