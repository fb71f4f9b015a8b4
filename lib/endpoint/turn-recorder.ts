// What a session that is recorded asks of its recorder. A rollout of a trainer is such a session: how its turns are drawn is the
// trainer's business, and every token that is drawn goes into the recorder with what was asked and said. The endpoint knows no more of it.

import type { ChatMessage, ChatTool } from "../chat/chat-format.js";
import type { JsonObject } from "../json.js";
import type { FinishReason } from "../types.js";
import type { DrawnToken, GenerationRequest } from "./generator.js";

/** How the conversation of a request is known. */
export type History =
  /** Not as one that goes on from a turn of this session. */
  | "unknown"
  /** It repeats what was answered. */
  | "same"
  /** The client has changed what it was answered (arguments written anew, reasoning dropped, space trimmed); the ids are those that were drawn. */
  | "drifted";

/** A request that is about to be drawn. */
export interface AskedTurn {
  readonly generation: GenerationRequest;
  /** The id of the answer, which the client is told. */
  readonly answerId: string;
  /** The model's name, as the client gave it. */
  readonly model: string;
  /** The request as it came: one that equals an earlier one may be its repetition. */
  readonly body: JsonObject;
  /** Whether the client says that it has sent it before. */
  readonly isRetry: boolean;
  /** Absent where the prompt is ids, or text. */
  readonly chat?: {
    readonly messages: readonly ChatMessage[];
    readonly tools: readonly ChatTool[];
    readonly history: History;
  };
}

/** A request while it is recorded. */
export interface TurnRecording {
  /** What is drawn in place of what was asked for. */
  readonly generation: GenerationRequest;
  /** The id of a call, by the index of the turn in the request and of the call in the turn. */
  callId(turn: number, call: number): string;
  token(turn: number, token: DrawnToken): void;
  /** The turn has ended; told before the client is. */
  end(turn: number, reason: FinishReason): void;
  /** What the turn said, as the client is answered; told after its end. */
  said(turn: number, message: ChatMessage): void;
  /** Nothing more comes; turns without an end were cut off. `error`: what the engine failed with. */
  close(error?: unknown): void;
}

/** Who keeps what a session draws. */
export interface TurnRecorder {
  begin(asked: AskedTurn): TurnRecording;
}
