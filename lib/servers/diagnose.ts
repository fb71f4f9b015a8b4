// What a server is and can do, without a model beside it: for `grpo doctor --server URL`.

import { connect } from "./connect.js";
import type { ServerAbilities, ServerFacts } from "./engine-server.js";
import { followsTemperature } from "./verify.js";

export interface ServerDiagnosis extends ServerFacts, ServerAbilities {
  /** Whether it can sample for a trainer: one of adapters, or of whole weights. */
  readonly ok: boolean;
  /** Whether log-probabilities are those of the temperature; else only temperature 1 can be trained with. */
  readonly followsTemperature: boolean;
  /** What to change, most important first. */
  readonly advice: readonly string[];
}

/** Ids that any vocabulary has. */
const PROMPT = [1, 2, 3, 4];
const REQUEST_SECONDS = 60;

/** Throws SERVER_ERROR where it does not answer, or is of another kind. */
export async function diagnoseServer(address: string, signal: AbortSignal): Promise<ServerDiagnosis> {
  const server = await connect({ address, requestSeconds: REQUEST_SECONDS, apiKey: process.env.VLLM_API_KEY }, signal);
  const follows = await followsTemperature(server, PROMPT, signal);
  const abilities = await server.abilities(signal);
  const { adapters, wholeWeights } = abilities;
  return {
    ...server.facts,
    ...abilities,
    ok: adapters || wholeWeights,
    followsTemperature: follows,
    advice: [
      ...(follows ? [] : [server.temperatureHint]),
      ...(adapters ? [] : [`for adapters: ${server.adapterHint}`]),
      ...(wholeWeights ? [] : [`for whole weights: ${server.weightsHint}`]),
    ],
  };
}
