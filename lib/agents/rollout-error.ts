// How rollouts of one's own fail.

import { GrpoError, reasonOf } from "../errors.js";
import type { FailureKind } from "../rewards/failure.js";

/** A rollout that failed, and how. */
export class RolloutError extends GrpoError {
  readonly kind: FailureKind;

  constructor(kind: FailureKind, message: string, options: { readonly hint?: string; readonly cause?: unknown } = {}) {
    super("ROLLOUT_FAILED", message, options);
    this.kind = kind;
  }
}

const TO_GO_ON = 'to go on after such failures, set onRewardError to "null" or to a number';

/** `what`: what the rollout did. */
export function invalidResult(what: string): RolloutError {
  return new RolloutError("invalid", `the rollout ${what}`, { hint: TO_GO_ON });
}

/** What a rollout threw, as a failure of it. */
export function thrownBy(cause: unknown, row: string): GrpoError {
  if (cause instanceof RolloutError) return cause;
  return new RolloutError("exceptions", `the rollout of ${row} threw: ${reasonOf(cause)}`, { cause, hint: TO_GO_ON });
}
