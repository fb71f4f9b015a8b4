// An engine that says what it is told to, and an endpoint over it: for what the endpoint does around an engine. The tokenizer is the
// bundled model's, with a chat template that knows tools.

import { Tokenizer, tinyModel } from "grpo";
import { onTestFinished } from "vitest";
import { Endpoint, type EndpointOptions } from "../../lib/endpoint/endpoint.js";
import type {
  GenerationEvent,
  GenerationRequest,
  Generator,
  ScoredToken,
  ScoreRequest,
} from "../../lib/endpoint/generator.js";
import { GrpoError } from "../../lib/errors.js";

/** Qwen's way of writing calls, shortened. */
export const TOOL_TEMPLATE = `{%- if tools %}<|im_start|>system
{% for tool in tools %}{{ tool | tojson }}
{% endfor %}Call as <tool_call>{"name": …, "arguments": …}</tool_call><|im_end|>
{% endif %}{% for message in messages %}<|im_start|>{{ message.role }}
{% if message.reasoning_content %}<think>{{ message.reasoning_content }}</think>{% endif %}{{ message.content }}
{%- for call in message.tool_calls or [] %}
<tool_call>
{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}
</tool_call>{% endfor %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}`;

export const LOGPROB = -0.25;

/** What to say: a text for each completion; "…" at its end means that the limit cut it there. */
export type Script = (request: GenerationRequest, prompt: string) => string | readonly string[];

export class FakeGenerator implements Generator {
  readonly vocabSize = 512;
  readonly maxPositions = 4096;
  readonly requests: GenerationRequest[] = [];
  /** Requests whose work was ended before its end. */
  readonly cancelled: GenerationRequest[] = [];
  /** Waited for before each token. */
  beforeToken: (request: GenerationRequest, index: number) => Promise<void> | void = () => {};
  say: Script;
  readonly #tokenizer: Tokenizer;

  constructor(tokenizer: Tokenizer, say: Script) {
    this.#tokenizer = tokenizer;
    this.say = say;
  }

  async *generate(request: GenerationRequest): AsyncGenerator<GenerationEvent, void, undefined> {
    this.requests.push(request);
    const said = this.say(request, this.#tokenizer.decode(request.ids));
    const texts = typeof said === "string" ? Array.from({ length: request.count }, () => said) : said;
    let whole = false;
    try {
      for (const [index, text] of texts.entries()) yield* this.#complete(request, index, text);
      whole = true;
    } finally {
      if (!whole) this.cancelled.push(request);
    }
  }

  async *#complete(request: GenerationRequest, index: number, text: string): AsyncGenerator<GenerationEvent> {
    const end = this.#tokenizer.eosTokenId as number;
    const cut = text.endsWith("…");
    const ids = this.#tokenizer.encode(cut ? text.slice(0, -1) : text);
    for (const [i, id] of [...ids, ...(cut ? [] : [end])].entries()) {
      await this.beforeToken(request, i);
      if (request.signal.aborted) throw new GrpoError("CANCELLED", "the request was cancelled");
      const logprob = request.logprobs ? LOGPROB : undefined;
      const top = Array.from({ length: request.topLogprobs }, (_, j) => ({
        id: j === 0 ? id : j,
        logprob: LOGPROB - j,
      }));
      yield { type: "token", index, token: { id, logprob, top } };
    }
    const stopped = request.stopStrings.some((stop) => text.includes(stop));
    yield { type: "end", index, finishReason: cut ? "length" : stopped ? "stop" : "eos" };
  }

  async score({ ids, top }: ScoreRequest): Promise<readonly ScoredToken[]> {
    return ids.slice(1).map((id) => {
      const likeliest = Array.from({ length: top }, (_, j) => ({ id: j === 0 ? id : j, logprob: LOGPROB - j }));
      return { id, logprob: LOGPROB, top: likeliest };
    });
  }
}

/** An endpoint that says `say`, and ends with the test by `end`. */
export async function startEndpoint(say: Script, options: EndpointOptions = {}, end: "close" | "abort" = "close") {
  const started = await fakeEndpoint(say, options);
  onTestFinished(() => started.endpoint[end]());
  return started;
}

/** An endpoint that says `say`; the caller closes it. */
export async function fakeEndpoint(say: Script, options: EndpointOptions = {}) {
  const tokenizer = await Tokenizer.fromPretrained(tinyModel);
  tokenizer.chatTemplate = TOOL_TEMPLATE;
  const generator = new FakeGenerator(tokenizer, say);
  const defaults = { temperature: 0.7, topP: 0.8, topK: 20, minP: 0, repetitionPenalty: 1, maxNewTokens: undefined };
  const models = [
    { name: "tiny", alias: "tiny-qwen2", adapter: null },
    { name: "tuned", adapter: "tuned" },
  ];
  const endpoint = await Endpoint.start({ generator, tokenizer, models, defaults }, options);
  return { endpoint, generator, tokenizer, client: new Client(endpoint.baseURL, options.apiKey) };
}

/** A client of HTTP without opinions. */
export class Client {
  constructor(
    readonly baseURL: string,
    readonly key?: string,
  ) {}

  /** Paths begin at the server's root. */
  fetch(path: string, init: RequestInit = {}): Promise<Response> {
    const headers = new Headers(init.headers);
    if (this.key !== undefined) headers.set("authorization", `Bearer ${this.key}`);
    return fetch(new URL(path, this.baseURL), { ...init, headers });
  }

  post(path: string, body: unknown, init: RequestInit = {}): Promise<Response> {
    const text = typeof body === "string" ? body : JSON.stringify(body);
    const headers = new Headers(init.headers);
    headers.set("content-type", "application/json");
    return this.fetch(path, { method: "POST", body: text, ...init, headers });
  }

  /** The JSON of an answer that must have this status. */
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers of all shapes.
  async json(path: string, body?: unknown, status = 200): Promise<any> {
    const response = await (body === undefined ? this.fetch(path) : this.post(path, body));
    const text = await response.text();
    if (response.status !== status) throw new Error(`${path}: expected ${status}, found ${response.status} ${text}`);
    return JSON.parse(text);
  }

  /** The data of all events of a stream. */
  // biome-ignore lint/suspicious/noExplicitAny: as above.
  async events(path: string, body: unknown): Promise<any[]> {
    const response = await this.post(path, body);
    const text = await response.text();
    if (response.status !== 200) throw new Error(`${path}: ${response.status} ${text}`);
    return dataOf(text);
  }
}

/** The error of an answer. */
export async function errorOf(response: Response): Promise<{ code: string; type: string; message: string }> {
  const { error } = (await response.json()) as { error: { code: string; type: string; message: string } };
  return error;
}

/** The data of events, JSON parsed but for [DONE]. */
export function dataOf(text: string) {
  return [...text.matchAll(/^data: (.*)$/gm)].map(([, data = ""]) => (data === "[DONE]" ? data : JSON.parse(data)));
}
