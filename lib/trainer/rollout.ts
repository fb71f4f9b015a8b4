// One batch of completions with their rewards: samples the prompts' groups and hands each finished group to the reward
// functions while the others are still being decoded. Stops the sampling when a reward ends the run. No advantages here.

import { setMaxListeners } from "node:events";
import { GrpoError } from "../errors.js";
import type {
  PolicyModel,
  ProcessingClass,
  SampledCompletion,
  SampledGroup,
  SampleOptions,
  TokenIds,
} from "../policy.js";
import type { FailureKind } from "../rewards/failure.js";
import type { RewardOutput, RewardRuntime } from "../rewards/runtime.js";
import type { Completion, FinishReason, Prompt, TrainerState } from "../types.js";
import type { PromptTable } from "./prompts.js";

export interface RolloutSource<Row> {
  readonly model: PolicyModel;
  readonly tokenizer: ProcessingClass;
  readonly prompts: PromptTable<Row>;
  /** Columns that reward functions receive. */
  readonly columns: readonly string[];
  readonly rewards: RewardRuntime;
  readonly batching: "group" | "batch";
}

export interface RolloutRequest {
  /** [P] rows to sample for. */
  readonly rows: readonly number[];
  readonly sampling: Omit<SampleOptions, "signal" | "onGroup" | "promptKeys">;
  readonly trainerState: TrainerState;
  readonly signal: AbortSignal;
  readonly onProgress?: (done: { readonly completions: number; readonly tokens: number }) => void;
}

/** One entry per completion ([B], groups side by side in the order of the rows) unless a field says otherwise. */
export interface Rollout {
  readonly row: readonly number[];
  readonly prompts: readonly Prompt[];
  readonly promptIds: readonly TokenIds[];
  readonly completions: readonly Completion[];
  readonly completionIds: readonly (readonly number[])[];
  readonly samplingLogprobs: readonly Float32Array[];
  readonly finishReasons: readonly FinishReason[];
  /** [functions][B] */
  readonly rewards: readonly (readonly (number | null)[])[];
  /** Columns from logExtra, [B] each; undefined where a group sent none. */
  readonly extras: Readonly<Record<string, readonly unknown[]>>;
  readonly userMetrics: readonly { readonly name: string; readonly value: number }[];
  /** [functions] how each failed call failed. */
  readonly rewardFailures: readonly (readonly FailureKind[])[];
  readonly seconds: {
    readonly rollout: number;
    /** Waiting for rewards after the last token was drawn. */
    readonly reward: number;
  };
}

interface ScoredGroup {
  readonly completions: readonly SampledCompletion[];
  readonly decoded: readonly Completion[];
}

export async function collectRollout<Row>(source: RolloutSource<Row>, request: RolloutRequest): Promise<Rollout> {
  const { rows, sampling, onProgress } = request;
  if (request.signal.aborted) throw new GrpoError("CANCELLED", "stopped before sampling");
  const promptIds = rows.map((row) => source.prompts.ids(row));
  const groups: (ScoredGroup | undefined)[] = rows.map(() => undefined);
  const scoring = new Scoring(source, request);
  let completions = 0;
  let tokens = 0;

  const onGroup = (group: SampledGroup): void =>
    scoring.guard(() => {
      const row = rows[group.prompt] ?? 0;
      const decoded = group.completions.map(({ ids }) => decode(source, row, ids));
      groups[group.prompt] = { completions: group.completions, decoded };
      if (source.batching === "group") scoring.start([group.prompt], groups);
      completions += decoded.length;
      tokens += group.completions.reduce((sum, { ids }) => sum + ids.length, 0);
      onProgress?.({ completions, tokens });
    });

  const started = performance.now();
  const options = { ...sampling, promptKeys: keysOf(rows), signal: scoring.signal, onGroup };
  await scoring.during(() => source.model.sample(promptIds, options));
  const sampled = performance.now();
  if (source.batching === "batch") scoring.start(Array.from(rows.keys()), groups);
  const scores = await scoring.finish();
  const seconds = { rollout: (sampled - started) / 1000, reward: (performance.now() - sampled) / 1000 };
  return assemble(source, rows, promptIds, groups, scores, seconds);
}

/** A row that comes twice, at the end of an epoch and the beginning of the next, must not have the same completions twice. */
function keysOf(rows: readonly number[]): number[] {
  return rows.map((row, i) => (rows.indexOf(row) === i ? row : ~row));
}

function decode<Row>({ tokenizer, prompts }: RolloutSource<Row>, row: number, ids: TokenIds): Completion {
  const content = tokenizer.decode(ids, { skipSpecialTokens: true });
  return typeof prompts.prompt(row) === "string" ? content : [{ role: "assistant", content }];
}

interface Score {
  readonly members: readonly number[];
  readonly output: RewardOutput;
}

