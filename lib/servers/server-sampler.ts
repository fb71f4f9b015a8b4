// A Sampler over inference servers: stock vLLM or SGLang, one or several replicas, which serve the model that is trained. Before a
// replica gets prompts it has the weights of the moment, under a name that no other version has, and what it answers names them: an
// adapter is asked for by its name, whole weights are named in the answer or asked for after it. A replica that fails, or that has lost
// or missed a version, is given it again; its prompts go elsewhere meanwhile.

import { checkNumber, checkOptionNames, checkText, namesOf } from "../checks.js";
import { GrpoError } from "../errors.js";
import type { SampledGroup, SampleOptions } from "../model/sampled.js";
import { mixSeed } from "../rollout/prompt-sampler.js";
import type { FollowedPolicy, SampledAttempt, Sampler } from "../rollout/sampler.js";
import type { TokenIds } from "../types.js";
import { connectWithin } from "./connect.js";
import { dispatch } from "./dispatch.js";
import type { EngineServer, ServedCompletion, ServerFacts } from "./engine-server.js";
import { ServerFault } from "./fault.js";
import { checkArrived, checkTemperature, openingProbe, weightsGap } from "./verify.js";
import { VersionFolders, type WeightVersion } from "./version-folders.js";

/** How servers are found and given weights. */
export interface ServerSamplerOptions {
  /** "http://host:8000", or a list of several that share the prompts. */
  readonly urls: string | readonly string[];
  /** Folder for the weights, which the servers read. Default: a temporary one, for servers on this machine. */
  readonly sharedFolder?: string | null;
  /** sharedFolder by the name that the servers have for it. Default: the same. */
  readonly sharedFolderOnServer?: string | null;
  /** Seconds to wait for servers that are not up, or that all fail. Default 240. */
  readonly timeout?: number;
  /** Seconds that one request may take before it is asked again elsewhere. Default 600. */
  readonly requestTimeout?: number;
  /** What the servers were started with as --api-key. Default: the environment's VLLM_API_KEY. */
  readonly apiKey?: string;
}

const OPTIONS = namesOf<ServerSamplerOptions>({
  urls: true,
  sharedFolder: true,
  sharedFolderOnServer: true,
  timeout: true,
  requestTimeout: true,
  apiKey: true,
});
const WHERE = "ServerSampler.connect";
const END_SECONDS = 5;

interface Replica {
  readonly server: EngineServer;
  /** The version that it was given last. */
  version: WeightVersion | undefined;
  /** Tokens to judge its weights by, once it was seen to sample from the policy. */
  probe: TokenIds | undefined;
  /** How far whole weights were from the policy at first, in nats a token. */
  gap: number | undefined;
  followsTemperature: boolean;
}

/** What one call of `sample` is about. */
interface Call {
  readonly version: WeightVersion;
  readonly policy: FollowedPolicy;
  readonly prompts: readonly TokenIds[];
  readonly options: SampleOptions<SampledAttempt>;
}

/** Samples on servers of vLLM or SGLang. `trainer` and `evaluate` call it; give it to GRPOTrainer as `sampler`. */
export class ServerSampler implements Sampler {
  readonly elsewhere = true;
  /** Longest sequence that every server takes. */
  readonly maxPositions: number;
  readonly #replicas: readonly Replica[];
  readonly #folders: VersionFolders;
  readonly #patience: number;
  #policy: FollowedPolicy | undefined;
  #followed: number | undefined;
  #version: WeightVersion | undefined;

  private constructor(servers: readonly EngineServer[], folders: VersionFolders, patience: number) {
    const fresh = { version: undefined, probe: undefined, gap: undefined, followsTemperature: false };
    this.#replicas = servers.map((server) => ({ server, ...fresh }));
    this.#folders = folders;
    this.#patience = patience;
    this.maxPositions = Math.min(...servers.map(({ facts }) => facts.maxPositions));
  }

  /** Waits until all servers are up. Throws SERVER_ERROR, BAD_OPTION or UNKNOWN_OPTION. */
  static async connect(options: ServerSamplerOptions, signal?: AbortSignal): Promise<ServerSampler> {
    checkOptionNames(WHERE, options, OPTIONS, { positional: "write { urls: … }" });
    const urls = (typeof options.urls === "string" ? [options.urls] : options.urls).map((url) =>
      checkText(WHERE, "urls", url),
    );
    if (urls.length === 0)
      throw new GrpoError("BAD_OPTION", `${WHERE}: urls has no address`, { hint: 'write "http://host:8000"' });
    const patience = checkNumber(WHERE, "timeout", options.timeout ?? 240, { min: 0, open: true });
    const requestSeconds = checkNumber(WHERE, "requestTimeout", options.requestTimeout ?? 600, { min: 0, open: true });
    const apiKey = options.apiKey ?? process.env.VLLM_API_KEY;
    const folders = new VersionFolders(options.sharedFolder ?? undefined, options.sharedFolderOnServer ?? undefined);
    const stop = signal ?? new AbortController().signal;
    const servers = await Promise.all(
      urls.map((address) => connectWithin(patience, { address, requestSeconds, apiKey }, stop)),
    );
    return new ServerSampler(servers, folders, patience);
  }

