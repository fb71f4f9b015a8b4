// Mean and deviation of lists in which a value may be missing, which NaN stands for.

/** Mean of the values that are numbers; NaN if there is none. */
export function nanMean(values: Iterable<number>): number {
  let sum = 0;
  let known = 0;
  for (const value of values) {
    if (Number.isNaN(value)) continue;
    sum += value;
    known++;
  }
  return known > 0 ? sum / known : Number.NaN;
}

/** Standard deviation with ddof 1 of the values that are numbers; NaN for fewer than two, exactly 0 where all are equal. */
export function nanStd(values: Iterable<number>): number {
  const known = [...values].filter((value) => !Number.isNaN(value));
  if (known.length < 2) return Number.NaN;
  // Their mean, as it is rounded, may be another number.
  if (known.every((value) => value === known[0])) return 0;
  const mean = nanMean(known);
  return Math.sqrt(known.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (known.length - 1));
}
