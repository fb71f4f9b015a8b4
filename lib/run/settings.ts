// The settings on which the numbers of a run depend, under the names of their options. A checkpoint keeps them; a run that goes on
// from it must have the same, but for those that give the learning rate, and the type of the weights: a change of these is said.

import { isDeepStrictEqual } from "node:util";
import { show } from "../checks.js";
import { GrpoError } from "../errors.js";
import type { Trainable } from "../model/learner.js";
import { optionsSchema, pickOptions } from "../options/fields.js";
import type { Checkpoint } from "./checkpoint.js";
import { nativeOptimizer, optimizerOptions } from "./optimizer.js";
import { lengthFields, optimizerFields, type RunOptions } from "./options.js";
import type { Settings } from "./state.js";

/** May be others in a run that goes on. */
const CHANGEABLE: readonly string[] = [
  "learningRate",
  "lrSchedulerType",
  "lrSchedulerKwargs",
  "warmupSteps",
  "loraplusLrRatio",
  "loraplusLrEmbedding",
  "maxSteps",
  "numTrainEpochs",
  "dtype",
];

const stepSchema = optionsSchema((types) => ({ ...lengthFields(types), ...optimizerFields(types) }));

/** Decide when a run gives up, or nothing. */
const WITHOUT: readonly string[] = ["maxBadSteps", "bf16"];

/** Those of any run. */
export function settingsOf(args: RunOptions, { dtype }: Trainable): Settings {
  const { optimizer: _, ...own } = optimizerOptions(args);
  const without = args.maxSteps > 0 ? [...WITHOUT, "numTrainEpochs"] : WITHOUT;
  const options = Object.entries(pickOptions(stepSchema(), args)).filter(([name]) => !without.includes(name));
  return {
    seed: args.seed,
    ...Object.fromEntries(options),
    // Two names of one optimizer, and its own options left out or written out, are the same.
    optim: nativeOptimizer(args),
    optimArgs: own,
    dtype,
  };
}

/**
 * What is to be said of settings that have changed since the checkpoint. Throws BAD_CHECKPOINT for changes with which a run cannot go
 * on. A setting that only one of the two has, as in a checkpoint of an earlier version, says nothing.
 */
export function compareSettings({ folder, state }: Checkpoint, now: Settings): string[] {
  const { settings: saved = {} } = state;
  const changed = Object.entries(now).filter(([name, value]) => {
    return Object.hasOwn(saved, name) && !isDeepStrictEqual(saved[name], asStored(value));
  });
  const refused = changed.filter(([name]) => !CHANGEABLE.includes(name));
  if (refused.length > 0) {
    const differences = refused.map(([name, value]) => `${name} ${show(saved[name])}, this run has ${show(value)}`);
    throw new GrpoError("BAD_CHECKPOINT", `${folder} was written with ${differences.join("; with ")}`, {
      hint: "resume with the settings that it was written with, or start a new run from its weights",
    });
  }
  return changed.map(([name, value]) => {
    return `note     ${name} is ${show(value)} from here on; the checkpoint was written with ${show(saved[name])}`;
  });
}

function asStored(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value));
}
