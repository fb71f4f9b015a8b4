// What reward functions of the library need of the data set beside the completions.

import { GrpoError } from "../errors.js";
import { rewardArguments } from "./per-sample.js";

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
  throw new GrpoError("BAD_DATASET", `${needs}; found ${columns.length > 0 ? columns.join(", ") : "no columns"}`, {
    hint: `rename the one that has it: dataset.renameColumn("…", "${column}"); with removeUnusedColumns none is passed on`,
  });
}
