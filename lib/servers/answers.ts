// What answers of servers have in common: the form that they must have, and that ids and log-probabilities belong together.

import type * as Zod from "zod";
import type { FinishReason, TokenIds } from "../types.js";
import type { ServedCompletion, ServerFacts } from "./engine-server.js";
import { ServerFault } from "./fault.js";
import type { ServerAnswer } from "./http.js";

const REASONS: Readonly<Record<string, FinishReason>> = { stop: "eos", length: "length" };

export function parseAnswer<Schema extends Zod.ZodType>(
  { url }: Pick<ServerFacts, "url">,
  path: string,
  schema: Schema,
  { body }: ServerAnswer,
): Zod.output<Schema> {
  const result = schema.safeParse(body);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  throw new ServerFault("malformed", `${url}${path}: ${issue?.path.join(".")}: ${issue?.message}`);
}

/** A server that tokenizes or cuts what it is given would complete another prompt. */
export function checkPrompt(
  { url }: Pick<ServerFacts, "url">,
  given: TokenIds,
  found: TokenIds | null | undefined,
): void {
  if (found === null || found === undefined) return;
  if (found.length === given.length && found.every((id, i) => id === given[i])) return;
  throw new ServerFault(
    "malformed",
    `${url}: completed a prompt of ${found.length} tokens in place of the ${given.length} given`,
  );
}

export interface RawCompletion {
  readonly ids: number[];
  readonly logprobs: readonly (number | null)[];
  readonly reason: string | null;
  /** Whether a text ended it. */
  readonly stopString: boolean;
}

export function checkCompletion(
  { url }: Pick<ServerFacts, "url">,
  { ids, logprobs, reason, stopString }: RawCompletion,
): ServedCompletion {
  if (logprobs.length !== ids.length) {
    const text = `${url}: expected a log-probability for each of ${ids.length} tokens, found ${logprobs.length}`;
    throw new ServerFault("malformed", text);
  }
  const finishReason = stopString ? "stop" : REASONS[reason ?? ""];
  if (finishReason === undefined)
    throw new ServerFault("failed", `${url}: a completion ended with ${JSON.stringify(reason)}`);
  return { ids, logprobs: Float32Array.from(logprobs, (value) => value ?? Number.NaN), finishReason };
}
