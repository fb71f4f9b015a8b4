// Lifts a function of one completion to a reward function: the form that is shortest to write and type.

import { checkFunction } from "../checks.js";
import type { Completion, FinishReason, Prompt, RewardBatch, RewardFn, TrainerState } from "../types.js";
import { lazyObject } from "./copies.js";

/** One completion with the columns of its row. */
export type RewardSample<Row = unknown> = {
  readonly prompt: Prompt;
  readonly completion: Completion;
  /** The completion's text, whether the prompt was text or a conversation. */
  readonly text: string;
  readonly completionIds: readonly number[];
  readonly finishReason: FinishReason;
  readonly trainerState: TrainerState;
  readonly signal: AbortSignal;
} & { readonly [K in keyof Row as K extends "prompt" ? never : K]: Row[K] };

/** Arguments of every reward call; the others are columns of the data set. */
export const rewardArguments: ReadonlySet<string> = new Set([
  "prompts",
  "completions",
  "completionIds",
  "finishReasons",
  "trainerState",
  "logMetric",
  "logExtra",
  "signal",
]);

/** The text of a completion: itself, or the contents of its messages. */
export function completionText(completion: Completion): string {
  return typeof completion === "string" ? completion : completion.map((message) => message.content).join("");
}

/** Calls `fn` once per completion, all at the same time; the name in logs is that of `fn`. */
export function perSample<Row = unknown>(
  fn: (sample: RewardSample<Row>) => number | null | Promise<number | null>,
  name?: string,
): RewardFn<Row> {
  checkFunction("rewards.perSample", fn);
  const lifted = (batch: RewardBatch<Row>): Promise<(number | null)[]> => {
    const columns = Object.keys(batch).filter((key) => !rewardArguments.has(key));
    const ofColumn = (column: string, i: number) => (Reflect.get(batch, column) as unknown[])[i];
    const samples = batch.completions.map((completion, i) =>
      lazyObject({
        ...Object.fromEntries(columns.map((column) => [column, () => ofColumn(column, i)])),
        prompt: () => batch.prompts[i],
        completion: () => completion,
        text: () => completionText(completion),
        completionIds: () => batch.completionIds[i],
        finishReason: () => batch.finishReasons[i],
        trainerState: () => batch.trainerState,
        signal: () => batch.signal,
      }),
    );
    return Promise.all(samples.map(async (sample) => fn(sample as unknown as RewardSample<Row>)));
  };
  return Object.defineProperty(lifted, "name", { value: name ?? fn.name });
}
