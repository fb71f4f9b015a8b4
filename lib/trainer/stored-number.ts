// Numbers in the JSON files of a checkpoint. JSON has neither NaN, for which null stands, nor infinities, which are written as
// texts: what a resumed run goes on with must be what was there.

import type * as Zod from "zod";
import type { ZodModule } from "../zod.js";

export type StoredNumber = number | null | "Infinity" | "-Infinity";

export function storeNumber(value: number): StoredNumber {
  if (Number.isFinite(value)) return value;
  if (Number.isNaN(value)) return null;
  return value > 0 ? "Infinity" : "-Infinity";
}

export function storedNumber(z: ZodModule): Zod.ZodType<number, StoredNumber> {
  const text = z.enum(["Infinity", "-Infinity"]);
  return z.union([z.number(), z.null(), text]).transform((value) => (value === null ? Number.NaN : Number(value)));
}
