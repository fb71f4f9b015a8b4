// The two ways between messages and token ids of a model with a chat template: conversations as OpenAI's clients send them to
// prompts, and sampled ids to messages, whole or as they come. A conversation that goes on keeps its ids: what is new is appended.

import type { Expression } from "../grammar/expression.js";
import type { JsonObject } from "../json.js";
import type { Message, TokenIds } from "../types.js";

/** A message as clients send it: content may be text, parts with a `text`, null or absent; keys that are not known are passed over. */
export interface ChatMessage {
  readonly role: string;
  readonly content?: string | readonly unknown[] | null;
  readonly [key: string]: unknown;
}

/** A function that the model may call: `{ type: "function", function: { name, description, parameters } }`, or the inner object alone. */
export type ChatTool = JsonObject;

/** A call of a tool that the model wrote. */
export interface ToolCall {
  readonly name: string;
  /** Typed by the tool's JSON schema where the model's format writes values as plain text, or quotes a number. */
  readonly arguments: JsonObject;
  /** JSON text of the arguments: the model's own characters where it wrote JSON that needed no typing. */
  readonly argumentsText: string;
}

/** What the model said in a turn. */
export interface ParsedMessage {
  /** "" where it said nothing. Pieces of it around calls and reasoning are joined by a line end. */
  readonly content: string;
  /** "" where it did not think; joined in the same way. */
  readonly reasoning: string;
  /** In the order in which they were written. */
  readonly toolCalls: readonly ToolCall[];
  /** Calls that cannot be read; their text is part of the content. */
  readonly malformedCalls: number;
}

/** A piece of a message. Joined in order, the pieces of a stream are the message; a half marker is never among them. */
export type ChatDelta =
  | { readonly type: "content"; readonly text: string }
  | { readonly type: "reasoning"; readonly text: string }
  /** A call begins: sent once for each, before its arguments. `index` counts the calls of the message from 0. */
  | { readonly type: "call"; readonly index: number; readonly name: string }
  | { readonly type: "arguments"; readonly index: number; readonly text: string };

/** A message that is read while it is sampled. */
export interface ResponseStream {
  /**
   * The pieces that more ids complete, or more text for callers that decode themselves. A call comes once it is whole: one that
   * cannot be read is content, and what was sent cannot be taken back. What comes behind an end token is passed over.
   */
  push(output: TokenIds | string): ChatDelta[];
  /** The last pieces. */
  end(): ChatDelta[];
  /** What was read so far; the whole message after `end`. */
  readonly message: ParsedMessage;
}

/** How a response is read. */
export interface ParseOptions {
  /**
   * The ids (or text) of the prompt that was sampled from: a template may have opened the reasoning there. Default: the model wrote
   * all of its turn.
   */
  readonly prompt?: TokenIds | string;
  /** Their schemas say what arguments are. Default: arguments that are plain text stay text. */
  readonly tools?: readonly ChatTool[];
  /** Whether calls are read at all; false leaves them in the content. Default true. */
  readonly readCalls?: boolean;
  /**
   * Whether all that is no reasoning is content, whatever marks it has: a string in JSON may have any. Default false.
   */
  readonly verbatim?: boolean;
  /**
   * Whether a turn keeps the white space that it begins and ends with; beside reasoning and calls there is never any. Default false, as
   * in transformers, and true for "plain".
   */
  readonly keepSpace?: boolean;
}

/** How a conversation is rendered. */
export interface RenderOptions {
  readonly tools?: readonly ChatTool[];
  /** End with the header of an assistant turn. Default true, unless the last message is continued. */
  readonly addGenerationPrompt?: boolean;
  /** Leave the last message open, so that the model goes on with it. Default false. */
  readonly continueFinalMessage?: boolean;
  /** Variables of the chat template, such as `{ enable_thinking: false }`. Names of this library's own options are refused. */
  readonly variables?: JsonObject;
}

/** How a conversation is continued. */
export interface ContinuationOptions {
  readonly tools?: readonly ChatTool[];
  /** Variables of the chat template, the same as those of the first prompt. */
  readonly variables?: JsonObject;
  /** The message that `held` ends in, as the client has it: its calls name the tools of results, and give parallel results their order. */
  readonly turn?: ChatMessage;
}

