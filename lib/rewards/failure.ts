// The ways in which a call of a reward function fails, and the checks of what it returns and logs.

import { GrpoError, reasonOf } from "../errors.js";
import { toJson } from "../json.js";

/** How a reward function fails, as the metrics rewards/<function>/<kind> count it. */
export const failureKinds = ["exceptions", "timeouts", "invalid", "crashes"] as const;
export type FailureKind = (typeof failureKinds)[number];

export class RewardError extends GrpoError {
  readonly kind: FailureKind;

  constructor(kind: FailureKind, message: string, options: { readonly hint?: string; readonly cause?: unknown } = {}) {
    super(kind === "invalid" ? "BAD_REWARD" : "REWARD_FAILED", message, options);
    this.kind = kind;
  }
}

/** A time limit for setTimeout, which would ring at once with more than 31 bits of milliseconds. */
export function milliseconds(seconds: number): number {
  return Math.min(seconds * 1000, 2 ** 31 - 1);
}

/** What is logged beside the rewards goes into a file of JSON lines. */
export function checkJson(name: string, column: string, values: readonly unknown[]): void {
  try {
    toJson(values);
  } catch (cause) {
    throw new RewardError(
      "invalid",
      `reward function "${name}": logExtra("${column}") got what JSON cannot hold: ${reasonOf(cause).split("\n")[0]}`,
      { cause, hint: "log texts, numbers, booleans, and lists and objects of them" },
    );
  }
}

/** The rewards of `size` completions; true is 1 and false 0. Throws a RewardError that says what was found in their place. */
export function checkRewards(name: string, result: unknown, size: number): (number | null)[] {
  if (!Array.isArray(result)) {
    throw badReward(name, `returned ${describe(result)}, expected an array of ${size} numbers, booleans or nulls`);
  }
  if (result.length !== size) {
    throw badReward(name, `returned ${result.length} rewards for ${size} completions`);
  }
  return Array.from(result, (value: unknown, i) => {
    if (value === null) return null;
    if (typeof value === "boolean") return Number(value);
    if (typeof value === "number" && Number.isFinite(value)) return value;
    throw badReward(
      name,
      `returned ${describe(value)} for completion ${i} of ${size}, expected a finite number, a boolean or null`,
    );
  });
}

function badReward(name: string, what: string): RewardError {
  return new RewardError("invalid", `reward function "${name}" ${what}`, {
    hint: "return exactly one finite number or boolean per completion, or null to abstain",
  });
}

function describe(value: unknown): string {
  if (value === undefined) return "undefined";
  if (typeof value === "bigint") return `bigint ${value}n`;
  if (typeof value === "number" || typeof value === "symbol") return String(value);
  try {
    return `${typeof value} ${JSON.stringify(value)?.slice(0, 40) ?? ""}`.trim();
  } catch {
    // A value that refers to itself.
    return typeof value;
  }
}
