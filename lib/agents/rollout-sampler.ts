// Samples by rollouts of one's own: each attempt at a row runs in a session of an endpoint in this process, which records what the
// policy says there. The endpoint is on loopback, starts with the first rollout, and lets in nobody but the rollouts that run.

import { at } from "../at.js";
import { Endpoint } from "../endpoint/endpoint.js";
import type { Generator, Sampling } from "../endpoint/generator.js";
import { newId } from "../endpoint/ids.js";
import type { SamplingDefaults } from "../endpoint/served.js";
import { GrpoError } from "../errors.js";
import type { JsonObject } from "../json.js";
import type { SampledGroup, SampleOptions } from "../model/sampled.js";
import { copyOf } from "../rewards/copies.js";
import { type FailureKind, milliseconds } from "../rewards/failure.js";
import { Semaphore } from "../rewards/semaphore.js";
import { hasPrompt } from "../rollout/prompts.js";
import type { RolloutReport, SampledRollout } from "../rollout/sample.js";
import type { FollowedPolicy, SampledAttempt, Sampler } from "../rollout/sampler.js";
import type { Tokenizer } from "../tokenizer/tokenizer.js";
import type { TokenIds } from "../types.js";
import { type AttemptPlace, runAttempts } from "./attempts.js";
import { DROP_REASONS, RolloutRecorder } from "./recorder.js";
import { type ReadResult, type RolloutFunction, readResult } from "./rollout.js";
import { RolloutError, thrownBy } from "./rollout-error.js";
import { samplesOf } from "./samples.js";
import { type RewardedTurns, rewardedTurns } from "./turn-rewards.js";

export interface RolloutSamplerOptions<Row> {
  readonly rollout: RolloutFunction<Row>;
  readonly generator: Generator;
  /** Whose turns are drawn, which is shown the weights where it has a copy. Absent: it has none. */
  readonly drawnBy?: Pick<Sampler, "elsewhere" | "follow">;
  readonly tokenizer: Tokenizer;
  /** The policy's name. */
  readonly model: string;
  /** How the model draws where the trainer does not say. */
  readonly defaults: SamplingDefaults;
  /** Of the chat template. */
  readonly variables: JsonObject;
  /** Rollouts that run at a time. */
  readonly concurrency: number;
  /** Seconds a rollout may take; null: any time. */
  readonly timeout: number | null;
  /** What a failed rollout counts as: it ends the run, has no reward, or has this one. */
  readonly onError: "fail" | "null" | number;
  /** Told of every failed rollout that does not end the run. */
  readonly onFailure: (kind: FailureKind, error: GrpoError) => void;
  /** Whether a metric is the run's own, so that no rollout may send one of its name. */
  readonly reserved: (metric: string) => boolean;
}

/** One attempt at one row. */
interface Attempt<Row> extends Pick<AttemptPlace, "attempt" | "seed" | "signal"> {
  readonly row: Row;
  readonly promptIds: TokenIds;
  /** For messages: "row 3, attempt 0". */
  readonly name: string;
}

/** What came of an attempt, beside what was drawn. */
interface Outcome {
  readonly report: RolloutReport;
  /** Undefined: no turn has a reward of its own. */
  readonly rewarded?: RewardedTurns | undefined;
}

type EndpointOf<Row> = Parameters<RolloutFunction<Row>>[0]["endpoint"];

export class RolloutSampler<Row> implements Sampler {
  readonly #options: RolloutSamplerOptions<Row>;
  readonly #slots: Semaphore;
  #endpoint: Promise<Endpoint> | undefined;

  constructor(options: RolloutSamplerOptions<Row>) {
    this.#options = options;
    this.#slots = new Semaphore(options.concurrency);
  }

  get maxPositions(): number {
    return this.#options.generator.maxPositions;
  }

  get elsewhere(): boolean {
    return this.#options.drawnBy?.elsewhere === true;
  }

  async follow(policy: FollowedPolicy, signal: AbortSignal): Promise<void> {
    await this.#options.drawnBy?.follow?.(policy, signal);
  }

  async sample(
    prompts: readonly TokenIds[],
    options: SampleOptions<SampledAttempt>,
    rows: readonly unknown[] = [],
  ): Promise<{ readonly groups: readonly SampledGroup<SampledAttempt>[] }> {
    return runAttempts(prompts.length, options, ({ prompt, attempt, key, seed, signal }) => {
      const name = `row ${key < 0 ? ~key : key}, attempt ${attempt}`;
      const one = { row: at(rows, prompt) as Row, promptIds: at(prompts, prompt), name, attempt, seed, signal };
      return this.#slots.run(() => this.#attempt(one, options));
    });
  }

  /** Ends all sessions, and frees the address. It may sample again. */
  async close(): Promise<void> {
    const endpoint = await this.#endpoint?.catch(() => undefined);
    this.#endpoint = undefined;
    await endpoint?.abort();
  }

