// Stand-ins for servers of vLLM and SGLang: the calls that samplers make, in the form of the recorded exchanges and of SGLang's sources,
// over weights that are a text in a folder. Tokens name the weights that drew them, so that a test sees where they come from. Faults
// are planted by path.

import { existsSync, readFileSync } from "node:fs";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import path from "node:path";
import { address, listen, readBody, sendJson } from "./http.js";

export type Fault =
  /** The connection ends without an answer, or within it. */
  | "drop"
  | "truncate"
  /** No answer, or one that never ends. */
  | "hang"
  | "drip"
  | { readonly status: number; readonly message: string }
  /** What happens at this moment, before the request is answered. */
  | { readonly first: () => void };

interface Body {
  readonly model?: string;
  readonly prompt?: number[];
  readonly input_ids?: number[];
  readonly n?: number;
  readonly max_tokens?: number;
  readonly temperature?: number;
  readonly logprobs?: number;
  readonly prompt_logprobs?: number;
  readonly lora_name?: string;
  readonly lora_path?: string;
  readonly method?: string;
  readonly kwargs?: { readonly weights_path?: string };
  readonly new_version?: string;
  readonly model_path?: string;
  readonly weight_version?: string;
  readonly top_logprobs_num?: number;
  readonly logprob_start_len?: number;
  readonly sampling_params?: { readonly n?: number; readonly max_new_tokens?: number; readonly temperature?: number };
}

/** What a sampler's answers must fit: log-probability of every token under the policy of the tests. */
export const OWN_LOGPROB = -1;
export const STOP_ID = 3;

export class InferenceServer {
  readonly kind: "vllm" | "sglang";
  /** As it names itself. */
  owner: string;
  /** The path of every request. */
  readonly requests: string[] = [];
  readonly bodies: Body[] = [];
  /** By path, the first is used first. */
  readonly faults = new Map<string, Fault[]>();
  /** Name → text of the weights. */
  readonly adapters = new Map<string, string>();
  weights = { name: "default", text: "start" };
  /** What it adds to log-probabilities: another model, or a head that was left behind. */
  offset = 0;
  followsTemperature = true;
  /** vLLM's VLLM_SERVER_DEV_MODE. */
  developer = true;
  /** Sequences in flight, and the most there were. */
  inFlight = 0;
  mostInFlight = 0;
  /** What its completions wait for. */
  hold: Promise<unknown> | undefined;
  /** Called after each prompt was completed. */
  onAnswer: () => void = () => {};
  #server: Server | undefined;
  #port = 0;
  /** Called when whole weights were loaded. */
  onReload: () => void = () => {};

  constructor(kind: "vllm" | "sglang") {
    this.kind = kind;
    this.owner = kind;
  }

  async start(): Promise<this> {
    this.#server = await listen((request, response) => this.#answer(request, response), this.#port);
    this.#port = Number(new URL(address(this.#server)).port);
    return this;
  }

