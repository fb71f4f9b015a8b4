// The bundled model behind an endpoint: with the engine, or with one as plain as can be over the model's own forward, one token after the
// other, each drawn under the mask of its constraint, which can be told to prefer some tokens.

import { CausalLM, Tokenizer, tinyModel } from "grpo";
import { onTestFinished } from "vitest";
import { Endpoint } from "../../lib/endpoint/endpoint.js";
import type { GenerationEvent, GenerationRequest, Generator, ScoredToken } from "../../lib/endpoint/generator.js";
import { likeliestTokens } from "../../lib/endpoint/likeliest.js";
import { ModelGenerator } from "../../lib/endpoint/model-generator.js";
import { maskWords } from "../../lib/model/token-constraint.js";
import { randomFrom } from "../grammar/draw.js";
import { DEVICE } from "../support/device.js";
import { Client } from "./fake-generator.js";

export class PlainGenerator implements Generator {
  readonly maxPositions: number;
  readonly vocabSize: number;
  readonly eosTokenIds: readonly number[];
  readonly requests: GenerationRequest[] = [];
  /** Added to the logits, so that a model that never wrote JSON comes to an end with it. Default: little white space. */
  bias: (id: number) => number;

  constructor(
    readonly model: CausalLM,
    tokenizer: Tokenizer,
  ) {
    this.eosTokenIds = tokenizer.eosTokenIds;
    this.bias = (id) => (/^\s*$/.test(tokenizer.decode([id], { skipSpecialTokens: true })) ? -20 : 0);
    this.maxPositions = model.maxPositions;
    this.vocabSize = model.vocabSize;
  }

  async *generate(request: GenerationRequest): AsyncGenerator<GenerationEvent, void, undefined> {
    this.requests.push(request);
    for (let index = 0; index < request.count; index++) yield* this.#complete(request, index);
  }

  async *#complete(request: GenerationRequest, index: number): AsyncGenerator<GenerationEvent, void, undefined> {
    const constraint = request.constraint?.();
    const random = randomFrom((request.seed ?? 0) * 1000 + index);
    const ends = new Set([...this.eosTokenIds, ...request.stopIds]);
    const ids = [...request.ids];
    const mask = new Int32Array(maskWords(this.vocabSize));
    for (let i = 0; i < request.maxNewTokens; i++) {
      const [logits = new Float32Array()] = await this.model.forward([ids]);
      const row = logits.slice(-this.vocabSize);
      if (!constraint?.fill(mask)) mask.fill(-1);
      const id = drawn(row, mask, this.bias, request.sampling.temperature, random);
      constraint?.accept(id);
      const temperature = request.sampling.temperature || 1;
      const [token] = await likeliestTokens([0, id], new Float32Array([...row, ...row]), {
        from: 1,
        top: 0,
        temperature,
      });
      ids.push(id);
      yield { type: "token", index, token: { id, logprob: token?.logprob, top: [] } };
      if (ends.has(id)) return yield { type: "end", index, finishReason: "eos" };
    }
    yield { type: "end", index, finishReason: "length" };
  }

  score(): Promise<readonly ScoredToken[]> {
    return Promise.reject(new Error("nothing is scored here"));
  }
}

function drawn(
  logits: Float32Array,
  mask: Int32Array,
  bias: (id: number) => number,
  temperature: number,
  random: () => number,
): number {
  const allowed = [...logits.keys()].filter((id) => ((mask[id >> 5] as number) >>> (id & 31)) & 1);
  const scores = allowed.map((id) => (logits[id] as number) + bias(id));
  const most = Math.max(...scores);
  if (temperature === 0) return allowed[scores.indexOf(most)] as number;
  const weights = scores.map((score) => Math.exp((score - most) / temperature));
  let left = random() * weights.reduce((sum, weight) => sum + weight, 0);
  const place = weights.findIndex((weight) => {
    left -= weight;
    return left < 0;
  });
  return allowed.at(place) as number;
}

/** The bundled model behind an endpoint, with this chat template; `plain` draws in place of the engine if it is used. */
export async function modelEndpoint(template: string, draws: "engine" | "plain" = "engine") {
  const tokenizer = await Tokenizer.fromPretrained(tinyModel);
  tokenizer.chatTemplate = template;
  const model = await CausalLM.fromPretrained(tinyModel, { device: DEVICE });
  const plain = new PlainGenerator(model, tokenizer);
  const generator = draws === "plain" ? plain : new ModelGenerator(model, tokenizer);
  const defaults = { temperature: 1, topP: 1, topK: 0, minP: 0, repetitionPenalty: 1, maxNewTokens: undefined };
  const models = [{ name: "tiny", adapter: null }];
  const endpoint = await Endpoint.start({ generator, tokenizer, models, defaults });
  onTestFinished(async () => {
    await endpoint.close();
    model.dispose();
  });
  return { endpoint, plain, tokenizer, model, client: new Client(endpoint.baseURL) };
}
