// Numbers that depend on given values and on nothing else: seeds, and the ids of calls, which are the same when a rollout is drawn again.

import { createHash } from "node:crypto";

/** A short text that differs where the values do. */
export function digest(values: unknown): string {
  return createHash("sha256").update(JSON.stringify(values)).digest("base64");
}

/** A whole number from 0 to 2^48 − 1. */
export function numberFrom(values: readonly unknown[]): number {
  return createHash("sha256").update(JSON.stringify(values)).digest().readUIntBE(0, 6);
}