  /** As when the process ends: open requests get no answer, and what was loaded is gone. */
  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    this.adapters.clear();
    this.weights = { name: "default", text: "start" };
    server?.closeAllConnections();
    await new Promise((done) => (server ? server.close(done) : done(undefined)));
  }

  async restart(): Promise<void> {
    await this.stop();
    await this.start();
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  plant(at: string, ...faults: Fault[]): void {
    this.faults.set(at, [...(this.faults.get(at) ?? []), ...faults]);
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const at = new URL(request.url ?? "/", "http://host").pathname;
    const text = (await readBody(request)).toString();
    const body = (text === "" ? {} : JSON.parse(text)) as Body;
    this.requests.push(at);
    this.bodies.push(body);
    const fault = this.faults.get(at)?.shift();
    if (fault === "drop") return void response.destroy();
    if (fault === "hang") return;
    if (typeof fault === "object" && "status" in fault) return this.#refuse(response, fault.status, fault.message);
    if (typeof fault === "object") fault.first();
    const answer = this.kind === "vllm" ? this.#vllm(at, body) : this.#sglang(at, body);
    await this.#busy(body);
    if (fault === "truncate") return sendHalf(response, answer.body);
    if (fault === "drip") {
      response.writeHead(200, { "content-type": "application/json" });
      response.write('{"model": ');
      return;
    }
    // As vLLM does: whoever sends the next request on the connection loses it.
    if (answer.status >= 500) response.on("finish", () => response.socket?.destroy());
    if (typeof answer.body === "string") response.writeHead(answer.status).end(answer.body);
    else sendJson(response, answer.status, answer.body);
  }

  async #busy(body: Body): Promise<void> {
    if (!body.prompt && !body.input_ids) return;
    const count = body.n ?? body.sampling_params?.n ?? 1;
    this.inFlight += count;
    this.mostInFlight = Math.max(this.mostInFlight, this.inFlight);
    await this.hold;
    this.inFlight -= count;
    this.onAnswer();
  }

  #refuse(response: ServerResponse, status: number, message: string): void {
    sendJson(response, status, this.kind === "vllm" ? { error: { message, code: status } } : { error: { message } });
  }

  #vllm(at: string, body: Body): Answer {
    const error = (status: number, message: string) => ({
      status,
      body: { error: { message, type: "", code: status } },
    });
    switch (at) {
      case "/health":
        return { status: 200, body: "" };
      case "/version":
        return { status: 200, body: { version: "0.32.0" } };
      case "/v1/models":
        return { status: 200, body: { object: "list", data: [modelCard(this.owner)] } };
      case "/v1/completions": {
        const text = body.model === "tiny" ? this.weights.text : this.adapters.get(body.model ?? "");
        if (text === undefined) return error(404, `The model \`${body.model}\` does not exist. Valid aliases: tiny.`);
        return { status: 200, body: this.#vllmCompletions(body, text) };
      }
      case "/v1/load_lora_adapter": {
        const name = body.lora_name ?? "";
        if (this.adapters.has(name)) {
          return error(
            400,
            `The lora adapter '${name}' has already been loaded. If you want to load the adapter in place, set 'load_inplace' to True.`,
          );
        }
        const text = weightsIn(body.lora_path ?? "");
        if (text === undefined)
          return error(404, `Loading lora ${name} failed: No adapter found for ${body.lora_path}`);
        this.adapters.set(name, text);
        return { status: 200, body: `Success: LoRA adapter '${name}' added successfully.` };
      }
      case "/v1/unload_lora_adapter":
        return this.adapters.delete(body.lora_name ?? "")
          ? { status: 200, body: `Success: LoRA adapter '${body.lora_name}' removed successfully.` }
          : error(404, `The lora adapter '${body.lora_name}' cannot be found.`);
      case "/pause":
        return { status: 200, body: { status: "paused" } };
      case "/resume":
        return { status: 200, body: { status: "resumed" } };
      case "/collective_rpc":
        if (body.method !== "reload_weights") return error(500, `'CPUWorker' object has no attribute '${body.method}'`);
        this.#reload(body.kwargs?.weights_path ?? "", this.weights.name);
        return { status: 200, body: { results: [null] } };
      case "/reset_prefix_cache":
        return { status: 200, body: { success: true } };
      case "/update_weight_version":
        this.weights = { ...this.weights, name: body.new_version ?? "" };
        return { status: 200, body: { success: true, new_version: body.new_version } };
      case "/server_info":
        if (!this.developer) return { status: 404, body: { detail: "Not Found" } };
        return { status: 200, body: { vllm_config: { lora_config: { max_lora_rank: 16, max_loras: 2 } } } };
      case "/weight_info":
        return { status: 200, body: { weight_version: this.weights.name } };
      default:
        return { status: 404, body: { detail: "Not Found" } };
    }
  }

  #reload(folder: string, name: string): void {
    this.weights = { name, text: weightsIn(folder) ?? "nothing" };
    this.onReload();
  }

  #vllmCompletions(body: Body, text: string) {
    const { model, prompt = [], n = 1, max_tokens = 1, temperature = 1, logprobs, prompt_logprobs } = body;
    const choices = Array.from({ length: n }, (_, index) => {
      const ids = drawn(text, prompt, index, max_tokens);
      const scored = prompt.map((id, i) =>
        i === 0 ? null : { [id]: { logprob: OWN_LOGPROB + this.offset, rank: 1 } },
      );
      return {
        index,
        text: "",
        logprobs: {
          token_logprobs: ids.map(() => OWN_LOGPROB + this.offset),
          tokens: ids.map(String),
          top_logprobs: logprobs ? [this.#likeliest(temperature)] : null,
        },
        finish_reason: ids.at(-1) === STOP_ID ? "stop" : "length",
        stop_reason: null,
        token_ids: ids,
        prompt_token_ids: prompt,
        prompt_logprobs: prompt_logprobs === undefined ? null : scored,
      };
    });
    return { id: "cmpl-1", object: "text_completion", model, choices, usage: {} };
  }

  #likeliest(temperature: number): Record<string, number> {
    const scale = this.followsTemperature ? temperature : 1;
    return { a: -0.1 / scale, b: -2 / scale, c: -5 / scale };
  }

  #sglang(at: string, body: Body): Answer {
    switch (at) {
      case "/health":
        return { status: 200, body: "" };
      case "/server_info":
        return {
          status: 200,
          body: { version: "0.5.10", enable_lora: true, max_lora_rank: 64, max_loras_per_batch: 8 },
        };
      case "/model_info":
        return { status: 200, body: { model_path: "tiny", weight_version: this.weights.name } };
      case "/v1/models":
        return { status: 200, body: { object: "list", data: [modelCard(this.owner)] } };
      case "/generate":
        return this.#generate(body);
      case "/load_lora_adapter": {
        const text = weightsIn(body.lora_path ?? "");
        const failed = { success: false, error_message: `Failed to load ${body.lora_path}`, loaded_adapters: {} };
        if (text === undefined) return { status: 400, body: failed };
        this.adapters.set(body.lora_name ?? "", text);
        return { status: 200, body: { success: true, error_message: "", loaded_adapters: {} } };
      }
      case "/unload_lora_adapter":
        this.adapters.delete(body.lora_name ?? "");
        return { status: 200, body: { success: true, error_message: "", loaded_adapters: {} } };
      case "/update_weights_from_disk":
        this.#reload(body.model_path ?? "", body.weight_version ?? "default");
        return {
          status: 200,
          body: { success: true, message: "Succeeded to update model weights.", num_paused_requests: 0 },
        };
      default:
        return { status: 404, body: { detail: "Not Found" } };
    }
  }

  #generate(body: Body & { readonly lora_path?: string }): Answer {
    const { input_ids: prompt = [], sampling_params = {}, lora_path: adapter } = body;
    const text = adapter === undefined ? this.weights.text : this.adapters.get(adapter);
    if (text === undefined) {
      const message = `The following requested LoRA adapters are not loaded: ['${adapter}']`;
      return { status: 400, body: { error: { message } } };
    }
    const { n = 1, max_new_tokens = 1, temperature = 1 } = sampling_params;
    const logprob = OWN_LOGPROB + this.offset;
    const answers = Array.from({ length: n }, (_, index) => {
      const ids = drawn(text, prompt, index, max_new_tokens);
      const stops = ids.at(-1) === STOP_ID;
      return {
        text: "",
        output_ids: ids,
        meta_info: {
          id: "1",
          finish_reason: stops ? { type: "stop", matched: STOP_ID } : { type: "length", length: max_new_tokens },
          prompt_tokens: prompt.length,
          weight_version: this.weights.name,
          input_token_logprobs:
            body.logprob_start_len === 0 ? prompt.map((id, i) => [i === 0 ? null : logprob, id, null]) : [],
          output_token_logprobs: ids.map((id) => [logprob, id, null]),
          output_top_logprobs: body.top_logprobs_num
            ? [Object.values(this.#likeliest(temperature)).map((value, id) => [value, id, null])]
            : null,
          completion_tokens: ids.length,
          cached_tokens: 0,
          e2e_latency: 0.1,
        },
      };
    });
    return { status: 200, body: n === 1 ? answers[0] : answers };
  }
}

