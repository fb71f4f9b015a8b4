// Whether a server samples from the policy: its log-probabilities beside those of the engine that trains, of the same tokens. At the
// beginning this finds another model behind the address and log-probabilities of another kind; after each push of whole weights,
// weights that did not arrive, or only in part.

import type { FollowedPolicy } from "../rollout/sampler.js";
import type { TokenIds } from "../types.js";
import type { EngineServer } from "./engine-server.js";
import { ServerFault } from "./fault.js";

/**
 * In nats a token. Engines of one precision differ by 1e-5, bfloat16 from float32 by 0.03 to 0.05 and 8-bit weights by 0.1; another
 * model, even a fine-tuned one of the same family, by more than this.
 */
const OTHER_MODEL = 0.5;
/** The gap after a push beside the one before it: rounding moves with the weights, and by less than these. */
const GROWTH = 4;
const LEAST = 1e-4;
const PROBE_TOKENS = 32;
/** Of the spread of the likeliest tokens at temperature 2 to that at temperature 1: half of it where they follow, else all. */
const FOLLOWS = 0.75;

/**
 * Completes a prompt at temperature 1, and gives prompt and completion to judge later weights by. Throws SERVER_ERROR where the server
 * does not sample from this policy.
 */
export async function openingProbe(
  server: EngineServer,
  adapter: string | undefined,
  promptIds: TokenIds,
  policy: FollowedPolicy,
  signal: AbortSignal,
): Promise<TokenIds> {
  const plain = {
    temperature: 1,
    topP: 1,
    topK: 0,
    minP: 0,
    repetitionPenalty: 1,
    stopIds: [],
    stopStrings: [],
    seed: 0,
  };
  const request = { ...plain, adapter, promptIds, count: 1, maxNewTokens: PROBE_TOKENS };
  const { completions } = await server.complete(request, signal);
  const { ids = [], logprobs = new Float32Array() } = completions[0] ?? {};
  const own = await policy.completionLogprobs({ promptIds: [promptIds], completionIds: [ids] }, { temperature: 1 });
  const gap = meanGap(logprobs, own[0] ?? new Float32Array());
  if (gap > OTHER_MODEL) {
    const { url, model } = server.facts;
    throw new ServerFault(
      "refused",
      `${url} serves ${JSON.stringify(model)}, whose log-probabilities are ${gap.toFixed(2)} nats a token from those of the policy`,
      {
        hint: "start the server with the model that is trained, and with a --logprobs-mode that gives log-probabilities",
      },
    );
  }
  return [...promptIds, ...ids];
}

/** Log-probability of every token of the probe but the first, under the policy as it is. */
export async function ownLogprobs(policy: FollowedPolicy, ids: TokenIds): Promise<Float32Array> {
  const batch = { promptIds: [ids.slice(0, 1)], completionIds: [ids.slice(1)] };
  const [own = new Float32Array()] = await policy.completionLogprobs(batch, { temperature: 1 });
  return own;
}

/** How far a server's own weights are from the policy on the tokens of the probe, in nats a token. */
export async function weightsGap(
  server: EngineServer,
  ids: TokenIds,
  own: Float32Array,
  signal: AbortSignal,
): Promise<number> {
  return meanGap(await server.score(ids, signal), own);
}

/** Throws SERVER_ERROR where the weights that a server was given are not the ones that it has. */
export function checkArrived(server: EngineServer, before: number, now: number): void {
  if (now <= Math.max(LEAST, GROWTH * before)) return;
  const gaps = `${now.toExponential(1)} nats a token, before it ${before.toExponential(1)}`;
  throw new ServerFault(
    "refused",
    `${server.facts.url} has not taken over all weights: after a reload it differs by ${gaps}`,
    {
      hint: server.reloadHint,
    },
  );
}

/** Throws SERVER_ERROR where log-probabilities are given of another distribution than the one that is drawn from. */
export async function checkTemperature(
  server: EngineServer,
  promptIds: TokenIds,
  temperature: number,
  signal: AbortSignal,
): Promise<void> {
  if (await followsTemperature(server, promptIds, signal)) return;
  const text = `gives log-probabilities without the temperature, and temperature is ${temperature}: they are of another distribution`;
  throw new ServerFault("refused", `${server.facts.url} ${text}`, { hint: server.temperatureHint });
}

export async function followsTemperature(
  server: EngineServer,
  promptIds: TokenIds,
  signal: AbortSignal,
): Promise<boolean> {
  const spread = async (temperature: number) => {
    const values = await server.likeliest(promptIds, temperature, signal);
    return (values[0] ?? 0) - (values.at(-1) ?? 0);
  };
  const [plain, flat] = [await spread(1), await spread(2)];
  return flat < FOLLOWS * plain;
}

/** Mean of |a − b| over the tokens that both know. */
function meanGap(a: Float32Array, b: Float32Array): number {
  const gaps = Array.from(a, (value, i) => Math.abs(value - (b[i] ?? Number.NaN))).filter((gap) => !Number.isNaN(gap));
  return gaps.length === 0 ? 0 : gaps.reduce((sum, gap) => sum + gap, 0) / gaps.length;
}
