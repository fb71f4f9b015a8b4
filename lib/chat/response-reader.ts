// A model's turn, read from text as it comes: what is content, what reasoning, what calls. It knows marks and regions, and nothing of
// tokens or templates.

import { isPythonSpace, trimText } from "../text.js";
import type { ChatDelta, ParsedMessage, ToolCall } from "./chat-format.js";
import type { ChatFamily, Opener, Region } from "./families.js";
import { literalJson, plainObject } from "./literals.js";
import { type Found, literal, type Marker } from "./markers.js";
import type { ReadCall } from "./read-calls.js";
import type { TypeArguments } from "./typed-arguments.js";

/** Longer texts are read in pieces, so that a mark which does not come is not looked for in all of the rest again and again. */
const PIECE = 4096;

type TextKind = "content" | "reasoning";
type CallRegion = Extract<Region, { readonly kind: "call" }>;

export interface ReaderOptions {
  readonly typed: TypeArguments;
  readonly readCalls: boolean;
  /** Whether what has begun as content has no marks. */
  readonly verbatim: boolean;
  readonly keepSpace: boolean;
}

export class ResponseReader {
  readonly #family: ChatFamily;
  readonly #typed: TypeArguments;
  readonly #verbatim: boolean;
  /** The marks to look for outside of regions; those without a region are passed over. */
  readonly #marks: readonly { readonly mark: Marker; readonly region?: Opener["region"] }[];
  /** Text that may be part of a mark. */
  #buffer = "";
  /** Text before it that is no part of one and belongs to a call or a header, in pieces. */
  #kept: string[] = [];
  #region: Region | undefined;
  /** The opening mark of the region, and the header before it. */
  #opened = { mark: "", header: "" };
  #deltas: ChatDelta[] = [];
  readonly #content: TextPieces;
  readonly #reasoning = new TextPieces(false);
  #calls: ToolCall[] = [];
  #malformed = 0;

  constructor(family: ChatFamily, { typed, readCalls, verbatim, keepSpace }: ReaderOptions) {
    this.#family = family;
    this.#verbatim = verbatim && !family.headers;
    this.#typed = typed;
    this.#content = new TextPieces(keepSpace);
    const openers = family.openers.filter(({ region }) => {
      return readCalls || typeof region === "function" || region.kind !== "call";
    });
    this.#marks = readCalls ? [...openers, ...family.silent.map((mark) => ({ mark: literal(mark) }))] : openers;
  }

