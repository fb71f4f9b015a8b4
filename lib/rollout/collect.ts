// Groups of rollouts with their rewards: samples the prompts and hands each finished group to the reward functions while the
// others are still being decoded. Stops the sampling when a reward ends the run. No advantages here.

import { setMaxListeners } from "node:events";
import { unlessAborted } from "../abort.js";
import { at } from "../at.js";
import { partOf, type Ranks } from "../distributed/ranks.js";
import { GrpoError } from "../errors.js";
import type { SampledGroup, SampleOptions } from "../model/sampled.js";
import type { RewardInput, RewardOutput, RewardRuntime } from "../rewards/runtime.js";
import type { ProcessingClass } from "../tokenizer/processing-class.js";
import type { Completion, Prompt, TokenIds, TrainerState } from "../types.js";
import type { PolicyVersions } from "./policy-versions.js";
import type { PromptTable } from "./prompts.js";
import {
  completionIdsOf,
  countedLength,
  finishReasonOf,
  type Group,
  type Sample,
  type SampledRollout,
} from "./sample.js";
import type { SampledAttempt, Sampler } from "./sampler.js";

export interface RolloutSource<Row> {
  readonly sampler: Sampler;
  /** The weights that it is to sample from. */
  readonly versions: PolicyVersions;
  readonly tokenizer: ProcessingClass;
  readonly prompts: PromptTable<Row>;
  /** Columns that reward functions receive. */
  readonly columns: readonly string[];
  readonly rewards: RewardRuntime;
  readonly batching: "group" | "batch";
  /** Each samples and scores its part of the prompts. */
  readonly ranks: Ranks;
}

export interface RolloutRequest {
  /** [P] rows to sample for. */
  readonly rows: readonly number[];
  readonly sampling: Omit<SampleOptions, "signal" | "onGroup" | "promptKeys">;
  /**
   * Sampled while the policy is trained: whoever trains shows the sampler each version of the weights, and every sample tells which drew
   * it. Default false: the weights are shown here, and stay as they are.
   */
  readonly ahead?: boolean;
  readonly trainerState: TrainerState;
  readonly signal: AbortSignal;
  /** So far: finished completions, and the tokens of them that count. */
  readonly onProgress?: ((done: { readonly completions: number; readonly tokens: number }) => void) | undefined;
}

/** What one round of sampling has brought. */
export interface Collected {
  /** [P] in the order of the rows. */
  readonly groups: readonly Group[];
  /** What the calls of the reward functions gave beside rewards and extras, in the order of the rows that they scored. */
  readonly calls: readonly Pick<RewardOutput, "metrics" | "failures">[];
  readonly seconds: {
    readonly rollout: number;
    /** Waiting for rewards after the last token was drawn. */
    readonly reward: number;
  };
}

/** Of all ranks, each of which samples its part of the rows; the draws of a row are the same wherever it is sampled. */
export async function collectGroups<Row>(source: RolloutSource<Row>, request: RolloutRequest): Promise<Collected> {
  const { ranks } = source;
  const keys = keysOf(request.rows);
  if (ranks.size === 1) return collectOwn(source, request, keys);
  const { from, to } = partOf(ranks, request.rows.length);
  const rows = request.rows.slice(from, to);
  const longest = request.rows.reduce((length, row) => Math.max(length, source.prompts.ids(row).length), 0);
  // Of the prompts of all ranks, as rotary embeddings that depend on the length must be the same everywhere.
  const sampling = { ...request.sampling, contextLength: longest + request.sampling.maxNewTokens };
  const own =
    rows.length === 0 ? NOTHING : await collectOwn(source, { ...request, rows, sampling }, keys.slice(from, to));
  const all = await ranks.gather({ ...own, groups: own.groups.map(withoutEnvironments) });
  return {
    groups: all.flatMap(({ groups }) => groups),
    calls: all.flatMap(({ calls }) => calls),
    seconds: {
      rollout: Math.max(...all.map(({ seconds }) => seconds.rollout)),
      reward: Math.max(...all.map(({ seconds }) => seconds.reward)),
    },
  };
}

const NOTHING: Collected = { groups: [], calls: [], seconds: { rollout: 0, reward: 0 } };

/** What a rollout acted upon is of its own process, and was for its reward functions. */
function withoutEnvironments(group: Group): Group {
  return { ...group, rollouts: group.rollouts.map(({ environment: _, ...rollout }) => rollout) };
}

