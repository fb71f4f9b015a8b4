// What an evaluation says in numbers, from how the completions of each problem did: pass@k, the majority's answer, means with their
// bootstrap intervals. Pure arithmetic on lists, one entry a problem; NaN stands for a value that is not known.

import { at } from "../at.js";
import { NumpyRandom } from "../dataset/numpy-random.js";
import { nanMean } from "../statistics.js";

/** A number with the interval in which it would be with other problems of the same kind, 95 times of 100. */
export interface Estimate {
  readonly value: number;
  readonly low: number;
  readonly high: number;
}

/** Draws of the bootstrap. */
export const RESAMPLES = 2000;
/** What the interval leaves out, at both ends together. */
const ALPHA = 0.05;

/**
 * The chance that at least one of k completions passes, estimated without bias from n of which c passed: 1 − C(n−c, k) / C(n, k)
 * (arXiv 2107.03374, section 2.1). `k` is at most `n`.
 */
export function passAtK(n: number, c: number, k: number): number {
  if (n - c < k) return 1;
  let failing = 1;
  for (let i = 0; i < k; i++) failing *= (n - c - i) / (n - i);
  return 1 - failing;
}

/**
 * The first of the completions that the majority agrees with. `votes` has for each the first that says the same, null for one that
 * says nothing, which has no vote; of answers with as many votes, the one that was said first wins. Undefined: nobody votes.
 */
export function majority(votes: readonly (number | null)[]): number | undefined {
  const counts = new Map<number, number>();
  for (const vote of votes) if (vote !== null) counts.set(vote, (counts.get(vote) ?? 0) + 1);
  let best: { readonly vote: number; readonly count: number } | undefined;
  for (const [vote, count] of counts) if (best === undefined || count > best.count) best = { vote, count };
  return best?.vote;
}

/** Which k are worth telling for n completions: 1, 2, 4, … and n. */
export function kValues(n: number): number[] {
  const powers = Array.from({ length: Math.floor(Math.log2(n)) + 1 }, (_, i) => 2 ** i);
  return [...new Set([...powers, n])];
}

/**
 * Means over the problems with their intervals, by the percentiles of resampled means (Efron's percentile bootstrap). A problem is
 * drawn with all its completions, so that completions of one problem do not count as if they were independent. All columns are
 * resampled together: NumPy's default_rng(seed).integers(0, problems, (RESAMPLES, problems)).
 */
export function bootstrapMeans<Name extends string>(
  columns: Readonly<Record<Name, readonly number[]>>,
  problems: number,
  seed: number,
): Record<Name, Estimate> {
  const random = new NumpyRandom(seed);
  const names = Object.keys(columns) as Name[];
  const means = new Map(names.map((name) => [name, [] as number[]]));
  const drawn = new Uint32Array(problems);
  for (let resample = 0; resample < RESAMPLES; resample++) {
    for (let i = 0; i < problems; i++) drawn[i] = random.integer(problems);
    for (const name of names) means.get(name)?.push(meanOf(columns[name], drawn));
  }
  const estimates = names.map((name) => [name, estimate(columns[name], means.get(name) ?? [])]);
  return Object.fromEntries(estimates) as Record<Name, Estimate>;
}

function meanOf(values: readonly number[], drawn: Uint32Array): number {
  let sum = 0;
  let known = 0;
  for (const i of drawn) {
    const value = at(values, i);
    if (Number.isNaN(value)) continue;
    sum += value;
    known++;
  }
  return sum / known;
}

function estimate(values: readonly number[], resampled: readonly number[]): Estimate {
  const sorted = resampled.filter((mean) => !Number.isNaN(mean)).sort((a, b) => a - b);
  return { value: nanMean(values), low: quantile(sorted, ALPHA / 2), high: quantile(sorted, 1 - ALPHA / 2) };
}

/** As numpy.quantile: linear between the neighbours. NaN of an empty list. */
function quantile(sorted: readonly number[], q: number): number {
  if (sorted.length === 0) return Number.NaN;
  const place = (sorted.length - 1) * q;
  const [below, above] = [Math.floor(place), Math.ceil(place)];
  return at<number>(sorted, below) + (at<number>(sorted, above) - at<number>(sorted, below)) * (place - below);
}
