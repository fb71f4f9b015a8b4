// One call of sample() on its engine, and what is told while it runs. The engine has nobody to throw to: what a listener or a constraint
// throws ends the call, and is what the call throws.

import { at } from "../at.js";
import type {
  NativeEngine,
  NativeGroup,
  NativeSampleRequest,
  NativeSampleStats,
  NativeStepTokens,
} from "../native/native.js";
import { ConstraintFeed } from "./constraint-feed.js";
import type { SampledGroup, SampleResult } from "./sampled.js";
import { FINISH_REASONS, type ModelSampleOptions, sampledGroup } from "./sampling.js";

export class SampleJob {
  readonly #request: NativeSampleRequest;
  readonly #options: ModelSampleOptions;
  readonly #vocabSize: number;
  readonly #groups: SampledGroup[] = [];
  #feed: ConstraintFeed | undefined;
  #thrown: { readonly error: unknown } | undefined;

  constructor(request: NativeSampleRequest, options: ModelSampleOptions, vocabSize: number) {
    this.#request = request;
    this.#options = options;
    this.#vocabSize = vocabSize;
  }

  run(engine: NativeEngine): Promise<NativeSampleStats> {
    const { onToken, constraint } = this.#options;
    if (constraint) this.#constrain(engine, constraint);
    const onGroup = (group: NativeGroup) => this.#guard(engine, () => this.#takeGroup(group));
    const onTokens = (step: NativeStepTokens) => this.#guard(engine, () => this.#takeTokens(step));
    return onToken || constraint
      ? engine.sample(this.#request, onGroup, onTokens)
      : engine.sample(this.#request, onGroup);
  }

  /** What comes of the run, or what ended it. */
  async result(run: Promise<NativeSampleStats>): Promise<SampleResult> {
    const [outcome] = await Promise.allSettled([run]);
    if (this.#thrown) throw this.#thrown.error;
    if (outcome.status === "rejected") throw outcome.reason;
    return { groups: this.#groups, stats: outcome.value };
  }

  #constrain(engine: NativeEngine, constraint: NonNullable<ModelSampleOptions["constraint"]>): void {
    this.#feed = new ConstraintFeed(engine, this.#vocabSize);
    const { promptOffsets, groupSize } = this.#request;
    for (let prompt = 0; prompt + 1 < promptOffsets.length; prompt++)
      this.#feed.begin(
        prompt,
        Array.from({ length: groupSize }, (_, sample) => constraint(prompt, sample)),
      );
  }

  #guard(engine: NativeEngine, listen: () => void): void {
    if (this.#thrown) return;
    try {
      listen();
    } catch (error) {
      this.#thrown = { error };
      engine.cancel();
    }
  }

  #takeGroup(native: NativeGroup): void {
    const group = sampledGroup(native);
    this.#groups[group.prompt] = group;
    this.#options.onGroup?.(group);
  }

  #takeTokens({ prompts, samples, ids, finish }: NativeStepTokens): void {
    for (const [i, id] of ids.entries()) {
      const [prompt, sample] = [at(prompts, i), at(samples, i)];
      this.#options.onToken?.({ prompt, sample, id });
      this.#feed?.take(prompt, sample, id, FINISH_REASONS[at(finish, i)] !== undefined);
    }
  }
}
