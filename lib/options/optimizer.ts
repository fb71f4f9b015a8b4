// The optimizers and the options of their steps, each in one place: the optim and optimArgs of GRPOConfig, the options of
// `optimizerStep`, what the engine is given and the estimate of memory are these tables. The engine's own are kOptimizers and
// OptimizerOptions in native/optim/optimizer.h, under the same names; each formula stands in the optimizer's file there.

import type * as Zod from "zod";
import { checkOneOf, show } from "../checks.js";
import { GrpoError } from "../errors.js";
import type { FieldTypes } from "../zod.js";
import { type GivenOptions, type OptionsSchema, optionsSchema, parseOptions, type ResolvedOptions } from "./fields.js";
import { renameKeys, toCamel, toSnake } from "./names.js";

interface OptimizerEntry {
  /** transformers' names of it in `optim`; muon is torch's. */
  readonly optim: readonly string[];
  /** Bytes that it remembers of each trained value, by the names that the engine and checkpoints have for it. */
  readonly stateBytes: Readonly<Record<string, number>>;
  /** What it has of its own, as torch.optim names it, in camelCase. */
  readonly own: (types: FieldTypes) => Zod.core.$ZodShape;
}

const nothing = () => ({});

/** Every optimizer, under its name in optimizerStep. */
export const optimizers = {
  adamw: {
    optim: ["adamw_torch_fused", "adamw_torch"],
    stateBytes: { adamw: 8 },
    own: nothing,
  },
  adamw_8bit: {
    optim: ["adamw_8bit", "adamw_bnb_8bit"],
    stateBytes: { adamw_8bit: 2.1 },
    own: nothing,
  },
  sgd: {
    optim: ["sgd"],
    // With a momentum it is another one to the engine, for it remembers something then.
    stateBytes: { sgd: 0, sgd_momentum: 4 },
    own: ({ z, ratio }: FieldTypes) => ({
      /** sgd: share of the last step's direction that is kept; 0: none. Default 0. */
      momentum: ratio.default(0),
      /** sgd: share of the gradient that the momentum leaves out. Default 0. */
      dampening: ratio.default(0),
      /** sgd: look ahead along the momentum; needs one, and no dampening. Default false. */
      nesterov: z.boolean().default(false),
    }),
  },
  adafactor: {
    optim: ["adafactor"],
    stateBytes: { adafactor: 0.1 },
    own: nothing,
  },
  muon: {
    optim: ["muon"],
    stateBytes: { muon: 4.5 },
    own: ({ z, count, ratio }: FieldTypes) => ({
      /** muon: share of the last step's direction that is kept. Default 0.95. */
      momentum: ratio.default(0.95),
      /** muon: look ahead along the momentum. Default true. */
      nesterov: z.boolean().default(true),
      /** muon: iterations that make the update orthogonal. Default 5. */
      nsSteps: count.default(5),
      /** muon: "match_rms_adamw": steps about as long as AdamW's. Default "match_rms_adamw" (torch's is "original"). */
      adjustLrFn: z.enum(["match_rms_adamw", "original"]).default("match_rms_adamw"),
    }),
  },
} as const satisfies Readonly<Record<string, OptimizerEntry>>;

type Entries = typeof optimizers;
export type OptimizerName = keyof Entries;
/** Under which the engine and checkpoints know it. */
export type NativeOptimizerName = { [Name in OptimizerName]: keyof Entries[Name]["stateBytes"] }[OptimizerName];
/** transformers' names, as GRPOConfig has them. */
export type OptimName = Entries[OptimizerName]["optim"][number];

const names = Object.keys(optimizers) as OptimizerName[];
export const optimNames = names.flatMap((name): readonly OptimName[] => optimizers[name].optim);

