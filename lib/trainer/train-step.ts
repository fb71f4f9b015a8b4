// One optimizer step: takes the slices that the plan gives it, samples and scores a generation when the first slice of it
// comes up, and updates the policy. Between steps it holds the generation that the next step goes on with, and the entropy
// control; a checkpoint stores both, so that a resumed run continues in the middle of a generation.

import type { Metrics } from "../log/metrics.js";
import type { CompletionRecord } from "../log/run-log.js";
import type { TrainerState } from "../types.js";
import { type Advantages, computeAdvantages } from "./advantages.js";
import { completionRecords } from "./completion-records.js";
import type { GRPOConfig } from "./config.js";
import { dynamicSamplingMetrics, type SampledGroups, sampleGroups, takeGroups } from "./dynamic-sampling.js";
import { EntropyControl, type EntropyState } from "./entropy-control.js";
import { countTokens, type Generation, prepareGeneration } from "./generation.js";
import { carriedInto, partsOfStep, type TrainingPlan } from "./plan.js";
import { PolicyUpdater, type UpdatePart } from "./policy-update.js";
import { mixSeed, type PromptSampler } from "./prompt-sampler.js";
import { collectRollout, type Rollout, type RolloutRequest, type RolloutSource } from "./rollout.js";
import { meanMetrics, rolloutMetrics } from "./step-metrics.js";

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
  /** Prompts that have been sampled for, which is the position in the sampler's sequence. */
  readonly promptsTaken: number;
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
  readonly groups: SampledGroups;
  /** Of all that was sampled. */
  readonly scored: Advantages;
  /** Beside its completions; 0 where a group is not trained on. */
  readonly advantages: Float32Array;
}

export class TrainSteps<Row> {
  readonly #setup: StepSetup<Row>;
  readonly #entropy: EntropyControl;
  readonly #updater: PolicyUpdater;
  #carried: Generation | undefined;
  #promptsTaken: number;

  constructor(setup: StepSetup<Row>, carried: CarriedState) {
    this.#setup = setup;
    this.#entropy = new EntropyControl(setup.args, carried.entropy);
    this.#updater = new PolicyUpdater(setup.source.model, setup.args, setup.plan, this.#entropy);
    this.#carried = carried.generation;
    this.#promptsTaken = carried.promptsTaken;
  }

  /** After the last step that was finished. */
  get carried(): CarriedState & { readonly entropy: EntropyState } {
    return { generation: this.#carried, entropy: this.#entropy.state, promptsTaken: this.#promptsTaken };
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
    this.#promptsTaken += promptsOf(sampled);
    if (args.syncRefModel && (step + 1) % args.refModelSyncSteps === 0) {
      await source.model.mixReference(args.refModelMixupAlpha);
    }
    const seconds = (performance.now() - began) / 1000;
    return {
      metrics: { ...this.#rolloutMetrics(sampled, seconds), ...update.metrics, step_time: seconds },
      records: sampled.flatMap(({ groups, scored, advantages }) =>
        completionRecords(step + 1, "train", groups.rollout, { ...scored, advantages }, source.rewards.names),
      ),
      tokens: total(sampled, (rollout) => countTokens(rollout.promptIds) + countTokens(rollout.completionIds)),
      applied: update.applied,
    };
  }

  async #generate(index: number, sampled: Sampled[], onProgress: RolloutRequest["onProgress"]): Promise<Generation> {
    const { args, plan, source } = this.#setup;
    let position = this.#promptsTaken + promptsOf(sampled);
    const groups = await sampleGroups({
      groups: plan.promptsPerGeneration,
      maxRounds: args.dynamicSampling ? args.dynamicSamplingMaxRounds : 1,
      sample: (round, prompts) => {
        const from = position;
        position += prompts;
        return this.#rollout(index, round, from, prompts, onProgress);
      },
      withoutSpread: (rollout) => this.#score(rollout).zeroSpread,
    });
    const kept = takeGroups(groups.rollout, groups.kept, args.numGenerations);
    const { advantages } = this.#score(kept);
    sampled.push({ groups, scored: this.#score(groups.rollout), advantages: this.#spreadOut(advantages, groups) });
    return prepareGeneration(source.model, args, plan, index, kept, advantages);
  }

  #rollout(index: number, round: number, from: number, prompts: number, onProgress: RolloutRequest["onProgress"]) {
    const { args, source, sampler, rows, sampling, trainerState, signal } = this.#setup;
    // A row that comes again in a later round must not get the same completions.
    const seed = round === 0 ? args.seed : mixSeed(args.seed, -round);
    return collectRollout(source, {
      rows: sampler.take(from, prompts).map((row) => rows[row] ?? 0),
      sampling: { ...sampling, groupSize: args.numGenerations, seed, step: index },
      trainerState,
      signal,
      ...(onProgress ? { onProgress } : {}),
    });
  }

  #score(rollout: Rollout): Advantages {
    const { args, rewardWeights } = this.#setup;
    return computeAdvantages(rollout.rewards, {
      weights: rewardWeights,
      groupSize: args.numGenerations,
      scaleRewards: args.scaleRewards,
      multiObjectiveAggregation: args.multiObjectiveAggregation,
    });
  }

  /** The advantages of the kept groups, in the places that these have in the whole rollout. */
  #spreadOut(advantages: Float32Array, { kept, rollout }: SampledGroups): Float32Array {
    const size = this.#setup.args.numGenerations;
    const all = new Float32Array(rollout.completionIds.length);
    for (const [i, group] of kept.entries()) all.set(advantages.subarray(i * size, (i + 1) * size), group * size);
    return all;
  }

  /** Of the generations that began in this step; nothing where it went on with an earlier one, as in TRL. */
  #rolloutMetrics(sampled: readonly Sampled[], seconds: number): Metrics {
    const { args, source } = this.#setup;
    if (sampled.length === 0) return {};
    const metricsOf = ({ groups, scored }: Sampled): Metrics => ({
      ...rolloutMetrics(groups.rollout, scored, source.rewards.names),
      ...(args.dynamicSampling ? dynamicSamplingMetrics(groups) : {}),
    });
    return {
      ...meanMetrics(sampled.map(metricsOf)),
      "time/rollout": total(sampled, (rollout) => rollout.seconds.rollout),
      "time/reward": total(sampled, (rollout) => rollout.seconds.reward),
      tokens_per_second: total(sampled, (rollout) => countTokens(rollout.completionIds)) / seconds,
    };
  }
}

function total(sampled: readonly Sampled[], value: (rollout: Rollout) => number): number {
  return sampled.reduce((sum, { groups }) => sum + value(groups.rollout), 0);
}

function promptsOf(sampled: readonly Sampled[]): number {
  return sampled.reduce((sum, { groups }) => sum + groups.withoutSpread.length, 0);
}
