// A model behind OpenAI's protocols, at an address of this machine: any client that takes a base URL and a key can talk to it.

import { chatFormat } from "../chat/create-chat-format.js";
import { badOption, checkFunction, checkNumber, checkOptionNames, checkText, namesOf } from "../checks.js";
import { GrpoError } from "../errors.js";
import type { JsonObject } from "../json.js";
import type { Tokenizer } from "../tokenizer/tokenizer.js";
import { answerChat } from "./chat.js";
import { answerCompletions } from "./completions.js";
import { noticeOnce } from "./fields.js";
import { answerGenerate } from "./generate.js";
import type { Generator } from "./generator.js";
import { HttpServer, LOOPBACK, type Route } from "./http-server.js";
import { callIds, newId, now } from "./ids.js";
import { type EndpointLimits, readLimits } from "./limits.js";
import { answerModel, answerModels } from "./models.js";
import { jsonReply } from "./reply.js";
import { answerResponses, answerStoredResponse, deleteStoredResponse } from "./responses.js";
import { RowLimit } from "./row-limit.js";
import type { SamplingDefaults, Served, ServedModel } from "./served.js";
import { Session, SessionKeys } from "./session.js";
import { answerDetokenize, answerTokenize, answerTokenizerInfo } from "./tokens.js";
import type { TurnRecorder } from "./turn-recorder.js";

/** Where an endpoint listens, whom it lets in, and how much it takes. */
export interface EndpointOptions {
  /** Default "127.0.0.1": this machine alone. Any other address needs a key. */
  readonly host?: string;
  /** Default 0: a free one. */
  readonly port?: number;
  /** What clients must give as their API key. Default: none; who reaches the address is let in. */
  readonly apiKey?: string;
  /** How much it takes at a time. */
  readonly limits?: Partial<EndpointLimits>;
  /** Told once of each field of requests that means nothing here. Default: nobody is. */
  readonly onNotice?: (text: string) => void;
  /** Told of errors that no client could be told of. Default: nobody is. */
  readonly onError?: (error: Error) => void;
}

/** The names of EndpointOptions. */
export const ENDPOINT_OPTIONS = namesOf<EndpointOptions>({
  host: true,
  port: true,
  apiKey: true,
  limits: true,
  onNotice: true,
  onError: true,
});

/** What is served. */
export interface EndpointParts {
  readonly generator: Generator;
  readonly tokenizer: Tokenizer;
  /** The names that requests may give; the first is meant where they give none. */
  readonly models: readonly ServedModel[];
  readonly defaults: SamplingDefaults;
  /** Variables of the chat template where a request does not say otherwise. Default: none. */
  readonly variables?: JsonObject;
}

/** A key of its own, for one rollout or one user: what one is told, another cannot refer to. */
export interface EndpointSession {
  readonly apiKey: string;
  /** Cancels its requests; the key opens nothing any more. */
  end(): void;
}

/** What clients give where they need a key and there is none. */
const NO_KEY = "none";

const asyncDispose: typeof Symbol.asyncDispose =
  Symbol.asyncDispose ?? (Symbol.for("Symbol.asyncDispose") as typeof Symbol.asyncDispose);

/** An endpoint that is listening. */
export class Endpoint {
  /** "http://127.0.0.1:PORT/v1". */
  readonly baseURL: string;
  /** The key to give; "none" where any will do. */
  readonly apiKey: string;
  /** The name of the model that is meant by default. */
  readonly model: string;
  readonly #server: HttpServer;
  readonly #keys: SessionKeys;

  private constructor(server: HttpServer, keys: SessionKeys, address: string, apiKey: string, model: string) {
    this.#server = server;
    this.#keys = keys;
    this.baseURL = `${address}/v1`;
    this.apiKey = apiKey;
    this.model = model;
  }

  /** Resolves when it accepts requests. Throws BAD_OPTION, also for an address that is taken. */
  static async start(parts: EndpointParts, options: EndpointOptions = {}): Promise<Endpoint> {
    const { host, port, apiKey, limits, onNotice, onError } = readOptions(options);
    const [first] = parts.models;
    if (first === undefined) throw new GrpoError("BAD_OPTION", "an endpoint serves at least one model, found none");
    const keys = new SessionKeys({ open: apiKey === undefined });
    if (apiKey !== undefined) keys.add(apiKey, new Session());
    const served = toServed(parts, limits, onNotice);
    const server = new HttpServer({ routes: routesOf(served), keys, limits, onError });
    return new Endpoint(server, keys, await server.listen(host, port), apiKey ?? NO_KEY, first.name);
  }

