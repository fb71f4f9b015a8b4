// How requests reach the Hub: address, token, retries, and what each refusal means in plain words. Uses the environment
// variables and the token file of Python's huggingface_hub. A token goes into a header and nowhere else.

import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { GrpoError, reasonOf } from "../errors.js";

export type RepoType = "model" | "dataset";

export interface HubClient {
  readonly url: string;
  readonly hasToken: boolean;
  /** Adds the token for the Hub's own host, retries what may pass, and throws GrpoErrors. */
  readonly fetch: typeof fetch;
}

const ATTEMPTS = 3;
const FIRST_RETRY_MS = 300;

export interface HubRepo {
  readonly type: RepoType;
  readonly id: string;
}

/** `repo` is what is asked about, for messages; undefined for questions about the account. */
export function createHubClient(repo: HubRepo | undefined, token: string | undefined): HubClient {
  const url = hubUrl();
  const secret = token ?? findToken();
  const hubFetch: typeof fetch = async (input, init) => {
    const address = String(input instanceof Request ? input.url : input);
    const headers = new Headers(init?.headers);
    headers.delete("authorization");
    if (secret !== undefined && new URL(address).origin === new URL(url).origin) {
      headers.set("authorization", `Bearer ${secret}`);
    }
    const response = await fetchPatiently(address, { ...init, headers });
    const code = response.headers.get("x-error-code") ?? "";
    // The client library knows what to do with these two: "no such file" and "the repository is there already".
    if (response.ok || (response.status === 404 && code === "EntryNotFound") || response.status === 409)
      return response;
    throw refusal(repo, response.status, code, { hasToken: secret !== undefined, url });
  };
  return { url, hasToken: secret !== undefined, fetch: hubFetch };
}

export function hubUrl(): string {
  return (process.env.HF_ENDPOINT || "https://huggingface.co").replace(/\/+$/, "");
}

export function isOffline(): boolean {
  const value = process.env.HF_HUB_OFFLINE || process.env.TRANSFORMERS_OFFLINE || "";
  return ["1", "ON", "YES", "TRUE"].includes(value.toUpperCase());
}

/** The folder that holds the token and, unless moved, the cache. */
export function hubHome(): string {
  return process.env.HF_HOME || path.join(process.env.XDG_CACHE_HOME || path.join(homedir(), ".cache"), "huggingface");
}

export function hubCacheDir(): string {
  return process.env.HF_HUB_CACHE || process.env.HUGGINGFACE_HUB_CACHE || path.join(hubHome(), "hub");
}

export function tokenPath(): string {
  return process.env.HF_TOKEN_PATH || path.join(hubHome(), "token");
}

/** The token of the environment, else the saved one. */
export function findToken(): string | undefined {
  const fromEnvironment = process.env.HF_TOKEN || process.env.HUGGING_FACE_HUB_TOKEN;
  if (fromEnvironment?.trim()) return fromEnvironment.trim();
  try {
    return readFileSync(tokenPath(), "utf8").trim() || undefined;
  } catch {
    return undefined;
  }
}

/** Reading requests are repeated when the connection or the server fails; writing ones never. */
async function fetchPatiently(address: string, init: RequestInit): Promise<Response> {
  const attempts = (init.method ?? "GET") === "GET" ? ATTEMPTS : 1;
  for (let attempt = 1; ; attempt++) {
    const last = attempt === attempts;
    try {
      const response = await fetch(address, init);
      if (last || !(response.status >= 500 || response.status === 429)) return response;
      await response.body?.cancel();
    } catch (thrown) {
      if (last || init.signal?.aborted) throw unreachable(address, thrown);
    }
    await sleep(FIRST_RETRY_MS * 2 ** (attempt - 1));
  }
}

/** Marks errors after which files that are already in the cache may serve instead. */
export class HubUnreachable extends GrpoError {}

function unreachable(address: string, thrown: unknown): HubUnreachable {
  const cause = thrown instanceof Error && thrown.cause instanceof Error ? thrown.cause : thrown;
  return new HubUnreachable("HUB_ERROR", `Cannot reach ${new URL(address).host}: ${reasonOf(cause)}`, {
    hint: "Check the connection or HF_ENDPOINT; with the files in the cache, HF_HUB_OFFLINE=1 asks nothing of the net.",
    cause: thrown,
  });
}

function refusal(
  repo: HubRepo | undefined,
  status: number,
  code: string,
  context: { readonly hasToken: boolean; readonly url: string },
): GrpoError {
  if (repo === undefined) {
    const accepted = status !== 401 && status !== 403;
    return new GrpoError(
      "HUB_ERROR",
      `The Hub ${accepted ? "answered" : "did not accept the token"} (HTTP ${status}).`,
      {
        hint: accepted ? "Try again later." : `Make a token at ${context.url}/settings/tokens.`,
      },
    );
  }
  const name = `the ${repo.type} "${repo.id}"`;
  const page = `${context.url}/${repo.type === "dataset" ? "datasets/" : ""}${repo.id}`;
  const logIn = context.hasToken
    ? "The token in use belongs to an account without access; log in with another: grpo login, or HF_TOKEN."
    : "Log in with an account that has access: grpo login, or set HF_TOKEN.";
  if (code === "GatedRepo") {
    return new GrpoError("HUB_ERROR", `Access to ${name} is gated (HTTP ${status}).`, {
      hint: `Accept its licence on ${page}, then: ${logIn}`,
    });
  }
  if (code === "RevisionNotFound") {
    return new GrpoError("HUB_ERROR", `The Hub has ${name}, but not the revision asked for.`, {
      hint: `Its branches and commits are on ${page}/tree/main.`,
    });
  }
  if (status === 401 || status === 403) {
    const message = `The Hub does not give access to ${name} (HTTP ${status}): it is private, gated, or does not exist.`;
    return new GrpoError("HUB_ERROR", message, {
      hint: `Check the spelling; for a gated one accept the licence on ${page}. ${logIn}`,
    });
  }
  if (status === 404) {
    return new GrpoError("HUB_ERROR", `The Hub has no ${repo.type} "${repo.id}" (HTTP 404).`, {
      hint: "Check the spelling; a local folder is written with a leading ./ or /.",
    });
  }
  const busy = status === 429 || status >= 500;
  const message = `The Hub answered a request about ${name} with HTTP ${status}.`;
  return new GrpoError("HUB_ERROR", message, busy ? { hint: "It is busy or failing; try again later." } : {});
}