async function collectOwn<Row>(
  source: RolloutSource<Row>,
  request: RolloutRequest,
  promptKeys: readonly number[],
): Promise<Collected> {
  const { rows, sampling, ahead = false, onProgress } = request;
  if (request.signal.aborted) throw new GrpoError("CANCELLED", "stopped before sampling");
  const promptIds = rows.map((row) => source.prompts.ids(row));
  const groups: (Group<SampledRollout> | undefined)[] = rows.map(() => undefined);
  const scoring = new Scoring(source, request);
  const policyStep = ahead ? source.versions.step : undefined;
  let completions = 0;
  let tokens = 0;

  const onGroup = ({ prompt, completions: attempts }: SampledGroup<SampledAttempt>): void =>
    scoring.guard(() => {
      checkCount(prompt, attempts.length, sampling.groupSize);
      const group = readGroup(source, at(rows, prompt), at(promptIds, prompt), attempts, policyStep);
      groups[prompt] = group;
      if (source.batching === "group") scoring.start(prompt, [group]);
      completions += attempts.length;
      tokens += group.rollouts.reduce((sum, rollout) => sum + countedLength(rollout), 0);
      onProgress?.({ completions, tokens });
    });

  const started = performance.now();
  const options = { ...sampling, promptKeys, signal: scoring.signal, onGroup };
  const promptRows = rows.map((row) => source.prompts.row(row));
  const sample = async () => {
    if (!ahead) await source.versions.showTo(source.sampler, scoring.signal);
    return source.sampler.sample(promptIds, options, promptRows);
  };
  await scoring.during(() => unlessAborted(sample(), request.signal, "the sampler"));
  const sampled = performance.now();
  const missing = groups.indexOf(undefined);
  if (missing >= 0) {
    throw new GrpoError("INTERNAL", `sampling ended without the completions of prompt ${missing} of ${rows.length}`);
  }
  if (source.batching === "batch") scoring.start(0, groups as Group<SampledRollout>[]);
  const scored = await scoring.finish();
  return {
    groups: scored.flatMap(withRewards),
    calls: scored.map(({ output: { metrics, failures } }) => ({ metrics, failures })),
    seconds: { rollout: (sampled - started) / 1000, reward: (performance.now() - sampled) / 1000 },
  };
}

/** A row that comes twice, at the end of an epoch and the beginning of the next, must not have the same completions twice. */
function keysOf(rows: readonly number[]): number[] {
  return rows.map((row, i) => (rows.indexOf(row) === i ? row : ~row));
}

function checkCount(prompt: number, found: number, expected: number): void {
  if (found === expected) return;
  throw new GrpoError(
    "INTERNAL",
    `expected ${expected} completions of prompt ${prompt} from the sampler, found ${found}`,
  );
}

function readGroup<Row>(
  source: RolloutSource<Row>,
  row: number,
  promptIds: TokenIds,
  attempts: readonly SampledAttempt[],
  policyStep: number | undefined,
): Group<SampledRollout> {
  const prompt = source.prompts.prompt(row);
  const rollouts = attempts.map((attempt): SampledRollout => {
    if ("samples" in attempt) {
      checkSamples(attempt.samples);
      if (policyStep === undefined) return attempt;
      return { ...attempt, samples: attempt.samples.map((sample) => withPolicySteps(sample, policyStep)) };
    }
    // A plain completion is one sample in the context of its prompt.
    const { ids, logprobs, finishReason, policyStep: own = policyStep } = attempt;
    const policySteps = own === undefined ? {} : { policySteps: new Int32Array(ids.length).fill(own) };
    const samples = [{ promptIds, completionIds: ids, samplingLogprobs: logprobs, ...policySteps, finishReason }];
    return { samples, completion: decode(source.tokenizer, prompt, ids) };
  });
  return { row, prompt, promptIds, rollouts };
}

/** Tokens of which nobody said which weights drew them are of those at the time of the call: they are no older. */
function withPolicySteps(sample: Sample, policyStep: number): Sample {
  const { completionIds, lossMask, policySteps } = sample;
  const steps = Int32Array.from(completionIds, (_, i) => {
    const known = policySteps?.[i] ?? -1;
    return known >= 0 || lossMask?.[i] === 0 ? known : policyStep;
  });
  return { ...sample, policySteps: steps };
}

/** What a sampler of one's own gives may be out of step, and would train on the wrong tokens. */
function checkSamples(samples: readonly Sample[]): void {
  if (samples.length === 0) throw new GrpoError("INTERNAL", "expected at least one sample of a rollout, found none");
  for (const [i, { completionIds, samplingLogprobs, lossMask, turns = [] }] of samples.entries()) {
    const outside = turns.find(({ start, end }) => !(0 <= start && start <= end && end <= completionIds.length));
    if (outside) {
      const found = `the tokens from ${outside.start} to ${outside.end}`;
      throw new GrpoError(
        "INTERNAL",
        `sample ${i} of a rollout: expected turns within its ${completionIds.length} tokens, found ${found}`,
      );
    }
    const lengths = `${completionIds.length} tokens, ${samplingLogprobs.length} log-probabilities`;
    const fits = samplingLogprobs.length === completionIds.length;
    if (fits && (!lossMask || lossMask.length === completionIds.length)) continue;
    const mask = lossMask ? `, a loss mask of ${lossMask.length}` : "";
    throw new GrpoError(
      "INTERNAL",
      `sample ${i} of a rollout: expected one of each per token, found ${lengths}${mask}`,
    );
  }
}

