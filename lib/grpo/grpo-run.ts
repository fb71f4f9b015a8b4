// One run of GRPO, as the training loop asks for it: what can fail before the first step, what a step is, and what it leaves behind.

import { at } from "../at.js";
import { GrpoError } from "../errors.js";
import { failureKinds } from "../rewards/failure.js";
import type { RewardRuntime } from "../rewards/runtime.js";
import type { RolloutRequest } from "../rollout/collect.js";
import { PromptSampler } from "../rollout/prompt-sampler.js";
import type { PromptTable } from "../rollout/prompts.js";
import type { Checkpoint } from "../run/checkpoint.js";
import type { OwnState, Prepared, Run, StepOutcome } from "../run/run.js";
import type { Settings } from "../run/state.js";
import type { TrainerState } from "../types.js";
import { readCarryover, storeCarryover } from "./carryover.js";
import type { GRPOConfig } from "./config.js";
import type { Evaluator } from "./evaluation.js";
import { describePlan } from "./lines.js";
import { partsOfStep, type TrainingPlan } from "./plan.js";
import { checkMemory } from "./preflight.js";
import type { RewardNotes } from "./reward-notes.js";
import { checkEarlierVersion, checkRows, type RowsRead, rowsRead, settingsOf } from "./settings.js";
import { type Evaluation, evaluatesInRun, rolloutSource, samplingOptions, type TrainerSetup } from "./setup.js";
import { type Carryover, TrainSteps } from "./step.js";

export interface GRPORunParts<Row extends object> {
  readonly setup: TrainerSetup<Row>;
  readonly args: GRPOConfig;
  readonly rewards: RewardRuntime;
  readonly rewardWeights: readonly number[];
  readonly notes: RewardNotes;
  readonly prompts: PromptTable<Row>;
  readonly evaluator: Evaluator<Row>;
  readonly plan: TrainingPlan;
  /** Rows that may be trained on, by index in the data set. */
  readonly rows: readonly number[];
  readonly state: TrainerState;
  /** Shows how far a rollout is. */
  readonly status: (text: string) => void;
}

export class GRPORun<Row extends object> implements Run {
  readonly plan: TrainingPlan;
  readonly samplesPerStep: number;
  readonly settings: Settings;
  readonly #parts: GRPORunParts<Row>;
  #carryover: Carryover = { generation: undefined, entropy: undefined, promptsTaken: 0 };
  #steps: TrainSteps<Row> | undefined;

  constructor(parts: GRPORunParts<Row>) {
    this.#parts = parts;
    this.plan = parts.plan;
    this.samplesPerStep = parts.plan.completionsPerStep;
    this.settings = settingsOf(parts.args, parts.rewardWeights, parts.setup.trainDataset);
  }

