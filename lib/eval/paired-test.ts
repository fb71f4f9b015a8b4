// Whether two models differ on the same problems: the sign-flip permutation test. If they did not, each problem's difference could as
// well have had the other sign; p is the share of all such flips whose sum is as far from 0 as the one that was seen.
//
// It takes greedy scores and means of several completions alike. Where scores are 0 and 1 it is McNemar's exact test, to the last
// digit: problems on which both do the same drop out, and the sum of ±1 over the others is binomial. A test on the two means alone
// (a z-test, or whether two intervals overlap) would forget that the problems are the same, and see less.

import { NumpyRandom } from "../dataset/numpy-random.js";

/** How likely so large a difference is by chance, and how that was found. */
export interface PairedTest {
  /** Two-sided, in [0, 1]. */
  readonly p: number;
  /** Whether every flip was counted; else `FLIPS` were drawn. */
  readonly exact: boolean;
}

/** Flips that are drawn where they cannot all be counted. */
export const FLIPS = 10_000;
/** Differences of shares are multiples of 1 / (n m) for n and m completions; beyond this they are taken for any numbers. */
const FINEST_GRID = 4096;
/** Sums that are counted at most: a second or so. */
const MOST_WORK = 2e9;

/** Tests whether the differences (one a problem, NaN where it is not known) are centred on 0. `seed` is for differences on no grid. */
export function signFlipTest(differences: readonly number[], seed: number): PairedTest {
  const changed = differences.filter((difference) => !Number.isNaN(difference) && difference !== 0);
  const units = onGrid(changed);
  const total = units?.reduce((sum, unit) => sum + Math.abs(unit), 0) ?? 0;
  if (units === undefined || units.length * total > MOST_WORK) return { p: drawnFlips(changed, seed), exact: false };
  return { p: everyFlip(units, total), exact: true };
}

/** The differences as whole multiples of the coarsest step that they share; undefined where there is none. */
function onGrid(differences: readonly number[]): number[] | undefined {
  for (let steps = 1; steps <= FINEST_GRID; steps++) {
    const units = differences.map((difference) => Math.round(difference * steps));
    if (differences.every((difference, i) => Math.abs(difference * steps - (units[i] ?? 0)) < 1e-9 * steps))
      return units;
  }
  return undefined;
}

/** The distribution of the sum, one difference after another: half of it goes up, half of it down. */
function everyFlip(units: readonly number[], total: number): number {
  let chances = new Float64Array(2 * total + 1);
  chances[total] = 1;
  let reach = 0;
  for (const unit of units.map(Math.abs)) {
    const next = new Float64Array(chances.length);
    for (let sum = total - reach; sum <= total + reach; sum++) {
      const half = (chances[sum] ?? 0) / 2;
      if (half === 0) continue;
      next[sum + unit] = (next[sum + unit] ?? 0) + half;
      next[sum - unit] = (next[sum - unit] ?? 0) + half;
    }
    chances = next;
    reach += unit;
  }
  const seen = Math.abs(units.reduce((sum, unit) => sum + unit, 0));
  let p = 0;
  for (const [sum, chance] of chances.entries()) if (Math.abs(sum - total) >= seen) p += chance;
  return Math.min(1, p);
}

/** (1 + flips at least as far) / (1 + flips): the flip that was seen is one of them. NumPy's default_rng(seed).random(). */
function drawnFlips(differences: readonly number[], seed: number): number {
  const random = new NumpyRandom(seed);
  const seen = Math.abs(differences.reduce((sum, difference) => sum + difference, 0));
  let far = 1;
  for (let flip = 0; flip < FLIPS; flip++) {
    let sum = 0;
    for (const difference of differences) sum += random.random() < 0.5 ? -difference : difference;
    // Sums of the same numbers in other signs round apart.
    if (Math.abs(sum) >= seen * (1 - 1e-12)) far++;
  }
  return far / (FLIPS + 1);
}