  get message(): ParsedMessage {
    return {
      content: this.#content.text,
      reasoning: this.#reasoning.text,
      toolCalls: [...this.#calls],
      malformedCalls: this.#malformed,
    };
  }

  /** Whether what comes next is reasoning. */
  get isReasoning(): boolean {
    return this.#region?.kind === "reasoning";
  }

  /** The beginning of the turn that the prompt wrote: it opens regions, and is no part of the message. */
  prime(text: string): void {
    this.push(text);
    this.#deltas = [];
    this.#content.forget();
    this.#reasoning.forget();
    this.#calls = [];
    this.#malformed = 0;
  }

  push(text: string): ChatDelta[] {
    for (let start = 0; start < text.length; ) {
      let end = start + PIECE;
      // Both halves of a character of two.
      if (/[\ud800-\udbff]/.test(text.charAt(end - 1))) end++;
      this.#buffer += text.slice(start, end);
      while (this.#advance());
      start = end;
    }
    return this.#taken();
  }

  /** `byToken`: an end token has ended the turn, and not a limit. */
  end(byToken: boolean): ChatDelta[] {
    const region = this.#region;
    const rest = this.#take(this.#buffer.length);
    if (region?.kind === "call") this.#closeCall(region, rest, "", byToken);
    else if (region !== undefined) this.#text(region.kind, rest);
    // What is left of a header is no text.
    else if (!this.#family.headers || !rest.includes("<|")) this.#text("content", rest);
    this.#send("content", this.#content.end());
    return this.#taken();
  }

  #taken(): ChatDelta[] {
    const taken = this.#deltas;
    this.#deltas = [];
    return taken;
  }

  /** One step through the buffer; false where more text is needed. */
  #advance(): boolean {
    if (this.#region === undefined) return this.#advanceOutside();
    const region = this.#region;
    const found = region.close?.find(this.#buffer);
    if (found === undefined) {
      const until = region.close?.pending(this.#buffer) ?? this.#buffer.length;
      return this.#wait(until, region.kind === "call" ? undefined : region.kind);
    }
    const body = this.#take(found.start);
    const mark = this.#take(found.end - found.start);
    if (region.kind === "call") this.#closeCall(region, body, mark, false);
    else {
      this.#text(region.kind, body);
      this.#pieces(region.kind).endPiece();
    }
    this.#region = undefined;
    return true;
  }

  #advanceOutside(): boolean {
    let first: { readonly at: Found; readonly region: Opener["region"] | undefined } | undefined;
    let pending = this.#buffer.length;
    for (const { mark, region } of this.#marks) {
      const at = mark.find(this.#buffer);
      if (at !== undefined && at.start < (first?.at.start ?? Number.POSITIVE_INFINITY)) first = { at, region };
      pending = Math.min(pending, mark.pending(this.#buffer));
    }
    const begins = this.#buffer.length - trimText(this.#buffer, isPythonSpace, "start").length;
    const isContent = this.#content.text !== "" || Math.min(pending, first?.at.start ?? pending) > begins;
    if (this.#verbatim && isContent) return this.#wait(this.#buffer.length, "content");
    // A mark that has begun before the first whole one may still be the first.
    if (first === undefined || pending < first.at.start) {
      return this.#wait(pending, this.#family.headers ? undefined : "content");
    }
    const before = this.#take(first.at.start);
    const mark = this.#take(first.at.end - first.at.start);
    if (!this.#family.headers) this.#text("content", before);
    if (first.region !== undefined) this.#enter(first.region, mark, this.#family.headers ? before : "");
    return true;
  }

  #enter(region: Opener["region"], mark: string, header: string): void {
    this.#opened = { mark, header };
    this.#region = typeof region === "function" ? region(header) : region;
    if (this.#region.kind === "reasoning") this.#content.endPiece();
  }

  /** What stands before `until` is text of a kind, or kept for the end of a call or a header. */
  #wait(until: number, kind: TextKind | undefined): false {
    const text = this.#buffer.slice(0, until);
    this.#buffer = this.#buffer.slice(until);
    if (kind === undefined) this.#kept.push(text);
    else this.#text(kind, text);
    return false;
  }

  /** What was kept, and the buffer up to `end`. */
  #take(end: number): string {
    const taken = this.#kept.join("") + this.#buffer.slice(0, end);
    this.#buffer = this.#buffer.slice(end);
    this.#kept = [];
    return taken;
  }

  /** `mark` is the closing one, "" where none came. */
  #closeCall(region: CallRegion, body: string, mark: string, ended: boolean): void {
    const { mark: open, header } = this.#opened;
    const frame = { header, closed: mark !== "" };
    const calls =
      ended && !region.endsWithTurn ? undefined : region.read(region.markIsBody ? open + body : body, frame);
    if (calls === undefined) {
      this.#malformed++;
      this.#text("content", header + open + body + mark);
      return;
    }
    this.#content.endPiece();
    for (const call of calls) this.#call(call);
  }

  #call({ name, values, json }: ReadCall): void {
    const typed = this.#typed(name, values);
    const text = typed === values && json !== undefined ? json : literalJson(typed);
    const index = this.#calls.length;
    this.#calls.push({ name, arguments: plainObject(typed), argumentsText: text });
    this.#deltas.push({ type: "call", index, name }, { type: "arguments", index, text });
  }

  #pieces(kind: TextKind): TextPieces {
    return kind === "content" ? this.#content : this.#reasoning;
  }

  #text(kind: TextKind, text: string): void {
    this.#send(kind, this.#pieces(kind).add(text));
  }

  #send(kind: TextKind, text: string): void {
    if (text === "") return;
    const last = this.#deltas.at(-1);
    if (last?.type === kind) this.#deltas.splice(-1, 1, { type: kind, text: last.text + text });
    else this.#deltas.push({ type: kind, text });
  }
}

/** Text in pieces, each without white space at its ends, with a line end between two. */
class TextPieces {
  text = "";
  /** White space that belongs to the text if more comes. */
  #space: string[] = [];
  #begun = false;
  /** Whether nothing but white space has come since the turn began. */
  #first = true;

  /** `keepSpace`: that at the very beginning and the very end is text. */
  constructor(private readonly keepSpace: boolean) {}

  /** What is certain now. */
  add(text: string): string {
    const end = trimText(text, isPythonSpace, "end");
    if (end === "") {
      this.#space.push(text);
      return "";
    }
    const keeps = this.#begun || (this.#first && this.keepSpace);
    const body = keeps ? this.#space.join("") + end : trimText(end, isPythonSpace, "start");
    const before = this.#begun || this.text === "" ? "" : "\n";
    this.#space = [text.slice(end.length)];
    this.#begun = true;
    this.#first = false;
    this.text += before + body;
    return before + body;
  }

  endPiece(): void {
    this.#begun = false;
    this.#first = false;
    this.#space = [];
  }

  /** The white space that the turn ends with. */
  end(): string {
    const space = this.keepSpace && (this.#begun || this.#first) ? this.#space.join("") : "";
    this.text += space;
    return space;
  }

  /** What was said so far is not part of the text. */
  forget(): void {
    this.text = "";
  }
}
