// Statistics for the sampling tests: softmax, and Pearson's chi-square test of drawn tokens against a distribution.

export function softmax(logits: ArrayLike<number>, temperature = 1): number[] {
  const values = Array.from(logits);
  const largest = Math.max(...values);
  const weights = values.map((value) => Math.exp((value - largest) / temperature));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return weights.map((weight) => weight / total);
}

/**
 * Probability of a fit at least this bad if `draws` come from `probabilities`. Tokens expected fewer than five times share one
 * bin, as the chi-square approximation needs; a draw of a token without probability is impossible, so the result is then 0.
 */
export function chiSquarePValue(draws: readonly number[], probabilities: readonly number[]): number {
  const counts = probabilities.map(() => 0);
  for (const token of draws) counts[token] = (counts[token] ?? 0) + 1;
  if (probabilities.some((p, token) => p === 0 && counts[token] !== 0)) return 0;
  const expected = probabilities.map((p) => p * draws.length);
  const rare = { expected: 0, count: 0 };
  let statistic = 0;
  let bins = 0;
  expected.forEach((n, token) => {
    const count = counts[token] ?? 0;
    if (n < 5) {
      rare.expected += n;
      rare.count += count;
      return;
    }
    statistic += (count - n) ** 2 / n;
    bins++;
  });
  if (rare.expected > 0) {
    statistic += (rare.count - rare.expected) ** 2 / rare.expected;
    bins++;
  }
  return chiSquareTail(statistic, bins - 1);
}

/** P(X > x) for chi-square by the cube-root normal approximation (Wilson & Hilferty 1931). */
function chiSquareTail(x: number, degrees: number): number {
  const spread = 2 / (9 * degrees);
  return normalTail((Math.cbrt(x / degrees) - (1 - spread)) / Math.sqrt(spread));
}

/** P(Z > z), Abramowitz & Stegun 26.2.17; absolute error below 1e-7. */
function normalTail(z: number): number {
  if (z < 0) return 1 - normalTail(-z);
  const t = 1 / (1 + 0.2316419 * z);
  const series = t * (0.31938153 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))));
  return (Math.exp((-z * z) / 2) / Math.sqrt(2 * Math.PI)) * series;
}
