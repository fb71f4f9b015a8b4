// vLLM's own HTTP server, as `vllm serve` starts it: /v1/completions with ids in and out, adapters by name, whole weights through the
// calls of VLLM_SERVER_DEV_MODE. Every sampling option is sent, as the server otherwise takes those of the model's
// generation_config.json.

import type { TokenIds } from "../types.js";
import { lazySchema } from "../zod.js";
import { checkCompletion, checkPrompt, parseAnswer } from "./answers.js";
import type {
  CompletionRequest,
  EngineServer,
  ServedCompletion,
  ServedGroup,
  ServerAbilities,
  ServerFacts,
} from "./engine-server.js";
import { type FaultKind, ServerFault } from "./fault.js";
import { HEALTH_SECONDS, reasonIn, type ServerAnswer, type ServerConnection } from "./http.js";

const LIKELIEST = 5;
/** What the server answers to a load under a name that it has: another request of ours was carried out, and its answer lost. */
const LOADED_ALREADY = /already been loaded/;
/** The reload that also reaches a head that is tied to the embedding; grpo_vllm.py beside the tiny model has it. */
const WHOLE_RELOAD = "grpo_reload_weights";
/** What a server says of its weights that nobody has named. */
const UNNAMED = "default";

const completionsSchema = lazySchema((z) => {
  const ids = z.array(z.int().min(0));
  return z.object({
    model: z.string(),
    choices: z.array(
      z.object({
        index: z.int().min(0),
        finish_reason: z.string().nullable(),
        /** The text or the id that ended it; null: the model's own end. */
        stop_reason: z.union([z.string(), z.number()]).nullish(),
        token_ids: ids,
        prompt_token_ids: ids.nullish(),
        prompt_logprobs: z
          .array(z.record(z.string(), z.object({ logprob: z.number().nullable() })).nullable())
          .nullish(),
        logprobs: z.object({
          token_logprobs: z.array(z.number().nullable()),
          top_logprobs: z.array(z.record(z.string(), z.number()).nullable()).nullish(),
        }),
      }),
    ),
  });
});
const weightsSchema = lazySchema((z) => z.object({ weight_version: z.string() }));
const infoSchema = lazySchema((z) => {
  const lora = z.object({ max_lora_rank: z.int(), max_loras: z.int() });
  return z.object({ vllm_config: z.object({ lora_config: lora.nullish() }) });
});

const ADAPTER_HINT = "start the server with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 in its environment";
const DEVELOPER_HINT =
  "start the server with VLLM_SERVER_DEV_MODE=1 in its environment, and let it read the shared folder; or train an adapter";

export class VllmServer implements EngineServer {
  readonly facts: ServerFacts;
  readonly temperatureHint = "start the server with --logprobs-mode processed_logprobs, or train with temperature 1";
  readonly reloadHint =
    "start the server with --worker-extension-cls grpo_vllm.Reload and the folder of grpo_vllm.py on PYTHONPATH (docs/servers.md), or train an adapter";
  readonly adapterHint = ADAPTER_HINT;
  readonly weightsHint = DEVELOPER_HINT;
  readonly #connection: ServerConnection;
  #reload: string | undefined;

  constructor(facts: ServerFacts, connection: ServerConnection) {
    this.facts = facts;
    this.#connection = connection;
  }

