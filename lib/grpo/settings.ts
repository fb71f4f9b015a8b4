// Which of GRPO's settings decide the numbers of a run, so that a run which goes on from a checkpoint must have the same; and whether the
// rows it has can be those that the checkpoint's run had.

import { GrpoError } from "../errors.js";
import { optionsSchema, pickOptions } from "../options/fields.js";
import { lossFields } from "../options/loss.js";
import type { RowSource } from "../rollout/prompts.js";
import type { Checkpoint } from "../run/checkpoint.js";
import { nativeOptimizer } from "../run/optimizer.js";
import type { Settings } from "../run/state.js";
import { lazySchema } from "../zod.js";
import type { GRPOConfig } from "./config.js";
import {
  asynchronousFields,
  batchFields,
  correctionFields,
  lossControlFields,
  rewardFields,
  rowFields,
  samplingFields,
  toolFields,
} from "./config-fields.js";
import type { TrainingPlan } from "./plan.js";

const numberSchema = optionsSchema((types) => {
  const { scaleRewards, multiObjectiveAggregation, turnAdvantageCoef } = rewardFields(types);
  const { maxToolCallingIterations } = toolFields(types);
  return {
    ...batchFields(types),
    ...rowFields(types),
    ...samplingFields(types),
    maxToolCallingIterations,
    ...asynchronousFields(types),
    ...correctionFields(types),
    ...lossFields(types),
    ...lossControlFields(types),
    scaleRewards,
    multiObjectiveAggregation,
    turnAdvantageCoef,
  };
});

/** Only for evaluations, or another name of one that is here, or what decides how and not what is computed. */
const WITHOUT: readonly string[] = [
  "numGenerationsEval",
  "generationBatchSize",
  "removeUnusedColumns",
  "graphCapture",
  "vllmImportanceSamplingCap",
];

export function settingsOf(
  args: GRPOConfig,
  rewardWeights: readonly number[],
  { stream }: RowSource<unknown>,
): Settings {
  const options = Object.entries(pickOptions(numberSchema(), args)).filter(([name]) => !WITHOUT.includes(name));
  return {
    ...Object.fromEntries(options),
    // Of all ranks: a run may go on with more or fewer.
    gradientAccumulationSteps: args.slicesPerStep,
    stepsPerGeneration: args.slicesPerGeneration,
    rewardWeights,
    trainDataset: stream ? "a stream" : "a table",
  };
}

/** How many rows a run may be trained on, and whether these are all. */
export interface RowsRead {
  readonly count: number;
  readonly all: boolean;
}

const rowsSchema = lazySchema((z) =>
  z.object({ rows: z.object({ count: z.int().min(0), all: z.boolean() }).optional() }),
);

export function rowsRead({ stream }: RowSource<unknown>, count: number): RowsRead {
  return { count, all: stream?.ended ?? true };
}

/** Throws BAD_CHECKPOINT where the data cannot be what it was. */
export function checkRows({ folder, state }: Checkpoint, args: GRPOConfig, now: RowsRead): void {
  const saved = rowsSchema().safeParse(state).data?.rows;
  if (saved === undefined || canBeSame(saved, now, args)) return;
  const text = ({ count, all }: RowsRead) => `${count} rows${all ? "" : " of a stream"}`;
  throw new GrpoError("BAD_CHECKPOINT", `${folder} was written with ${text(saved)}, this run has ${text(now)}`, {
    hint: "resume with the same data, or start a new run from its weights",
  });
}

/**
 * Of a stream that goes on behind what was read, a run may read more or less than the one before, unless the rows that are used are chosen
 * among all that were read.
 */
function canBeSame(saved: RowsRead, now: RowsRead, { dynamicSampling, promptOverflow }: GRPOConfig): boolean {
  const chosen = dynamicSampling || promptOverflow === "drop";
  if (saved.all === now.all && (saved.all || chosen)) return saved.count === now.count;
  if (chosen) return false;
  if (saved.all) return now.count <= saved.count;
  return !now.all || now.count >= saved.count;
}

/** The same for what a checkpoint tells that was written before settings had the names of their options. */
export function checkEarlierVersion(
  { folder, state }: Checkpoint,
  args: GRPOConfig,
  plan: TrainingPlan,
  { stream }: RowSource<unknown>,
): void {
  if (state.settings !== undefined || typeof state.order !== "object" || state.order === null) return;
  // Also without shuffleDataset: the stream may come from its own shuffle().
  if (stream) {
    const what = `${folder} is of an earlier version, which drew the rows of a stream in another order`;
    throw new GrpoError("BAD_CHECKPOINT", what, { hint: "start a new run from its weights" });
  }
  const now = {
    seed: args.seed,
    rows: plan.rows,
    prompts_per_generation: plan.promptsPerGeneration,
    slices_per_generation: plan.slicesPerGeneration,
    slices_per_step: plan.slicesPerStep,
    num_iterations: plan.iterations,
    num_generations: args.numGenerations,
    shuffle_dataset: args.shuffleDataset,
    dynamic_sampling: args.dynamicSampling,
    optimizer: nativeOptimizer(args),
  };
  for (const [name, value] of Object.entries(now)) {
    const saved: unknown = Reflect.get(state.order, name);
    if (saved === value) continue;
    throw new GrpoError("BAD_CHECKPOINT", `${folder} was written with ${name} ${saved}, this run has ${value}`, {
      hint: "resume with the same data, batch options and optimizer, or start a new run from its weights",
    });
  }
}