interface Answer {
  readonly status: number;
  readonly body: unknown;
}

function modelCard(owned_by: string) {
  return { id: "tiny", object: "model", created: 1, owned_by, root: "/models/tiny", parent: null, max_model_len: 256 };
}

/** The text of the weights in a folder, whatever the file is called. */
function weightsIn(folder: string): string | undefined {
  const file = path.join(folder, "weights.txt");
  return existsSync(file) ? readFileSync(file, "utf8") : undefined;
}

/** Begins with the code of the weights; the last token is the stop id, where there is room for it. */
function drawn(text: string, prompt: readonly number[], index: number, most: number): number[] {
  const length = 2 + ((prompt.length + index) % 4);
  const ids = [...Array.from({ length }, (_, i) => (i === 0 ? codeOf(text) : 97 + ((index + i) % 20))), STOP_ID];
  return ids.slice(0, most);
}

/** Of a text of weights: its first token in everything that they draw. */
export function codeOf(text: string): number {
  return 200 + (Array.from(text).reduce((sum, character) => sum * 31 + character.charCodeAt(0), 7) % 5000);
}

function sendHalf(response: ServerResponse, body: unknown): void {
  const text = JSON.stringify(body);
  response.writeHead(200, { "content-type": "application/json" });
  response.end(text.slice(0, text.length / 2));
}
