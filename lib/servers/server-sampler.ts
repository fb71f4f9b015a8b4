// A Sampler over inference servers: stock vLLM or SGLang, one or several replicas, which serve the model that is trained; also a Generator
// of single turns, for agents. What a request is drawn from are the weights of the moment in which it is sent (replica.ts); what is
// being drawn while they change ends with those that it began with, and says so.

import { setMaxListeners } from "node:events";
import { at } from "../at.js";
import { checkNumber, checkOptionNames, checkText, namesOf } from "../checks.js";
import type { GenerationEvent, GenerationRequest, Generator } from "../endpoint/generator.js";
import { GrpoError } from "../errors.js";
import type { SampledGroup, SampleOptions } from "../model/sampled.js";
import { mixSeed } from "../rollout/prompt-sampler.js";
import type { FollowedPolicy, SampledAttempt, Sampler } from "../rollout/sampler.js";
import type { TokenIds } from "../types.js";
import { connectWithin } from "./connect.js";
import { Dispatcher } from "./dispatch.js";
import type { CompletionRequest, ServerFacts } from "./engine-server.js";
import { type Asked, Replica, type Served, type ServedPolicy } from "./replica.js";
import { ownLogprobs } from "./verify.js";
import { VersionFolders } from "./version-folders.js";

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
  /** A regular expression that completions fit as a whole. Default: any texts. */
  readonly structuredOutputsRegex?: string | null;
  /** What the servers were started with as --api-key. Default: the environment's VLLM_API_KEY. */
  readonly apiKey?: string;
}

const OPTIONS = namesOf<ServerSamplerOptions>({
  urls: true,
  sharedFolder: true,
  sharedFolderOnServer: true,
  timeout: true,
  requestTimeout: true,
  structuredOutputsRegex: true,
  apiKey: true,
});
const WHERE = "ServerSampler.connect";
const END_SECONDS = 5;

/** Samples on servers of vLLM or SGLang. `trainer` and `evaluate` call it; give it to GRPOTrainer as `sampler`. */
export class ServerSampler implements Sampler, Pick<Generator, "generate"> {
  readonly elsewhere = true;
  /** Servers do not say how many ids their model has. */
  readonly vocabSize = Number.MAX_SAFE_INTEGER;
  /** Longest sequence that every server takes. */
  readonly maxPositions: number;
  readonly #replicas: readonly Replica[];
  readonly #dispatcher: Dispatcher<Replica>;
  readonly #folders: VersionFolders;
  readonly #regex: string | undefined;
  readonly #asked: Asked = { promptIds: [], tempered: 0, temperature: 1, probe: undefined };
  #policy: ServedPolicy | undefined;
  #followed: number | undefined;

  private constructor(replicas: readonly Replica[], folders: VersionFolders, patience: number, regex?: string) {
    this.#replicas = replicas;
    this.#folders = folders;
    this.#regex = regex;
    this.maxPositions = Math.min(...replicas.map(({ facts }) => facts.maxPositions));
    this.#dispatcher = new Dispatcher({
      replicas,
      patience,
      prepare: (replica, idle, signal) => replica.prepare(() => this.#served(), idle, signal),
      isUpToDate: (replica) => replica.isUpToDate(this.#served()),
      // It may have been started anew.
      failed: (replica) => replica.forget(),
    });
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
    const replicas = servers.map((server) => new Replica(server));
    return new ServerSampler(replicas, folders, patience, options.structuredOutputsRegex ?? undefined);
  }

  /** What the servers said of themselves. */
  get servers(): readonly ServerFacts[] {
    return this.#replicas.map(({ facts }) => facts);
  }

