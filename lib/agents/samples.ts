// The turns of a rollout as samples. A sample is a path of turns that go on from each other; where a turn has several continuations, or a
// context was written anew, another sample begins, whose context holds what came before. So every drawn token counts in one sample, and
// no more.

import { at } from "../at.js";
import type { ChatMessage } from "../chat/chat-format.js";
import { traits } from "../endpoint/conversation-memory.js";
import { GrpoError } from "../errors.js";
import { isJsonObject } from "../json.js";
import type { Metrics } from "../log/metrics.js";
import type { Conversation, Sample } from "../rollout/sample.js";
import { SampleBuilder } from "../rollout/sample-builder.js";
import type { FinishReason, Message, TokenIds } from "../types.js";
import type { RewardedTurns } from "./turn-rewards.js";
import { byTokens, pathTo, type Turn, type TurnTree } from "./turn-tree.js";

/** The samples of a rollout, in an order that does not depend on which of parallel requests came first. */
export interface RolloutSamples {
  /** What was said before the completion. */
  readonly prompt: readonly Message[];
  readonly samples: readonly Sample[];
  readonly conversations: readonly Conversation[];
  /** What was said from the first turn on in the conversation that ended last. */
  readonly completion: readonly Message[];
  /** How that one ended. */
  readonly finishReason: FinishReason;
  /** How turns came to their contexts. */
  readonly counts: Metrics;
}

/** A path of turns that makes one sample. */
interface Chain {
  readonly turns: readonly Turn[];
  /** The turn that its first one goes on from, in another chain. */
  readonly from: Turn | undefined;
}

/** `decode`: the text of prompts that came as ids. `rewarded`: where turns have rewards of their own. */
export function samplesOf(tree: TurnTree, decode: (ids: TokenIds) => string, rewarded?: RewardedTurns): RolloutSamples {
  const chains = chainsOf(tree);
  const own = new Set([...tree].flatMap(({ said }) => (said ? [JSON.stringify(traits(said))] : [])));
  const isOwn = (message: ChatMessage) => own.has(JSON.stringify(traits(message)));
  const samples = chains.map((chain) => sampleOf(chain, rewarded));
  const conversations = chains.map((chain) => conversationOf(chain, chains, decode));
  const last = lastToEnd(chains);
  const messages = conversations[last]?.messages ?? [];
  const first = messages.findIndex((message, i) => conversations[last]?.sampled.includes(i) || isOwn(message));
  const begin = Math.max(0, first);
  return {
    prompt: messages.slice(0, begin),
    samples,
    conversations,
    completion: messages.slice(begin),
    finishReason: samples[last]?.finishReason ?? "stop",
    counts: countsOf(chains, isOwn),
  };
}

function chainsOf({ roots }: TurnTree): Chain[] {
  const chains: Chain[] = [];
  const heads = roots.toSorted(byTokens);
  for (const head of heads) {
    const turns: Turn[] = [];
    for (let turn: Turn | undefined = head; turn !== undefined; ) {
      turns.push(turn);
      const [next, ...others]: Turn[] = turn.children.toSorted(byTokens);
      heads.push(...others);
      turn = next;
    }
    chains.push({ turns, from: head.parent });
  }
  return chains;
}

function lastToEnd(chains: readonly Chain[]): number {
  const ends = chains.map(({ turns }) => Math.max(...turns.map(({ endedAs }) => endedAs)));
  return ends.indexOf(Math.max(...ends));
}

function sampleOf({ turns, from }: Chain, rewarded: RewardedTurns | undefined): Sample {
  const head = at(turns, 0);
  const context = pathTo(from).flatMap(({ given, ids }) => [...given, ...ids]);
  const builder = new SampleBuilder([...context, ...head.given]);
  for (const turn of turns) {
    if (turn !== head) builder.give(turn.given);
    builder.draw(turn.ids, turn.logprobs, turn.policySteps);
  }
  return builder.sample(
    at(turns, turns.length - 1).finishReason,
    rewarded && turns.map((turn) => rewarded.get(turn) ?? noPlace()),
  );
}

function noPlace(): never {
  throw new GrpoError("INTERNAL", "expected to know of every turn which it is");
}

function conversationOf({ turns, from }: Chain, chains: readonly Chain[], decode: (ids: TokenIds) => string) {
  const messages: Message[] = [];
  const sampled: number[] = [];
  for (const turn of [...pathTo(from), ...turns]) {
    messages.push(...(turn.messages ?? [{ role: "user", content: decode(turn.given) }]).map(plainMessage));
    if (turns.includes(turn)) sampled.push(messages.length);
    messages.push(plainMessage(turn.said ?? { role: "assistant", content: decode(turn.ids) }));
  }
  const branchOf = from && chains.findIndex((chain) => chain.turns.includes(from));
  return { messages, sampled, tools: at(turns, 0).tools, ...(branchOf === undefined ? {} : { branchOf }) };
}

/** A message with a text for its content, as reward functions and logs have messages. */
function plainMessage({ content, ...message }: ChatMessage): Message {
  const texts = Array.isArray(content) ? content.map((part) => (isJsonObject(part) ? (part.text ?? "") : part)) : [];
  return { ...message, content: typeof content === "string" ? content : texts.join("") };
}

function countsOf(chains: readonly Chain[], isOwn: (message: ChatMessage) => boolean): Metrics {
  const counts = { "rollout/continued": 0, "rollout/realigned": 0, "rollout/forked": 0 };
  const heads = chains.map(({ turns }) => at(turns, 0));
  for (const { turns, from } of chains) {
    const [head, ...others] = turns as [Turn, ...Turn[]];
    if (from !== undefined || isRewritten(head, heads, isOwn)) counts["rollout/forked"]++;
    for (const { isDrifted } of others) counts[isDrifted ? "rollout/realigned" : "rollout/continued"]++;
  }
  return counts;
}

/** Whether something of this rollout had been said before a turn that goes on from no other. */
function isRewritten(head: Turn, heads: readonly Turn[], isOwn: (message: ChatMessage) => boolean): boolean {
  if (head.messages) return head.messages.some((message) => message.role === "assistant" && isOwn(message));
  // Of a prompt that is ids it is known by where it begins.
  return heads.some(({ given }) => given.length < head.given.length && given.every((id, i) => id === head.given[i]));
}
