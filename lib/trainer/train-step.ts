// One optimizer step: takes the slices that the plan gives it, samples and scores a generation when the first slice of it
// comes up, and updates the policy. Between steps it holds the generation that the next step goes on with, and the entropy
// control; a checkpoint stores both, so that a resumed run continues in the middle of a generation.

import { type CompletionRecord, completionRecords } from "../log/run-log.js";
import type { TrainerState } from "../types.js";
import { type Advantages, computeAdvantages } from "./advantages.js";
import type { GRPOConfig } from "./config.js";
import { EntropyControl, type EntropyState } from "./entropy-control.js";
import { countTokens, type Generation, prepareGeneration } from "./generation.js";
import { carriedInto, partsOfStep, type TrainingPlan } from "./plan.js";
import { PolicyUpdater, type UpdatePart } from "./policy-update.js";
import type { PromptSampler } from "./prompt-sampler.js";
import { collectRollout, type Rollout, type RolloutRequest, type RolloutSource } from "./rollout.js";
import { type Metrics, meanMetrics, rolloutMetrics } from "./step-metrics.js";

export interface StepSetup<Row> {
  readonly args: GRPOConfig;
  readonly plan: TrainingPlan;
  readonly source: RolloutSource<Row>;
  readonly sampling: Omit<RolloutRequest["sampling"], "step" | "seed" | "groupSize">;
  readonly rewardWeights: readonly number[];
  readonly sampler: PromptSampler;
  /** Usable rows; the sampler's numbers are indices into it. */
  readonly rows: readonly number[];
  readonly trainerState: TrainerState;
  readonly signal: AbortSignal;
}

/** What the steps leave behind for the next one. */
export interface CarriedState {
  readonly generation: Generation | undefined;
  readonly entropy: EntropyState | undefined;
}

export interface StepOutcome {
  readonly metrics: Metrics;
  /** The completions that were sampled in this step. */
  readonly records: readonly CompletionRecord[];
  /** Prompt and completion tokens of them. */
  readonly tokens: number;
  readonly applied: boolean;
}

interface Sampled {
  readonly rollout: Rollout;
  readonly scored: Advantages;
}

export class TrainSteps<Row> {
  readonly #setup: StepSetup<Row>;
  readonly #entropy: EntropyControl;
  readonly #updater: PolicyUpdater;
  #carried: Generation | undefined;

  constructor(setup: StepSetup<Row>, carried: CarriedState) {
    this.#setup = setup;
    this.#entropy = new EntropyControl(setup.args, carried.entropy);
    this.#updater = new PolicyUpdater(setup.source.model, setup.args, setup.plan, this.#entropy);
    this.#carried = carried.generation;
  }

  /** After the last step that was finished. */
  get carried(): CarriedState & { readonly entropy: EntropyState } {
    return { generation: this.#carried, entropy: this.#entropy.state };
  }

  async run(step: number, onProgress: RolloutRequest["onProgress"]): Promise<StepOutcome> {
    const { args, plan, source } = this.#setup;
    const began = performance.now();
    const parts: UpdatePart[] = [];
    const sampled: Sampled[] = [];
    for (const { generation: index, slices } of partsOfStep(plan, step)) {
      const carried = this.#carried?.index === index ? this.#carried : undefined;
      const generation = carried ?? (await this.#generate(index, sampled, onProgress));
      parts.push({ generation, slices, fresh: carried === undefined });
    }
    const update = await this.#updater.update(step, parts);
    this.#carried = carriedInto(plan, step + 1) === undefined ? undefined : parts.at(-1)?.generation;
    if (args.syncRefModel && (step + 1) % args.refModelSyncSteps === 0) {
      await source.model.mixReference(args.refModelMixupAlpha);
    }
    const seconds = (performance.now() - began) / 1000;
    return {
      metrics: { ...this.#rolloutMetrics(sampled, seconds), ...update.metrics, step_time: seconds },
      records: sampled.flatMap(({ rollout, scored }) =>
        completionRecords(step + 1, "train", rollout, scored, source.rewards.names),
      ),
      tokens: sampled.reduce((sum, { rollout }) => sum + countTokens(rollout.promptIds) + completionTokens(rollout), 0),
      applied: update.applied,
    };
  }

  async #generate(index: number, sampled: Sampled[], onProgress: RolloutRequest["onProgress"]): Promise<Generation> {
    const { args, plan, source, sampler, rows, sampling, trainerState, signal, rewardWeights } = this.#setup;
    const rollout = await collectRollout(source, {
      rows: sampler.rowsOf(index).map((row) => rows[row] ?? 0),
      sampling: { ...sampling, groupSize: args.numGenerations, seed: args.seed, step: index },
      trainerState,
      signal,
      ...(onProgress ? { onProgress } : {}),
    });
    const scored = computeAdvantages(rollout.rewards, {
      weights: rewardWeights,
      groupSize: args.numGenerations,
      scaleRewards: args.scaleRewards,
      multiObjectiveAggregation: args.multiObjectiveAggregation,
    });
    sampled.push({ rollout, scored });
    return prepareGeneration(source.model, args, plan, index, rollout, scored.advantages);
  }

  /** Of the generations that began in this step; nothing where it went on with an earlier one, as in TRL. */
  #rolloutMetrics(sampled: readonly Sampled[], seconds: number): Metrics {
    const { names } = this.#setup.source.rewards;
    if (sampled.length === 0) return {};
    const total = (value: (rollout: Rollout) => number) =>
      sampled.reduce((sum, { rollout }) => sum + value(rollout), 0);
    return {
      ...meanMetrics(sampled.map(({ rollout, scored }) => rolloutMetrics(rollout, scored, names))),
      "time/rollout": total(({ seconds: { rollout } }) => rollout),
      "time/reward": total(({ seconds: { reward } }) => reward),
      tokens_per_second: total(completionTokens) / seconds,
    };
  }
}

function completionTokens({ completionIds }: Rollout): number {
  return countTokens(completionIds);
}
