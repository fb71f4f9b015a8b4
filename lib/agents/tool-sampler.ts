// Rollouts with tools in place of plain completions. Every conversation goes its own way: one that waits for a tool holds up no other.
// What it draws depends on (seed, step, row, sample, turn) and on what its tools answer, and on nothing else.

import { unlessAborted } from "../abort.js";
import { at } from "../at.js";
import type { ChatFormat } from "../chat/chat-format.js";
import { show } from "../checks.js";
import type { Generator, Sampling } from "../endpoint/generator.js";
import { GrpoError, reasonOf } from "../errors.js";
import { isJsonObject, type JsonObject } from "../json.js";
import type { SampledGroup, SampleOptions } from "../model/sampled.js";
import { mixSeed } from "../rollout/prompt-sampler.js";
import type { SampledRollout } from "../rollout/sample.js";
import type { FollowedPolicy, SampledAttempt, Sampler } from "../rollout/sampler.js";
import type { Message, TokenIds } from "../types.js";
import { type AttemptPlace, runAttempts } from "./attempts.js";
import { type ConversationSetup, type ConversationStart, converse } from "./conversation.js";
import type { Environments, ReadyEnvironment } from "./environments.js";
import type { ReadyTool } from "./tool.js";

export interface ToolSamplerOptions {
  readonly generator: Generator;
  /** Whose turns are drawn, which is shown the weights where it has a copy. Absent: it has none. */
  readonly drawnBy?: Pick<Sampler, "elsewhere" | "follow">;
  readonly format: ChatFormat;
  /** Of every rollout, where there are no environments. */
  readonly tools: readonly ReadyTool[];
  readonly environments?: Environments | undefined;
  /** The ids of a prompt to which an environment has added something. */
  readonly render: (prompt: readonly Message[], row: unknown) => TokenIds;
  /** minP where a call leaves it open. */
  readonly minP: number;
  /** Rounds of calls at most; null: as many as fit. */
  readonly maxRounds: number | null;
  /** Seconds that a call of a tool may take; null: any time. */
  readonly toolTimeout: number | null;
  /** Variables of the chat template. */
  readonly variables: JsonObject;
}

/** One attempt that is to be made. */
interface Attempt extends Pick<AttemptPlace, "seed" | "signal"> {
  readonly row: unknown;
  readonly promptIds: TokenIds;
  readonly place: ReadyEnvironment | undefined;
}

export class ToolSampler implements Sampler {
  readonly #options: ToolSamplerOptions;

  constructor(options: ToolSamplerOptions) {
    this.#options = options;
  }

  get maxPositions(): number {
    return this.#options.generator.maxPositions;
  }

  get elsewhere(): boolean {
    return this.#options.drawnBy?.elsewhere === true;
  }

  async follow(policy: FollowedPolicy, signal: AbortSignal): Promise<void> {
    await this.#options.drawnBy?.follow?.(policy, signal);
  }

  async sample(
    prompts: readonly TokenIds[],
    options: SampleOptions<SampledAttempt>,
    rows: readonly unknown[] = [],
  ): Promise<{ readonly groups: readonly SampledGroup<SampledRollout>[] }> {
    const { groupSize } = options;
    const ofAttempts = prompts.flatMap((_, prompt) => Array.from({ length: groupSize }, () => at(rows, prompt)));
    // Given out in this order, whichever attempt begins first.
    const places = this.#options.environments?.take(ofAttempts);
    return runAttempts(prompts.length, options, ({ prompt, attempt, seed, signal }) => {
      const place = places && at(places, prompt * groupSize + attempt);
      const one = { row: at(rows, prompt), promptIds: at(prompts, prompt), seed, signal, place };
      return this.#converse(this.#setup(options, signal), one);
    });
  }

