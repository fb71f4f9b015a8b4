// Exchanges with a real server: written down by a proxy between it and whoever asks, and given again by a server that answers only what
// was asked then. What differs from run to run, the name of the run and the shared folder, is written as RUN and /shared.

import type { IncomingMessage, Server, ServerResponse } from "node:http";
import { address, listen, readBody } from "./http.js";

export interface Exchange {
  readonly method: string;
  readonly path: string;
  readonly body: unknown;
  readonly status: number;
  readonly type: string;
  readonly answer: string;
}

interface Running extends AsyncDisposable {
  readonly url: string;
  readonly exchanges: Exchange[];
}

const RUN = /grpo-[0-9a-f]{8}(?=-v)/g;

/** A proxy to a server, with what has gone through it. `shared`: the sampler's folder. */
export async function recordingProxy(target: string, shared: string): Promise<Running> {
  const exchanges: Exchange[] = [];
  const server = await listen(async (request, response) => {
    const given = (await readBody(request)).toString();
    const { method = "GET", url = "/" } = request;
    const answer = await fetch(`${target}${url}`, {
      method,
      ...(given === "" ? {} : { body: given, headers: { "content-type": "application/json" } }),
    });
    const text = await answer.text();
    const type = answer.headers.get("content-type") ?? "";
    exchanges.push({
      method,
      path: url,
      body: parsed(neutral(given, shared)),
      status: answer.status,
      type,
      answer: neutral(text, shared),
    });
    send(response, answer.status, type, text);
  });
  return { url: address(server), exchanges, [Symbol.asyncDispose]: () => close(server) };
}

/** Answers in the order of the recording what was asked then, and everything else with 400. */
export async function replayServer(recorded: readonly Exchange[]): Promise<Running> {
  const left = [...recorded];
  const exchanges: Exchange[] = [];
  const server = await listen(async (request, response) => {
    const asked = await questionOf(request);
    const index = left.findIndex(({ method, path, body }) => JSON.stringify({ method, path, body }) === asked.neutral);
    const [found] = index < 0 ? [] : left.splice(index, 1);
    if (found === undefined) return send(response, 400, "text/plain", `not recorded: ${asked.neutral}`);
    exchanges.push(found);
    send(response, found.status, found.type, found.answer.replaceAll("grpo-RUN", asked.run));
  });
  return { url: address(server), exchanges, [Symbol.asyncDispose]: () => close(server) };
}

async function questionOf(request: IncomingMessage): Promise<{ readonly neutral: string; readonly run: string }> {
  const given = (await readBody(request)).toString();
  const [run = ""] = given.match(RUN) ?? [];
  const shared = /"lora_path":"([^"]*)\/grpo-[0-9a-f]{8}-v/.exec(given)?.[1] ?? "";
  const body = parsed(neutral(given, shared));
  return { neutral: JSON.stringify({ method: request.method, path: request.url, body }), run };
}

function neutral(text: string, shared: string): string {
  const named = text.replaceAll(RUN, "grpo-RUN");
  return shared === "" ? named : named.replaceAll(shared, "/shared");
}

function parsed(text: string): unknown {
  return text === "" ? null : JSON.parse(text);
}

function send(response: ServerResponse, status: number, type: string, text: string): void {
  response.writeHead(status, { "content-type": type });
  response.end(text);
}

function close(server: Server): Promise<void> {
  server.closeAllConnections();
  return new Promise((done) => server.close(() => done()));
}
