// Evaluation: samples the rows of evalDataset and scores them; the weights do not change. What may differ from training's own
// sampling is in the options eval…; the draws are the same at every evaluation of a run.

import { unlessAborted } from "../abort.js";
import { at } from "../at.js";
import { GrpoError } from "../errors.js";
import type { Metrics } from "../log/metrics.js";
import type { RewardRuntime } from "../rewards/runtime.js";
import { collectGroups } from "../rollout/collect.js";
import { mixSeed } from "../rollout/prompt-sampler.js";
import type { PromptTable, RowSource } from "../rollout/prompts.js";
import type { Group } from "../rollout/sample.js";
import { nanMean } from "../statistics.js";
import type { TrainerState } from "../types.js";
import { completionRecords } from "./completion-records.js";
import type { GRPOConfig } from "./config.js";
import { rolloutMetrics } from "./metrics.js";
import type { RewardNotes } from "./reward-notes.js";
import { reportCounts } from "./rollout-metrics.js";
import { scoreGroups, scoreOptions } from "./score.js";
import {
  type EvaluateOptions,
  type Evaluation,
  promptTable,
  rolloutSource,
  samplingOptions,
  type TrainerSetup,
  usableRows,
} from "./setup.js";

/** Number of evaluation's own random stream, far from those of the steps. */
const evaluationStream = 2 ** 30;

interface PreparedRows<Row extends object> {
  readonly dataset: RowSource<Row>;
  readonly prompts: PromptTable<Row>;
  readonly rows: readonly number[];
  /** Tokens of the longest prompt. */
  readonly longest: number;
}

export class Evaluator<Row extends object> {
  readonly #setup: TrainerSetup<Row>;
  readonly #args: GRPOConfig;
  readonly #rewards: RewardRuntime;
  readonly #weights: readonly number[];
  readonly #notes: RewardNotes;
  #prepared: PreparedRows<Row> | undefined;

  constructor(
    setup: TrainerSetup<Row>,
    args: GRPOConfig,
    rewards: RewardRuntime,
    weights: readonly number[],
    notes: RewardNotes,
  ) {
    this.#setup = setup;
    this.#args = args;
    this.#rewards = rewards;
    this.#weights = weights;
    this.#notes = notes;
  }

  /**
   * Everything about an evaluation that can be known, or can fail, before it. Throws BAD_INPUT without evalDataset, BAD_DATASET without
   * a usable row.
   */
  async prepare(options: EvaluateOptions = {}): Promise<PreparedRows<Row>> {
    const { evalDataset: dataset } = this.#setup;
    if (!dataset) {
      throw new GrpoError("BAD_INPUT", "evaluate() needs rows", { hint: "give evalDataset to GRPOTrainer" });
    }
    checkPassAt(this.#args.evalPassAt, this.#groups(options).groupSize);
    if (this.#prepared) return this.#prepared;
    await unlessAborted(dataset.load?.(options.signal), options.signal, "evalDataset");
    const prompts = promptTable(dataset, this.#setup, this.#args);
    const rows = await usableRows(prompts, dataset.length, this.#args, options.signal);
    if (rows.length === 0) {
      const why = dataset.length > 0 ? `; ${prompts.whyDropped(dataset.length)}` : "";
      throw new GrpoError("BAD_DATASET", `evalDataset has no usable rows${why}`);
    }
    const { longest } = await prompts.survey(rows, options.signal);
    this.#prepared = { dataset, prompts, rows, longest };
    return this.#prepared;
  }

  async run(options: EvaluateOptions, state: TrainerState): Promise<Evaluation> {
    const args = this.#args;
    const { dataset, prompts, rows } = await this.prepare(options);
    const { doSample, groupSize } = this.#groups(options);
    const { groups, calls, seconds } = await collectGroups(
      rolloutSource(this.#setup, args, this.#rewards, prompts, dataset),
      {
        rows,
        // A seed of its own, so that evaluation never repeats the draws of a training step, and always repeats its own.
        sampling: {
          ...this.#sampling(),
          doSample,
          groupSize,
          seed: mixSeed(args.seed, evaluationStream) >>> 1,
          step: 0,
        },
        trainerState: state,
        signal: options.signal ?? new AbortController().signal,
      },
    );
    const scored = scoreGroups(groups, scoreOptions(args, this.#weights));
    this.#notes.unscored("evalDataset", scored.groups);
    const runtime = seconds.rollout + seconds.reward;
    const own = {
      ...rolloutMetrics(scored, calls, this.#rewards.names),
      ...reportCounts(scored.groups),
      ...this.#passMetrics(groups),
      // As transformers counts: rows, and batches, of which there is one.
      runtime,
      samples_per_second: rows.length / runtime,
      steps_per_second: 1 / runtime,
    };
    return {
      metrics: Object.fromEntries(Object.entries(own).map(([name, value]) => [`eval_${name}`, value])),
      record: { do_sample: doSample },
      completions: completionRecords(state.globalStep, "eval", scored.groups, this.#rewards.names).map((record) => ({
        ...record,
        do_sample: doSample,
      })),
    };
  }

  #groups({ doSample = this.#args.evalDoSample, numGenerations }: EvaluateOptions) {
    const { numGenerationsEval, numGenerations: ofTraining } = this.#args;
    return { doSample, groupSize: numGenerations ?? (doSample ? (numGenerationsEval ?? ofTraining) : 1) };
  }

  #sampling() {
    const { evalTemperature, evalTopP, evalTopK } = this.#args;
    return {
      ...samplingOptions(this.#args, this.#setup.processingClass),
      ...(evalTemperature === null ? {} : { temperature: evalTemperature }),
      ...(evalTopP === null ? {} : { topP: evalTopP }),
      ...(evalTopK === null ? {} : { topK: evalTopK }),
    };
  }

  /** For every reward function, the chance that one of k completions of a prompt reaches evalPassThreshold. */
  #passMetrics(groups: readonly Group[]): Metrics {
    const { evalPassAt, evalPassThreshold } = this.#args;
    const metrics: Metrics = {};
    this.#rewards.names.forEach((name, f) => {
      const scored = groups.map(({ rollouts }) => {
        return rollouts.map(({ rewards }) => at(rewards, f)).filter((reward) => reward !== null);
      });
      for (const k of evalPassAt) {
        const chances = scored
          .filter((group) => group.length >= k)
          .map((group) => passAtK(group.length, group.filter((reward) => reward >= evalPassThreshold).length, k));
        metrics[`rewards/${name}/pass@${k}`] = nanMean(chances);
      }
    });
    return metrics;
  }
}

/**
 * The unbiased estimate of pass@k from n completions of which c pass (arXiv 2107.03374, section 2.1):
 *   1 − C(n − c, k) / C(n, k), as the product of (1 − k / i) over i = n − c + 1 .. n
 */
export function passAtK(n: number, c: number, k: number): number {
  if (n - c < k) return 1;
  let none = 1;
  for (let i = n - c + 1; i <= n; i++) none *= 1 - k / i;
  return 1 - none;
}

function checkPassAt(evalPassAt: readonly number[], groupSize: number): void {
  const large = evalPassAt.find((k) => k > groupSize);
  if (large === undefined) return;
  throw new GrpoError("BAD_OPTION", `evalPassAt ${large} needs as many completions a prompt; there are ${groupSize}`, {
    hint: `raise numGenerationsEval to ${large} or more`,
  });
}
