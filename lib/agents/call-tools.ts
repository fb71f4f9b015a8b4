// The calls of a turn, run: whatever a tool does, the model gets a result. Results and errors are written as TRL 1.16 writes them,
// which is Python's str(); they come in the order of the calls.

import { GrpoError, reasonOf } from "../errors.js";
import { isJsonObject, type JsonObject } from "../json.js";
import { milliseconds } from "../rewards/failure.js";
import { repr, textOf, toValue } from "../tokenizer/jinja/values.js";
import type { Message } from "../types.js";
import { bindingError } from "./arguments.js";
import type { ReadyTool } from "./tool.js";

/** A call as a message has it. */
export interface CallOfMessage {
  readonly id: string;
  readonly function: { readonly name: string; readonly arguments: JsonObject };
}

export interface CallRules {
  readonly tools: ReadonlyMap<string, ReadyTool>;
  /** The conversation up to the calls. */
  readonly messages: readonly Message[];
  /** Seconds that a call may take; null: any time. */
  readonly timeout: number | null;
  readonly signal: AbortSignal;
}

export interface CallResult {
  /** The message that the model reads. */
  readonly message: Message;
  readonly failed: boolean;
  /** Whether the tool may still be at work. */
  readonly hangs: boolean;
}

/** All calls begin at once, in their order; the results are in that order too. Rejects with CANCELLED where the run is stopped. */
export function callTools(calls: readonly CallOfMessage[], rules: CallRules): Promise<CallResult[]> {
  return Promise.all(calls.map((call) => callTool(call, rules)));
}

/** What a call that took too long is rejected with. */
class TimedOut extends Error {}

async function callTool(
  { id, function: { name, arguments: given } }: CallOfMessage,
  rules: CallRules,
): Promise<CallResult> {
  const outcome = (content: string, error?: unknown): CallResult => ({
    message: { role: "tool", name, content, tool_call_id: id },
    failed: error !== undefined,
    hangs: error instanceof TimedOut,
  });
  try {
    const tool = rules.tools.get(name);
    if (tool === undefined) throw new Error(`Tool ${name} not found.`);
    return outcome(resultText(await withinTime(tool, given, id, rules)));
  } catch (error) {
    if (rules.signal.aborted) throw new GrpoError("CANCELLED", `stopped while the tool "${name}" was at work`);
    return outcome(`{'error': ${repr(reasonOf(error))}}`, error ?? new Error());
  }
}

async function withinTime(tool: ReadyTool, given: JsonObject, id: string, rules: CallRules): Promise<unknown> {
  const { signal, messages, timeout } = rules;
  signal.throwIfAborted();
  const limit = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  let onAbort = () => {};
  const interrupted = new Promise<never>((_, reject) => {
    onAbort = () => reject(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    if (timeout === null) return;
    timer = setTimeout(() => {
      const error = new TimedOut(`Tool ${tool.name} took longer than ${timeout} s.`);
      reject(error);
      limit.abort(error);
    }, milliseconds(timeout));
  });
  const options = { toolCallId: id, messages, abortSignal: AbortSignal.any([signal, limit.signal]) };
  try {
    return await Promise.race([runTool(tool, given, options), interrupted]);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", onAbort);
  }
}

async function runTool(
  tool: ReadyTool,
  given: JsonObject,
  options: Parameters<ReadyTool["execute"]>[1],
): Promise<unknown> {
  const unbound = bindingError(tool, given);
  if (unbound !== undefined) throw new TypeError(unbound);
  const checked = tool.checkInput === undefined ? { value: given } : await tool.checkInput(given);
  if ("problem" in checked) throw new TypeError(`${tool.name}() got invalid arguments: ${checked.problem}`);
  const result = await tool.execute(checked.value, options);
  return isAsyncIterable(result) ? lastOf(result) : result;
}

/** The AI SDK's tools may give preliminary results before the last one. */
async function lastOf(results: AsyncIterable<unknown>): Promise<unknown> {
  let last: unknown;
  for await (const result of results) last = result;
  return last;
}

function isAsyncIterable(value: unknown): value is AsyncIterable<unknown> {
  return typeof value === "object" && value !== null && Symbol.asyncIterator in value;
}

/** Parts of text, as MCP's tools and others give them, are their texts; anything else is as in Python. */
function resultText(result: unknown): string {
  if (Array.isArray(result) && result.length > 0 && result.every(isTextPart)) {
    return result.map(({ text }) => text).join("");
  }
  return textOf(toValue(result));
}

function isTextPart(part: unknown): part is { readonly text: string } {
  return isJsonObject(part) && part.type === "text" && typeof part.text === "string";
}