/** What every optimizer takes. */
export const stepFields = ({ z, ratio }: FieldTypes) => ({
  /** The first step decides which optimizer it is. Default "adamw". */
  optimizer: z.enum(names).default("adamw"),
  /** Rate of every parameter that has none of its own. Needed. */
  learningRate: z.number().min(0),
  /** LoRA+: the rate of B, magnitudes, biases and norms is learningRate times this. Default 1: off. */
  loraPlusRatio: z.number().min(0).default(1),
  /** LoRA+: the rate of LoRA pairs on the embedding. Default 0: learningRate. */
  loraPlusEmbeddingRate: z.number().min(0).default(0),
  /** Of AdamW, and of what Muon leaves to it. Default 0.9. */
  beta1: ratio.default(0.9),
  /** Of AdamW, and of what Muon leaves to it. Default 0.999. */
  beta2: ratio.default(0.999),
  /** Of AdamW, and of what Muon leaves to it. Default 1e-8. */
  epsilon: z.number().min(0).default(1e-8),
  /** Not of biases and norms. Default 0. */
  weightDecay: z.number().min(0).default(0),
  /** Global gradient norm limit; 0: none. Default 1. */
  maxGradNorm: z.number().min(0).default(1),
});

type StepFields = ReturnType<typeof stepFields>;
type Intersection<Union> = (Union extends unknown ? (one: Union) => void : never) extends (all: infer All) => void
  ? All
  : never;
type OwnFields = Intersection<ReturnType<Entries[OptimizerName]["own"]>>;

/** Options of one step; the other optimizers' own ones are refused. */
export type OptimizerStepOptions = GivenOptions<StepFields> & GivenOptions<OwnFields>;

/** As the engine takes them: what other optimizers have of their own is absent. */
export type NativeOptimizer = Omit<ResolvedOptions<StepFields>, "optimizer"> &
  Partial<ResolvedOptions<OwnFields>> & { optimizer: NativeOptimizerName };

type OwnOptions = Partial<ResolvedOptions<OwnFields>>;

/** One schema for each optimizer. */
function ofEach<T extends Zod.core.$ZodShape>(table: (name: OptimizerName, types: FieldTypes) => T) {
  const schemas = names.map((name) => [name, optionsSchema((types) => table(name, types))]);
  return Object.fromEntries(schemas) as Readonly<Record<OptimizerName, () => OptionsSchema<T>>>;
}

const stepSchemas = ofEach((name, types) => ({ ...stepFields(types), ...optimizers[name].own(types) }));
/** Under torch's names. */
const argsSchemas = ofEach((name, types) => renameKeys<Zod.core.$ZodType>(optimizers[name].own(types), toSnake));

/** Throws UNKNOWN_OPTION or BAD_OPTION, naming the option. */
export function toNativeOptimizer(options: OptimizerStepOptions): NativeOptimizer {
  const where = "optimizerStep";
  const name = checkOneOf(where, "optimizer", options.optimizer ?? "adamw", names);
  const step: ResolvedOptions<StepFields> & OwnOptions = parseOptions(where, stepSchemas[name](), options);
  checkTogether(where, name, step);
  return { ...step, optimizer: nativeName(name, step) };
}

/** The optimizer of that name in `optim`. */
export function optimizerOf(optim: OptimName): OptimizerName {
  const found = names.find((name) => (optimizers[name].optim as readonly string[]).includes(optim));
  if (found === undefined) throw new GrpoError("INTERNAL", `optim ${show(optim)} has no optimizer`);
  return found;
}

/** What it has of its own, given under torch's names (ns_steps). Throws UNKNOWN_OPTION or BAD_OPTION with these. */
export function ownOptions(where: string, name: OptimizerName, given: Readonly<Record<string, unknown>>): OwnOptions {
  const own: OwnOptions = renameKeys(parseOptions(where, argsSchemas[name](), given), toCamel);
  checkTogether(where, name, own);
  return own;
}

/** The name that the engine and checkpoints have for it. */
export function nativeName(name: OptimizerName, { momentum = 0 }: OwnOptions): NativeOptimizerName {
  return name === "sgd" && momentum > 0 ? "sgd_momentum" : name;
}

/** Bytes of memory for each trained value. */
export const stateBytes: Readonly<Record<NativeOptimizerName, number>> = Object.assign(
  {},
  ...names.map((name) => optimizers[name].stateBytes),
);

/** Whether the engine has one of that name. */
export function isNativeOptimizer(name: string | undefined): name is NativeOptimizerName {
  return name !== undefined && Object.hasOwn(stateBytes, name);
}

/** Options that are right each, and not together. */
function checkTogether(where: string, name: OptimizerName, { momentum, dampening, nesterov }: OwnOptions): void {
  if (name === "sgd" && nesterov && (momentum === 0 || dampening !== 0)) {
    throw new GrpoError("BAD_OPTION", `${where}: nesterov needs a momentum and no dampening`);
  }
}
