// What stands between the marks of a call, read: one function for each way of writing a name and arguments. Each returns undefined for
// what is no call.

import { topLevelValues } from "../json.js";
import { isPythonSpace, trimText } from "../text.js";
import { isLiteralObject, type LiteralObject, LiteralReader, NotALiteral, readJson } from "./literals.js";

/** A call as it was written. */
export interface ReadCall {
  readonly name: string;
  readonly values: LiteralObject;
  /** The arguments' own text where that is JSON. */
  readonly json?: string;
}

/** What stood around the text of a call. */
export interface CallFrame {
  /** The text before it, in formats that name the tool there. */
  readonly header: string;
  /** Whether its closing mark came; else the turn was cut off in it or at its end. */
  readonly closed: boolean;
}

/** Reads the text between the marks. */
export type ReadCalls = (body: string, frame: CallFrame) => readonly ReadCall[] | undefined;

function strip(text: string): string {
  return trimText(text, isPythonSpace);
}

/** `{"name": …, "arguments": {…}}`; no arguments are `{}`. */
function jsonCall(text: string, key: "arguments" | "parameters" = "arguments"): ReadCall | undefined {
  const read = readJson(text);
  if (!isLiteralObject(read) || typeof read.name !== "string" || read.name === "") return undefined;
  const values = read[key] ?? {};
  if (!isLiteralObject(values)) return undefined;
  const [start, end] = topLevelValues(text).get(key) ?? [0, 0];
  const json = strip(text.slice(start, end));
  return { name: read.name, values, json: json === "" || json === "null" ? "{}" : json };
}

export function oneJsonCall(body: string): readonly ReadCall[] | undefined {
  const call = jsonCall(body);
  return call && [call];
}

/** Arguments alone. */
function argumentsCall(name: string, text: string): ReadCall | undefined {
  const json = strip(text);
  const values = json === "" ? {} : readJson(json);
  return isLiteralObject(values) && name !== "" ? { name, values, json: json || "{}" } : undefined;
}

/** The texts of JSON objects in a row; undefined where anything but the given separators is between them. */
function objectTexts(text: string, separator: RegExp): string[] | undefined {
  const texts: string[] = [];
  let depth = 0;
  let start = 0;
  let outside = 0;
  for (const { 0: token, index } of text.matchAll(/"(?:[^"\\]|\\[\s\S])*(?:"|$)|[{}]/g)) {
    if (token === "{" && depth++ === 0) {
      if (!separator.test(text.slice(outside, index))) return undefined;
      start = index;
    } else if (token === "}" && --depth === 0) {
      outside = index + 1;
      texts.push(text.slice(start, outside));
    }
    if (depth < 0) return undefined;
  }
  return depth === 0 && separator.test(text.slice(outside)) ? texts : undefined;
}

/** All of them, or undefined where one is undefined or there are none. */
function all<T>(items: readonly (T | undefined)[] | undefined): readonly T[] | undefined {
  if (items === undefined || items.length === 0) return undefined;
  return items.every((item) => item !== undefined) ? items : undefined;
}

/** `{"name": …, "parameters": {…}}`, several of them with ";" between. */
export function llamaCalls(body: string): readonly ReadCall[] | undefined {
  return all(objectTexts(body, /^[\s;,]*$/)?.map((text) => jsonCall(text, "parameters")));
}

const MISTRAL_CALLS = "[TOOL_CALLS]";
const MISTRAL_ARGUMENTS = "[ARGS]";

/** A list of `{"name", "arguments"}`, or for each call its name, [ARGS] and its arguments. */
export function mistralCalls(body: string): readonly ReadCall[] | undefined {
  if (!body.includes(MISTRAL_ARGUMENTS)) {
    const list = strip(body);
    if (!list.startsWith("[") || !list.endsWith("]")) return undefined;
    return all(objectTexts(list.slice(1, -1), /^\s*,?\s*$/)?.map((text) => jsonCall(text)));
  }
  return all(
    body.split(MISTRAL_CALLS).map((call) => {
      const [name = "", text] = call.split(MISTRAL_ARGUMENTS);
      // Some versions write an id for the call behind its name.
      return text === undefined ? undefined : argumentsCall(strip(name.split("[CALL_ID]")[0] ?? ""), text);
    }),
  );
}

const FENCE = "```";

