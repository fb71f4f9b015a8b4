// The turns of a rollout as a tree: a turn whose prompt begins with all ids up to the end of another is its child. They are linked by
// ids alone, so that a path through the tree is exactly what the policy saw, whatever a client has made of its messages.

import type { ChatMessage, ChatTool } from "../chat/chat-format.js";
import type { FinishReason, TokenIds } from "../types.js";

/** A turn that was drawn to its end. */
export interface Turn {
  readonly parent: Turn | undefined;
  /** Its prompt, behind what its parent ends in. */
  readonly given: TokenIds;
  readonly ids: TokenIds;
  /** [ids] in nats, at the sampling temperature. */
  readonly logprobs: readonly number[];
  /** [ids] see DrawnToken. */
  readonly policySteps: readonly (number | undefined)[];
  readonly finishReason: FinishReason;
  /** The id of the answer that it is, or is a part of. */
  readonly answerId: string;
  /** How many turns of the rollout were asked for before it. */
  readonly askedAs: number;
  /** How many turns of the rollout ended before it. */
  readonly endedAs: number;
  /** Whether the client has changed what its parent said. */
  readonly isDrifted: boolean;
  /** The messages behind those of its parent. Absent where the prompt was ids, or text. */
  readonly messages: readonly ChatMessage[] | undefined;
  readonly tools: readonly ChatTool[];
  /** Absent as `messages`. */
  said: ChatMessage | undefined;
  /** Whether a later request has it in its history. */
  isUsed: boolean;
  readonly children: Turn[];
}

export class TurnTree {
  readonly roots: Turn[] = [];

  /** The last turn that a prompt goes on from; of turns with the same ids, the one that ended last. */
  parentOf(prompt: TokenIds): Turn | undefined {
    return deepest(this.roots, prompt, 0)?.turn;
  }

  add(turn: Turn): void {
    (turn.parent?.children ?? this.roots).push(turn);
  }

  /** Takes out a turn that nothing went on from. */
  remove(turn: Turn): void {
    const siblings = turn.parent?.children ?? this.roots;
    const place = siblings.indexOf(turn);
    if (place >= 0) siblings.splice(place, 1);
  }

  /** All turns, parents before their children. */
  *[Symbol.iterator](): Generator<Turn, void, undefined> {
    const open = [...this.roots];
    for (let turn = open.pop(); turn !== undefined; turn = open.pop()) {
      yield turn;
      open.push(...turn.children);
    }
  }
}

interface Found {
  readonly turn: Turn;
  /** Tokens of the prompt up to its end. */
  readonly end: number;
}

/** Of two turns with the same prompt one may begin with the other, so that all are looked at. */
function deepest(turns: readonly Turn[], prompt: TokenIds, from: number): Found | undefined {
  let best: Found | undefined;
  for (const turn of turns) {
    const end = from + turn.given.length + turn.ids.length;
    if (!isPrefix(turn, prompt, from)) continue;
    const found = deepest(turn.children, prompt, end) ?? { turn, end };
    if (best === undefined || found.end >= best.end) best = found;
  }
  return best;
}

function isPrefix({ given, ids }: Turn, prompt: TokenIds, from: number): boolean {
  const middle = from + given.length;
  if (middle + ids.length > prompt.length) return false;
  // The drawn part differs more often than the given one.
  return ids.every((id, i) => id === prompt[middle + i]) && given.every((id, i) => id === prompt[from + i]);
}

/** Tokens and messages from the first of the conversation to the end of a turn. */
export function pathTo(turn: Turn | undefined): readonly Turn[] {
  const path: Turn[] = [];
  for (let next = turn; next !== undefined; next = next.parent) path.push(next);
  return path.reverse();
}

/** An order that depends on tokens alone, and not on which of parallel requests came first. */
export function byTokens(a: Turn, b: Turn): number {
  return compareIds(a.given, b.given) || compareIds(a.ids, b.ids) || a.endedAs - b.endedAs;
}

function compareIds(a: TokenIds, b: TokenIds): number {
  const first = a.findIndex((id, i) => id !== b[i]);
  if (first < 0) return a.length - b.length;
  return first < b.length ? (a[first] as number) - (b[first] as number) : 1;
}
