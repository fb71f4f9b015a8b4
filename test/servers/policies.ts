// A policy whose weights are a text, for samplers that hold a copy: what a server draws begins with the code of the text that it has.

import { mkdir, writeFile } from "node:fs/promises";
import path from "node:path";
import type { SequenceBatch } from "../../lib/model/learner.js";
import type { SampledGroup, SampleOptions } from "../../lib/model/sampled.js";
import type { FollowedPolicy, SampledAttempt } from "../../lib/rollout/sampler.js";
import { ServerSampler, type ServerSamplerOptions } from "../../lib/servers/server-sampler.js";
import { codeOf, type InferenceServer, OWN_LOGPROB, STOP_ID } from "../support/inference-server.js";

export class TextPolicy implements FollowedPolicy {
  readonly isAdapter: boolean;
  version = 0;
  saved = 0;

  /** As in a run of one update after another. */
  get step(): number {
    return this.version;
  }

  constructor(isAdapter = true) {
    this.isAdapter = isAdapter;
  }

  get text(): string {
    return `weights ${this.version}`;
  }

  async savePretrained(directory: string): Promise<void> {
    this.saved++;
    await mkdir(directory, { recursive: true });
    await writeFile(path.join(directory, "weights.txt"), this.text);
    if (this.isAdapter) await writeFile(path.join(directory, "adapter_config.json"), "{}");
  }

  async completionLogprobs({ completionIds }: SequenceBatch): Promise<Float32Array[]> {
    return completionIds.map((ids) => new Float32Array(ids.length).fill(OWN_LOGPROB));
  }
}

export const PROMPTS = [
  [5, 6, 7],
  [8, 9],
  [10, 11, 12, 13],
  [14, 15, 16, 17, 18],
];
export const OPTIONS: SampleOptions<SampledAttempt> = { groupSize: 3, maxNewTokens: 20, stopIds: [STOP_ID], seed: 1 };

/** Waits little, so that a test of what never comes is short. */
export function connect(
  servers: readonly InferenceServer[],
  options: Partial<ServerSamplerOptions> = {},
): Promise<ServerSampler> {
  return ServerSampler.connect({ urls: servers.map(({ url }) => url), timeout: 5, requestTimeout: 5, ...options });
}

/** The codes of the weights that drew what was sampled, each once. */
export function codesOf(groups: readonly SampledGroup<SampledAttempt>[]): number[] {
  const first = (attempt: SampledAttempt) => ("ids" in attempt ? (attempt.ids[0] ?? -1) : -1);
  return [...new Set(groups.flatMap(({ completions }) => completions.map(first)))];
}

export async function sampleNow(
  sampler: ServerSampler,
  policy: TextPolicy,
  options: Partial<SampleOptions<SampledAttempt>> = {},
) {
  await sampler.follow(policy);
  const { groups } = await sampler.sample(PROMPTS, { ...OPTIONS, ...options });
  return groups;
}

export const codes = (policy: TextPolicy) => [codeOf(policy.text)];
