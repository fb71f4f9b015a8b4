// How much strangers, and one's own agents, may ask of an endpoint at a time.

import { checkNumber, checkOptionNames, namesOf } from "../checks.js";

/** How much an endpoint takes at a time, and how long it waits. */
export interface EndpointLimits {
  /** Bytes of a request's body. Default 16 MiB. */
  readonly maxBodyBytes: number;
  /** Bytes of all bodies that are being read. Default 256 MiB. */
  readonly maxPendingBytes: number;
  /** Connections; further ones are closed. Default 4096. */
  readonly maxConnections: number;
  /** Completions that one request may ask for: its prompts × n. Default 256. */
  readonly maxRowsPerRequest: number;
  /** Completions that all requests have in work or waiting; further ones are answered 429. Default 8192. */
  readonly maxRows: number;
  /** New tokens of a completion, and the default where a request names none. Default: what the model's context leaves. */
  readonly maxTokens: number;
  /** Milliseconds without an answer after which a waiting client gets a sign of life. Default 10 000. */
  readonly keepAliveMs: number;
  /** Milliseconds after which a client that does not read its stream is let go. Default 120 000. */
  readonly stallMs: number;
}

const DEFAULTS: EndpointLimits = {
  maxBodyBytes: 16 * 2 ** 20,
  maxPendingBytes: 256 * 2 ** 20,
  maxConnections: 4096,
  maxRowsPerRequest: 256,
  maxRows: 8192,
  maxTokens: Number.MAX_SAFE_INTEGER,
  keepAliveMs: 10_000,
  stallMs: 120_000,
};

export const LIMIT_NAMES = namesOf<EndpointLimits>({
  maxBodyBytes: true,
  maxPendingBytes: true,
  maxConnections: true,
  maxRowsPerRequest: true,
  maxRows: true,
  maxTokens: true,
  keepAliveMs: true,
  stallMs: true,
});

/** Throws UNKNOWN_OPTION and BAD_OPTION. */
export function readLimits(where: string, given: Partial<EndpointLimits>): EndpointLimits {
  checkOptionNames(where, given, LIMIT_NAMES);
  const entries = Object.entries(DEFAULTS).map(([name, fallback]) => {
    const value: unknown = Reflect.get(given, name) ?? fallback;
    return [name, checkNumber(where, name, value, { min: 1, integer: true })];
  });
  return Object.fromEntries(entries);
}
