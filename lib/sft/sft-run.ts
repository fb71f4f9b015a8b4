// One run of supervised fine-tuning, as the training loop asks for it: what can fail before the first step, what a step is, and what it
// leaves behind, which is nothing but the number of its rows: their order is a function of seed and step.

import { at } from "../at.js";
import { GrpoError } from "../errors.js";
import type { SupervisedLearner } from "../model/learner.js";
import type { MemoryRun } from "../model/memory.js";
import { optionsSchema, pickOptions } from "../options/fields.js";
import { sftLossFields } from "../options/sft-loss.js";
import { mixSeed } from "../rollout/prompt-sampler.js";
import type { Checkpoint } from "../run/checkpoint.js";
import { nativeOptimizer } from "../run/optimizer.js";
import { Optimizer } from "../run/optimizer-step.js";
import { checkMemory, half } from "../run/preflight.js";
import type { EvaluationOutcome, OwnState, Prepared, Run, StepOutcome } from "../run/run.js";
import type { Settings } from "../run/state.js";
import type { TrainerState } from "../types.js";
import { lazySchema } from "../zod.js";
import { batchOf, sliceScores, tokensOf } from "./batch.js";
import type { SFTConfig } from "./config.js";
import { batchFields, dataFields } from "./config-fields.js";
import { evaluate } from "./evaluation.js";
import { describePlan } from "./lines.js";
import { epochAfter, RowOrder, type SftPlan } from "./plan.js";
import type { TrainingData } from "./training-data.js";

export interface SftRunParts {
  readonly model: SupervisedLearner;
  readonly args: SFTConfig;
  readonly data: TrainingData;
  /** Undefined where the run does not evaluate. */
  readonly evalData: TrainingData | undefined;
  readonly plan: SftPlan;
  readonly state: TrainerState;
  readonly notes: readonly string[];
}

export class SftRun implements Run {
  readonly plan: SftPlan;
  readonly samplesPerStep: number;
  readonly settings: Settings;
  readonly #parts: SftRunParts;
  readonly #order: RowOrder;
  readonly #optimizer: Optimizer;

  constructor(parts: SftRunParts) {
    const { plan, args, data, model } = parts;
    this.#parts = parts;
    this.plan = plan;
    this.samplesPerStep = plan.rowsPerStep;
    this.settings = settingsOf(args, data);
    this.#order = new RowOrder(plan, args, data.stream !== undefined);
    this.#optimizer = new Optimizer(model, args, plan, "SFTConfig");
  }

  async restore({ folder, state }: Checkpoint): Promise<void> {
    const saved = rowsSchema().safeParse(state).data?.data;
    const now = this.#rows;
    if (saved === undefined || !saved.all || !now.all) return;
    if (saved.rows === now.rows && saved.tokens === now.tokens) return;
    const text = ({ rows, tokens }: RowsRead) => `${rows} rows of ${tokens} tokens`;
    throw new GrpoError("BAD_CHECKPOINT", `${folder} was written with ${text(saved)}, this run has ${text(now)}`, {
      hint: "resume with the same data and tokenizer, or start a new run from its weights",
    });
  }

  async prepare(): Promise<Prepared> {
    const { model, args, data, evalData, plan, state, notes } = this.#parts;
    const longest = Math.max(data.facts.longest, evalData?.facts.longest ?? 0);
    if (longest > model.maxPositions) {
      throw new GrpoError(
        "BAD_DATASET",
        `a row has ${longest} tokens, and the model has ${model.maxPositions} positions`,
        {
          hint: `set maxLength to at most ${model.maxPositions}`,
        },
      );
    }
    const memory = await checkMemory(model, (dropout) => memoryRun(args, longest, dropout), {
      check: args.memoryCheck,
      savings: ({ completionTokens }) => [
        [`maxLength ${half(completionTokens)}`, { completionTokens: half(completionTokens) }],
      ],
    });
    const { facts } = data;
    return {
      lines: describePlan({
        config: args,
        plan,
        model,
        data: facts,
        startStep: state.globalStep,
        memory: memory.lines,
        notes,
      }),
      record: { data: facts },
      copyCheckpoints: memory.copies,
      memoryChanges: memory.changes,
    };
  }

