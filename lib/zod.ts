// zod, loaded when the first schema is asked for: its hundred files would be half of what `import "grpo"` takes. As CommonJS,
// because a GRPOConfig is made without waiting.

import type * as Zod from "zod";
import { packageRequire } from "./package-files.js";

export type ZodModule = typeof import("zod");

export const zod = lazy((): ZodModule => packageRequire("zod"));

/** A schema that is built when it is first asked for. */
export function lazySchema<T>(build: (z: ZodModule) => T): () => T {
  return lazy(() => build(zod()));
}

function lazy<T>(make: () => T): () => T {
  let made: { readonly value: T } | undefined;
  return () => {
    made ??= { value: make() };
    return made.value;
  };
}

/** Kinds of values that tables of options have in common. */
export const fieldTypes = (z: ZodModule) => ({
  z,
  count: z.int().min(1),
  positive: z.number().positive(),
  ratio: z.number().min(0).max(1),
  /** In steps, or below 1 a share of all steps. */
  interval: z.number().positive(),
  /** null where it is left out. */
  optional: <T extends Zod.ZodType>(type: T) => type.nullish().transform((value) => value ?? null),
});
export type FieldTypes = ReturnType<typeof fieldTypes>;