  async restore(checkpoint: Checkpoint): Promise<void> {
    const { args, setup } = this.#parts;
    checkEarlierVersion(checkpoint, args, this.plan, setup.trainDataset);
    checkRows(checkpoint, args, this.#rows);
    this.#carryover = await readCarryover(checkpoint, this.plan);
  }

  async prepare(signal: AbortSignal): Promise<Prepared> {
    const { plan } = this;
    const { setup, args, rewards, rewardWeights, notes, prompts, evaluator, rows, state } = this.#parts;
    const sampler = new PromptSampler({
      rows: rows.length,
      promptsPerGeneration: plan.promptsPerGeneration,
      shuffle: args.shuffleDataset,
      seed: args.seed,
      streamed: setup.trainDataset.stream !== undefined,
    });
    const ahead = args.dynamicSampling ? rows : rowsAhead(sampler, rows, this.#carryover.promptsTaken, plan);
    const survey = await prompts.survey(ahead, signal);
    if (args.evalStrategy !== "no") checkBestMetric(args, rewards.names);
    const evaluation = evaluatesInRun(args) ? await evaluator.prepare({ signal }) : undefined;
    const longestPrompt = Math.max(survey.longest, evaluation?.longest ?? 0);
    const evalPrompts = evaluation?.rows.length ?? 0;
    const memory = await checkMemory(setup.learner, { args, plan, longestPrompt, evalPrompts });
    setup.versions.changed(state.globalStep);
    const source = rolloutSource(setup, args, rewards, prompts, setup.trainDataset);
    const sampling = samplingOptions(args, setup.processingClass);
    this.#steps = new TrainSteps(
      {
        args,
        plan,
        sampler,
        rows,
        signal,
        trainerState: state,
        rewardWeights,
        notes,
        learner: setup.learner,
        source,
        sampling,
      },
      this.#carryover,
    );
    return {
      lines: describePlan({
        config: args,
        plan,
        model: setup.learner,
        survey,
        tooLong: setup.trainDataset.length - rows.length,
        memory: memory.lines,
        startStep: state.globalStep,
      }),
      record: { reward_functions: rewards.names, reward_weights: rewardWeights },
      copyCheckpoints: memory.copies,
      memoryChanges: memory.changes,
    };
  }

  step(step: number): Promise<StepOutcome> {
    return this.#ready().run(step, this.#progress(step));
  }

  /** Ends what is sampled ahead. */
  async close(): Promise<void> {
    await this.#steps?.close();
  }

  evaluate(signal: AbortSignal): Promise<Evaluation> {
    return this.#parts.evaluator.run({ signal }, this.#parts.state);
  }

  own(): OwnState {
    const { keys, files } = storeCarryover(this.#ready().carryover);
    return { keys: { ...keys, rows: this.#rows }, files };
  }

  get #rows(): RowsRead {
    return rowsRead(this.#parts.setup.trainDataset, this.plan.rows);
  }

  #ready(): TrainSteps<Row> {
    if (this.#steps) return this.#steps;
    throw new GrpoError("INTERNAL", "a run of GRPO was asked for a step before it was prepared");
  }

  #progress(step: number): NonNullable<RolloutRequest["onProgress"]> {
    const { status } = this.#parts;
    const { completionsPerGeneration, totalSteps } = this.plan;
    const began = performance.now();
    return ({ completions, tokens }) => {
      const speed = Math.round(tokens / ((performance.now() - began) / 1000));
      const sampled = `sampled ${completions} of ${completionsPerGeneration} completions  ${speed} tok/s`;
      status(`step ${step + 1}/${totalSteps}  ${sampled}`);
    };
  }
}

/** Rows of all generations still to come, each once. */
function rowsAhead(
  sampler: PromptSampler,
  rows: readonly number[],
  promptsTaken: number,
  plan: TrainingPlan,
): Set<number> {
  const { promptsPerGeneration: prompts } = plan;
  const parts = partsOfStep(plan, plan.totalSteps - 1);
  const end = (at(parts, parts.length - 1).generation + 1) * prompts;
  const ahead = new Set<number>();
  for (let next = promptsTaken; next < end && ahead.size < rows.length; next += prompts) {
    for (const index of sampler.take(next, prompts)) ahead.add(at(rows, index));
  }
  return ahead;
}

/** Throws BAD_OPTION for a metric of a reward function that the evaluations of a run cannot have. */
function checkBestMetric({ metricForBestModel, evalPassAt }: GRPOConfig, rewardNames: readonly string[]): void {
  const name = metricForBestModel?.replace(/^eval_/, "");
  if (!name?.startsWith("rewards/")) return;
  const ofRewards = (kinds: readonly string[]) =>
    rewardNames.flatMap((reward) => kinds.map((kind) => `rewards/${reward}/${kind}`));
  const known = ofRewards(["mean", "std", ...evalPassAt.map((k) => `pass@${k}`)]);
  if ([...known, ...ofRewards(["errors", ...failureKinds])].includes(name)) return;
  throw new GrpoError("BAD_OPTION", `metricForBestModel: an evaluation will have no ${name}`, {
    hint: `of its reward functions it has ${known.join(", ")}`,
  });
}
