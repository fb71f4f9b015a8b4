// Generations that are sampled ahead of the trainer, which takes them in the order of their prompts, however long they take: whoever
// took those that finish first would train on short completions more often. A generation begins as soon as it would be trained on with
// weights at most maxStaleness optimizer steps newer, so that a slow trainer holds the sampling up; none begins before a checkpoint
// that is trained on behind it, so that a run which goes on from there samples the same.

import type { SampledGroups } from "../rollout/dynamic-sampling.js";
import { firstStepOf, type TrainingPlan } from "./plan.js";

export interface RolloutQueueOptions {
  readonly plan: TrainingPlan;
  /** Optimizer steps that samples may be behind; 0: a generation begins when it is taken. */
  readonly maxStaleness: number;
  /** Samples and scores a generation, whose prompts begin at `position` of the sampler's sequence. */
  readonly sample: (index: number, position: number, signal: AbortSignal) => Promise<SampledGroups>;
}

/** A generation, and what it took to wait for it. */
export interface Taken {
  readonly sampled: SampledGroups;
  /** Seconds that the trainer waited. */
  readonly waited: number;
}

interface Entry {
  readonly sampled: Promise<SampledGroups>;
  isDone: boolean;
}

export class RolloutQueue {
  readonly #options: RolloutQueueOptions;
  readonly #stop = new AbortController();
  readonly #entries = new Map<number, Entry>();
  #inFlight = 0;
  #idleSince: number | undefined;
  #idleSeconds = 0;

  constructor(options: RolloutQueueOptions) {
    this.#options = options;
  }

  /** Generations that are sampled and not yet taken. */
  get finished(): number {
    return [...this.#entries.values()].filter(({ isDone }) => isDone).length;
  }

  /** Seconds since the last call in which nothing was sampled. */
  idleSeconds(): number {
    this.#settleIdle();
    const seconds = this.#idleSeconds;
    this.#idleSeconds = 0;
    return seconds;
  }

  /** Begins what may begin before optimizer step `step`: generations from `next` on, the prompts of which begin at `position`. */
  advance(step: number, next: number, position: number): void {
    const { plan, maxStaleness } = this.#options;
    const { saveEvery, totalSteps, promptsPerGeneration } = plan;
    const checkpoint = saveEvery > 0 ? (Math.floor(step / saveEvery) + 1) * saveEvery : totalSteps;
    const end = Math.min(step + maxStaleness + 1, checkpoint, totalSteps);
    for (let index = next; firstStepOf(plan, index) < end; index++) {
      if (!this.#entries.has(index)) this.#begin(index, position + (index - next) * promptsPerGeneration);
    }
  }

  /** A generation, which begins now where it has not. Rejects with what its sampling, or a reward, failed with. */
  async take(index: number, position: number): Promise<Taken> {
    const entry = this.#entries.get(index) ?? this.#begin(index, position);
    const started = performance.now();
    const sampled = await entry.sampled;
    this.#entries.delete(index);
    return { sampled, waited: (performance.now() - started) / 1000 };
  }

  /** Ends what is being sampled. */
  async close(): Promise<void> {
    this.#stop.abort();
    await Promise.allSettled([...this.#entries.values()].map(({ sampled }) => sampled));
    this.#entries.clear();
  }

  #begin(index: number, position: number): Entry {
    this.#settleIdle();
    this.#idleSince = undefined;
    this.#inFlight++;
    const entry: Entry = { sampled: this.#options.sample(index, position, this.#stop.signal), isDone: false };
    this.#entries.set(index, entry);
    const end = () => {
      entry.isDone = true;
      this.#inFlight--;
      if (this.#inFlight === 0) this.#idleSince = performance.now();
    };
    // What fails is thrown to whoever takes it.
    entry.sampled.then(end, end);
    return entry;
  }

  #settleIdle(): void {
    if (this.#idleSince === undefined) return;
    const now = performance.now();
    this.#idleSeconds += (now - this.#idleSince) / 1000;
    this.#idleSince = now;
  }
}
