// A chat format for a tokenizer: the family by its chat template, prompts through that template, responses through the family's reader.

import { checkOptionNames } from "../checks.js";
import { GrpoError } from "../errors.js";
import type { Expression } from "../grammar/expression.js";
import { isJsonObject } from "../json.js";
import { CHAT_TEMPLATE_OPTIONS, type ChatTemplateOptions } from "../tokenizer/chat-template.js";
import type { TokenIds } from "../types.js";
import { type CallableTool, callsExpression } from "./call-grammar.js";
import type {
  ChatDelta,
  ChatFamilyName,
  ChatFormat,
  ChatMessage,
  ChatTool,
  ContinuationOptions,
  ParsedMessage,
  ParseOptions,
  PreparedChat,
  ReasoningPlace,
  RenderOptions,
  ResponseStream,
  TurnForm,
} from "./chat-format.js";
import { idsBehindTurn } from "./continuation.js";
import { CHAT_FAMILIES, type ChatFamily, familyOf } from "./families.js";
import { literal, type Marker } from "./markers.js";
import { prepareChat, type TemplateNeeds, withResults } from "./prepare.js";
import { ResponseReader } from "./response-reader.js";
import { type ChatTokenizer, needsOf, templateSource, turnHeader } from "./template-needs.js";
import { markExpression, reasoningMarks, turnExpression } from "./turn-grammar.js";
import { argumentTypes } from "./typed-arguments.js";

/** Options of applyChatTemplate: as variables, which may come from a stranger's request, they would bring a template of his own. */
const NO_VARIABLES = new Set(
  [...CHAT_TEMPLATE_OPTIONS, "tokenize", "returnAssistantMask"].filter((name) => name !== "documents"),
);

/** Of `chatFormat`. */
export interface ChatFormatOptions {
  /** Default: by the chat template. */
  readonly family?: ChatFamilyName;
}

/**
 * The chat format of a model, by its tokenizer. Throws BAD_OPTION for a family that does not exist; a tokenizer without a chat
 * template can parse and not render.
 */
export function chatFormat(tokenizer: ChatTokenizer, options: ChatFormatOptions = {}): ChatFormat {
  checkOptionNames("chatFormat", options, ["family"]);
  const { family } = options;
  const known = family === undefined ? familyOf(templateSource(tokenizer)) : CHAT_FAMILIES.get(family);
  if (known === undefined) {
    throw new GrpoError("BAD_OPTION", `chatFormat: no family is called "${family}"`, {
      hint: `use one of ${[...CHAT_FAMILIES.keys()].join(", ")}`,
    });
  }
  return new TemplateChatFormat(tokenizer, known);
}

class TemplateChatFormat implements ChatFormat {
  readonly family: ChatFamilyName;
  readonly endIds: readonly number[];
  readonly #tokenizer: ChatTokenizer;
  readonly #family: ChatFamily;
  // Both undefined while nobody has asked.
  #headers: readonly string[] | undefined;
  #skipSpecialTokens: boolean | undefined;
  readonly #needs = new Map<boolean, TemplateNeeds>();