function decode(tokenizer: ProcessingClass, prompt: Prompt, ids: TokenIds): Completion {
  const content = tokenizer.decode(ids, { skipSpecialTokens: true });
  return typeof prompt === "string" ? content : [{ role: "assistant", content }];
}

/** Groups that were scored in one call per function, in the order of the rows from the one with index `first` on. */
interface Scored {
  readonly first: number;
  readonly groups: readonly Group<SampledRollout>[];
  readonly output: RewardOutput;
}

/** The reward calls of one collection. The first failure stops the sampling and all other calls, and is what is thrown. */
class Scoring<Row> {
  readonly signal: AbortSignal;
  readonly #source: RolloutSource<Row>;
  readonly #request: RolloutRequest;
  readonly #stop = new AbortController();
  readonly #calls: Promise<void>[] = [];
  readonly #scored: Scored[] = [];
  #failure: { readonly error: unknown } | undefined;

  constructor(source: RolloutSource<Row>, request: RolloutRequest) {
    this.#source = source;
    this.#request = request;
    this.signal = AbortSignal.any([request.signal, this.#stop.signal]);
    // One listener for each reward call in flight; node would warn from the eleventh on.
    setMaxListeners(0, this.signal);
  }

  /** Scores groups in one call per function. */
  start(first: number, groups: readonly Group<SampledRollout>[]): void {
    const input = rewardInput(this.#source, this.#request.trainerState, groups);
    const call = this.#source.rewards.score(input, this.signal).then(
      (output) => void this.#scored.push({ first, groups, output }),
      (error: unknown) => this.#fail(error),
    );
    this.#calls.push(call);
  }

  /** Runs a callback of the sampler, which has nobody to throw to. */
  guard(fn: () => void): void {
    try {
      fn();
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Samples, and throws what went wrong meanwhile. */
  async during(sample: () => ReturnType<Sampler["sample"]>): Promise<void> {
    try {
      await sample();
    } catch (error) {
      this.#fail(error);
    }
    if (this.#failure) await this.finish();
  }

  async finish(): Promise<Scored[]> {
    await Promise.all(this.#calls);
    if (this.#failure) throw this.#failure.error;
    // By row, not by order of finishing, so that metrics do not depend on timing.
    return this.#scored.sort((a, b) => a.first - b.first);
  }

  #fail(error: unknown): void {
    this.#failure ??= { error };
    this.#stop.abort(error);
  }
}

/** The columns that reward functions take, one entry per rollout. */
function rewardInput<Row>(
  source: RolloutSource<Row>,
  trainerState: TrainerState,
  groups: readonly Group<SampledRollout>[],
): RewardInput {
  const rollouts = groups.flatMap(({ row, prompt, rollouts }) =>
    rollouts.map((rollout) => ({ row, prompt: rollout.prompt ?? prompt, rollout })),
  );
  const environments = rollouts.map(({ rollout }) => rollout.environment).filter((one) => one !== undefined);
  const column = (name: string) => rollouts.map(({ row }) => columnValue(source.prompts.row(row), name));
  return {
    prompts: rollouts.map(({ prompt }) => prompt),
    completions: rollouts.map(({ rollout }) => rollout.completion),
    completionIds: rollouts.map(({ rollout }) => completionIdsOf(rollout)),
    finishReasons: rollouts.map(({ rollout }) => finishReasonOf(rollout)),
    rolloutResults: rollouts.every(({ rollout }) => rollout.report === undefined)
      ? undefined
      : rollouts.map(({ rollout }) => rollout.report?.result),
    columns: Object.fromEntries(source.columns.map((name) => [name, column(name)])),
    ...(environments.length > 0 ? { environments } : {}),
    trainerState,
  };
}

function columnValue(row: unknown, column: string): unknown {
  return typeof row === "object" && row !== null ? Reflect.get(row, column) : undefined;
}

/** The columns that reward functions give, back at their rollouts. */
function withRewards({ groups, output }: Scored): Group[] {
  const extras = Object.entries(output.extras);
  let next = 0;
  return groups.map((group) => ({
    ...group,
    rollouts: group.rollouts.map((rollout) => {
      const i = next++;
      return {
        ...rollout,
        rewards: output.rewards.map((rewards) => (rollout.report?.unscored ? null : at(rewards, i))),
        extras: Object.fromEntries(extras.map(([name, values]) => [name, values[i]])),
      };
    }),
  }));
}