  /** What the servers said of themselves. */
  get servers(): readonly ServerFacts[] {
    return this.#replicas.map(({ server }) => server.facts);
  }

  /** Writes the weights, where they are others; servers are given them as they are next asked. */
  async follow(policy: FollowedPolicy): Promise<void> {
    if (this.#followed === policy.version) return;
    this.#version = await this.#folders.write(policy, policy.version);
    this.#followed = policy.version;
    this.#policy = policy;
  }

  /** Throws SERVER_ERROR where no server can do it, and CANCELLED. */
  async sample(
    prompts: readonly TokenIds[],
    options: SampleOptions<SampledAttempt>,
  ): Promise<{ readonly groups: readonly SampledGroup<SampledAttempt>[] }> {
    const { signal, onGroup } = options;
    const [policy, version] = [this.#policy, this.#version];
    if (policy === undefined || version === undefined) {
      throw new GrpoError("BAD_INPUT", "ServerSampler has no weights to sample from yet", {
        hint: "give it to GRPOTrainer, or await follow(policy) first",
      });
    }
    if (options.constraint !== undefined) {
      throw new GrpoError("BAD_OPTION", "ServerSampler: constraint is a function, which no server can be sent", {
        hint: "sample with the model itself, or leave constraint out",
      });
    }
    const call: Call = { version, policy, prompts, options };
    const groups: SampledGroup<SampledAttempt>[] = [];
    await dispatch(
      {
        replicas: this.#replicas,
        weight: options.groupSize,
        patience: this.#patience,
        prepare: (replica, stop) => prepare(replica, call, stop),
        run: async (replica, prompt, stop) => {
          const group = { prompt, completions: await completionsOf(replica, call, prompt, stop) };
          groups[prompt] = group;
          onGroup?.(group);
        },
        failed: (replica) => {
          // It may have been started anew.
          replica.version = undefined;
        },
      },
      prompts.length,
      signal,
    );
    return { groups };
  }

  /** Takes the adapter off the servers and deletes the folders. Afterwards it can be used again. */
  async dispose(): Promise<void> {
    const stop = AbortSignal.timeout(END_SECONDS * 1000);
    const unload = async ({ server, version }: Replica) => {
      if (version?.isAdapter) await server.unloadAdapter(version.name, stop).catch(() => {});
    };
    await Promise.all(this.#replicas.map(unload));
    for (const replica of this.#replicas) replica.version = undefined;
    this.#version = undefined;
    this.#followed = undefined;
    this.#policy = undefined;
    await this.#folders.remove();
  }
}

/** Gives a replica the weights of the moment, and looks whether it samples from them. */
async function prepare(
  replica: Replica,
  { version, policy, prompts, options }: Call,
  signal: AbortSignal,
): Promise<void> {
  const { server } = replica;
  await server.check(signal);
  const promptIds = prompts[0] ?? [];
  const adapter = version.isAdapter ? version.name : undefined;
  if (replica.version?.name !== version.name) {
    const before = replica.version;
    replica.version = undefined;
    if (version.isAdapter) await server.loadAdapter(version.name, version.folder, signal);
    else await server.loadWeights(version.name, version.folder, signal);
    if (before?.isAdapter) await server.unloadAdapter(before.name, signal);
    replica.probe ??= await openingProbe(server, adapter, promptIds, policy, signal);
    if (!version.isAdapter) {
      const gap = await weightsGap(server, replica.probe, policy, signal);
      replica.gap ??= gap;
      checkArrived(server, replica.gap, gap);
    }
    replica.version = version;
  }
  const { doSample = true, temperature = 1 } = options;
  if (doSample && temperature !== 1 && !replica.followsTemperature) {
    await checkTemperature(server, promptIds, temperature, signal);
    replica.followsTemperature = true;
  }
}

/** Throws a ServerFault where others than these weights drew them. */
async function completionsOf(
  { server }: Replica,
  { version, prompts, options }: Call,
  prompt: number,
  signal: AbortSignal,
): Promise<readonly ServedCompletion[]> {
  const { groupSize, doSample = true, seed, step = 0, promptKeys } = options;
  const key = promptKeys?.[prompt] ?? prompt;
  const { completions, weights } = await server.complete(
    {
      adapter: version.isAdapter ? version.name : undefined,
      promptIds: prompts[prompt] ?? [],
      // Greedy, all are one, and vLLM refuses to draw it more than once.
      count: doSample ? groupSize : 1,
      maxNewTokens: options.maxNewTokens,
      temperature: doSample ? (options.temperature ?? 1) : 0,
      topP: options.topP ?? 1,
      topK: options.topK ?? 0,
      minP: options.minP ?? 0,
      repetitionPenalty: options.repetitionPenalty ?? 1,
      stopIds: options.stopIds ?? [],
      seed: seed === undefined ? undefined : mixSeed(mixSeed(seed, step), key) >>> 1,
    },
    signal,
  );
  if (!version.isAdapter) {
    const found = weights ?? (await server.weights(signal));
    if (found !== version.name) {
      const text = `${server.facts.url} has sampled from the weights ${found ?? "of its start"} in place of ${version.name}`;
      throw new ServerFault("absent", text);
    }
  }
  return doSample ? completions : new Array<readonly ServedCompletion[]>(groupSize).fill(completions).flat();
}
