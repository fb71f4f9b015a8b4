// The HTTP server: connections, routes, who is let in, and how it all ends. What a route answers is its own matter; every failure
// on the way to it has a status and OpenAI's form.

import { setMaxListeners } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { type AddressInfo, isIP, Server as NetServer, type Socket } from "node:net";
import { GrpoError } from "../errors.js";
import type { JsonObject } from "../json.js";
import { ApiError, toApiError } from "./api-error.js";
import type { EndpointLimits } from "./limits.js";
import type { Reply } from "./reply.js";
import { BodyReader } from "./request-body.js";
import { flushed, sendError, sendReply } from "./send-reply.js";
import type { Session, SessionKeys } from "./session.js";

/** A request that was let in. */
export interface Call {
  /** {} where the request has none. */
  readonly body: JsonObject;
  /** What stands for `*` in the route's path; "" where it has none. */
  readonly id: string;
  readonly session: Session;
  /** Whether the client says that it has sent the request before; most clients that repeat one do not. */
  readonly isRetry: boolean;
  /** Aborted when the client has gone, or its session has ended. */
  readonly signal: AbortSignal;
}

export interface Route {
  readonly method: "GET" | "POST" | "DELETE";
  /** "/v1/models", "/v1/models/*". */
  readonly path: string;
  /** Whether anybody may ask, without a key. Default false. */
  readonly open?: boolean;
  readonly answer: (call: Call) => Reply | Promise<Reply>;
}

export interface HttpServerOptions {
  readonly routes: readonly Route[];
  readonly keys: SessionKeys;
  readonly limits: EndpointLimits;
  /** Told what no client can be told any more: an error after the beginning of an answer. */
  readonly onError: (error: ApiError) => void;
}

/** A connection that says nothing for so long is closed; longer than clients keep one, so that they close it first. */
const IDLE_MS = 75_000;
/** What a refused client still sends is read for so long, so that it comes to read the answer. */
const LINGER_MS = 2_000;

export class HttpServer {
  readonly #options: HttpServerOptions;
  readonly #bodies: BodyReader;
  readonly #server: Server;
  readonly #running = new Set<Promise<void>>();
  #closing = false;

  constructor(options: HttpServerOptions) {
    this.#options = options;
    const { limits } = options;
    this.#bodies = new BodyReader(limits.maxBodyBytes, limits.maxPendingBytes);
    this.#server = createServer({ keepAliveTimeout: IDLE_MS }, (request, response) => this.#track(request, response));
    this.#server.maxConnections = limits.maxConnections;
    this.#server.on("clientError", refuseMalformed);
  }