  async #converse(setup: ConversationSetup, attempt: Attempt): Promise<SampledRollout> {
    const { environments, tools } = this.#options;
    const { row, place } = attempt;
    const given = conversationOf(row);
    const observation = place && environments && (await observe(place, environments.rowFor(row), setup.signal));
    const prompt = observation === undefined ? given : withObservation(given, observation);
    const { rollout, hangs } = await converse(setup, {
      prompt,
      promptIds: prompt === given ? attempt.promptIds : this.#render(prompt, row, setup.maxTokens),
      tools: place?.tools ?? tools,
      seed: (turn) => mixSeed(attempt.seed, turn),
      turnReward: place && turnRewardOf(place, setup.signal),
    });
    if (place === undefined) return rollout;
    if (hangs) environments?.discard(place);
    return { ...rollout, environment: place.environment, ...(prompt === given ? {} : { prompt }) };
  }

  #render(prompt: readonly Message[], row: unknown, maxTokens: number): TokenIds {
    const ids = this.#options.render(prompt, row);
    if (ids.length + maxTokens <= this.maxPositions) return ids;
    const found = `with what reset() of its environment returned, a prompt has ${ids.length} tokens`;
    const room = `${this.maxPositions} positions − maxCompletionLength ${maxTokens}`;
    throw new GrpoError("BAD_DATASET", `${found}; at most ${this.maxPositions - maxTokens} fit (${room})`, {
      hint: "return less text, or lower maxCompletionLength",
    });
  }

  #setup(options: SampleOptions<SampledAttempt>, signal: AbortSignal): ConversationSetup {
    const { generator, format, tools, environments, maxRounds, toolTimeout, variables, minP } = this.#options;
    return {
      format,
      generator,
      drawing: {
        sampling: samplingOf(options, minP),
        stopIds: options.stopIds ?? [],
        stopStrings: [],
        adapter: undefined,
      },
      hasTools: (environments?.tools ?? tools).length > 0,
      maxTokens: options.maxNewTokens,
      maxRounds: maxRounds ?? Number.POSITIVE_INFINITY,
      toolTimeout,
      variables,
      signal,
    };
  }
}

function samplingOf(options: SampleOptions<SampledAttempt>, minP: number): Sampling {
  const { doSample = true, temperature = 1, topP = 1, topK = 0, repetitionPenalty = 1 } = options;
  return {
    temperature: doSample ? temperature : 0,
    topP,
    topK,
    minP: options.minP ?? minP,
    repetitionPenalty,
    minNewTokens: undefined,
  };
}

/** PromptTable has checked it. */
function conversationOf(row: unknown): readonly Message[] {
  const prompt: unknown = isJsonObject(row) ? row.prompt : undefined;
  if (Array.isArray(prompt)) return prompt as Message[];
  throw new GrpoError("INTERNAL", "expected a row with a conversation beside tools");
}

/** Undefined where the environment gives turns no rewards. */
function turnRewardOf({ environment }: ReadyEnvironment, signal: AbortSignal): ConversationStart["turnReward"] {
  if (environment.turnReward === undefined) return undefined;
  return async (turn) => {
    let reward: unknown;
    try {
      reward = await unlessAborted(environment.turnReward?.(turn), signal, "turnReward of an environment");
    } catch (cause) {
      if (signal.aborted) throw cause;
      throw new GrpoError("ENVIRONMENT_FAILED", `turnReward of an environment threw: ${reasonOf(cause)}`, { cause });
    }
    if (reward === null || typeof reward === "boolean") return reward === null ? null : Number(reward);
    if (typeof reward === "number" && Number.isFinite(reward)) return reward;
    throw new GrpoError(
      "ENVIRONMENT_FAILED",
      `turnReward of an environment must return a finite number, a boolean or null, found ${show(reward)}`,
    );
  };
}

async function observe(
  { environment }: ReadyEnvironment,
  row: unknown,
  signal: AbortSignal,
): Promise<string | undefined> {
  let observation: unknown;
  try {
    observation = await unlessAborted(environment.reset(row), signal, "reset of an environment");
  } catch (cause) {
    if (signal.aborted) throw cause;
    throw new GrpoError("ENVIRONMENT_FAILED", `reset of an environment threw: ${reasonOf(cause)}`, { cause });
  }
  if (observation === undefined || observation === null) return undefined;
  if (typeof observation === "string") return observation;
  throw new GrpoError(
    "ENVIRONMENT_FAILED",
    `reset of an environment must return text or nothing, found ${typeof observation}`,
  );
}

/** As in TRL: behind the last message's own text. */
function withObservation(prompt: readonly Message[], observation: string): readonly Message[] {
  const last = at(prompt, prompt.length - 1);
  return [...prompt.slice(0, -1), { ...last, content: last.content + observation }];
}