  async step(step: number): Promise<StepOutcome> {
    const { model, args, data, plan } = this.#parts;
    const began = performance.now();
    const rows = this.#order.rowsOf(step).map((row) => at(data.rows, row));
    const tokens = tokensOf(rows);
    const { lossType, maxTokensPerMicroBatch, gradientCheckpointing, perDeviceTrainBatchSize } = args;
    const result = await model.sftForwardBackward(batchOf(rows), {
      lossType,
      maxTokensPerMicroBatch,
      gradientCheckpointing,
      lossTokens: tokens.counted,
      dropoutSeed: mixSeed(args.seed, step) >>> 1,
    });
    const slices = sliceScores(rows, result, perDeviceTrainBatchSize);
    const loss = slices.reduce((sum, slice) => sum + slice.loss, 0);
    const { gradNorm, learningRate, applied } = await this.#optimizer.step(step, Number.isFinite(loss));
    const seconds = (performance.now() - began) / 1000;
    const mean = (name: "entropy" | "accuracy") => slices.reduce((sum, slice) => sum + slice[name], 0) / slices.length;
    return {
      loss,
      metrics: {
        loss,
        grad_norm: gradNorm,
        learning_rate: learningRate,
        entropy: mean("entropy"),
        mean_token_accuracy: mean("accuracy"),
        tokens_per_second: tokens.all / seconds,
        "time/update": seconds,
        step_time: seconds,
      },
      records: [],
      tokens: tokens.all,
      epoch: epochAfter(plan, step + 1),
      accountedSeconds: seconds,
      applied,
    };
  }

  evaluate(signal: AbortSignal): Promise<EvaluationOutcome> {
    const { model, args, evalData, state } = this.#parts;
    if (evalData === undefined) throw new GrpoError("INTERNAL", "a run without evalDataset was asked to evaluate");
    return evaluate(model, evalData, args, state.numInputTokensSeen, signal);
  }

  own(): OwnState {
    return { keys: { data: this.#rows }, files: {} };
  }

  get #rows(): RowsRead {
    const { rows, facts, stream } = this.#parts.data;
    return { rows: rows.length, tokens: facts.tokens, all: stream?.ended ?? true };
  }
}

interface RowsRead {
  readonly rows: number;
  readonly tokens: number;
  /** Whether these are all that there are. */
  readonly all: boolean;
}

const rowsSchema = lazySchema((z) =>
  z.object({ data: z.object({ rows: z.int().min(0), tokens: z.int().min(0), all: z.boolean() }).optional() }),
);

const numberSchema = optionsSchema((types) => ({
  ...batchFields(types),
  ...dataFields(types),
  ...sftLossFields(types),
}));

/** Only for evaluations. */
const WITHOUT: readonly string[] = ["perDeviceEvalBatchSize", "evalPacking"];

/** Those on which the numbers of a run depend. */
function settingsOf(args: SFTConfig, { stream }: TrainingData): Settings {
  const options = Object.entries(pickOptions(numberSchema(), args)).filter(([name]) => !WITHOUT.includes(name));
  return { ...Object.fromEntries(options), trainDataset: stream ? "a stream" : "a table" };
}

/** Nothing is sampled; what is fed at most is the longest sequence. */
function memoryRun(args: SFTConfig, longest: number, dropout: boolean): MemoryRun {
  return {
    promptTokens: 1,
    completionTokens: longest,
    groupSize: 1,
    prompts: 0,
    completionsPerStep: args.rowsPerStep,
    maxTokensPerMicroBatch: args.maxTokensPerMicroBatch,
    gradientCheckpointing: args.gradientCheckpointing,
    dropout,
    sortsVocabulary: false,
    repetitionPenalty: false,
    scores: false,
    reference: false,
    optimizer: nativeOptimizer(args),
    copiesCheckpoints: args.saveStrategy !== "no",
  };
}