  /** Writes the weights, where they are others; servers are given them as they are next asked. */
  async follow(policy: FollowedPolicy): Promise<void> {
    if (this.#followed === policy.version) return;
    const { step } = policy;
    const version = await this.#folders.write(policy, policy.version);
    const { probe } = this.#asked;
    // Now, as the policy may have moved on when a server is given these weights.
    const probeLogprobs = probe === undefined || version.isAdapter ? undefined : await ownLogprobs(policy, probe);
    this.#policy = { policy, version, step, probeLogprobs, asked: this.#asked };
    this.#followed = policy.version;
  }

  /** Throws SERVER_ERROR where no server can do it, and CANCELLED. */
  async sample(
    prompts: readonly TokenIds[],
    options: SampleOptions<SampledAttempt>,
  ): Promise<{ readonly groups: readonly SampledGroup<SampledAttempt>[] }> {
    const { groupSize, doSample = true, temperature = 1, seed, step = 0, promptKeys, onGroup } = options;
    if (options.constraint !== undefined) throw constrained();
    this.#served();
    const sampling = {
      maxNewTokens: options.maxNewTokens,
      temperature: doSample ? temperature : 0,
      topP: options.topP ?? 1,
      topK: options.topK ?? 0,
      minP: options.minP ?? 0,
      repetitionPenalty: options.repetitionPenalty ?? 1,
      stopIds: options.stopIds ?? [],
      stopStrings: [],
      regex: this.#regex,
    };
    const groups: SampledGroup<SampledAttempt>[] = [];
    const all = new AbortController();
    const signal = options.signal ? AbortSignal.any([options.signal, all.signal]) : all.signal;
    // One listener for each prompt in flight.
    setMaxListeners(0, signal);
    const jobs = prompts.map(async (promptIds, prompt) => {
      const key = promptKeys?.[prompt] ?? prompt;
      const drawn = seed === undefined ? undefined : mixSeed(mixSeed(seed, step), key) >>> 1;
      const completions = await this.#complete({ ...sampling, promptIds, count: groupSize, seed: drawn }, signal);
      groups[prompt] = { prompt, completions };
      onGroup?.({ prompt, completions });
    });
    try {
      await Promise.all(jobs);
    } catch (error) {
      all.abort(new GrpoError("CANCELLED", "another request has ended the sampling"));
      await Promise.allSettled(jobs);
      throw error;
    }
    return { groups };
  }

  /** The completions of one prompt, each whole when it is there. Throws as `sample`, and BAD_OPTION for what servers are not asked for. */
  async *generate(request: GenerationRequest): AsyncGenerator<GenerationEvent, void, undefined> {
    const { ids: promptIds, count, maxNewTokens, sampling, stopIds, stopStrings, seed, signal } = request;
    const { temperature, topP, topK, minP, repetitionPenalty } = sampling;
    checkTurn(request);
    this.#served();
    const completions = await this.#complete(
      {
        promptIds,
        count,
        maxNewTokens,
        temperature,
        topP,
        topK,
        minP,
        repetitionPenalty,
        stopIds,
        stopStrings,
        regex: undefined,
        seed: seed === undefined ? undefined : mixSeed(seed, 0) >>> 1,
      },
      signal,
    );
    for (const [index, { ids, logprobs, finishReason, policyStep }] of completions.entries()) {
      for (const [i, id] of ids.entries()) {
        const logprob = request.logprobs ? at(logprobs, i) : undefined;
        yield { type: "token", index, token: { id, logprob, top: [], policyStep } };
      }
      yield { type: "end", index, finishReason };
    }
  }

  /** Not to be had of servers. */
  score(): Promise<never> {
    throw new GrpoError("BAD_OPTION", "ServerSampler: log-probabilities of given text are not asked of servers", {
      hint: "ask the model itself",
    });
  }

  /** Takes the adapters off the servers and deletes the folders. Afterwards it can be used again. */
  async dispose(): Promise<void> {
    const stop = AbortSignal.timeout(END_SECONDS * 1000);
    await Promise.all(this.#replicas.map((replica) => replica.unload(stop)));
    this.#policy = undefined;
    this.#followed = undefined;
    await this.#folders.remove();
  }

  #served(): ServedPolicy {
    if (this.#policy !== undefined) return this.#policy;
    throw new GrpoError("BAD_INPUT", "ServerSampler has no weights to sample from yet", {
      hint: "give it to GRPOTrainer, or await follow(policy) first",
    });
  }

  async #complete(request: Omit<CompletionRequest, "adapter">, signal: AbortSignal): Promise<readonly Served[]> {
    let completions: readonly Served[] = [];
    const { count, temperature, promptIds } = request;
    // Greedy, all are one, and vLLM refuses to draw it more than once.
    const once = temperature === 0 ? { ...request, count: 1 } : request;
    const run = async (replica: Replica) => {
      completions = await replica.complete(once, signal);
    };
    const asked = this.#asked;
    const tempered = temperature === 0 || temperature === 1 ? 0 : 1;
    if (tempered) asked.temperature = temperature;
    if (asked.promptIds.length === 0) asked.promptIds = promptIds;
    asked.tempered += tempered;
    try {
      await this.#dispatcher.do(count, run, signal);
    } finally {
      asked.tempered -= tempered;
    }
    return temperature === 0 ? new Array<readonly Served[]>(count).fill(completions).flat() : completions;
  }
}

function checkTurn({ constraint, adapter, topLogprobs, sampling }: GenerationRequest): void {
  if (constraint !== undefined) throw constrained();
  const unknown = [
    ...(topLogprobs > 0 ? ["the likeliest tokens (top_logprobs)"] : []),
    ...(adapter !== undefined ? ["another adapter"] : []),
    ...(sampling.minNewTokens === undefined ? [] : ["a least length (min_tokens)"]),
    ...(sampling.badWords === undefined ? [] : ["words that are left out"]),
  ];
  if (unknown.length === 0) return;
  throw new GrpoError("BAD_OPTION", `ServerSampler: servers are not asked for ${unknown.join(", ")}`, {
    hint: "leave it out, or sample with the model itself",
  });
}

function constrained(): GrpoError {
  return new GrpoError("BAD_OPTION", "ServerSampler: constraint is a function, which no server can be sent", {
    hint: "sample with the model itself, or leave constraint out",
  });
}
