// In what two adapters of one model differ, by LoraConfig's options, whichever way these were written: as modules and ranks, a list of
// names and a pattern that mean the same are the same.

import { isDeepStrictEqual } from "node:util";
import { show } from "../../checks.js";
import type { LoraConfig } from "./lora.js";
import type { ResolvedLora } from "./lora-resolve.js";

/** What an option has become on the model. */
const RESOLVED: Readonly<Partial<Record<keyof LoraConfig, (lora: ResolvedLora) => unknown>>> = {
  r: ({ config }) => config.r,
  loraAlpha: ({ config }) => config.loraAlpha,
  targetModules: ({ spec }) => spec.targets.map(({ module }) => module),
  rankPattern: ({ config }) => config.rankPattern,
  alphaPattern: ({ config }) => config.alphaPattern,
  useRslora: ({ config }) => config.useRslora,
  useDora: ({ spec }) => spec.dora,
  bias: ({ spec }) => spec.biases,
  modulesToSave: ({ spec }) => spec.fullModules,
  trainableTokenIndices: ({ spec }) => spec.tokenRows,
  ensureWeightTying: ({ spec }) => spec.tieOutput,
  loraDropout: ({ spec }) => spec.dropout,
};

/** Options that only training knows. */
const OF_TRAINING: readonly string[] = ["loraDropout"];

/** "r 4, this run has 8" for each option that differs; `inTraining`: also those that change nothing in what the adapter computes. */
export function loraDifferences(
  stored: ResolvedLora,
  own: ResolvedLora,
  { who, inTraining }: { readonly who: string; readonly inTraining: boolean },
): string[] {
  const computed = ({ spec: { targets, dora, biases, fullModules, tokenRows, tieOutput } }: ResolvedLora) => {
    return [targets, dora, biases, fullModules, tokenRows, tieOutput];
  };
  const same = isDeepStrictEqual(computed(stored), computed(own));
  const names = Object.keys(RESOLVED) as (keyof LoraConfig)[];
  return names
    .filter((name) => (OF_TRAINING.includes(name) ? inTraining : !same))
    .filter((name) => !isDeepStrictEqual(RESOLVED[name]?.(stored), RESOLVED[name]?.(own)))
    .map((name) => `${name} ${show(stored.config[name])}, ${who} has ${show(own.config[name])}`);
}