/** A conversation as a chat template takes it. */
export interface PreparedChat {
  readonly messages: readonly Message[];
  readonly tools: readonly JsonObject[] | undefined;
}

/** Whether a turn thinks: it has begun to in its prompt, it may before its answer, or it does not. */
export type ReasoningPlace = "open" | "possible" | "none";

/** The form that a turn must have. */
export interface TurnForm {
  /** See `reasoningPlace`. */
  readonly reasoning: ReasoningPlace;
  /** What its content may be. Default: it has none. */
  readonly content?: Expression;
  /** Tools of which it calls from one to `most`, in place of content if that has a form too. Default: it calls none. */
  readonly calls?: { readonly tools: readonly ChatTool[]; readonly most: number };
}

/** A model's way of writing conversations. */
export interface ChatFormat {
  /** What calls and reasoning look like. */
  readonly family: ChatFamilyName;
  /** Ids that end a turn: stop at these. */
  readonly endIds: readonly number[];

  /**
   * Messages and tools in the form that the chat template needs: content as text, reasoning as `reasoning_content`, arguments as
   * objects (or as text, where the template wants that), no foreign keys. Throws BAD_INPUT for what has no such form: a part that is
   * no text, arguments that are no JSON object; BAD_TEMPLATE without a chat template.
   */
  prepare(messages: readonly ChatMessage[], tools?: readonly ChatTool[]): PreparedChat;

  /** Prompt ids of a conversation. Throws as `prepare`, and BAD_TEMPLATE where the template refuses. */
  render(messages: readonly ChatMessage[], options?: RenderOptions): number[];

  /** The message in sampled ids, up to the first end token; the same as all pieces of `stream`. */
  parse(output: TokenIds | string, options?: ParseOptions): ParsedMessage;

  /** The same, piece by piece. */
  stream(options?: ParseOptions): ResponseStream;

  /** What a turn behind this prompt does about reasoning. */
  reasoningPlace(prompt: TokenIds | string): ReasoningPlace;

  /**
   * A turn of this form as a grammar over the model's tokens; reasoning comes before it where the format has that. Throws BAD_INPUT for
   * calls alone of a family whose calls no grammar writes, and for schemas of tools that none can keep.
   */
  turnExpression(form: TurnForm): Expression;

  /**
   * The ids that continue a conversation: from the end of `held`, which ends in a turn that the model sampled (with its end token,
   * or cut off), to the next assistant turn, with new messages in between. `[...held, ...ids]` is the next prompt, and nothing in
   * `held` is tokenized again; what closes a turn that was cut off is among the ids. Undefined where the template's text after an
   * assistant turn cannot be told apart: then `render` the whole conversation.
   */
  continuation(
    held: TokenIds,
    newMessages: readonly ChatMessage[],
    options?: ContinuationOptions,
  ): number[] | undefined;
}

/** The families, by what their calls and reasoning look like. */
export type ChatFamilyName =
  /** `<tool_call>{"name", "arguments"}</tool_call>`: Qwen2.5, Qwen3, Hermes, SmolLM3. */
  | "hermes"
  /** `<function=…><parameter=…>` in `<tool_call>`: Qwen3-Coder, Qwen3.5 and later. */
  | "qwen3-coder"
  /** `{"name", "parameters"}` as it is: Llama 3.1 to 3.3. */
  | "llama3"
  /** `[TOOL_CALLS]`: Mistral, in both of its forms. */
  | "mistral"
  /** `<｜tool▁calls▁begin｜>`: DeepSeek V3, R1 and V3.1. */
  | "deepseek"
  /** `<arg_key>` and `<arg_value>` in `<tool_call>`: GLM 4.5 and later. */
  | "glm"
  /** `<|tool_call>call:…`: Gemma 4. */
  | "gemma4"
  /** `<|tool_call_start|>[f(x=1)]<|tool_call_end|>`: LFM2. */
  | "lfm2"
  /** Channels: gpt-oss. */
  | "gpt-oss"
  /** No calls; reasoning in `<think>`: any other chat template that has it. */
  | "think"
  /** Text alone: any other chat template, such as that of Gemma 3. */
  | "plain";