/** `function<sep>name` and fenced JSON on the next line, or `name<sep>{…}`. */
export function deepseekCall(body: string): readonly ReadCall[] | undefined {
  const [before = "", after] = body.split("<｜tool▁sep｜>");
  if (after === undefined) return undefined;
  const text = strip(after);
  const line = text.indexOf("\n");
  const fenced = before.trim() === "function" && !text.startsWith("{");
  if (!fenced) return all([argumentsCall(strip(before), text)]);
  if (line < 0) return all([argumentsCall(text, "")]);
  return all([argumentsCall(strip(text.slice(0, line)), unfenced(strip(text.slice(line))))]);
}

function unfenced(text: string): string {
  if (!text.startsWith(FENCE) || !text.endsWith(FENCE)) return text;
  return text.slice(FENCE.length, -FENCE.length).replace(/^json/, "");
}

/** `<function=name>`, and for each argument `<parameter=key>` value `</parameter>`; values are text. */
export function xmlCall(body: string, { closed }: CallFrame): readonly ReadCall[] | undefined {
  if (!closed && !body.includes("</function>")) return undefined;
  const name = /^\s*<function=([^\n>]+)>/.exec(body);
  if (name?.[1] === undefined) return undefined;
  const values: [string, string][] = [];
  const open = /<parameter=([^>\n]+)>/g;
  open.lastIndex = name[0].length;
  for (let found = open.exec(body); found !== null; found = open.exec(body)) {
    const end = body.indexOf("</parameter>", open.lastIndex);
    if (end < 0) break;
    values.push([found[1] ?? "", strip(body.slice(open.lastIndex, end))]);
    open.lastIndex = end;
  }
  return [{ name: name[1], values: Object.fromEntries(values) }];
}

const VALUE_MARK = /^\s*<arg_value>/;

/** The name, and for each argument `<arg_key>` and `<arg_value>`; values are text. */
export function glmCall(body: string, { closed }: CallFrame): readonly ReadCall[] | undefined {
  if (!closed) return undefined;
  const [head = "", ...pairs] = body.split("<arg_key>");
  const name = strip(head);
  if (name === "" || /[\s<]/.test(name)) return undefined;
  const values: [string, string][] = [];
  for (const pair of pairs) {
    const [key = "", rest = ""] = splitOnce(pair, "</arg_key>");
    const mark = VALUE_MARK.exec(rest);
    const [value, behind] = splitOnce(rest.slice(mark?.[0].length), "</arg_value>");
    if (mark !== null && behind !== undefined) values.push([key, strip(value)]);
  }
  return [{ name, values: Object.fromEntries(values) }];
}

function splitOnce(text: string, mark: string): [before: string, after: string | undefined] {
  const at = text.indexOf(mark);
  return at < 0 ? [text, undefined] : [text.slice(0, at), text.slice(at + mark.length)];
}

const GEMMA_QUOTE = '<|"|>';
const BARE_KEY = /"(?:\\[\s\S]|[^"\\])*(?:"|$)|(?<=[{,])(\s*)([\p{L}\p{N}_]+)(\s*):/gu;

/** `call:name{key:value}`: JSON with bare keys, and marks in place of quotes. */
export function gemmaCall(body: string): readonly ReadCall[] | undefined {
  const brace = body.indexOf("{");
  const name = /^call:(\S+)$/.exec(body.slice(0, Math.max(brace, 0)))?.[1];
  if (name === undefined) return undefined;
  const parts = body.slice(brace).split(GEMMA_QUOTE);
  // Every second part is a string.
  const json = parts.map((part, i) => {
    if (i % 2 === 1) return JSON.stringify(part);
    return part.replace(BARE_KEY, (whole, before: string | undefined, key: string, behind: string) =>
      before === undefined ? whole : `${before}"${key}"${behind}:`,
    );
  });
  const values = readJson(json.join(""));
  return isLiteralObject(values) ? [{ name, values }] : undefined;
}

/** `[name(key=value, …), …]` with Python's literals. */
export function pythonCalls(body: string): readonly ReadCall[] | undefined {
  try {
    const reader = new LiteralReader(body);
    const calls: ReadCall[] = [];
    reader.expect("[");
    reader.items("]", () => {
      const name = reader.name();
      reader.expect("(");
      calls.push({ name, values: reader.entries(")", "=", () => reader.name(), 0) });
    });
    reader.end();
    return all(calls);
  } catch (thrown) {
    if (thrown instanceof NotALiteral) return undefined;
    throw thrown;
  }
}

/** Arguments alone, where a header names the tool: `to=functions.name`. */
export function channelCall(body: string, { header }: CallFrame): readonly ReadCall[] | undefined {
  return all([argumentsCall(recipientOf(header) ?? "", body)]);
}

/** The tool that a header of gpt-oss addresses. */
export function recipientOf(header: string): string | undefined {
  return /to=functions\.([^\s<]+)/.exec(header)?.[1];
}