  async #attempt(attempt: Attempt<Row>, options: SampleOptions<SampledAttempt>): Promise<SampledRollout> {
    this.#endpoint ??= this.#start();
    const endpoint = await this.#endpoint;
    if (attempt.signal.aborted) throw cancelled(attempt);
    const { model, defaults } = this.#options;
    const untrainedModel = `${model}:untrained`;
    const recorder = new RolloutRecorder({
      sampling: samplingOf(options, defaults),
      maxNewTokens: options.maxNewTokens,
      stopIds: options.stopIds ?? [],
      seed: attempt.seed,
      untrainedModel,
    });
    const { apiKey, end } = endpoint.openSession({ recorder });
    try {
      const own = { baseURL: endpoint.baseURL, apiKey, model, untrainedModel };
      const outcome = await this.#run(attempt, own, recorder);
      if (recorder.failure !== undefined) throw recorder.failure;
      return this.#recorded(attempt, recorder, outcome);
    } catch (error) {
      // An agent says only that its request was refused.
      throw recorder.failure ?? error;
    } finally {
      end();
    }
  }

  #start(): Promise<Endpoint> {
    const { generator, tokenizer, model, defaults, variables } = this.#options;
    const models = [model, `${model}:untrained`].map((name) => ({ name, adapter: undefined }));
    // A key that nobody is told of: without one, any caller would be let in.
    return Endpoint.start({ generator, tokenizer, models, defaults, variables }, { apiKey: newId("key") });
  }

  /** Calls the rollout, and says what came of it. Throws what ends the run. */
  async #run(attempt: Attempt<Row>, endpoint: EndpointOf<Row>, recorder: RolloutRecorder): Promise<Outcome> {
    try {
      const { result, rewards, metrics, turnRewards } = await this.#call(attempt, endpoint);
      const rewarded = turnRewards && rewardedTurns(recorder.finish().tree, turnRewards);
      return { report: { result, rewards, metrics }, rewarded };
    } catch (thrown) {
      if (attempt.signal.aborted) throw cancelled(attempt);
      const error = thrownBy(thrown, attempt.name);
      const { onError, onFailure } = this.#options;
      if (onError === "fail") throw error;
      const failure = error instanceof RolloutError ? error.kind : "exceptions";
      onFailure(failure, error);
      return { report: onError === "null" ? { failure, unscored: true } : { failure, result: { reward: onError } } };
    }
  }

  async #call({ row, name, attempt, seed, signal }: Attempt<Row>, endpoint: EndpointOf<Row>): Promise<ReadResult> {
    const { rollout, timeout, reserved } = this.#options;
    const limit = new AbortController();
    const ended = AbortSignal.any([signal, limit.signal]);
    let timer: NodeJS.Timeout | undefined;
    if (timeout !== null) timer = setTimeout(() => limit.abort(timedOut(name, timeout)), milliseconds(timeout));
    let leave = () => {};
    const interrupted = new Promise<never>((_, reject) => {
      leave = () => reject(ended.reason);
      ended.addEventListener("abort", leave, { once: true });
    });
    try {
      const context = { row: copyOf(row), endpoint, attempt, seed, signal: ended };
      const returned = await Promise.race([rollout(context), interrupted]);
      return readResult(returned, reserved);
    } finally {
      clearTimeout(timer);
      ended.removeEventListener("abort", leave);
    }
  }

  #recorded(
    { row, promptIds }: Attempt<Row>,
    recorder: RolloutRecorder,
    { report, rewarded }: Outcome,
  ): SampledRollout {
    const { tokenizer } = this.#options;
    const turns = recorder.finish();
    const decode = (ids: TokenIds) => tokenizer.decode(ids);
    const { samples, conversations, prompt, completion, finishReason, counts } = samplesOf(
      turns.tree,
      decode,
      rewarded,
    );
    const dropped = DROP_REASONS.filter((reason) => turns.dropped[reason] > 0);
    const kept = [...turns.tree];
    const sampled = kept.reduce((sum, { ids }) => sum + ids.length, 0);
    const nothing = { promptIds, completionIds: [], samplingLogprobs: new Float32Array(), finishReason };
    return {
      samples: samples.length > 0 ? samples : [nothing],
      completion,
      ...(hasPrompt(row) || prompt.length === 0 ? {} : { prompt }),
      finishReason,
      conversations,
      report: {
        ...report,
        metrics: { "rollout/turns": kept.length, "rollout/samples": samples.length, ...report.metrics },
        counts: {
          ...counts,
          "rollout/repeated": turns.repeated,
          "tokens/sampled": dropped.reduce((sum, reason) => sum + turns.dropped[reason], sampled),
          ...Object.fromEntries(dropped.map((reason) => [`tokens/dropped/${reason}`, turns.dropped[reason]])),
        },
      },
    };
  }
}

function samplingOf(options: SampleOptions<SampledAttempt>, defaults: SamplingDefaults): Sampling {
  return {
    temperature: options.doSample === false ? 0 : (options.temperature ?? 1),
    topP: options.topP ?? 1,
    topK: options.topK ?? 0,
    minP: options.minP ?? defaults.minP,
    repetitionPenalty: options.repetitionPenalty ?? 1,
    minNewTokens: undefined,
  };
}

function cancelled({ name }: Attempt<unknown>): GrpoError {
  return new GrpoError("CANCELLED", `stopped while the rollout of ${name} was at work`);
}

function timedOut(name: string, seconds: number): RolloutError {
  return new RolloutError("timeouts", `the rollout of ${name} took longer than ${seconds} s`, {
    hint: 'raise rolloutTimeout, or set onRewardError to "null" or to a number',
  });
}
