// A server of OpenAI's protocol as the respondent: conversations by chat completions, texts by completions, one request for each answer,
// since not every server draws several. What a busy server refuses, and what the network breaks, is asked again.

import { setTimeout as sleep } from "node:timers/promises";
import { badOption, checkNumber, checkOptionNames, checkText, namesOf, show } from "../checks.js";
import { GrpoError, reasonOf } from "../errors.js";
import { pauseAfter, pauseAskedFor } from "../hub/hub-fetch.js";
import { isJsonObject, type JsonObject } from "../json.js";
import type { Question, Respondent } from "./respondent.js";
import type { Answer } from "./task.js";

/** A server that answers chat completions, such as `grpo serve`, vLLM, SGLang, llama.cpp, or a hosted one. */
export interface ServerOptions {
  /** With its "/v1": http://127.0.0.1:8000/v1. */
  readonly baseURL: string;
  /** Default: the first that the server lists. */
  readonly model?: string;
  /** Default: the variable OPENAI_API_KEY, else none. */
  readonly apiKey?: string;
  /** Requests under way at a time. Default 32. */
  readonly concurrency?: number;
  /** How often a request is tried in all. Default 6. */
  readonly attempts?: number;
}

const SERVER_OPTIONS = namesOf<ServerOptions>({
  baseURL: true,
  model: true,
  apiKey: true,
  concurrency: true,
  attempts: true,
});

/** OpenAI's own clients ask again after these, and after all from 500 on. */
const PASSING = new Set([408, 409, 429]);

export class ServerRespondent implements Respondent {
  readonly concurrency: number;
  /** It has one, or refuses conversations. */
  readonly hasChatTemplate = true;
  readonly #baseURL: string;
  readonly #model: string;
  readonly #apiKey: string | undefined;
  readonly #attempts: number;
  readonly #maxTokens: number | undefined;

  private constructor(options: ServerOptions, model: { readonly id: string; readonly maxTokens: number | undefined }) {
    const { baseURL, apiKey = process.env.OPENAI_API_KEY, concurrency = 32, attempts = 6 } = options;
    this.concurrency = checkNumber("server", "concurrency", concurrency, { min: 1, integer: true });
    this.#attempts = checkNumber("server", "attempts", attempts, { min: 1, integer: true });
    this.#baseURL = baseURL.replace(/\/+$/, "");
    this.#apiKey = apiKey;
    this.#model = model.id;
    this.#maxTokens = model.maxTokens;
  }

  /** What stands behind a name on a server, nobody can tell. */
  async facts(): Promise<JsonObject> {
    return { model: this.#model, engine: "server" };
  }

  /** Asks the server for its models. Throws BAD_OPTION; SERVER_ERROR where it cannot be reached or has no such model. */
  static async open(options: ServerOptions): Promise<ServerRespondent> {
    checkOptionNames("server", options, SERVER_OPTIONS);
    const address = checkText("server", "baseURL", options.baseURL);
    if (!/^https?:\/\/./.test(address))
      throw badOption("server", "baseURL", "an address that begins with http", address);
    const first = new ServerRespondent(options, { id: "", maxTokens: undefined });
    // Not every server lists its models; whoever names one is believed.
    const listed = await first.#models().catch((error: unknown) => {
      if (options.model === undefined) throw error;
      return [];
    });
    const wanted = options.model ?? String(listed[0]?.id ?? "");
    const found = listed.find(({ id }) => id === wanted);
    if (wanted === "" || (found === undefined && listed.length > 0)) {
      const names = listed.map(({ id }) => String(id)).join(", ");
      throw new GrpoError("SERVER_ERROR", `${address} has no model ${show(wanted)}; found ${names || "none"}`);
    }
    const length = found?.max_model_len;
    return new ServerRespondent(options, { id: wanted, maxTokens: typeof length === "number" ? length : undefined });
  }

  async ask(question: Question): Promise<readonly Answer[]> {
    const { count, seed } = question;
    return Promise.all(
      Array.from({ length: count }, (_, i) =>
        this.#askOnce(question, seed === undefined ? undefined : (seed + i) % 2 ** 31),
      ),
    );
  }

  async #askOnce({ prompt, drawing, signal }: Question, seed: number | undefined): Promise<Answer> {
    const { temperature, topP, maxNewTokens, stopStrings } = drawing;
    // A server counts the prompt too; where its context is no longer than the limit, it knows best how much is left.
    const fits = this.#maxTokens === undefined || maxNewTokens < this.#maxTokens;
    const body = {
      model: this.#model,
      ...(typeof prompt === "string" ? { prompt } : { messages: prompt }),
      temperature,
      ...(temperature === 0 ? {} : { top_p: topP }),
      ...(fits ? { max_tokens: maxNewTokens } : {}),
      ...(stopStrings.length === 0 ? {} : { stop: stopStrings }),
      ...(seed === undefined ? {} : { seed }),
    };
    const path = typeof prompt === "string" ? "/completions" : "/chat/completions";
    return answerOf(await this.#request(path, body, signal));
  }

  async #models(): Promise<JsonObject[]> {
    const { data } = await this.#request("/models", undefined, undefined);
    return Array.isArray(data) ? data.filter(isJsonObject) : [];
  }

  /** GET without a body. */
  async #request(path: string, body: object | undefined, signal: AbortSignal | undefined): Promise<JsonObject> {
    for (let attempt = 1; ; attempt++) {
      const last = attempt >= this.#attempts;
      const outcome = await this.#send(path, body, signal).catch((error: unknown) => {
        if (signal?.aborted) throw new GrpoError("CANCELLED", "stopped while a server was at work", { cause: error });
        if (last) throw unreachable(this.#baseURL + path, error);
        return undefined;
      });
      if (outcome !== undefined && "answer" in outcome) return outcome.answer;
      if (outcome !== undefined && (last || !outcome.passing)) throw outcome.refusal;
      await sleep(outcome?.pause ?? pauseAfter(attempt), undefined, signal ? { signal } : {}).catch(
        (cause: unknown) => {
          throw new GrpoError("CANCELLED", "stopped while a server was at work", { cause });
        },
      );
    }
  }

  async #send(path: string, body: object | undefined, signal: AbortSignal | undefined): Promise<Outcome> {
    const { fetch, dispatcher } = await patientTransport();
    const url = this.#baseURL + path;
    const response = await fetch(url, {
      dispatcher,
      ...(body === undefined ? {} : { method: "POST", body: JSON.stringify(body) }),
      headers: {
        "content-type": "application/json",
        ...(this.#apiKey === undefined || this.#apiKey === "" ? {} : { authorization: `Bearer ${this.#apiKey}` }),
      },
      ...(signal === undefined ? {} : { signal }),
    });
    const text = await response.text();
    if (response.ok) return { answer: parsedAnswer(url, text) };
    const { status } = response;
    return {
      refusal: new GrpoError("SERVER_ERROR", `${url} answered ${status}: ${messageIn(text)}`, adviceFor(text)),
      passing: status >= 500 || PASSING.has(status),
      pause: pauseAskedFor(response as unknown as Response),
    };
  }
}

