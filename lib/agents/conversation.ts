// One rollout with tools: the model's turns, the results between them, and what of it is a sample. The rules are those of TRL 1.16's
// _tool_call_loop: a result that does not fit ends the conversation where it stood, a turn that does not fit is cut.

import { at } from "../at.js";
import type { ChatFormat, ParsedMessage } from "../chat/chat-format.js";
import type { GenerationRequest, Generator } from "../endpoint/generator.js";
import { GrpoError } from "../errors.js";
import type { JsonObject } from "../json.js";
import type { Conversation as ConversationRecord, SampledRollout, SampledTurn } from "../rollout/sample.js";
import { SampleBuilder } from "../rollout/sample-builder.js";
import type { FinishReason, Message, TokenIds } from "../types.js";
import { type CallOfMessage, callTools } from "./call-tools.js";
import type { EnvironmentTurn } from "./environments.js";
import { describeTool, type ReadyTool } from "./tool.js";

/** What all conversations of a call have in common. */
export interface ConversationSetup {
  readonly format: ChatFormat;
  readonly generator: Generator;
  /** How turns are drawn. */
  readonly drawing: Pick<GenerationRequest, "sampling" | "stopIds" | "stopStrings" | "adapter">;
  /** Whether any conversation has tools: without them what looks like a call is text. */
  readonly hasTools: boolean;
  /** Tokens after the prompt at most, those of results counted. */
  readonly maxTokens: number;
  /** Rounds of calls at most; what is called after them stays unanswered. */
  readonly maxRounds: number;
  /** Seconds that a call may take; null: any time. */
  readonly toolTimeout: number | null;
  /** Variables of the chat template. */
  readonly variables: JsonObject;
  readonly signal: AbortSignal;
}

export interface ConversationStart {
  readonly prompt: readonly Message[];
  readonly promptIds: TokenIds;
  readonly tools: readonly ReadyTool[];
  /** The seed of a turn, counted from 0. */
  readonly seed: (turn: number) => number;
  /** The reward of a turn; null: it has none. Absent: no turn has one. */
  readonly turnReward?: ((turn: EnvironmentTurn) => Promise<number | null>) | undefined;
}

/** A rollout, and whether a tool of it may still be at work. */
export interface Conversation {
  readonly rollout: SampledRollout;
  readonly hangs: boolean;
}

/** A text of more characters for each token that is left does not fit: few tokens are longer, and no text is made of those. */
const LONGEST_TOKEN = 256;

export async function converse(setup: ConversationSetup, start: ConversationStart): Promise<Conversation> {
  const { maxTokens, maxRounds, hasTools } = setup;
  const definitions = start.tools.map(describeTool);
  const sample = new SampleBuilder(start.promptIds);
  const completion: Message[] = [];
  const counts = { calls: 0, failures: 0 };
  const turns: Pick<SampledTurn, "index" | "reward">[] = [];
  // Results that leave no room for a turn leave the completion cut off.
  let finishReason: FinishReason = "length";
  let hangs = false;
  for (let turn = 0; ; turn++) {
    const held = sample.ids;
    const room = maxTokens - (held.length - start.promptIds.length);
    if (room === 0) {
      finishReason = "length";
      break;
    }
    const drawn = await drawTurn(setup, held, room, start.seed(turn));
    sample.draw(drawn.ids, drawn.logprobs, drawn.policySteps);
    finishReason = drawn.finishReason;
    const parsed = setup.format.parse(drawn.ids, { prompt: held, tools: definitions, readCalls: hasTools });
    const message = messageOf(parsed, counts.calls);
    completion.push(message);
    const calls = turn < maxRounds ? (message.tool_calls ?? []) : [];
    const results = await callTools(calls, {
      tools: new Map(start.tools.map((tool) => [tool.name, tool])),
      messages: [...start.prompt, ...completion],
      timeout: setup.toolTimeout,
      signal: setup.signal,
    });
    const messages = results.map((result) => result.message);
    const reward = (await start.turnReward?.({ index: turn, message, results: messages })) ?? null;
    turns.push({ index: turn, reward });
    if (calls.length === 0) break;
    counts.calls += results.length;
    counts.failures += results.filter(({ failed }) => failed).length;
    hangs ||= results.some((result) => result.hangs);
    const ids = resultIds(setup, sample.ids, room - drawn.ids.length, { turn: message, messages, definitions });
    if (ids === undefined) break;
    sample.give(ids);
    completion.push(...messages);
  }
  const conversations = [recordOf(start.prompt, completion, definitions)];
  const drawn = sample.sample(finishReason, start.turnReward && turns);
  const rollout = { samples: [drawn], completion, conversations };
  return { rollout: hasTools ? { ...rollout, tools: counts } : rollout, hangs };
}

