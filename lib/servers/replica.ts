// One server and the weights that it has. Before it gets prompts it is given the weights of the moment, under a name that no other
// version has, and what it answers names them: an adapter is asked for by its name, whole weights are named in the answer or asked for
// after it. An adapter that was replaced is taken off when nothing is drawn from it any more; whole weights are replaced when nothing is
// being drawn at all.

import type { SampledCompletion } from "../model/sampled.js";
import type { FollowedPolicy } from "../rollout/sampler.js";
import type { TokenIds } from "../types.js";
import type { CompletionRequest, EngineServer, ServerFacts } from "./engine-server.js";
import { ServerFault } from "./fault.js";
import { checkArrived, checkTemperature, openingProbe, ownLogprobs, weightsGap } from "./verify.js";
import type { WeightVersion } from "./version-folders.js";

/** What servers are to sample from. */
export interface ServedPolicy {
  readonly policy: FollowedPolicy;
  readonly version: WeightVersion;
  /** Optimizer steps that have made it. */
  readonly step: number;
  /** What the policy of this version says of the probe. Undefined: it was not asked. */
  probeLogprobs: Float32Array | undefined;
  readonly asked: Asked;
}

/** What servers are asked, as far as they are judged by it. */
export interface Asked {
  /** A prompt of the data. */
  promptIds: TokenIds;
  /** Requests whose log-probabilities must follow a temperature, and one that was asked for. */
  tempered: number;
  temperature: number;
  /** Tokens to judge whole weights by. Undefined: none were drawn yet. */
  probe: TokenIds | undefined;
}

/** A completion, and how many optimizer steps had made the weights that drew it. */
export type Served = SampledCompletion & { readonly policyStep: number };

interface Loaded {
  readonly version: WeightVersion;
  readonly step: number;
  /** Requests that are being drawn from it. */
  users: number;
  isReplaced: boolean;
}

export class Replica {
  readonly #server: EngineServer;
  #loaded: Loaded | undefined;
  /** Whether it was seen to sample from the policy. */
  #isKnown = false;
  /** How far whole weights were from the policy at first, in nats a token. */
  #gap: number | undefined;
  #followsTemperature = false;

  constructor(server: EngineServer) {
    this.#server = server;
  }

  get facts(): ServerFacts {
    return this.#server.facts;
  }

  isUpToDate({ version, asked }: ServedPolicy): boolean {
    return this.#loaded?.version.name === version.name && (this.#followsTemperature || asked.tempered === 0);
  }

  /** It may have lost what it was given. */
  forget(): void {
    this.#loaded = undefined;
  }

  /** Gives it the weights of the moment, and looks whether it samples from them. */
  async prepare(current: () => ServedPolicy, idle: () => Promise<void>, signal: AbortSignal): Promise<void> {
    await this.#server.check(signal);
    const served = current();
    if (this.#loaded?.version.name !== served.version.name) {
      try {
        await this.#load(served, idle, signal);
      } catch (thrown) {
        // Its folder goes with the next version.
        if (current().version.name === served.version.name) throw thrown;
        throw new ServerFault("absent", `${served.version.name} was replaced while it was loaded`, { cause: thrown });
      }
    }
    const { tempered, promptIds, temperature } = served.asked;
    if (tempered > 0 && !this.#followsTemperature) {
      await checkTemperature(this.#server, promptIds, temperature, signal);
      this.#followsTemperature = true;
    }
  }

  async #load(served: ServedPolicy, idle: () => Promise<void>, signal: AbortSignal): Promise<void> {
    const { version, policy, asked } = served;
    const before = this.#loaded;
    if (version.isAdapter) await this.#server.loadAdapter(version.name, version.folder, signal);
    else {
      await idle();
      this.#loaded = undefined;
      await this.#server.loadWeights(version.name, version.folder, signal);
    }
    if (before !== undefined) await this.#replace(before, signal);
    if (!this.#isKnown) {
      const adapter = version.isAdapter ? version.name : undefined;
      const probe = await openingProbe(this.#server, adapter, asked.promptIds, policy, signal);
      asked.probe ??= probe;
      this.#isKnown = true;
    }
    if (!version.isAdapter) await this.#checkWeights(served, signal);
    this.#loaded = { version, step: served.step, users: 0, isReplaced: false };
  }

  async #checkWeights(served: ServedPolicy, signal: AbortSignal): Promise<void> {
    const { probe = [] } = served.asked;
    served.probeLogprobs ??= await ownLogprobs(served.policy, probe);
    const gap = await weightsGap(this.#server, probe, served.probeLogprobs, signal);
    this.#gap ??= gap;
    checkArrived(this.#server, this.#gap, gap);
  }

  /** Throws a ServerFault where others than the weights that it was given drew them. */
  async complete(request: Omit<CompletionRequest, "adapter">, signal: AbortSignal): Promise<readonly Served[]> {
    const loaded = this.#loaded;
    if (loaded === undefined) throw new ServerFault("absent", `${this.facts.url} has no weights yet`);
    const { version, step } = loaded;
    const adapter = version.isAdapter ? version.name : undefined;
    loaded.users++;
    try {
      const { completions, weights } = await this.#server.complete({ ...request, adapter }, signal);
      if (!version.isAdapter) {
        const found = weights ?? (await this.#server.weights(signal));
        if (found !== version.name) {
          const text = `${this.facts.url} has sampled from the weights ${found ?? "of its start"} in place of ${version.name}`;
          throw new ServerFault("absent", text);
        }
      }
      return completions.map((completion) => ({ ...completion, policyStep: step }));
    } finally {
      loaded.users--;
      if (loaded.isReplaced && loaded.users === 0) void this.#unload(loaded, signal);
    }
  }

  /** Takes the adapter off. */
  async unload(signal: AbortSignal): Promise<void> {
    const loaded = this.#loaded;
    this.#loaded = undefined;
    if (loaded !== undefined) await this.#unload(loaded, signal);
  }

  async #replace(before: Loaded, signal: AbortSignal): Promise<void> {
    before.isReplaced = true;
    if (before.users === 0) await this.#unload(before, signal);
  }

  /** An adapter that stays behind does no harm. */
  async #unload({ version }: Loaded, signal: AbortSignal): Promise<void> {
    if (version.isAdapter) await this.#server.unloadAdapter(version.name, signal).catch(() => {});
  }
}