  constructor(tokenizer: ChatTokenizer, family: ChatFamily) {
    this.#tokenizer = tokenizer;
    this.#family = family;
    this.family = family.name;
    this.endIds = [...new Set([...tokenizer.eosTokenIds, ...this.#idsOf(family.ends)])].sort((a, b) => a - b);
  }

  prepare(messages: readonly ChatMessage[], tools?: readonly ChatTool[]): PreparedChat {
    return prepareChat(messages, tools, this.#needsOf(tools !== undefined && tools.length > 0));
  }

  render(messages: readonly ChatMessage[], options: RenderOptions = {}): number[] {
    const [prepared, how] = this.#forTemplate(messages, options);
    return this.#tokenizer.applyChatTemplate(prepared, { ...how, tokenize: true });
  }

  parse(output: TokenIds | string, options: ParseOptions = {}): ParsedMessage {
    const stream = this.stream(options);
    stream.push(output);
    stream.end();
    return stream.message;
  }

  stream({ prompt, tools, readCalls = true, verbatim = false, keepSpace }: ParseOptions = {}): ResponseStream {
    const reader = new ResponseReader(this.#family, {
      typed: argumentTypes(tools),
      readCalls: readCalls && !verbatim,
      verbatim,
      keepSpace: keepSpace ?? this.#family.openers.length === 0,
    });
    if (prompt !== undefined) reader.prime(this.#openTurn(prompt));
    this.#skipSpecialTokens ??= !this.#marksAreSpecial();
    return new TokenStream(reader, this.#tokenizer, {
      ends: new Set(this.endIds),
      skipSpecialTokens: this.#skipSpecialTokens,
    });
  }

  reasoningPlace(prompt: TokenIds | string): ReasoningPlace {
    if (this.#readerAt(prompt).isReasoning) return "open";
    if (this.#family.name === "gpt-oss") return "possible";
    const marks = reasoningMarks(this.#family);
    if (marks === undefined) return "none";
    // A model whose template knows of no reasoning has learnt none, though others of its family have.
    const template = templateSource(this.#tokenizer);
    if (!template.includes(marks.open) && !template.includes(marks.close)) return "none";
    // A prompt that has thought already, or has been told to think nothing, goes on with the answer.
    return this.#openTurn(prompt).includes(marks.close) ? "none" : "possible";
  }

  turnExpression({ reasoning, content, calls }: TurnForm): Expression {
    const tokens = { tokenOf: (mark: string) => this.#tokenWithoutText(mark) };
    const written =
      calls &&
      callsExpression(this.family, callableTools(calls.tools), calls.most, {
        mark: (name) => markExpression(tokens, name),
        template: templateSource(this.#tokenizer),
      });
    if (calls && !written && content === undefined) {
      throw new GrpoError(
        "BAD_INPUT",
        `a call cannot be asked for: the chat format "${this.family}" has no grammar of its calls`,
      );
    }
    return turnExpression(this.#family, { reasoning, content, calls: written }, tokens);
  }

  continuation(
    held: TokenIds,
    newMessages: readonly ChatMessage[],
    { tools, variables, turn }: ContinuationOptions = {},
  ): number[] | undefined {
    if (newMessages.length === 0) {
      throw new GrpoError("BAD_INPUT", "continuation: expected at least one new message, found none", {
        hint: "pass the results of tools, or what the user says next",
      });
    }
    const ids = idsBehindTurn({
      tokenizer: this.#tokenizer,
      newMessages: turn === undefined ? newMessages : withResults([turn, ...newMessages]).slice(1),
      render: (messages) => this.#tokenizer.applyChatTemplate(...this.#forTemplate(messages, { tools, variables })),
      ends: new Set([...this.endIds, ...this.#idsOf(this.#family.closers)]),
    });
    if (ids === undefined) return undefined;
    const last = held.at(-1);
    if (last === undefined || !this.endIds.includes(last)) return [...this.#closingIds(held), ...ids];
    // The sampled end token stands for the one that the template writes, unless that one also begins what follows.
    const begins = this.#idsOf(this.#family.endsThatBegin).includes(ids[0] as number);
    return ids[0] === last || !begins ? ids.slice(1) : ids;
  }

  #forTemplate(
    messages: readonly ChatMessage[],
    { tools, variables = {}, continueFinalMessage = false, addGenerationPrompt = !continueFinalMessage }: RenderOptions,
  ): [PreparedChat["messages"], ChatTemplateOptions] {
    const own = Object.keys(variables).find((name) => NO_VARIABLES.has(name));
    if (own !== undefined) {
      throw new GrpoError("BAD_OPTION", `"${own}" cannot be passed as a variable of the chat template`);
    }
    const chat = this.prepare(messages, tools);
    const template = { tools: chat.tools ?? null, addGenerationPrompt, continueFinalMessage };
    return [chat.messages, { ...variables, ...template }];
  }

  #needsOf(tools: boolean): TemplateNeeds {
    const known = this.#needs.get(tools) ?? needsOf(this.#tokenizer, this.#family, tools);
    this.#needs.set(tools, known);
    return known;
  }

  #idsOf(tokens: readonly string[]): number[] {
    return tokens.map((token) => this.#tokenizer.tokenToId(token)).filter((id) => id !== undefined);
  }

  /** What a prompt has written of the assistant's turn, behind the turn's header. */
  #openTurn(prompt: TokenIds | string): string {
    const text = typeof prompt === "string" ? prompt : this.#tokenizer.decode(prompt);
    this.#headers ??= [turnHeader(this.#tokenizer, this.#family), ...this.#family.continues].filter(
      (header) => header !== undefined,
    );
    const starts = this.#headers.map((header) => [text.lastIndexOf(header), header.length] as const);
    const ends = starts.filter(([at]) => at >= 0).map(([at, length]) => at + length);
    return ends.length === 0 ? "" : text.slice(Math.max(...ends));
  }

  /** Whether a mark of the family is a special token: then none can be left out while ids are decoded. */
  #marksAreSpecial(): boolean {
    const ids = this.#idsOf(this.#family.openers.flatMap(({ mark }) => mark.texts));
    return ids.some((id) => this.#tokenizer.decode([id], { skipSpecialTokens: true }) === "");
  }

  /** A reader that has read the turn that a prompt or held ids end in. */
  #readerAt(prompt: TokenIds | string): ResponseReader {
    const how = { typed: argumentTypes(undefined), readCalls: true, verbatim: false, keepSpace: false };
    const reader = new ResponseReader(this.#family, how);
    reader.prime(this.#openTurn(prompt));
    return reader;
  }

  #tokenWithoutText(mark: string): number | undefined {
    const id = this.#tokenizer.tokenToId(mark);
    if (id === undefined) return undefined;
    const { offsets } = this.#tokenizer.tokenBytes();
    return offsets[id] === offsets[id + 1] ? id : undefined;
  }

  /** What closes the reasoning of a turn that was cut off in it. */
  #closingIds(held: TokenIds): number[] {
    const reader = this.#readerAt(held);
    const close = reader.isReasoning ? this.#family.closeReasoning : undefined;
    return close === undefined ? [] : this.#tokenizer.encodeWithOffsets(close, { addSpecialTokens: false }).ids;
  }
}

/** Tools with a name; one without a schema takes no arguments. */
function callableTools(tools: readonly ChatTool[]): CallableTool[] {
  return tools.flatMap((tool) => {
    const { name, parameters } = isJsonObject(tool.function) ? tool.function : tool;
    if (typeof name !== "string") return [];
    const schema = isJsonObject(parameters) ? parameters : { properties: {} };
    return [{ name, parameters: { type: "object", ...schema } }];
  });
}

/** Ids as text to the reader, up to the first end token. */
class TokenStream implements ResponseStream {
  readonly #reader: ResponseReader;
  readonly #ends: ReadonlySet<number>;
  readonly #endMark: Marker;
  readonly #decoder: ReturnType<ChatTokenizer["decodeStream"]>;
  #ended = false;
  /** Text that may be the beginning of an end token, for callers that decode themselves. */
  #held = "";

  constructor(
    reader: ResponseReader,
    tokenizer: ChatTokenizer,
    { ends, skipSpecialTokens }: { readonly ends: ReadonlySet<number>; readonly skipSpecialTokens: boolean },
  ) {
    this.#reader = reader;
    this.#ends = ends;
    this.#endMark = literal(...[...ends].map((id) => tokenizer.decode([id])).filter((text) => text !== ""));
    this.#decoder = tokenizer.decodeStream({ skipSpecialTokens });
  }

  get message(): ParsedMessage {
    return this.#reader.message;
  }

  push(output: TokenIds | string): ChatDelta[] {
    if (this.#ended) return [];
    if (typeof output === "string") return this.#pushText(output);
    const end = output.findIndex((id) => this.#ends.has(id));
    const deltas = this.#reader.push(this.#decoder.push(end < 0 ? output : output.slice(0, end)));
    return end < 0 ? deltas : [...deltas, ...this.#finish(true)];
  }

  end(): ChatDelta[] {
    return this.#ended ? [] : this.#finish(false);
  }

  #pushText(text: string): ChatDelta[] {
    const all = this.#held + text;
    const end = this.#endMark.find(all);
    const until = end?.start ?? this.#endMark.pending(all);
    this.#held = end === undefined ? all.slice(until) : "";
    const deltas = this.#reader.push(all.slice(0, until));
    return end === undefined ? deltas : [...deltas, ...this.#finish(true)];
  }

  #finish(byToken: boolean): ChatDelta[] {
    this.#ended = true;
    return [...this.#reader.push(this.#decoder.end() + this.#held), ...this.#reader.end(byToken)];
  }
}
