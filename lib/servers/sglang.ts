// SGLang's own HTTP server, as `python -m sglang.launch_server` starts it: /generate with ids in and out, adapters by name, whole
// weights from a folder under a version that every answer names. Log-probabilities follow the temperature, unless
// SGLANG_RETURN_ORIGINAL_LOGPROB is set where it runs; bounds of top-p and the like do not change them.

import type { TokenIds } from "../types.js";
import { lazySchema } from "../zod.js";
import { checkCompletion, parseAnswer } from "./answers.js";
import type { CompletionRequest, EngineServer, ServedGroup, ServerAbilities, ServerFacts } from "./engine-server.js";
import { ServerFault } from "./fault.js";
import { HEALTH_SECONDS, reasonIn, type ServerAnswer, type ServerConnection } from "./http.js";

const LIKELIEST = 5;
const LOADED_ALREADY = /already (been )?loaded/i;
const UNNAMED = "default";

const generateSchema = lazySchema((z) => {
  /** Log-probability, id, text. */
  const scored = z.tuple([z.number().nullable(), z.int().min(0)]).rest(z.unknown());
  const answer = z.object({
    output_ids: z.array(z.int().min(0)).nullish(),
    meta_info: z.object({
      finish_reason: z
        .object({
          type: z.string(),
          message: z.string().nullish(),
          /** The text, the id or the ids that ended it. */
          matched: z.unknown().optional(),
        })
        .nullable(),
      weight_version: z.string().nullish(),
      prompt_tokens: z.int().min(0).nullish(),
      output_token_logprobs: z.array(scored).default([]),
      input_token_logprobs: z.array(scored).nullish(),
      output_top_logprobs: z.array(z.array(scored).nullable()).nullish(),
    }),
  });
  // One for one completion, a list for several.
  return z.union([z.array(answer), answer.transform((one) => [one])]);
});
const weightsSchema = lazySchema((z) => z.object({ weight_version: z.string().nullish() }));
const infoSchema = lazySchema((z) =>
  z.object({
    enable_lora: z.boolean().nullish(),
    max_lora_rank: z.int().nullish(),
    max_loras_per_batch: z.int().nullish(),
  }),
);
const ADAPTER_HINT =
  "start the server with --enable-lora, --max-lora-rank and --lora-target-modules that fit the adapter, and let it read the shared folder";

export class SglangServer implements EngineServer {
  readonly facts: ServerFacts;
  readonly temperatureHint =
    "start the server without SGLANG_RETURN_ORIGINAL_LOGPROB in its environment, or train with temperature 1";
  readonly reloadHint = "use a newer SGLang, or train an adapter";
  readonly adapterHint = ADAPTER_HINT;
  readonly weightsHint = "let the server read the shared folder";
  readonly #connection: ServerConnection;

  constructor(facts: ServerFacts, connection: ServerConnection) {
    this.facts = facts;
    this.#connection = connection;
  }

