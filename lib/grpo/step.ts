// One optimizer step: takes the slices that the plan gives it, samples and scores a generation when the first slice of it
// comes up, and updates the policy. Between steps it holds the generation that the next step goes on with, and the entropy
// control; a checkpoint stores both, so that a resumed run continues in the middle of a generation.

import { at } from "../at.js";
import { GrpoError } from "../errors.js";
import type { Metrics } from "../log/metrics.js";
import type { Learner } from "../model/learner.js";
import { type Collected, collectGroups, type RolloutRequest, type RolloutSource } from "../rollout/collect.js";
import { dynamicSamplingMetrics, type SampledGroups, sampleGroups } from "../rollout/dynamic-sampling.js";
import { mixSeed, type PromptSampler } from "../rollout/prompt-sampler.js";
import { countedLength, countTokens, type ScoredRollout } from "../rollout/sample.js";
import type { StepOutcome } from "../run/run.js";
import type { TrainerState } from "../types.js";
import { completionRecords } from "./completion-records.js";
import type { GRPOConfig } from "./config.js";
import { EntropyControl, type EntropyState } from "./entropy.js";
import { type Generation, prepareGeneration } from "./generation.js";
import { meanMetrics, rolloutMetrics } from "./metrics.js";
import { carriedInto, epochAfter, firstStepOf, partsOfStep, type TrainingPlan } from "./plan.js";
import type { RewardNotes } from "./reward-notes.js";
import { addedUp, reportCounts, trainedTokens } from "./rollout-metrics.js";
import { RolloutQueue } from "./rollout-queue.js";
import { groupHasSpread, type ScoredGroups, scoreGroups, scoreOptions } from "./score.js";
import { isStale, stalenessMetrics } from "./staleness.js";
import { PolicyUpdater, type UpdatePart } from "./update.js";

export interface StepSetup<Row> {
  readonly args: GRPOConfig;
  readonly plan: TrainingPlan;
  /** Who is trained. */
  readonly learner: Learner;
  readonly source: RolloutSource<Row>;
  readonly sampling: Omit<RolloutRequest["sampling"], "step" | "seed" | "groupSize">;
  readonly rewardWeights: readonly number[];
  readonly notes: RewardNotes;
  readonly sampler: PromptSampler;
  /** Usable rows; the sampler's numbers are indices into it. */
  readonly rows: readonly number[];
  readonly trainerState: TrainerState;
  readonly signal: AbortSignal;
}

/** What a step leaves for the next one. */
export interface Carryover {
  readonly generation: Generation | undefined;
  readonly entropy: EntropyState | undefined;
  /** Prompts that have been sampled for, which is the position in the sampler's sequence. */
  readonly promptsTaken: number;
}

/** A generation that begins in a step. */
interface Begun {
  readonly generation: Generation;
  readonly sampled: SampledGroups;
  readonly scored: ScoredGroups;
  /** Of the correction where another engine samples, and of samples that were drawn ahead. */
  readonly correction: Metrics;
  /** Seconds that the trainer waited for it. */
  readonly waited: number;
}

/** Metrics of where a step's time goes; one that goes on with an earlier generation has the last only. */
const PHASES = ["time/rollout", "time/reward", "time/update"];
/** Where sampling goes on meanwhile. */
const PHASES_AHEAD = ["time/rollout_wait", "time/update"];
/** How often groups that are too old are drawn again. */
const REDRAWS = 3;

export class TrainSteps<Row> {
  readonly #setup: StepSetup<Row>;
  readonly #entropy: EntropyControl;
  readonly #updater: PolicyUpdater;
  readonly #queue: RolloutQueue;
  #generation: Generation | undefined;
  #promptsTaken: number;
  #onProgress: RolloutRequest["onProgress"];
  /** Groups that were thrown away since the last step as older than maxStaleness allows. */
  #dropped = 0;

