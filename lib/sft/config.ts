// SFTConfig: every option of supervised fine-tuning, checked. What there is to set is in config-fields.ts, and what TRL has and this
// version has not in config-unsupported.ts.

import { GrpoError } from "../errors.js";
import { checkRunOptions } from "../run/check-options.js";
import { readOptions } from "../run/read-options.js";
import { checkModelInit } from "../run/trained-model.js";
import { type SFTConfigFields, type SFTConfigOptions, schema } from "./config-fields.js";
import * as foreign from "./config-unsupported.js";

export type { SFTConfigFields, SFTConfigOptions } from "./config-fields.js";

const FieldHolder = class {
  constructor(values: SFTConfigFields) {
    Object.assign(this, values);
  }
} as new (
  values: SFTConfigFields,
) => Readonly<SFTConfigFields>;

/** Every option: TRL's names in camelCase with TRL's defaults, checked. docs/sft.md lists them. Throws UNKNOWN_OPTION or BAD_OPTION, naming the option. */
export class SFTConfig extends FieldHolder {
  /** What the plan prints about the options: those that change nothing here. */
  readonly notes: readonly string[];

  constructor(options: SFTConfigOptions = {}) {
    const { fields, notes } = readOptions(
      { config: "SFTConfig", schema: schema(), foreign },
      withCurrentNames(options),
    );
    const { activationCheckpointing, gradientCheckpointing } = fields;
    super({ ...fields, gradientCheckpointing: activationCheckpointing ?? gradientCheckpointing });
    this.notes = notes;
    // Out of everything that prints or saves a config.
    Object.defineProperty(this, "hubToken", { enumerable: false });
    checkCombinations(fields);
  }

  /** Rows of one optimizer step. */
  get rowsPerStep(): number {
    return this.perDeviceTrainBatchSize * this.gradientAccumulationSteps;
  }
}

/** TRL's earlier names of two values. */
const EARLIER: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  lossType: { chunked_nll: "nll" },
  packingStrategy: { "bfd-requeue": "bfd_split" },
};

function withCurrentNames(options: SFTConfigOptions): object {
  const renamed = Object.entries(EARLIER).flatMap(([name, values]) => {
    const given: unknown = Reflect.get(Object(options), name);
    const value = typeof given === "string" && Object.hasOwn(values, given) ? values[given] : undefined;
    return value === undefined ? [] : [[name, value]];
  });
  return renamed.length === 0 ? options : { ...options, ...Object.fromEntries(renamed) };
}

function checkCombinations(config: SFTConfigFields): void {
  checkModelInit("SFTConfig", config);
  checkRunOptions("SFTConfig", config);
  if (config.maxLength === null && (config.packing || config.evalPacking)) {
    throw new GrpoError("BAD_OPTION", "SFTConfig: packing needs the size of a packed row, and maxLength is null", {
      hint: "set maxLength, or packing to false",
    });
  }
}
