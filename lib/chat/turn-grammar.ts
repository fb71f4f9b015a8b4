// A whole turn of a model as a grammar: what it thinks, where its format has that, and then the answer that is asked for. As in vLLM,
// the form that is asked for begins after the reasoning.

import { choice, type Expression, optional, repeat, sequence, text, token, until } from "../grammar/expression.js";
import { ANY_TEXT } from "../grammar/regex.js";
import type { ReasoningPlace } from "./chat-format.js";
import type { ChatFamily } from "./families.js";

/** What may come in a turn. */
export interface TurnParts {
  readonly reasoning: ReasoningPlace;
  readonly content: Expression | undefined;
  readonly calls: Expression | undefined;
}

/** Marks as a tokenizer has them. */
export interface MarkTokens {
  /** The id of a mark that is a token without a text; undefined for one that is text. */
  tokenOf(mark: string): number | undefined;
}

export function markExpression({ tokenOf }: MarkTokens, mark: string): Expression {
  const id = tokenOf(mark);
  return id === undefined ? text(mark) : token(id);
}

export function turnExpression(
  family: ChatFamily,
  { reasoning, content, calls }: TurnParts,
  tokens: MarkTokens,
): Expression {
  const mark = (name: string) => markExpression(tokens, name);
  if (family.name === "gpt-oss") return harmonyTurn(mark, content, calls);
  const answer = choice(...[calls, content].filter((part) => part !== undefined));
  const marks = reasoningMarks(family);
  if (marks === undefined || reasoning === "none") return answer;
  const rest = sequence(upTo(marks.close, tokens), repeat(choice(text("\n"), text(" ")), 0, 4));
  if (reasoning === "open") return sequence(rest, answer);
  return sequence(optional(sequence(mark(marks.open), rest)), answer);
}

/** The texts that open and close what a family thinks. */
export function reasoningMarks({ openers }: ChatFamily): { readonly open: string; readonly close: string } | undefined {
  for (const { mark, region } of openers) {
    if (typeof region === "function" || region.kind !== "reasoning") continue;
    const [open, close] = [mark.texts[0], region.close.texts[0]];
    if (open !== undefined && close !== undefined) return { open, close };
  }
  return undefined;
}

function upTo(mark: string, tokens: MarkTokens): Expression {
  const id = tokens.tokenOf(mark);
  return id === undefined ? until(mark) : sequence(ANY_TEXT, token(id));
}

/** Channels: what is thought is a message of its own, in front of the answer's. */
function harmonyTurn(
  mark: (name: string) => Expression,
  content: Expression | undefined,
  calls: Expression | undefined,
): Expression {
  const open = (channel: string) => sequence(mark("<|channel|>"), text(channel), mark("<|message|>"));
  const thought = sequence(open("analysis"), ANY_TEXT, mark("<|end|>"), mark("<|start|>"), text("assistant"));
  const answer = content === undefined ? [] : [sequence(open("final"), content)];
  return sequence(optional(thought), choice(...answer, ...(calls === undefined ? [] : [calls])));
}
