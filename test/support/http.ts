// Answers over HTTP for the Hub of the tests, and the ways in which they fail half-way.

import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export interface ContentFaults {
  /** "path from" of every request for a part of a file that starts after its beginning. */
  readonly resumed: string[];
  /** Connections to break after so many bytes of a file, by path; each entry is used once. */
  readonly breakAfter: Map<string, number[]>;
  /** Resolves when so many bytes of a file are where they belong, and its connection may break. Default: after 20 ms. */
  readonly arrived?: ((size: number) => Promise<unknown>) | undefined;
  /** Milliseconds between two parts of a file's content, by path. */
  readonly slow: Map<string, number>;
  /** Bytes to send in place of a file's own, by path. */
  readonly damaged: Map<string, Buffer>;
}

/** Sends a file or the part of it that is asked for, with what goes wrong on the way. */
export function sendContent(
  faults: ContentFaults,
  path: string,
  original: Buffer,
  request: IncomingMessage,
  response: ServerResponse,
) {
  const content = faults.damaged.get(path) ?? original;
  const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "");
  const start = range ? Number(range[1]) : 0;
  const end = range?.[2] ? Math.min(Number(range[2]) + 1, content.length) : content.length;
  if (range && start >= content.length) {
    response.writeHead(416, { "content-range": `bytes */${content.length}` });
    response.end();
    return;
  }
  if (start > 0) faults.resumed.push(`${path} ${start}`);
  response.setHeader("accept-ranges", "bytes");
  response.setHeader("content-length", Math.max(0, end - start));
  if (range) response.setHeader("content-range", `bytes ${start}-${end - 1}/${content.length}`);
  response.writeHead(range ? 206 : 200);
  if (request.method === "HEAD") {
    response.end();
    return;
  }
  const wait = faults.slow.get(path);
  if (wait !== undefined) return sendSlowly(response, content.subarray(start, end), wait);
  const probe = range !== null && end - start === 1;
  const limit = probe ? undefined : faults.breakAfter.get(path)?.shift();
  if (limit === undefined || start + limit >= end) {
    response.end(content.subarray(start, end));
    return;
  }
  // An empty write would keep the headers back.
  response.flushHeaders();
  // The bytes must have left before the connection breaks; what its other end has not read by then goes with it.
  const size = start + limit;
  const arrived = () => faults.arrived?.(size) ?? new Promise<void>((done) => setTimeout(done, 20));
  response.write(content.subarray(start, size), () => void arrived().then(() => response.destroy()));
}

function sendSlowly(response: ServerResponse, content: Buffer, wait: number) {
  const part = Math.ceil(content.length / 4);
  let at = 0;
  const next = () => {
    if (at >= content.length) return response.end();
    response.write(content.subarray(at, at + part));
    at += part;
    setTimeout(next, wait);
    return undefined;
  };
  next();
}

export function sendJson(response: ServerResponse, status: number, value: unknown): void {
  response.writeHead(status, { "content-type": "application/json" });
  response.end(JSON.stringify(value));
}

/** As the Hub refuses: with a word in a header, and an explanation in another one or in the body. */
export function sendError(response: ServerResponse, status: number, code: string, error = "refused"): void {
  if (code !== "") response.setHeader("x-error-code", code);
  sendJson(response, status, { error });
}

export async function readBody(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks);
}

export async function listen(
  answer: (request: IncomingMessage, response: ServerResponse) => Promise<void> | void,
  port = 0,
): Promise<Server> {
  const server = createServer((request, response) => {
    Promise.resolve(answer(request, response)).catch((thrown) => response.destroy(thrown as Error));
  });
  await new Promise<void>((done) => server.listen(port, "127.0.0.1", done));
  return server;
}

export function address(server: Server | undefined, host = "127.0.0.1"): string {
  if (server === undefined) throw new Error("start() the server first");
  return `http://${host}:${(server.address() as AddressInfo).port}`;
}
