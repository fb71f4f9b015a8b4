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

/** Decodes what is read, encodes what is written. */
export function storedNumber(z: ZodModule): Zod.ZodType<number, StoredNumber> {
  const stored = z.union([z.number(), z.null(), z.enum(["Infinity", "-Infinity"])]);
  const number = z.custom<number>((value) => typeof value === "number");
  return z.codec(stored, number, {
    decode: (value) => (value === null ? Number.NaN : Number(value)),
    encode: storeNumber,
  });
}