  /** Resolves with the address that it listens at, http://HOST:PORT. Throws BAD_OPTION where that is not possible. */
  async listen(host: string, port: number): Promise<string> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once("error", (cause) => reject(cannotListen(host, port, cause)));
      this.#server.listen(port, host, resolve);
    });
    const { address, port: bound } = this.#server.address() as AddressInfo;
    return `http://${isIP(address) === 6 ? `[${address}]` : address}:${bound}`;
  }

  /** Requests that are being answered. */
  get running(): number {
    return this.#running.size;
  }

  /** Takes no new requests, lets the running ones end, and closes. May be called twice. */
  async close(): Promise<void> {
    this.#closing = true;
    // The close of http also cuts off answers that are written and not yet read.
    const closed = new Promise((resolve) => NetServer.prototype.close.call(this.#server, resolve));
    while (this.#running.size > 0) await Promise.all(this.#running);
    this.#server.closeAllConnections();
    await closed;
  }

  /** Cuts the running requests off: `close` then ends at once. */
  abort(): void {
    this.#server.closeAllConnections();
  }

  #track(request: IncomingMessage, response: ServerResponse): void {
    const run = this.#respond(request, response).catch((thrown: unknown) => {
      // The connection went away in the middle of a request, or this is a bug; either way nobody hears the answer.
      this.#options.onError(toApiError(thrown));
      response.destroy();
    });
    this.#running.add(run);
    run.finally(() => this.#running.delete(run));
  }

  async #respond(request: IncomingMessage, response: ServerResponse): Promise<void> {
    // What breaks a connection reaches the code that reads or writes; without a listener it would end the process.
    request.on("error", () => {});
    response.on("error", () => {});
    const client = new AbortController();
    // One for each completion.
    setMaxListeners(0, client.signal);
    const leave = () => client.abort();
    response.on("close", leave);
    let session: Session | undefined;
    try {
      const { route, id } = this.#route(request);
      session = this.#options.keys.sessionOf(request.headers.authorization, route.open);
      if (!session.keyed) refuseForeignPages(request);
      session.signal.addEventListener("abort", leave);
      const body = route.method === "POST" ? await this.#bodies.read(request) : {};
      const isRetry = Number(request.headers["x-stainless-retry-count"] ?? 0) > 0;
      const reply = await route.answer({ body, id, session, isRetry, signal: client.signal });
      if (this.#closing) response.setHeader("connection", "close");
      await sendReply(response, reply, this.#options.limits, this.#options.onError);
    } catch (thrown) {
      if (response.destroyed) return;
      if (!request.complete || this.#closing) response.setHeader("connection", "close");
      sendError(response, toApiError(thrown));
      if (!request.complete) linger(request);
      await flushed(response, this.#options.limits.stallMs);
    } finally {
      session?.signal.removeEventListener("abort", leave);
    }
  }

  #route(request: IncomingMessage): { readonly route: Route; readonly id: string } {
    if (this.#closing)
      throw new ApiError(503, "shutting_down", "this endpoint takes no new requests", { retryAfter: 1 });
    const path = (request.url ?? "/").replace(/[?#].*$/, "").replace(/(?<=.)\/+$/, "");
    const matches = this.#options.routes.flatMap((route) => {
      const id = matchPath(route.path, path);
      return id === undefined ? [] : [{ route, id }];
    });
    const match = matches.find(({ route }) => route.method === request.method);
    if (match) return match;
    if (matches.length === 0) {
      const known = this.#options.routes.map((route) => `${route.method} ${route.path}`).join(", ");
      throw new ApiError(404, "not_found", `there is no ${request.method} ${path} here; there are ${known}`);
    }
    const methods = matches.map(({ route }) => route.method).join(" or ");
    throw new ApiError(405, "method_not_allowed", `expected ${methods} for ${path}, found ${request.method}`);
  }
}

function matchPath(pattern: string, path: string): string | undefined {
  if (!pattern.endsWith("/*")) return pattern === path ? "" : undefined;
  const prefix = pattern.slice(0, -1);
  if (!path.startsWith(prefix) || path.length === prefix.length) return undefined;
  try {
    return decodeURIComponent(path.slice(prefix.length));
  } catch {
    return undefined;
  }
}

/**
 * Without a key, a page in a browser on this machine may not use an endpoint: not from another origin, and not under a name that its
 * owner has pointed at loopback.
 */
function refuseForeignPages({ headers, socket }: IncomingMessage): void {
  const { origin, host } = headers;
  const hostOf = (address: string) => (URL.canParse(address) ? new URL(address).hostname : undefined);
  const isLocal = (name: string | undefined) => name !== undefined && LOOPBACK.test(name);
  if (origin !== undefined && !isLocal(hostOf(origin))) {
    throw new ApiError(403, "foreign_origin", `requests of pages from ${origin} are not answered`);
  }
  const reachedLocally = isLocal(socket.localAddress?.replace(/^::ffff:/, "").replace(/^(.*:.*)$/, "[$1]"));
  if (
    reachedLocally &&
    host !== undefined &&
    !isLocal(hostOf(`http://${host}`)) &&
    isIP(host.replace(/:\d+$/, "")) === 0
  ) {
    throw new ApiError(403, "foreign_host", `expected a name of this machine in the header host, found ${host}`);
  }
}

/** Host names that mean this machine itself. */
export const LOOPBACK = /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\]|::1)$/;

function refuseMalformed(error: Error & { code?: string }, socket: Socket): void {
  if (!socket.writable || error.code === "ECONNRESET") return void socket.destroy();
  const [status, title] =
    error.code === "HPE_HEADER_OVERFLOW"
      ? [431, "Request Header Fields Too Large"]
      : error.code === "ERR_HTTP_REQUEST_TIMEOUT"
        ? [408, "Request Timeout"]
        : [400, "Bad Request"];
  const text = JSON.stringify(new ApiError(status as number, "bad_request", `no HTTP request: ${error.message}`).body);
  socket.end(
    `HTTP/1.1 ${status} ${title}\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(text)}\r\n` +
      `connection: close\r\n\r\n${text}`,
  );
}

/** Reads and forgets what is still coming, for a moment: a client that is cut off while it writes does not read the answer. */
function linger(request: IncomingMessage): void {
  request.resume();
  const timer = setTimeout(() => request.destroy(), LINGER_MS);
  request.once("close", () => clearTimeout(timer));
}

function cannotListen(host: string, port: number, cause: Error & { code?: string }): GrpoError {
  const hint = cause.code === "EADDRINUSE" ? "choose another port, or 0 for a free one" : "check host and port";
  return new GrpoError("BAD_OPTION", `cannot listen at ${host}:${port}: ${cause.message}`, { cause, hint });
}