type Outcome =
  | { readonly answer: JsonObject }
  | { readonly refusal: GrpoError; readonly passing: boolean; readonly pause: number | undefined };

/** Node's fetch gives up after five minutes without a byte, and a long answer that is not streamed takes longer. */
async function patientTransport() {
  const { EnvHttpProxyAgent, fetch } = await import("undici");
  agent ??= new EnvHttpProxyAgent({ headersTimeout: 0, bodyTimeout: 0 });
  return { fetch, dispatcher: agent };
}
let agent: InstanceType<typeof import("undici").EnvHttpProxyAgent> | undefined;

/** The body may be cut off, or a page of some proxy: worth another try. */
function parsedAnswer(url: string, text: string): JsonObject {
  const answer: unknown = JSON.parse(text);
  if (isJsonObject(answer)) return answer;
  throw new Error(`${url}: expected a JSON object, found ${show(answer)}`);
}

function answerOf({ choices, usage }: JsonObject): Answer {
  const choice: unknown = Array.isArray(choices) ? choices[0] : undefined;
  if (!isJsonObject(choice)) throw new GrpoError("SERVER_ERROR", `a server answered without choices: ${show(choices)}`);
  const counted = isJsonObject(usage) ? usage.completion_tokens : undefined;
  const rest = {
    finishReason: choice.finish_reason === "length" ? ("length" as const) : ("eos" as const),
    tokens: typeof counted === "number" ? counted : null,
    ids: null,
  };
  if (typeof choice.text === "string") return { text: choice.text, final: choice.text, ...rest };
  const message = isJsonObject(choice.message) ? choice.message : {};
  const final = textOf(message.content);
  const reasoning = textOf(message.reasoning ?? message.reasoning_content);
  return { text: reasoning === "" ? final : `<think>\n${reasoning}\n</think>\n\n${final}`, final, ...rest };
}

/** null where it said nothing. */
function textOf(value: unknown): string {
  return typeof value === "string" ? value : "";
}

function messageIn(text: string): string {
  const found = /"message"\s*:\s*"((?:[^"\\]|\\.)*)"/.exec(text)?.[1] ?? text;
  return found.slice(0, 300);
}

function adviceFor(text: string): { hint?: string } {
  return /context|max_tokens/i.test(text) ? { hint: "lower maxNewTokens (--max-new-tokens)" } : {};
}

function unreachable(url: string, error: unknown): GrpoError {
  const cause = error instanceof Error && error.cause !== undefined ? error.cause : error;
  return new GrpoError("SERVER_ERROR", `${url} could not be reached: ${reasonOf(cause)}`, {
    cause: error,
    hint: "check the address and that the server runs",
  });
}
