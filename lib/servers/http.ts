// One HTTP request to an inference server, with an answer in JSON. On node:http and not on fetch, which gives up after 300 seconds
// without headers: a server that is asked for whole completions sends none before the last token. Each request has a connection of its
// own: vLLM closes one after an error, and the next request on it would be lost.

import { type IncomingMessage, type RequestOptions, request as requestHttp } from "node:http";
import { request as requestHttps } from "node:https";
import { GrpoError, reasonOf } from "../errors.js";
import { ServerFault } from "./fault.js";

/** Of one answer: far above thousands of completions with their log-probabilities. */
const LARGEST_ANSWER = 2 ** 30;
const SHOWN = 300;
/** For what a server answers at once: one that hangs must not keep prompts from the others. */
export const HEALTH_SECONDS = 10;

export interface ServerAnswer {
  readonly status: number;
  /** Parsed, where it is JSON; else the text. */
  readonly body: unknown;
}

export interface CallOptions {
  /** Sent as JSON; absent: GET. */
  readonly body?: object;
  readonly signal: AbortSignal;
  /** For the whole answer. Default: the connection's. */
  readonly seconds?: number;
}

/** How one server is spoken to. */
export class ServerConnection {
  readonly url: string;
  readonly #seconds: number;
  readonly #headers: Readonly<Record<string, string>>;

  /** `seconds`: what a request may take. Throws BAD_OPTION for what is no address. */
  constructor(address: string, seconds: number, apiKey?: string) {
    const url = URL.canParse(address) ? new URL(address) : undefined;
    if (url === undefined || !["http:", "https:"].includes(url.protocol)) {
      throw new GrpoError("BAD_OPTION", `expected the address of a server, found ${JSON.stringify(address)}`, {
        hint: 'write "http://host:8000"',
      });
    }
    // Addresses of OpenAI's clients end so.
    this.url = url.href.replace(/\/(v1\/?)?$/, "");
    this.#seconds = seconds;
    this.#headers = apiKey === undefined ? {} : { authorization: `Bearer ${apiKey}` };
  }

  /** Throws CANCELLED, or a ServerFault where no whole answer comes. */
  async call(path: string, { body, signal, seconds = this.#seconds }: CallOptions): Promise<ServerAnswer> {
    if (signal.aborted) throw cancelled(path);
    const deadline = AbortSignal.timeout(seconds * 1000);
    try {
      const response = await this.#send(path, body, AbortSignal.any([signal, deadline]));
      const text = await readText(response);
      return { status: response.statusCode ?? 0, body: this.#parse(path, response, text) };
    } catch (cause) {
      if (cause instanceof ServerFault) throw cause;
      if (signal.aborted) throw cancelled(path);
      const what = `${this.url}${path}`;
      if (deadline.aborted) {
        throw new ServerFault("slow", `${what} gave no whole answer in ${seconds} s`, { cause });
      }
      throw new ServerFault("unreachable", `${what} cannot be reached: ${reasonOf(cause)}`, { cause });
    }
  }

  #send(path: string, body: object | undefined, signal: AbortSignal): Promise<IncomingMessage> {
    const content = body === undefined ? undefined : JSON.stringify(body);
    const options: RequestOptions = {
      method: content === undefined ? "GET" : "POST",
      headers: { ...this.#headers, ...(content === undefined ? {} : { "content-type": "application/json" }) },
      agent: false,
      signal,
    };
    const send = this.url.startsWith("https:") ? requestHttps : requestHttp;
    return new Promise((resolve, reject) => {
      send(`${this.url}${path}`, options, resolve).on("error", reject).end(content);
    });
  }

  /** vLLM answers some calls with plain text, and that JSON is cut off shows when it is parsed. */
  #parse(path: string, { headers }: IncomingMessage, text: string): unknown {
    if (!/\bjson\b/.test(headers["content-type"] ?? "")) return text;
    try {
      return JSON.parse(text) as unknown;
    } catch (cause) {
      const end = JSON.stringify(text.slice(-40));
      throw new ServerFault(
        "malformed",
        `${this.url}${path}: the answer is not JSON: ${text.length} characters, at the end ${end}`,
        {
          cause,
        },
      );
    }
  }
}

async function readText(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > LARGEST_ANSWER) throw new Error(`the answer has more than ${LARGEST_ANSWER} bytes`);
    chunks.push(chunk);
  }
  // What ends early and said how long it would be.
  if (!response.complete) throw new Error("the connection ended within the answer");
  return Buffer.concat(chunks).toString("utf8");
}

function cancelled(path: string): GrpoError {
  return new GrpoError("CANCELLED", `stopped while a server was asked for ${path}`);
}

/** What a server says of a request that it did not answer: vLLM's {error: {message}}, SGLang's {error_message} and {message}. */
export function reasonIn({ body }: ServerAnswer): string {
  const object = Object(body) as { error?: { message?: unknown }; message?: unknown; error_message?: unknown };
  const found = object.error?.message ?? object.error_message ?? object.message ?? body;
  return String(typeof found === "string" ? found : JSON.stringify(found)).slice(0, SHOWN);
}