  async complete(request: CompletionRequest, signal: AbortSignal): Promise<ServedGroup> {
    const answers = await this.#generate(
      {
        input_ids: request.promptIds,
        return_logprob: true,
        ...(request.adapter === undefined ? {} : { lora_path: request.adapter }),
        sampling_params: {
          n: request.count,
          max_new_tokens: request.maxNewTokens,
          temperature: request.temperature,
          top_p: request.topP,
          top_k: request.topK === 0 ? -1 : request.topK,
          min_p: request.minP,
          repetition_penalty: request.repetitionPenalty,
          stop_token_ids: request.stopIds,
          ...(request.stopStrings.length === 0 ? {} : { stop: request.stopStrings }),
          ...(request.regex === undefined ? {} : { regex: request.regex }),
          ...(request.seed === undefined ? {} : { sampling_seed: request.seed }),
        },
      },
      signal,
    );
    if (answers.length !== request.count) {
      throw this.#malformed(`expected ${request.count} completions, found ${answers.length}`);
    }
    const versions = new Set(answers.map(({ meta_info }) => meta_info.weight_version ?? undefined));
    if (versions.size > 1)
      throw this.#malformed(`the completions of one prompt are of weights ${[...versions].join(", ")}`);
    const [weights] = versions;
    return {
      completions: answers.map(({ output_ids, meta_info }) => {
        const { prompt_tokens, output_token_logprobs: drawn, finish_reason } = meta_info;
        const ids = drawn.map(([, id]) => id);
        if (output_ids && output_ids.join() !== ids.join()) {
          throw this.#malformed("the ids of a completion are not those of its log-probabilities");
        }
        if (prompt_tokens && prompt_tokens !== request.promptIds.length) {
          throw this.#malformed(`completed ${prompt_tokens} tokens in place of the ${request.promptIds.length} given`);
        }
        const logprobs = drawn.map(([logprob]) => logprob);
        return checkCompletion(this.facts, {
          ids,
          logprobs,
          reason: finish_reason?.type ?? null,
          stopString: typeof finish_reason?.matched === "string",
        });
      }),
      weights,
    };
  }

  async score(ids: TokenIds, signal: AbortSignal): Promise<Float32Array> {
    const request = { input_ids: ids, return_logprob: true, logprob_start_len: 0 };
    const [answer] = await this.#generate(
      { ...request, sampling_params: { max_new_tokens: 1, temperature: 1 } },
      signal,
    );
    const entries = answer?.meta_info.input_token_logprobs ?? [];
    if (entries.length !== ids.length) {
      throw this.#malformed(`expected log-probabilities of ${ids.length} tokens, found ${entries.length}`);
    }
    return Float32Array.from(entries.slice(1), ([logprob]) => logprob ?? Number.NaN);
  }

  async likeliest(promptIds: TokenIds, temperature: number, signal: AbortSignal): Promise<readonly number[]> {
    const sampling = { max_new_tokens: 1, temperature, top_p: 1, top_k: -1, min_p: 0 };
    const request = { input_ids: promptIds, return_logprob: true, top_logprobs_num: LIKELIEST };
    const [answer] = await this.#generate({ ...request, sampling_params: sampling }, signal);
    const first = answer?.meta_info.output_top_logprobs?.[0] ?? [];
    return first.map(([logprob]) => logprob ?? Number.NEGATIVE_INFINITY).sort((a, b) => b - a);
  }

  async loadAdapter(name: string, folder: string, signal: AbortSignal): Promise<void> {
    const answer = await this.#post("/load_lora_adapter", { lora_name: name, lora_path: folder }, signal);
    if (succeeded(answer) || LOADED_ALREADY.test(reasonIn(answer))) return;
    throw this.#refusal("to load an adapter", answer, ADAPTER_HINT);
  }

  async unloadAdapter(name: string, signal: AbortSignal): Promise<void> {
    await this.#post("/unload_lora_adapter", { lora_name: name }, signal);
  }

  async loadWeights(version: string, folder: string, signal: AbortSignal): Promise<void> {
    const body = { model_path: folder, weight_version: version, flush_cache: true };
    const answer = await this.#post("/update_weights_from_disk", body, signal);
    if (!succeeded(answer)) throw this.#refusal("to load weights", answer, this.weightsHint);
  }

  async weights(signal: AbortSignal): Promise<string | undefined> {
    const answer = await this.#connection.call("/model_info", { signal });
    if (answer.status !== 200) throw this.#refusal("which weights it has", answer);
    const { weight_version } = parseAnswer(this.facts, "/model_info", weightsSchema(), answer);
    return weight_version === UNNAMED ? undefined : (weight_version ?? undefined);
  }

  async abilities(signal: AbortSignal): Promise<ServerAbilities> {
    const answer = await this.#connection.call("/server_info", { signal });
    if (answer.status !== 200) throw this.#refusal("what it can do", answer);
    const info = parseAnswer(this.facts, "/server_info", infoSchema(), answer);
    return {
      adapters: info.enable_lora === true,
      adapterRank: info.max_lora_rank ?? undefined,
      adapterSlots: info.max_loras_per_batch ?? undefined,
      wholeWeights: true,
    };
  }

  async check(signal: AbortSignal): Promise<void> {
    const { status } = await this.#connection.call("/health", { signal, seconds: HEALTH_SECONDS });
    if (status !== 200) throw new ServerFault("failed", `${this.facts.url}/health answers ${status}`);
  }

  async #generate(request: object, signal: AbortSignal) {
    const answer = await this.#post("/generate", request, signal);
    if (answer.status !== 200) throw this.#refusal("for completions", answer);
    return parseAnswer(this.facts, "/generate", generateSchema(), answer);
  }

  #post(path: string, body: object, signal: AbortSignal): Promise<ServerAnswer> {
    return this.#connection.call(path, { body, signal });
  }

  /** An adapter that the server has lost is a bad request here. */
  #refusal(asked: string, answer: ServerAnswer, hint?: string): ServerFault {
    const reason = reasonIn(answer);
    const lost = asked === "for completions" && /lora|adapter/i.test(reason);
    const kind = lost ? "absent" : answer.status >= 500 || answer.status === 429 ? "failed" : "refused";
    const text = `${this.facts.url}, asked ${asked}, answers ${answer.status}: ${reason}`;
    return new ServerFault(kind, text, hint === undefined ? {} : { hint });
  }

  #malformed(text: string): ServerFault {
    return new ServerFault("malformed", `${this.facts.url}: ${text}`);
  }
}

/** Some versions answer a failure with status 200. */
function succeeded({ status, body }: ServerAnswer): boolean {
  return status === 200 && Reflect.get(Object(body), "success") !== false;
}