/** For logs: everything that was said. */
function recordOf(
  prompt: readonly Message[],
  completion: readonly Message[],
  tools: readonly JsonObject[],
): ConversationRecord {
  const messages = [...prompt, ...completion];
  const sampled = messages.flatMap(({ role }, i) => (role === "assistant" && i >= prompt.length ? [i] : []));
  return { messages, sampled, tools };
}

/** Tokens as they were drawn, with the log-probability of each, in nats. */
interface DrawnTurn {
  readonly ids: readonly number[];
  readonly logprobs: readonly number[];
  readonly policySteps: readonly (number | undefined)[];
  readonly finishReason: FinishReason;
}

/** A turn of at most so many tokens, and no more than the model has positions for. */
async function drawTurn(
  setup: ConversationSetup,
  ids: readonly number[],
  room: number,
  seed: number,
): Promise<DrawnTurn> {
  const drawn: number[] = [];
  const logprobs: number[] = [];
  const policySteps: (number | undefined)[] = [];
  let finishReason: FinishReason | undefined;
  const events = setup.generator.generate({
    ...setup.drawing,
    ids,
    count: 1,
    maxNewTokens: Math.min(room, setup.generator.maxPositions - ids.length),
    seed,
    logprobs: true,
    topLogprobs: 0,
    signal: setup.signal,
  });
  for await (const event of events) {
    if (event.type === "end") finishReason = event.finishReason;
    else {
      drawn.push(event.token.id);
      logprobs.push(logprobOf(event.token.logprob));
      policySteps.push(event.token.policyStep);
    }
  }
  if (finishReason === undefined) throw new GrpoError("INTERNAL", "a turn ended without a reason");
  return { ids: drawn, logprobs, policySteps, finishReason };
}

function logprobOf(logprob: number | undefined): number {
  if (logprob !== undefined) return logprob;
  throw new GrpoError("INTERNAL", "expected the log-probability of every drawn token, found a token without one");
}

interface AssistantMessage extends Message {
  readonly tool_calls?: readonly CallOfMessage[];
}

/** The message with TRL's keys, and ids: `calls` were there before. */
function messageOf({ content, reasoning, toolCalls }: ParsedMessage, calls: number): AssistantMessage {
  const called = toolCalls.map(({ name, arguments: values }, i) => ({
    id: `call_${calls + i}`,
    type: "function",
    function: { name, arguments: values },
  }));
  return {
    role: "assistant",
    content,
    ...(reasoning === "" ? {} : { reasoning_content: reasoning }),
    ...(called.length === 0 ? {} : { tool_calls: called }),
  };
}

interface Answered {
  readonly turn: Message;
  readonly messages: readonly Message[];
  readonly definitions: readonly JsonObject[];
}

/** What the template writes behind the turn. Undefined where it is more than the completion or the model has room for. */
function resultIds(
  { format, generator, variables }: ConversationSetup,
  held: readonly number[],
  room: number,
  { turn, messages, definitions }: Answered,
): TokenIds | undefined {
  const characters = messages.reduce((sum, { content }) => sum + content.length, 0);
  if (characters > room * LONGEST_TOKEN) return undefined;
  const ids = format.continuation(ended(held, format), messages, { tools: definitions, variables, turn });
  if (ids === undefined) throw noContinuation();
  return ids.length <= room && held.length + ids.length < generator.maxPositions ? ids : undefined;
}

/** As in TRL, no end token is put behind a turn that stopped without one. */
function ended(held: readonly number[], { endIds }: ChatFormat): readonly number[] {
  return endIds.includes(at(held, held.length - 1)) ? held : [...held, at(endIds, 0)];
}

export function noContinuation(): GrpoError {
  return new GrpoError(
    "BAD_TEMPLATE",
    "the chat template closes its turns with no token of its own, so that results of tools cannot be put behind a turn",
    { hint: "use a model whose template ends turns with a token, such as Qwen's <|im_end|>" },
  );
}
