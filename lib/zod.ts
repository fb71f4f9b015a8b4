// zod, loaded when the first schema is asked for: its hundred files would be half of what `import "grpo"` takes. As CommonJS,
// because a GRPOConfig is made without waiting.

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
