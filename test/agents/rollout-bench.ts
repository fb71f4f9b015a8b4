// Rollouts over an engine that says what it is told to.

import { type RolloutContext, type RolloutFunction, type SampledRollout, Tokenizer, tinyModel } from "grpo";
import { onTestFinished } from "vitest";
import { RolloutSampler, type RolloutSamplerOptions } from "../../lib/agents/rollout-sampler.js";
import type { SampleOptions } from "../../lib/model/sampled.js";
import type { SampledAttempt } from "../../lib/rollout/sampler.js";
import { Client, TOOL_TEMPLATE } from "../endpoint/fake-generator.js";
import { LoggingGenerator } from "./logging-generator.js";

export const CHAT = "/v1/chat/completions";

export async function toolTokenizer(): Promise<Tokenizer> {
  const tokenizer = await Tokenizer.fromPretrained(tinyModel);
  tokenizer.chatTemplate = TOOL_TEMPLATE;
  return tokenizer;
}

export interface Row {
  readonly prompt: string;
  readonly n: number;
}

/** A client of the rollout's endpoint. */
export function clientOf({ endpoint, signal }: RolloutContext<Row>): { chat(body: object): Promise<ChatAnswer> } {
  const client = new Client(endpoint.baseURL, endpoint.apiKey);
  return {
    async chat(body) {
      const response = await client.post(CHAT, { model: endpoint.model, ...body }, { signal });
      if (response.status !== 200) throw new Error(`${response.status} ${await response.text()}`);
      return ((await response.json()) as { choices: [ChatAnswer] }).choices[0];
    },
  };
}

// biome-ignore lint/suspicious/noExplicitAny: messages of all shapes.
export type ChatAnswer = { readonly message: any; readonly finish_reason: string };

export async function rolloutBench(
  rollout: RolloutFunction<Row>,
  options: Partial<RolloutSamplerOptions<Row>> & { readonly say?: LoggingGenerator["say"] } = {},
) {
  const tokenizer = await toolTokenizer();
  const { say = () => "Hello.", ...rest } = options;
  const generator = new LoggingGenerator(tokenizer, say);
  const failures: string[] = [];
  const sampler = new RolloutSampler<Row>({
    rollout,
    generator,
    tokenizer,
    model: "tiny",
    defaults: { temperature: 0.6, topP: 0.9, topK: 5, minP: 0, repetitionPenalty: 1.1, maxNewTokens: undefined },
    variables: {},
    concurrency: 16,
    timeout: null,
    onError: "fail",
    onFailure: (kind) => failures.push(kind),
    reserved: (metric) => metric === "loss",
    ...rest,
  });
  onTestFinished(() => sampler.close());
  const rows = [0, 1].map((n) => ({ prompt: `question ${n}`, n }));
  const sample = async (own: Partial<SampleOptions<SampledAttempt>> = {}): Promise<SampledRollout[][]> => {
    const asked = { groupSize: 2, maxNewTokens: 256, seed: 1, promptKeys: [0, 1], ...own };
    const { groups } = await sampler.sample([[1], [2]], asked, rows);
    return groups.map(({ completions }) => completions as SampledRollout[]);
  };
  return { sampler, generator, tokenizer, failures, sample };
}
