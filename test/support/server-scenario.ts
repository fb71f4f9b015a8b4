// What the real server is asked in scripts/check-vllm.ts, and its recording in the tests: completions of two versions of an adapter on
// the bundled model, each token's log-probability beside the engine's own.

import { at } from "../../lib/at.js";
import { LoraConfig } from "../../lib/model/lora/lora.js";
import { CausalLM } from "../../lib/model/model.js";
import { PolicyVersions } from "../../lib/rollout/policy-versions.js";
import type { SampledAttempt } from "../../lib/rollout/sampler.js";
import type { ServerSampler } from "../../lib/servers/server-sampler.js";
import type { TokenIds } from "../../lib/types.js";
import { DEVICE } from "./device.js";

/** "user 3 + 4 = ?" and "user 2 + 2 = ?" in the bundled model's own template. */
const PROMPTS: readonly TokenIds[] = [
  [466, 287, 198, 411, 395, 220, 18, 393, 220, 19, 30, 467, 198, 466, 302, 198],
  [466, 287, 198, 411, 395, 220, 17, 393, 220, 17, 30, 467, 198, 466, 302, 198],
];
const GROUP = 4;
const MOST_TOKENS = 24;
const STOP = 467;

export interface VersionCheck {
  readonly version: number;
  readonly temperature: number;
  readonly tokens: number;
  /** Largest difference of a log-probability, in nats. */
  readonly largest: number;
  /** Of the first prompt. */
  readonly ids: readonly (readonly number[])[];
}

export async function policyWithAdapter(folder: string): Promise<CausalLM> {
  const model = await CausalLM.fromPretrained(folder, { device: DEVICE, dtype: "float32" });
  return model.applyLora(new LoraConfig({ r: 8, loraAlpha: 16, targetModules: ["q_proj", "v_proj"] }), { seed: 3 });
}

/** Samples, moves the weights, and samples again at another temperature. */
export async function twoVersions(model: CausalLM, sampler: ServerSampler): Promise<VersionCheck[]> {
  const versions = new PolicyVersions(model);
  await model.beginTraining();
  const first = await sampleVersion(model, sampler, versions, 0, 1);
  await moveWeights(model);
  versions.changed();
  return [first, await sampleVersion(model, sampler, versions, 1, 0.7)];
}

async function sampleVersion(
  model: CausalLM,
  sampler: ServerSampler,
  versions: PolicyVersions,
  version: number,
  temperature: number,
): Promise<VersionCheck> {
  await versions.showTo(sampler, new AbortController().signal);
  const { groups } = await sampler.sample(PROMPTS, {
    groupSize: GROUP,
    maxNewTokens: MOST_TOKENS,
    temperature,
    stopIds: [STOP],
    seed: 5,
    step: version,
  });
  const rows = groups.flatMap(({ prompt, completions }) =>
    completions.map((attempt) => ({ prompt, ...plain(attempt) })),
  );
  const own = await model.completionLogprobs(
    { promptIds: rows.map(({ prompt }) => at(PROMPTS, prompt)), completionIds: rows.map(({ ids }) => ids) },
    { temperature },
  );
  const gaps = rows.flatMap(({ logprobs }, row) =>
    Array.from(logprobs, (value, t) => Math.abs(value - at(at(own, row), t))),
  );
  return {
    version,
    temperature,
    tokens: gaps.length,
    largest: gaps.reduce((a, b) => Math.max(a, b), 0),
    ids: rows.filter(({ prompt }) => prompt === 0).map(({ ids }) => ids),
  };
}

function plain(attempt: SampledAttempt) {
  if ("samples" in attempt) throw new Error("expected a plain completion");
  return attempt;
}

/** One large step on any gradient: what the first version would say is then off by far more than rounding. */
async function moveWeights(model: CausalLM): Promise<void> {
  const completionIds = [
    [27, 267, 29],
    [18, 393, 220],
  ];
  await model.forwardBackward({ promptIds: PROMPTS, completionIds, advantages: [1, -1] }, {});
  await model.optimizerStep({ learningRate: 0.02 });
}