/** The reward calls of one rollout. The first failure stops the sampling and all other calls, and is what is thrown. */
class Scoring<Row> {
  readonly signal: AbortSignal;
  readonly #source: RolloutSource<Row>;
  readonly #request: RolloutRequest;
  readonly #stop = new AbortController();
  readonly #calls: Promise<void>[] = [];
  readonly #scores: Score[] = [];
  #failure: { readonly error: unknown } | undefined;

  constructor(source: RolloutSource<Row>, request: RolloutRequest) {
    this.#source = source;
    this.#request = request;
    this.signal = AbortSignal.any([request.signal, this.#stop.signal]);
    // One listener for each reward call in flight; node would warn from the eleventh on.
    setMaxListeners(0, this.signal);
  }

  /** Scores the groups of the prompts in `members` in one call per function. */
  start(members: readonly number[], groups: readonly (ScoredGroup | undefined)[]): void {
    const input = rewardInput(this.#source, this.#request, members, groups);
    const call = this.#source.rewards.score(input, this.signal).then(
      (output) => void this.#scores.push({ members, output }),
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

  async during<T>(sample: () => Promise<T>): Promise<void> {
    try {
      await sample();
    } catch (error) {
      this.#fail(error);
      await this.finish();
    }
  }

  async finish(): Promise<Score[]> {
    await Promise.all(this.#calls);
    if (this.#failure) throw this.#failure.error;
    // By prompt, not by order of finishing, so that metrics do not depend on timing.
    return this.#scores.sort((a, b) => (a.members[0] ?? 0) - (b.members[0] ?? 0));
  }

  #fail(error: unknown): void {
    this.#failure ??= { error };
    this.#stop.abort(error);
  }
}

function rewardInput<Row>(
  source: RolloutSource<Row>,
  request: RolloutRequest,
  members: readonly number[],
  groups: readonly (ScoredGroup | undefined)[],
) {
  const samples = members.flatMap((p) => {
    const group = groups[p];
    const row = request.rows[p] ?? 0;
    return (group?.completions ?? []).map((sample, i) => ({ sample, row, completion: group?.decoded[i] ?? "" }));
  });
  const column = (name: string) => samples.map(({ row }) => columnValue(source.prompts.row(row), name));
  return {
    prompts: samples.map(({ row }) => source.prompts.prompt(row)),
    completions: samples.map(({ completion }) => completion),
    completionIds: samples.map(({ sample }) => sample.ids),
    finishReasons: samples.map(({ sample }) => sample.finishReason),
    columns: Object.fromEntries(source.columns.map((name) => [name, column(name)])),
    trainerState: request.trainerState,
  };
}

function columnValue(row: unknown, column: string): unknown {
  return typeof row === "object" && row !== null ? Reflect.get(row, column) : undefined;
}

function assemble<Row>(
  source: RolloutSource<Row>,
  rows: readonly number[],
  promptIds: readonly TokenIds[],
  groups: readonly (ScoredGroup | undefined)[],
  scores: readonly Score[],
  seconds: Rollout["seconds"],
): Rollout {
  const complete = groups.map((group, p) => {
    if (group) return group;
    throw new GrpoError("INTERNAL", `sampling ended without the completions of prompt ${p} of ${rows.length}`);
  });
  const samples = complete.flatMap((group) => group.completions);
  const perCompletion = <T>(values: readonly T[]) =>
    complete.flatMap((group, p) => group.completions.map(() => values[p] as T));
  return {
    row: perCompletion(rows),
    prompts: perCompletion(rows.map((row) => source.prompts.prompt(row))),
    promptIds: perCompletion(promptIds),
    completions: complete.flatMap((group) => group.decoded),
    completionIds: samples.map(({ ids }) => ids),
    samplingLogprobs: samples.map(({ logprobs }) => logprobs),
    finishReasons: samples.map(({ finishReason }) => finishReason),
    rewards: source.rewards.names.map((_, k) => scores.flatMap(({ output }) => output.rewards[k] ?? [])),
    extras: mergeExtras(scores),
    userMetrics: scores.flatMap(({ output }) => output.metrics),
    rewardFailures: source.rewards.names.map((_, k) => scores.flatMap(({ output }) => output.failures[k] ?? [])),
    seconds,
  };
}

function mergeExtras(scores: readonly Score[]): Record<string, unknown[]> {
  const columns = new Set(scores.flatMap(({ output }) => Object.keys(output.extras)));
  const merged: Record<string, unknown[]> = {};
  for (const column of columns) {
    merged[column] = scores.flatMap(({ output }) => {
      const size = output.rewards[0]?.length ?? 0;
      return output.extras[column] ?? new Array<unknown>(size).fill(undefined);
    });
  }
  return merged;
}