  /** Lets in a key of its own, drawn at random. `recorder`: who keeps what it draws; default: nobody does. */
  openSession({ recorder }: { readonly recorder?: TurnRecorder } = {}): EndpointSession {
    const apiKey = newId("key");
    this.#keys.add(apiKey, new Session(true, recorder));
    return { apiKey, end: () => this.#keys.remove(apiKey) };
  }

  /** Requests that are being answered. */
  get running(): number {
    return this.#server.running;
  }

  /** Takes no new requests, lets those that run end, and closes. May be called twice. */
  close(): Promise<void> {
    return this.#server.close();
  }

  /** Cuts off the requests that run, and closes. */
  abort(): Promise<void> {
    this.#server.abort();
    return this.#server.close();
  }

  /** `await using` closes it at the end of the block. */
  [asyncDispose](): Promise<void> {
    return this.close();
  }
}

function toServed(parts: EndpointParts, limits: EndpointLimits, onNotice: (text: string) => void): Served {
  const { tokenizer } = parts;
  return {
    models: parts.models,
    generator: new RowLimit(parts.generator, limits.maxRows),
    tokenizer,
    format: chatFormat(tokenizer),
    defaults: parts.defaults,
    variables: parts.variables ?? {},
    limits,
    createdAt: now(),
    newCallId: callIds(),
    notice: noticeOnce(onNotice),
  };
}

function routesOf(served: Served): Route[] {
  return [
    { method: "POST", path: "/v1/chat/completions", answer: (call) => answerChat(served, call) },
    { method: "POST", path: "/v1/completions", answer: (call) => answerCompletions(served, call) },
    { method: "POST", path: "/v1/responses", answer: (call) => answerResponses(served, call) },
    { method: "GET", path: "/v1/responses/*", answer: answerStoredResponse },
    { method: "DELETE", path: "/v1/responses/*", answer: deleteStoredResponse },
    { method: "GET", path: "/v1/models", answer: () => answerModels(served) },
    { method: "GET", path: "/v1/models/*", answer: ({ id }) => answerModel(served, id) },
    { method: "POST", path: "/inference/v1/generate", answer: (call) => answerGenerate(served, call) },
    { method: "POST", path: "/tokenize", answer: (call) => answerTokenize(served, call) },
    { method: "POST", path: "/detokenize", answer: (call) => answerDetokenize(served, call) },
    { method: "GET", path: "/tokenizer_info", answer: () => answerTokenizerInfo(served) },
    { method: "GET", path: "/health", open: true, answer: () => jsonReply(() => ({ status: "ok" })) },
  ];
}

function readOptions(options: EndpointOptions) {
  const where = "Endpoint.start";
  checkOptionNames(where, options, ENDPOINT_OPTIONS);
  const host = checkText(where, "host", options.host ?? "127.0.0.1");
  const port = checkNumber(where, "port", options.port ?? 0, { min: 0, max: 65_535, integer: true });
  const { apiKey, onNotice = () => {}, onError = () => {} } = options;
  if (apiKey !== undefined) checkKey(where, apiKey);
  if (apiKey === undefined && !LOOPBACK.test(host)) {
    throw new GrpoError(
      "BAD_OPTION",
      `${where}: the host ${host} can be reached from elsewhere, and there is no apiKey`,
      {
        hint: "set apiKey, or listen at 127.0.0.1",
      },
    );
  }
  checkFunction(`${where}: onNotice`, onNotice);
  checkFunction(`${where}: onError`, onError);
  return { host, port, apiKey, limits: readLimits(where, options.limits ?? {}), onNotice, onError };
}

/** What can stand in a header. */
function checkKey(where: string, key: unknown): void {
  if (typeof key === "string" && /^[\x21-\x7e]+$/.test(key)) return;
  throw badOption(
    where,
    "apiKey",
    "printable characters without spaces",
    typeof key === "string" ? "another text" : key,
  );
}
