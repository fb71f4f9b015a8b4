// Lifts a function of one completion to a reward function: the form that is shortest to write and type.

import { checkFunction } from "../checks.js";
import type {
  Completion,
  CompletionOf,
  FinishReason,
  PromptOf,
  RewardBatch,
  RewardFn,
  RewardValue,
  TrainerState,
} from "../types.js";
import { lazyObject } from "./copies.js";

/** One completion with the columns of its row. */
export type RewardSample<Row = unknown> = {
  readonly prompt: PromptOf<Row>;
  readonly completion: CompletionOf<Row>;
  /** The completion's text, whether the prompt was text or a conversation. */
  readonly text: string;
  readonly completionIds: readonly number[];
  readonly finishReason: FinishReason;
  /** What the trainer's `rollout` returned; undefined without one. */
  readonly rolloutResult?: unknown;
  readonly trainerState: TrainerState;
  readonly signal: AbortSignal;
} & { readonly [K in keyof Row as K extends "prompt" ? never : K]: Row[K] };

/** Arguments of every reward call; the others are columns of the data set. */
export const rewardArguments: ReadonlySet<string> = new Set([
  "prompts",
  "completions",
  "completionIds",
  "finishReasons",
  "rolloutResults",
  "trainerState",
  "logMetric",
  "logExtra",
  "signal",
]);

/** The text of a completion: itself, or what the model says in its messages. */
export function completionText(completion: Completion): string {
  if (typeof completion === "string") return completion;
  const own = completion.filter(({ role }) => role === "assistant");
  return own.map(({ content }) => content).join("");
}

/**
 * Calls `fn` once per completion, all at the same time; the name in logs is that of `fn`. What the batch lacks, as in a test, is
 * undefined.
 */
export function perSample<Row = unknown>(
  fn: (sample: RewardSample<Row>) => RewardValue | Promise<RewardValue>,
  name?: string,
): RewardFn<Row> {
  checkFunction("rewards.perSample", fn);
  const lifted = (batch: RewardBatch<Row>): Promise<RewardValue[]> => {
    const columns = Object.keys(batch).filter((key) => !rewardArguments.has(key));
    const entry = (list: string, i: number) => (Reflect.get(batch, list) as readonly unknown[] | undefined)?.[i];
    const samples = batch.completions.map((completion, i) =>
      lazyObject({
        ...Object.fromEntries(columns.map((column) => [column, () => entry(column, i)])),
        prompt: () => entry("prompts", i),
        completion: () => completion,
        text: () => completionText(completion),
        completionIds: () => entry("completionIds", i),
        finishReason: () => entry("finishReasons", i),
        rolloutResult: () => entry("rolloutResults", i),
        trainerState: () => batch.trainerState,
        signal: () => batch.signal,
      }),
    );
    return Promise.all(samples.map(async (sample) => fn(sample as unknown as RewardSample<Row>)));
  };
  return Object.defineProperty(lifted, "name", { value: name ?? fn.name });
}
