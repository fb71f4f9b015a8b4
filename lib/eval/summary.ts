// From the completions of a task to its numbers: one value a problem for each metric, and their means with intervals. The same lines
// give the same numbers, whoever computes them: everything that counts is in completions.jsonl.

import { nanMean } from "../statistics.js";
import { bootstrapMeans, type Estimate, kValues, majority, passAtK } from "./estimators.js";
import type { CompletionLine } from "./records.js";

/** A completion passes with at least this score. */
export const PASSING_SCORE = 1;

/** The values of each metric, one a problem; NaN: not known, as of a problem with a completion that has no score. */
export type Columns = Readonly<Record<string, readonly number[]>>;

/** What one way of drawing (greedy, or so many samples) came to. */
export interface PassResult {
  /** Completions of each problem. */
  readonly completions: number;
  /** By name; see docs/evaluation.md. */
  readonly metrics: Readonly<Record<string, Estimate>>;
  /** Problems without a score, because a reward function abstained; they do not count in the means of scores. */
  readonly unscored: number;
}

/** `groups`: the lines of each problem, in the order of their samples. */
export function columnsOf(groups: readonly (readonly CompletionLine[])[], doSample: boolean): Columns {
  const count = groups[0]?.length ?? 0;
  const entries = groups.map((lines) => new Map([...scoresOf(lines, doSample, count), ...sharesOf(lines)]));
  const names = new Set(entries.flatMap((entry) => [...entry.keys()]));
  return Object.fromEntries([...names].map((name) => [name, entries.map((entry) => entry.get(name) ?? Number.NaN)]));
}

function scoresOf(lines: readonly CompletionLine[], doSample: boolean, count: number): [string, number][] {
  const scores = lines.map(({ score }) => score ?? Number.NaN);
  const isScored = !scores.some(Number.isNaN);
  const mean = isScored ? nanMean(scores) : Number.NaN;
  if (!doSample) return [["score", mean]];
  const passed = scores.filter((score) => score >= PASSING_SCORE).length;
  const passes = kValues(count).map((k): [string, number] => [
    `pass@${k}`,
    isScored ? passAtK(count, passed, k) : Number.NaN,
  ]);
  return [[`avg@${count}`, mean], ...passes, ...majorityOf(lines, count, isScored)];
}

function majorityOf(lines: readonly CompletionLine[], count: number, isScored: boolean): [string, number][] {
  if (lines.some(({ vote }) => vote === undefined)) return [];
  const winner = majority(lines.map(({ vote }) => vote ?? null));
  const score = winner === undefined ? 0 : lines[winner]?.score;
  return [[`maj@${count}`, isScored ? (score ?? Number.NaN) : Number.NaN]];
}

function sharesOf(lines: readonly CompletionLine[]): [string, number][] {
  const share = (of: (line: CompletionLine) => number) => nanMean(lines.map(of));
  const extra = [...new Set(lines.flatMap(({ scores }) => Object.keys(scores ?? {})))];
  const hasForm = lines.every(({ format }) => format !== undefined);
  return [
    ...extra.map((name): [string, number] => [name, share(({ scores }) => scores?.[name] ?? Number.NaN)]),
    ...(hasForm ? [["format", share(({ format }) => Number(format))] as [string, number]] : []),
    ["truncated", share(({ finish_reason }) => Number(finish_reason === "length"))],
    ["tokens", share(({ tokens }) => tokens ?? Number.NaN)],
  ];
}

export function passResult(
  groups: readonly (readonly CompletionLine[])[],
  doSample: boolean,
  seed: number,
): PassResult {
  const columns = columnsOf(groups, doSample);
  const unscored = groups.filter((lines) => lines.some(({ score }) => score === null)).length;
  return {
    completions: groups[0]?.length ?? 0,
    metrics: bootstrapMeans(columns, groups.length, seed),
    unscored,
  };
}
