// Rewards for the form of a completion, whatever it says. open-r1's are defined by its src/open_r1/rewards.py.

import type { RewardBatch } from "../types.js";
import { contentOf } from "./accuracy.js";

type Completions = Pick<RewardBatch, "completions">;

/** TRL's think_format_reward: 1 if the completion opens with one <think>…</think> block, and has no other <think>, else 0. */
export function thinkFormat({ completions }: Completions): number[] {
  const open = "<think>";
  return completions.map((completion) => {
    const text = contentOf(completion);
    const opens = text.startsWith(open) && !text.includes(open, open.length);
    return opens && text.includes("</think>", open.length) ? 1 : 0;
  });
}

/** Where the answer begins in a text that opens with <think>, </think>, <answer>, each on a line of its own; -1 without. */
function answerStart(text: string): number {
  const [open, turn] = ["<think>\n", "\n</think>\n<answer>\n"];
  const at = text.startsWith(open) ? text.indexOf(turn, open.length) : -1;
  return at < 0 ? -1 : at + turn.length;
}

/** Whether one of the lines behind a position is </answer>; the rest of its own line is none of them. */
function answerEnds(text: string, from: number): boolean {
  const end = "\n</answer>";
  return text.includes(`${end}\n`, from) || (text.endsWith(end) && text.length - end.length >= from);
}

/** open-r1's format_reward: 1 for <think>, <answer> and their ends, each on a line of its own, in this order. */
export function answerFormat({ completions }: Completions): number[] {
  return completions.map((completion) => {
    const text = contentOf(completion);
    const start = answerStart(text);
    return start >= 0 && answerEnds(text, start) ? 1 : 0;
  });
}

export interface CodeFormatOptions {
  /** The language of the code block, where the data set has no column `language`. Default "python". */
  readonly language?: string;
}

/** open-r1's code_format_reward: as answerFormat, with a fenced block of the language in the answer. */
export function codeFormat({ language = "python" }: CodeFormatOptions = {}) {
  return function codeFormat(batch: Completions & { readonly language?: readonly string[] }): number[] {
    return batch.completions.map((completion, i) => {
      const text = contentOf(completion);
      const fence = `\`\`\`${batch.language?.[i] ?? language}`;
      const start = answerStart(text);
      const open = start < 0 ? -1 : text.indexOf(fence, start);
      const close = open < 0 ? -1 : text.indexOf("```", open + fence.length);
      return close >= 0 && answerEnds(text, close + "```".length) ? 1 : 0;
    });
  };
}

/** open-r1's tag_count_reward: a quarter for each of the four tags of answerFormat that occurs exactly once. */
export function tagCount({ completions }: Completions): number[] {
  const tags = ["<think>\n", "\n</think>\n", "\n<answer>\n", "\n</answer>"];
  return completions.map((completion) => {
    const content = contentOf(completion);
    return tags.filter((tag) => content.split(tag).length === 2).length / 4;
  });
}

/** open-r1's reasoning_steps_reward: a third for each sign of a step (numbers, bullets, "First,"), at most 1. */
export function reasoningSteps({ completions }: Completions): number[] {
  const sign = /Step \p{Nd}+:|^\p{Nd}+\.|\n-|\n\*|First,|Second,|Next,|Finally,/gu;
  return completions.map((completion) => Math.min(1, (contentOf(completion).match(sign)?.length ?? 0) / 3));
}