  constructor(setup: StepSetup<Row>, carryover: Carryover) {
    this.#setup = setup;
    this.#entropy = new EntropyControl(setup.args, carryover.entropy);
    const { args, plan, learner, source } = setup;
    const elsewhere = source.sampler.elsewhere === true;
    this.#updater = new PolicyUpdater(learner, args, plan, this.#entropy, elsewhere, source.ranks);
    this.#generation = carryover.generation;
    this.#promptsTaken = carryover.promptsTaken;
    this.#queue = new RolloutQueue({
      plan,
      maxStaleness: args.maxStaleness,
      sample: (index, position, stop) => this.#sample(index, position, stop),
    });
  }

  /** Ends the sampling that is ahead. */
  close(): Promise<void> {
    return this.#queue.close();
  }

  /** After the last step that was finished. */
  get carryover(): Carryover & { readonly entropy: EntropyState } {
    return { generation: this.#generation, entropy: this.#entropy.state, promptsTaken: this.#promptsTaken };
  }

  async run(step: number, onProgress: RolloutRequest["onProgress"]): Promise<StepOutcome> {
    const { args, plan, source, learner, notes } = this.#setup;
    const started = performance.now();
    const parts: UpdatePart[] = [];
    const begun: Begun[] = [];
    this.#onProgress = this.#isAhead ? undefined : onProgress;
    if (this.#isAhead) await this.#sampleAhead(step);
    for (const { generation: index, slices } of partsOfStep(plan, step)) {
      const carried = this.#generation?.index === index ? this.#generation : undefined;
      if (!carried) begun.push(await this.#begin(step, index, this.#promptsTaken + promptsOf(begun)));
      const generation = carried ?? at(begun, begun.length - 1).generation;
      // What is corrected has its gap measured already.
      parts.push({ generation, slices, fresh: carried === undefined && !this.#corrects });
    }
    const update = await this.#updater.update(step, parts);
    if (update.applied || this.#isAhead) source.versions.changed(step + 1);
    this.#generation = carriedInto(plan, step + 1) === undefined ? undefined : parts.at(-1)?.generation;
    this.#promptsTaken += promptsOf(begun);
    if (args.syncRefModel && (step + 1) % args.refModelSyncSteps === 0) {
      await learner.mixReference(args.refModelMixupAlpha);
    }
    const seconds = (performance.now() - started) / 1000;
    const metrics: Metrics = { ...this.#rolloutMetrics(begun, seconds), ...update.metrics, step_time: seconds };
    // Of samples that were drawn ahead the gap is their age too.
    if (!this.#isAhead) notes.samplingGap(metrics, source.sampler.elsewhere === true);
    return {
      loss: update.loss,
      metrics,
      records: begun.map(({ scored }) => completionRecords(step + 1, "train", scored.groups, source.rewards.names)),
      tokens: totalOf(rolloutsOf(begun), ({ samples }) => {
        return totalOf(samples, (sample) => sample.promptIds.length + countTokens(sample));
      }),
      epoch: epochAfter(plan, step + 1),
      accountedSeconds: totalOf(this.#isAhead ? PHASES_AHEAD : PHASES, (name) => metrics[name] ?? 0),
      applied: update.applied,
    };
  }

  /** Whether generations are sampled while earlier ones are trained on. */
  get #isAhead(): boolean {
    return this.#setup.args.maxStaleness > 0;
  }

  /** Shows the sampler the weights of the moment, and begins what may be drawn from them. */
  async #sampleAhead(step: number): Promise<void> {
    const { plan, source, signal } = this.#setup;
    await source.versions.showTo(source.sampler, signal);
    const carried = this.#generation?.index ?? -1;
    const first = partsOfStep(plan, step).map(({ generation }) => generation)[0] ?? 0;
    this.#queue.advance(step, Math.max(first, carried + 1), this.#promptsTaken);
  }

  /** Samples a generation, whose prompts begin at `position` of the sampler's sequence. */
  #sample(index: number, position: number, stop: AbortSignal): Promise<SampledGroups> {
    const { args, plan, rewardWeights } = this.#setup;
    const options = scoreOptions(args, rewardWeights);
    let next = position;
    return sampleGroups({
      groups: plan.promptsPerGeneration,
      maxRounds: args.dynamicSampling ? args.dynamicSamplingMaxRounds : 1,
      sample: (round, prompts) => {
        const from = next;
        next += prompts;
        return this.#collect(index, round, from, prompts, stop);
      },
      hasSpread: (group) => groupHasSpread(group, options),
    });
  }

  /** Takes, scores and prepares a generation for step `step`. */
  async #begin(step: number, index: number, position: number): Promise<Begun> {
    const { args, plan, learner, source, rewardWeights, notes } = this.#setup;
    const options = scoreOptions(args, rewardWeights);
    const { sampled, waited } = await this.#queue.take(index, position);
    const scored = scoreGroups(sampled.groups, options, sampled.kept);
    notes.unscored("trainDataset", scored.groups);
    if (args.dynamicSampling) notes.unfilled(sampled);
    const { generation, metrics: correction } = await prepareGeneration(learner, args, plan, source.ranks, {
      index,
      groups: scored.trained,
      corrected: this.#corrects,
      ahead: this.#isAhead,
    });
    const age = this.#isAhead ? stalenessMetrics(scored.groups, step) : {};
    return { generation, sampled, scored, correction: { ...correction, ...age }, waited };
  }

  /** Whether the loss is corrected for who samples. */
  get #corrects(): boolean {
    const { args, source } = this.#setup;
    // Of samples that were drawn ahead the ratio of the loss is to whoever drew them already.
    return source.sampler.elsewhere === true && args.vllmImportanceSamplingCorrection && !this.#isAhead;
  }

  async #collect(index: number, round: number, from: number, prompts: number, stop: AbortSignal): Promise<Collected> {
    const { args, plan, source, sampler, rows, sampling, trainerState, signal } = this.#setup;
    // A row that comes again in a later round must not get the same completions.
    const seed = round === 0 ? args.seed : mixSeed(args.seed, -round);
    const request = {
      sampling: { ...sampling, groupSize: args.numGenerations, seed, step: index },
      trainerState,
      signal: AbortSignal.any([signal, stop]),
      onProgress: this.#onProgress,
      ahead: this.#isAhead,
    };
    const taken = sampler.take(from, prompts).map((row) => at(rows, row));
    const collected = await collectGroups(source, { ...request, rows: taken });
    if (!this.#isAhead) return collected;
    return this.#fresh(collected, firstStepOf(plan, index) - args.maxStaleness, (again) =>
      collectGroups(source, { ...request, rows: again }),
    );
  }

  /** Draws groups again that weights older than those of step `least` have drawn. Throws SERVER_ERROR where they always are. */
  async #fresh(
    collected: Collected,
    least: number,
    draw: (rows: readonly number[]) => Promise<Collected>,
  ): Promise<Collected> {
    const { maxStaleness } = this.#setup.args;
    let result = collected;
    for (let attempt = 0; ; attempt++) {
      const stale = result.groups.filter((group) => isStale(group, least));
      if (stale.length === 0) return result;
      this.#dropped += stale.length;
      if (attempt === REDRAWS) {
        const text = `expected samples of weights at most ${maxStaleness} optimizer steps old, found older ones ${REDRAWS + 1} times`;
        throw new GrpoError("SERVER_ERROR", text, {
          hint: "look whether the sampler takes over the weights that it is shown",
        });
      }
      const again = await draw(stale.map(({ row }) => row));
      const drawn = [...again.groups];
      const groups = result.groups.map((group) => (stale.includes(group) ? (drawn.shift() ?? group) : group));
      result = { ...result, groups, calls: [...result.calls, ...again.calls] };
    }
  }

  /** Metrics of the generations that began in this step; nothing where it went on with an earlier one, as in TRL. */
  #rolloutMetrics(begun: readonly Begun[], seconds: number): Metrics {
    const { args, source } = this.#setup;
    const ahead = this.#aheadMetrics(begun);
    if (begun.length === 0) return ahead;
    const metricsOf = ({ sampled, scored, correction }: Begun): Metrics => ({
      ...rolloutMetrics(
        scored,
        sampled.rounds.flatMap(({ calls }) => calls),
        source.rewards.names,
      ),
      ...(args.dynamicSampling ? dynamicSamplingMetrics(sampled) : {}),
      ...correction,
    });
    const rounds = begun.flatMap(({ sampled }) => sampled.rounds);
    return {
      ...ahead,
      ...meanMetrics(begun.map(metricsOf)),
      ...addedUp(begun.flatMap(countsOf)),
      "time/rollout": totalOf(rounds, (round) => round.seconds.rollout),
      "time/reward": totalOf(rounds, (round) => round.seconds.reward),
      tokens_per_second: totalOf(rolloutsOf(begun), countedLength) / seconds,
    };
  }

  /** What either side has waited for the other, and how far the sampling is ahead. */
  #aheadMetrics(begun: readonly Begun[]): Metrics {
    if (!this.#isAhead) return {};
    const dropped = this.#dropped;
    this.#dropped = 0;
    return {
      "sample/rollout_queue_size": this.#queue.finished * this.#setup.plan.promptsPerGeneration,
      "sample/dropped_stale_total": dropped,
      "time/rollout_wait": totalOf(begun, ({ waited }) => waited),
      "time/sampler_idle": this.#queue.idleSeconds(),
    };
  }
}

/** Where tokens and turns of rollouts have gone. */
function countsOf({ generation, scored }: Begun): Metrics[] {
  return [reportCounts(scored.groups), trainedTokens(generation, scored)];
}

function rolloutsOf(begun: readonly Begun[]): ScoredRollout[] {
  return begun.flatMap(({ scored }) => scored.groups.flatMap(({ rollouts }) => rollouts));
}

/** Prompts that were sampled for. */
function promptsOf(begun: readonly Begun[]): number {
  return totalOf(begun, ({ sampled }) => sampled.groups.length);
}

function totalOf<T>(list: readonly T[], value: (item: T) => number): number {
  return list.reduce((sum, item) => sum + value(item), 0);
}
