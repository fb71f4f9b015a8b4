// The trainer's `rollout`: checked before anything is loaded, and a sampler once the model and its tokenizer are there.

import path from "node:path";
import { ROLLOUT_REWARD, type RolloutFunction, rolloutReward } from "../agents/rollout.js";
import { RolloutSampler } from "../agents/rollout-sampler.js";
import { badOption } from "../checks.js";
import type { Generator } from "../endpoint/generator.js";
import { ModelGenerator } from "../endpoint/model-generator.js";
import type { SamplingDefaults } from "../endpoint/served.js";
import { GrpoError } from "../errors.js";
import { CausalLM } from "../model/model.js";
import type { Sampler } from "../rollout/sampler.js";
import type { ProcessingClass } from "../tokenizer/processing-class.js";
import { Tokenizer } from "../tokenizer/tokenizer.js";
import type { AnyRewardFn } from "../types.js";
import type { GRPOConfig } from "./config.js";
import { isRunMetric } from "./metric-names.js";
import type { RewardNotes } from "./reward-notes.js";

/** How a policy draws that says nothing of it. */
const PLAIN: SamplingDefaults = {
  temperature: 1,
  topP: 1,
  topK: 0,
  minP: 0,
  repetitionPenalty: 1,
  maxNewTokens: undefined,
};

export class RolloutUse<Row> {
  readonly #rollout: RolloutFunction<Row>;
  readonly #args: GRPOConfig;
  readonly #notes: RewardNotes;
  #sampler: RolloutSampler<Row> | undefined;

  /** Undefined where there is no rollout of one's own. */
  static of<Row>(
    { rollout }: { readonly rollout?: RolloutFunction<Row> },
    args: GRPOConfig,
    notes: RewardNotes,
  ): RolloutUse<Row> | undefined {
    return rollout && new RolloutUse(rollout, args, notes);
  }

  private constructor(rollout: RolloutFunction<Row>, args: GRPOConfig, notes: RewardNotes) {
    this.#rollout = rollout;
    this.#args = args;
    this.#notes = notes;
  }

  /** What rollouts return, as a reward function. */
  get rewards(): readonly AnyRewardFn[] {
    return [rolloutReward];
  }

  /** Throws BAD_OPTION for a tokenizer, or a sampler, that cannot serve a conversation. */
  sampler(given: Sampler, processingClass: ProcessingClass, rewardNames: readonly string[]): Sampler {
    const { rolloutConcurrency, rolloutTimeout, onRewardError, chatTemplateKwargs } = this.#args;
    const tokenizer = tokenizerOf(processingClass);
    const isModel = given instanceof CausalLM;
    this.#sampler = new RolloutSampler({
      rollout: this.#rollout,
      generator: generatorOf(given, tokenizer),
      drawnBy: given,
      tokenizer,
      model: path.basename((isModel ? given.source?.idOrPath : undefined) ?? "policy"),
      defaults: isModel ? given.ownSampling : PLAIN,
      variables: chatTemplateKwargs ?? {},
      concurrency: rolloutConcurrency,
      timeout: rolloutTimeout,
      onError: onRewardError,
      onFailure: (kind, error) => this.#notes.failed(ROLLOUT_REWARD, kind, error, onRewardError),
      reserved: (metric) => isRunMetric(metric, rewardNames),
    });
    return this.#sampler;
  }

  /** Closes the endpoint. */
  async close(): Promise<void> {
    await this.#sampler?.close();
  }
}

function tokenizerOf(processingClass: ProcessingClass): Tokenizer {
  if (processingClass instanceof Tokenizer) return processingClass;
  throw badOption("GRPOTrainer", "processingClass", "a Tokenizer where there is a rollout", processingClass);
}

/** Conversations draw turn by turn, which a sampler of completions cannot. */
function generatorOf(sampler: Sampler, tokenizer: Tokenizer): Generator {
  if (sampler instanceof CausalLM) return new ModelGenerator(sampler, tokenizer);
  if ("generate" in sampler && typeof sampler.generate === "function") return sampler as Sampler & Generator;
  throw new GrpoError("BAD_OPTION", "GRPOTrainer: beside rollout the sampler must draw single turns", {
    hint: "leave sampler out, or give one that has the method generate of a Generator too",
  });
}