  async complete(request: CompletionRequest, signal: AbortSignal): Promise<ServedGroup> {
    const model = request.adapter ?? this.facts.model;
    const answer = await this.#completions(
      {
        model,
        prompt: request.promptIds,
        n: request.count,
        max_tokens: request.maxNewTokens,
        temperature: request.temperature,
        top_p: request.topP,
        top_k: request.topK === 0 ? -1 : request.topK,
        min_p: request.minP,
        repetition_penalty: request.repetitionPenalty,
        stop_token_ids: request.stopIds,
        ...(request.stopStrings.length === 0 ? {} : { stop: request.stopStrings }),
        ...(request.regex === undefined ? {} : { structured_outputs: { regex: request.regex } }),
        ...(request.seed === undefined ? {} : { seed: request.seed }),
      },
      signal,
    );
    if (answer.model !== model) {
      throw this.#malformed(
        `expected completions of ${JSON.stringify(model)}, found those of ${JSON.stringify(answer.model)}`,
      );
    }
    const choices = answer.choices.toSorted((a, b) => a.index - b.index);
    if (choices.length !== request.count) {
      throw this.#malformed(`expected ${request.count} completions, found ${choices.length}`);
    }
    return {
      completions: choices.map((choice): ServedCompletion => {
        checkPrompt(this.facts, request.promptIds, choice.prompt_token_ids);
        return checkCompletion(this.facts, {
          ids: choice.token_ids,
          logprobs: choice.logprobs.token_logprobs,
          reason: choice.finish_reason,
          stopString: typeof choice.stop_reason === "string",
        });
      }),
    };
  }

  async score(ids: TokenIds, signal: AbortSignal): Promise<Float32Array> {
    const request = { model: this.facts.model, prompt: ids, max_tokens: 1, temperature: 1, prompt_logprobs: 0 };
    const { choices } = await this.#completions(request, signal);
    const entries = choices[0]?.prompt_logprobs ?? [];
    if (entries.length !== ids.length) {
      throw this.#malformed(`expected log-probabilities of ${ids.length} tokens, found ${entries.length}`);
    }
    return Float32Array.from(ids.slice(1), (id, i) => entries[i + 1]?.[String(id)]?.logprob ?? Number.NaN);
  }

  async likeliest(promptIds: TokenIds, temperature: number, signal: AbortSignal): Promise<readonly number[]> {
    const request = { model: this.facts.model, prompt: promptIds, max_tokens: 1, temperature, logprobs: LIKELIEST };
    const { choices } = await this.#completions({ ...request, top_p: 1, top_k: -1, min_p: 0 }, signal);
    return Object.values(choices[0]?.logprobs.top_logprobs?.[0] ?? {}).sort((a, b) => b - a);
  }

  async loadAdapter(name: string, folder: string, signal: AbortSignal): Promise<void> {
    const answer = await this.#post("/v1/load_lora_adapter", { lora_name: name, lora_path: folder }, signal);
    if (answer.status === 200 || LOADED_ALREADY.test(reasonIn(answer))) return;
    const hint = adapterHint(answer);
    throw this.#refusal("to load an adapter", answer, hint, hint === undefined ? undefined : "refused");
  }

  async unloadAdapter(name: string, signal: AbortSignal): Promise<void> {
    await this.#post("/v1/unload_lora_adapter", { lora_name: name }, signal);
  }

  /** What is drawn meanwhile waits, and what was drawn is not remembered: prefixes of the old weights would be used on. */
  async loadWeights(version: string, folder: string, signal: AbortSignal): Promise<void> {
    await this.#developer("/pause?mode=wait", {}, signal);
    try {
      await this.#reloadFrom(folder, signal);
      await this.#developer("/reset_prefix_cache", {}, signal);
      await this.#developer("/update_weight_version", { new_version: version }, signal);
    } finally {
      await this.#developer("/resume", {}, signal);
    }
  }

  async weights(signal: AbortSignal): Promise<string | undefined> {
    const answer = await this.#connection.call("/weight_info", { signal });
    if (answer.status !== 200) throw this.#refusal("which weights it has", answer, DEVELOPER_HINT);
    const { weight_version } = parseAnswer(this.facts, "/weight_info", weightsSchema(), answer);
    return weight_version === UNNAMED ? undefined : weight_version;
  }

  /** Only a server that takes adapters knows that one is not there; sizes are told to developers. */
  async abilities(signal: AbortSignal): Promise<ServerAbilities> {
    const unload = await this.#post("/v1/unload_lora_adapter", { lora_name: "grpo-doctor" }, signal);
    const path = "/server_info?config_format=json";
    const info = await this.#connection.call(path, { signal });
    const known = info.status === 200 ? parseAnswer(this.facts, path, infoSchema(), info).vllm_config : undefined;
    const takes = /grpo-doctor/.test(reasonIn(unload));
    return {
      adapters: takes && (known === undefined || !!known.lora_config),
      adapterRank: known?.lora_config?.max_lora_rank,
      adapterSlots: known?.lora_config?.max_loras,
      wholeWeights: known !== undefined,
    };
  }

  async check(signal: AbortSignal): Promise<void> {
    const { status } = await this.#connection.call("/health", { signal, seconds: HEALTH_SECONDS });
    if (status !== 200) throw new ServerFault("failed", `${this.facts.url}/health answers ${status}`);
  }

  /** By the extension where the server has it; by the server's own reload, which leaves some heads as they were, where not. */
  async #reloadFrom(folder: string, signal: AbortSignal): Promise<void> {
    const call = (method: string) => {
      return this.#post("/collective_rpc", { method, kwargs: { weights_path: folder } }, signal);
    };
    const methods = this.#reload === undefined ? [WHOLE_RELOAD, "reload_weights"] : [this.#reload];
    let answer: ServerAnswer = { status: 0, body: undefined };
    for (const method of methods) {
      answer = await call(method);
      if (answer.status !== 200) continue;
      this.#reload = method;
      return;
    }
    throw this.#refusal("to load weights", answer, DEVELOPER_HINT);
  }

  async #developer(path: string, body: object, signal: AbortSignal): Promise<void> {
    const answer = await this.#post(path, body, signal);
    if (answer.status !== 200) throw this.#refusal(path, answer, DEVELOPER_HINT);
  }

  async #completions(request: object, signal: AbortSignal) {
    const path = "/v1/completions";
    const answer = await this.#post(path, { logprobs: 0, return_token_ids: true, ...request }, signal);
    // A model that is not there is an adapter that the server has lost.
    if (answer.status === 404) throw this.#refusal("for completions", answer, undefined, "absent");
    if (answer.status !== 200) throw this.#refusal("for completions", answer);
    return parseAnswer(this.facts, path, completionsSchema(), answer);
  }

  #post(path: string, body: object, signal: AbortSignal): Promise<ServerAnswer> {
    return this.#connection.call(path, { body, signal });
  }

  #refusal(asked: string, answer: ServerAnswer, hint?: string, kind = kindOf(answer)): ServerFault {
    const text = `${this.facts.url}, asked ${asked}, answers ${answer.status}: ${reasonIn(answer)}`;
    return new ServerFault(kind, text, hint === undefined ? {} : { hint });
  }

  #malformed(text: string): ServerFault {
    return new ServerFault("malformed", `${this.facts.url}: ${text}`);
  }
}

/** An error of the caller would be the same elsewhere. */
function kindOf({ status }: ServerAnswer): FaultKind {
  return status >= 500 || status === 429 ? "failed" : "refused";
}

/** By what vLLM says in each case. */
function adapterHint(answer: ServerAnswer): string | undefined {
  const reason = reasonIn(answer);
  const rank = /LoRA rank (\d+) is greater/.exec(reason)?.[1];
  if (rank !== undefined) return `start the server with --max-lora-rank ${rank}`;
  if (/No adapter found/.test(reason)) {
    return "let the server read the shared folder: set vllmSharedFolder, and vllmSharedFolderOnServer where it has another name there";
  }
  if (answer.status === 404) return ADAPTER_HINT;
  return answer.status < 500
    ? "start the server with --enable-lora, and train an adapter that vLLM can load"
    : undefined;
}
