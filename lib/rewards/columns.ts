// What reward functions need of the data set beside the completions: said by the function, checked before a run, and read in a call.

import { GrpoError } from "../errors.js";
import type { AnyRewardFn } from "../types.js";
import { rewardArguments } from "./per-sample.js";

/** Says of a reward function which columns it cannot do without. */
export function needsColumns<Fn extends AnyRewardFn>(columns: readonly string[], fn: Fn): Fn {
  return Object.assign(fn, { columns });
}

/** Throws BAD_DATASET where a reward function needs another column than the ones that it is passed. */
export function checkNeededColumns(functions: readonly AnyRewardFn[], passed: readonly string[]): void {
  for (const fn of functions) {
    const { columns = [] } = fn as { readonly columns?: readonly string[] };
    const missing = columns.find((column) => !passed.includes(column));
    if (missing === undefined) continue;
    const message = `reward function "${fn.name}" needs the column "${missing}"; found ${listOf(passed)}`;
    throw new GrpoError("BAD_DATASET", message, { hint: renameHint(missing, passed) });
  }
}

const listOf = (columns: readonly string[]): string => (columns.length > 0 ? columns.join(", ") : "no columns");

function renameHint(column: string, found: readonly string[]): string {
  const from = found.length === 1 ? found[0] : "…";
  return `rename the one that has it: dataset.renameColumn("${from}", "${column}"); with removeUnusedColumns none is passed on`;
}

/** The values of a column, one for each completion. Throws BAD_DATASET, with the columns that there are, where there is no such one. */
export function requiredColumn(
  reward: string,
  batch: { readonly completions: readonly unknown[] },
  column: string,
): readonly unknown[] {
  const values: unknown = Reflect.get(batch, column);
  const size = batch.completions.length;
  if (Array.isArray(values) && values.length === size) return values;
  const needs = `rewards.${reward} needs the column "${column}", with one value for each completion`;
  if (Array.isArray(values)) {
    throw new GrpoError("BAD_DATASET", `${needs}; found ${values.length} values for ${size} completions`);
  }
  const columns = Object.keys(batch).filter((name) => !rewardArguments.has(name));
  throw new GrpoError("BAD_DATASET", `${needs}; found ${listOf(columns)}`, { hint: renameHint(column, columns) });
}
