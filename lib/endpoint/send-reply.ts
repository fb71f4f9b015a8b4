// Replies onto the wire, for clients that wait long or read slowly. Node's fetch gives up when no header or no byte has come for
// 300 s, so that a waiting client gets signs of life, which its parser passes over: spaces before JSON, comments between events.
// What a client does not read is not written.

import type { ServerResponse } from "node:http";
import { type ApiError, toApiError } from "./api-error.js";
import { eventText, type Reply } from "./reply.js";

export interface SendOptions {
  /** Milliseconds without an answer after which a sign of life is sent. */
  readonly keepAliveMs: number;
  /** Milliseconds after which a client that reads nothing is let go. */
  readonly stallMs: number;
}

const JSON_HEADERS = { "content-type": "application/json" };
const EVENT_HEADERS = {
  "content-type": "text/event-stream; charset=utf-8",
  "cache-control": "no-cache",
  // nginx would collect events before it passes them on.
  "x-accel-buffering": "no",
};

/** Sends all of it. `onError` is told what the client cannot be told any more. */
export async function sendReply(
  response: ServerResponse,
  reply: Reply,
  options: SendOptions,
  onError: (error: ApiError) => void,
): Promise<void> {
  if (reply.type === "json") await sendJson(response, reply.body, options, onError);
  else await sendEvents(response, reply, options, onError);
  await flushed(response, options.stallMs);
}

export function sendError(response: ServerResponse, error: ApiError): void {
  const text = JSON.stringify(error.body);
  const retry = error.retryAfter === undefined ? {} : { "retry-after": String(error.retryAfter) };
  response.writeHead(error.status, { ...JSON_HEADERS, "content-length": Buffer.byteLength(text), ...retry });
  response.end(text);
}

async function sendJson(
  response: ServerResponse,
  body: () => Promise<unknown>,
  { keepAliveMs }: SendOptions,
  onError: (error: ApiError) => void,
): Promise<void> {
  const beat = setInterval(() => {
    if (!response.headersSent) response.writeHead(200, JSON_HEADERS);
    if (!response.writableNeedDrain) response.write(" ");
  }, keepAliveMs);
  try {
    const text = JSON.stringify(await body());
    if (!response.headersSent) {
      response.writeHead(200, { ...JSON_HEADERS, "content-length": Buffer.byteLength(text) });
    }
    response.end(text);
  } catch (thrown) {
    const error = toApiError(thrown);
    // The client has gone, and with it whoever the error is for.
    if (response.destroyed) return;
    if (!response.headersSent) return sendError(response, error);
    // The status said that all is well. A connection that breaks is an error to every client, and tried again like a 500.
    onError(error);
    response.destroy();
  } finally {
    clearInterval(beat);
  }
}

async function sendEvents(
  response: ServerResponse,
  { events, failure }: Extract<Reply, { type: "events" }>,
  options: SendOptions,
  onError: (error: ApiError) => void,
): Promise<void> {
  const begin = () => {
    if (!response.headersSent) response.writeHead(200, EVENT_HEADERS);
  };
  const beat = setInterval(() => {
    begin();
    if (!response.writableNeedDrain) response.write(": waiting\n\n");
  }, options.keepAliveMs);
  try {
    for await (const event of events()) {
      begin();
      beat.refresh();
      if (!response.write(eventText(event))) await waitFor(response, "drain", options.stallMs);
      // Leaving the loop ends the work.
      if (response.destroyed) return;
    }
    begin();
    response.end();
  } catch (thrown) {
    const error = toApiError(thrown);
    if (response.destroyed) return;
    if (!response.headersSent) return sendError(response, error);
    onError(error);
    response.end(eventText(failure(error)));
  } finally {
    clearInterval(beat);
  }
}

/** Resolves when what was written last has left for the client, or the client has gone; see SendOptions.stallMs. */
export async function flushed(response: ServerResponse, stallMs: number): Promise<void> {
  if (response.writableEnded && !response.writableFinished) await waitFor(response, "finish", stallMs);
}

/** Waits for a client to read what is written to it; lets go of one that does not, or has gone. */
async function waitFor(response: ServerResponse, event: "drain" | "finish", stallMs: number): Promise<void> {
  if (response.destroyed) return;
  await new Promise<void>((resolve) => {
    const done = () => {
      clearTimeout(timer);
      response.off(event, done);
      response.off("close", done);
      resolve();
    };
    const timer = setTimeout(() => {
      response.destroy();
      done();
    }, stallMs);
    response.on(event, done);
    response.on("close", done);
  });
}
