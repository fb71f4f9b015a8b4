// GRPOConfig: every training option, checked. What there is to set is in config-fields.ts, what contradicts each other in
// config-check.ts, and what TRL has and this version has not in config-unsupported.ts.

import { readOptions } from "../run/read-options.js";
import type { RewardBatch } from "../types.js";
import { adviceOn, checkCombinations } from "./config-check.js";
import { batchSizes, type GRPOConfigFields, type GRPOConfigOptions, schema } from "./config-fields.js";
import * as foreign from "./config-unsupported.js";

export type { GRPOConfigFields, GRPOConfigOptions } from "./config-fields.js";

const FieldHolder = class {
  constructor(values: GRPOConfigFields) {
    Object.assign(this, values);
  }
} as new (
  values: GRPOConfigFields,
) => Readonly<GRPOConfigFields>;

/**
 * Every training option: TRL's names in camelCase with TRL's defaults, checked. docs/configuration.md lists them. Throws
 * UNKNOWN_OPTION or BAD_OPTION, naming the option.
 *
 * @typeParam Batch - What its reward functions read, so that a trainer whose rows lack one of their columns does not compile.
 */
export class GRPOConfig<Batch = RewardBatch> extends FieldHolder {
  /** For the type checker alone: makes a config with other reward functions another type. */
  declare readonly batch?: (batch: Batch) => void;
  /** What the plan prints about the options: those that change nothing here, and combinations that are unusual. */
  readonly notes: readonly string[];

  constructor(options: GRPOConfigOptions<Batch> = {}) {
    const { fields: given, notes } = readOptions(
      { config: "GRPOConfig", schema: schema(), foreign },
      withScaleName(options),
    );
    const fields = withSecondNames(given);
    super(fields);
    this.notes = [...notes, ...adviceOn(fields)];
    // Out of everything that prints or saves a config.
    Object.defineProperty(this, "hubToken", { enumerable: false });
    checkCombinations(fields);
  }

  /** Slices of all ranks in one optimizer step. */
  get slicesPerStep(): number {
    return batchSizes(this).slicesPerStep;
  }

  /** Completions of one optimizer step, of all ranks. */
  get completionsPerStep(): number {
    return batchSizes(this).completionsPerStep;
  }

  /** stepsPerGeneration times the ranks, from whichever option says it. */
  get slicesPerGeneration(): number {
    return batchSizes(this).slicesPerGeneration;
  }

  /** Completions sampled at a time. */
  get completionsPerGeneration(): number {
    return batchSizes(this).completionsPerGeneration;
  }
}

/** What the second name of an option says, where it was written, is said by the first one too. */
function withSecondNames(fields: GRPOConfigFields): GRPOConfigFields {
  return {
    ...fields,
    gradientCheckpointing: fields.activationCheckpointing ?? fields.gradientCheckpointing,
    vllmImportanceSamplingClipMax: fields.vllmImportanceSamplingCap ?? fields.vllmImportanceSamplingClipMax,
  };
}

/** TRL also takes true and false for scaleRewards. */
function withScaleName(options: GRPOConfigOptions<never>): object {
  const scale = options?.scaleRewards;
  return typeof scale === "boolean" ? { ...options, scaleRewards: scale ? "group" : "none" } : options;
}
