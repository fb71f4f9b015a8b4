// One HTTP request that does not give up at once: through the proxy that the environment names, repeated with growing pauses
// when the connection or the server fails. Knows nothing of repositories and tokens.

import { isIP } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import type { ProxyAgent } from "undici";
import { warn } from "../output.js";
import { stallTimeout } from "./hub-env.js";

const BUSY = new Set([408, 429, 500, 502, 503, 504]);
const ATTEMPTS = 5;
/** For a host that cannot be reached at all: whoever has the files in the cache should not wait long. */
const ATTEMPTS_TO_CONNECT = 3;
const FIRST_PAUSE_MS = 500;
/** The Hub counts requests in windows of five minutes. */
const LONGEST_PAUSE_MS = 310_000;
const PAUSE_TO_TELL_MS = 20_000;

/** `once`: a request that must not be repeated, because it may have been carried out although no answer came. */
export async function fetchPatiently(address: string, init: RequestInit, once: boolean): Promise<Response> {
  for (let attempt = 1; ; attempt++) {
    const last = once || attempt === ATTEMPTS;
    let asked: number | undefined;
    try {
      const response = await fetchOnce(address, init);
      if (last || !BUSY.has(response.status)) return response;
      asked = pauseAskedFor(response);
      await response.body?.cancel();
    } catch (thrown) {
      if (last || attempt >= attemptsAfter(thrown) || init.signal?.aborted) throw thrown;
    }
    await pause(asked ?? pauseAfter(attempt), init.signal);
  }
}

/** Tells whoever waits for long why nothing happens. */
export async function pause(ms: number, signal?: AbortSignal | null): Promise<void> {
  if (ms >= PAUSE_TO_TELL_MS) warn(`the Hub asks to wait; continuing in ${Math.ceil(ms / 1000)} s`);
  await sleep(ms, undefined, signal ? { signal } : {});
}

/** Doubling, with some chance in it so that many clients do not come back together. */
export function pauseAfter(attempt: number): number {
  return FIRST_PAUSE_MS * 2 ** (attempt - 1) * (1 + Math.random() / 4);
}

/**
 * Milliseconds that a refusal asks to wait: those of `RateLimit: "api";r=0;t=12` in a 429, and a second more; else of Retry-After,
 * in seconds or as a date.
 */
export function pauseAskedFor({ status, headers }: Response): number | undefined {
  const limit = status === 429 ? /;\s*r\s*=\s*0\s*;\s*t\s*=\s*(\d+)/.exec(headers.get("ratelimit") ?? "") : null;
  const after = headers.get("retry-after");
  const seconds = limit ? Number(limit[1]) + 1 : after && /^\d+$/.test(after) ? Number(after) : undefined;
  const ms = seconds === undefined ? Date.parse(after ?? "") - Date.now() : seconds * 1000;
  return Number.isFinite(ms) ? Math.min(Math.max(ms, 0), LONGEST_PAUSE_MS) : undefined;
}

/** The chunks of a body; aborts its request when none has come for so long. */
export async function* untilStalled(
  body: AsyncIterable<Uint8Array>,
  stall: AbortController,
  patience: number,
): AsyncGenerator<Uint8Array> {
  const give = () => stall.abort(new Error(`no data for ${patience / 1000} s`));
  let timer = setTimeout(give, patience);
  try {
    for await (const chunk of body) {
      clearTimeout(timer);
      yield chunk;
      timer = setTimeout(give, patience);
    }
  } finally {
    clearTimeout(timer);
  }
}

const NO_WAY_THERE = new Set(["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "EHOSTUNREACH", "ENETUNREACH"]);

/** How often to try in all. What has no code of the network's is no accident: a wrong address, a wrong certificate. */
function attemptsAfter(thrown: unknown): number {
  if (thrown instanceof NoAnswer) return ATTEMPTS;
  const cause = thrown instanceof Error ? (thrown.cause ?? thrown) : undefined;
  const code = (cause as { code?: unknown } | undefined)?.code;
  if (typeof code !== "string" || /CERT|SSL|TLS/.test(code)) return 1;
  return NO_WAY_THERE.has(code) ? ATTEMPTS_TO_CONNECT : ATTEMPTS;
}

class NoAnswer extends Error {}

/** Reading requests must begin to be answered within the stall timeout; a commit may take the Hub longer. */
export async function fetchOnce(address: string, init: RequestInit): Promise<Response> {
  const { agent, fetch } = await transportFor(address);
  const request = { redirect: "follow" as const, ...init, ...agent };
  if ((init.method ?? "GET") !== "GET") return fetch(address, request);
  const timeout = new AbortController();
  const seconds = stallTimeout() / 1000;
  const timer = setTimeout(() => timeout.abort(new NoAnswer(`no answer in ${seconds} s`)), seconds * 1000);
  try {
    const signal = init.signal ? AbortSignal.any([init.signal, timeout.signal]) : timeout.signal;
    return await fetch(address, { ...request, signal });
  } finally {
    clearTimeout(timer);
  }
}

interface Transport {
  /** The proxy that a request goes through, for its options; empty without one. */
  readonly agent: Pick<RequestInit, "dispatcher">;
  readonly fetch: typeof fetch;
}

const agents = new Map<string, ProxyAgent>();

/** Node's own fetch knows no proxies; undici, which it is made of, does. */
async function transportFor(address: string): Promise<Transport> {
  const proxy = proxyFor(address);
  if (proxy === undefined) return { agent: {}, fetch };
  const undici = await import("undici");
  const proxyTunnel = address.startsWith("https:");
  const key = `${proxyTunnel} ${proxy}`;
  const dispatcher = agents.get(key) ?? new undici.ProxyAgent({ uri: proxy, proxyTunnel });
  agents.set(key, dispatcher);
  // Both pairs of types are undici's: its own, and what Node declares of it.
  return { agent: { dispatcher } as unknown as Transport["agent"], fetch: undici.fetch as unknown as typeof fetch };
}

/** The proxy for an address by HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, read as Python's httpx reads them. */
export function proxyFor(address: string): string | undefined {
  const { protocol, hostname, port } = new URL(address);
  const proxy = variable(`${protocol.slice(0, -1)}_proxy`) || variable("all_proxy");
  if (!proxy) return undefined;
  const host = hostname.replace(/^\[|\]$/g, "").toLowerCase();
  const without = variable("no_proxy").split(",");
  if (without.some((entry) => isExempt(host, port, entry.trim().toLowerCase()))) return undefined;
  return proxy.includes("://") ? proxy : `http://${proxy}`;
}

/** "example.com" stands for itself and what is below it, ".example.com" for what is below only; a port may follow. */
function isExempt(host: string, port: string, entry: string): boolean {
  if (entry === "*") return true;
  const [, name = entry, only] = (isIP(entry) === 0 && /^(.*):(\d+)$/.exec(entry)) || [];
  const bare = name.replace(/^\[|\]$/g, "");
  if (bare === "" || (only !== undefined && only !== port)) return false;
  if (bare.startsWith(".")) return host.endsWith(bare);
  return host === bare || (isIP(bare) === 0 && host.endsWith(`.${bare}`));
}

/** Lower case first, as everywhere: HTTP_PROXY can be set by a web server from a request's header. */
function variable(name: string): string {
  return process.env[name] || process.env[name.toUpperCase()] || "";
}
