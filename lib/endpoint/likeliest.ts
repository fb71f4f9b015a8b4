// The likeliest tokens at each place of a sequence, from its logits. The plain way, in the JavaScript of one thread: it copies all
// logits out of the engine, and so is for sequences that are not long.

import { setImmediate as nextTurn } from "node:timers/promises";
import { at } from "../at.js";
import { GrpoError } from "../errors.js";
import type { TokenIds } from "../types.js";
import type { ScoredToken, TokenLogprob } from "./generator.js";

/** Logits at a time: 1 GiB of them. */
const MOST_LOGITS = 2 ** 28;
/** After about so many the process looks at what else there is to do. */
const LOGITS_A_TURN = 2 ** 22;

/** Throws BAD_INPUT for a sequence whose logits would not fit. */
export function checkLogits(length: number, vocabSize: number): void {
  if (length * vocabSize <= MOST_LOGITS) return;
  const most = Math.floor(MOST_LOGITS / vocabSize);
  throw new GrpoError(
    "BAD_INPUT",
    `the likeliest tokens can be told of at most ${most} tokens of this model, found ${length}`,
    { hint: "ask for the log-probabilities without top_logprobs" },
  );
}

/**
 * The log-probability of each token but the first `from`, and of the `top` likeliest at its place, under softmax(logits / temperature).
 * `logits`: [length × vocabulary].
 */
export async function likeliestTokens(
  ids: TokenIds,
  logits: Float32Array,
  options: { readonly from: number; readonly top: number; readonly temperature: number },
): Promise<ScoredToken[]> {
  const { from, top, temperature } = options;
  const vocabSize = logits.length / ids.length;
  const scored: ScoredToken[] = [];
  for (let i = from; i < ids.length; i++) {
    // The logits behind a token are of the next one.
    const row = logits.subarray((i - 1) * vocabSize, i * vocabSize);
    const normalizer = logSumExp(row, temperature);
    const logprobOf = (id: number): TokenLogprob => ({
      id,
      logprob: Math.fround(at(row, id) / temperature - normalizer),
    });
    scored.push({ ...logprobOf(at(ids, i)), top: likeliestOf(row, top).map(logprobOf) });
    if (i % Math.max(1, Math.floor(LOGITS_A_TURN / vocabSize)) === 0) await nextTurn();
  }
  return scored;
}

function logSumExp(row: Float32Array, temperature: number): number {
  let most = Number.NEGATIVE_INFINITY;
  for (const logit of row) if (logit > most) most = logit;
  let sum = 0;
  for (const logit of row) sum += Math.exp((logit - most) / temperature);
  return most / temperature + Math.log(sum);
}

/** Of equal logits the smaller id comes first. */
function likeliestOf(row: Float32Array, count: number): number[] {
  const best: number[] = [];
  let least = Number.NEGATIVE_INFINITY;
  for (let id = 0; id < row.length; id++) {
    const logit = row[id] as number;
    if (best.length === count && !(logit > least)) continue;
    let place = best.length;
    while (place > 0 && (row[best[place - 1] as number] as number) < logit) place--;
    best.splice(place, 0, id);
    if (best.length > count) best.pop();
    if (best.length === count) least = row[best[count - 1] as number] as number;
  }
  return best;
}
