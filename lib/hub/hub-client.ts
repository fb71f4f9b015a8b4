// How requests reach the Hub: address, token, and what each refusal means in plain words. A token goes into a header for
// the Hub's own host and nowhere else.

import { GrpoError, reasonOf } from "../errors.js";
import { findToken, hubUrl, isOffline } from "./hub-env.js";
import { fetchPatiently } from "./hub-fetch.js";

export type RepoType = "model" | "dataset";

export interface HubRepo {
  readonly type: RepoType;
  readonly id: string;
}

export interface HubClient {
  readonly url: string;
  readonly hasToken: boolean;
  /** Adds the token for the Hub's own host, retries what may pass, and throws GrpoErrors. */
  readonly fetch: typeof fetch;
}

/** Marks errors after which files that are already in the cache may serve instead. */
export class HubUnreachable extends GrpoError {}

/** The Hub answered, and the answer was no. */
export class HubRefusal extends GrpoError {
  readonly status: number;
  /** The Hub's own word for it, such as "RepoNotFound"; may be empty. */
  readonly reason: string;

  constructor(message: string, hint: string | undefined, status: number, reason: string) {
    super("HUB_ERROR", message, hint === undefined ? {} : { hint });
    this.status = status;
    this.reason = reason;
  }
}

/** `repo` is what is asked about, for messages; undefined for questions about the account. */
export function createHubClient(repo: HubRepo | undefined, token: string | undefined): HubClient {
  const url = hubUrl();
  const secret = token ?? findToken();
  const hubFetch: typeof fetch = async (input, init) => {
    const address = String(input instanceof Request ? input.url : input);
    if (isOffline()) throw offline(address);
    const headers = new Headers(init?.headers);
    // The storage has tokens of its own, and answers that the client library knows how to read.
    if (new URL(address).origin !== new URL(url).origin) return request(address, { ...init, headers });
    headers.delete("authorization");
    if (secret !== undefined) headers.set("authorization", `Bearer ${secret}`);
    const response = await request(address, { ...init, headers });
    const code = response.headers.get("x-error-code") ?? "";
    if (response.ok || isForCaller(response.status, code)) return response;
    await response.body?.cancel();
    throw refusal(repo, response.status, code, { hasToken: secret !== undefined, url });
  };
  return { url, hasToken: secret !== undefined, fetch: hubFetch };
}

async function request(address: string, init: RequestInit): Promise<Response> {
  const isCommit = init.method === "POST" && /\/api\/[^?]*\/commit\//.test(address);
  try {
    return await fetchPatiently(address, init, isCommit || init.body instanceof ReadableStream);
  } catch (thrown) {
    if (init.signal?.aborted) throw thrown;
    throw unreachable(address, thrown);
  }
}

/** Answers that say something to whoever asked: no such file, there already, not that part of the file. */
function isForCaller(status: number, code: string): boolean {
  return (status === 404 && code === "EntryNotFound") || status === 409 || status === 416;
}

function offline(address: string): GrpoError {
  return new GrpoError("HUB_ERROR", `HF_HUB_OFFLINE is set, and this would ask ${new URL(address).host}.`, {
    hint: "Unset it to use the network.",
  });
}

function unreachable(address: string, thrown: unknown): HubUnreachable {
  const cause = thrown instanceof Error && thrown.cause instanceof Error ? thrown.cause : thrown;
  return new HubUnreachable("HUB_ERROR", `Cannot reach ${new URL(address).host}: ${redacted(reasonOf(cause))}`, {
    hint: "Check the connection or HF_ENDPOINT; with the files in the cache, HF_HUB_OFFLINE=1 asks nothing of the net.",
  });
}

/** Any failure as a GrpoError. The cause is left out: the client's errors carry signed addresses. */
export function asHubError(what: string, thrown: unknown): GrpoError {
  if (thrown instanceof GrpoError) return thrown;
  return new GrpoError("HUB_ERROR", `${what}: ${redacted(reasonOf(thrown))}`);
}

/** Without what grants access: query parts of addresses (signatures), passwords in them, and tokens. */
export function redacted(text: string): string {
  return text
    .replace(/(https?:\/\/)[^\s/@]+@/g, "$1")
    .replace(/(https?:\/\/[^\s?]+)\?\S*/g, "$1")
    .replace(/\bhf_\w+|\bBearer \S+/g, "***");
}

interface RefusalContext {
  readonly hasToken: boolean;
  readonly url: string;
}

function refusal(repo: HubRepo | undefined, status: number, code: string, context: RefusalContext): HubRefusal {
  const [message, hint] = repo === undefined ? aboutAccount(status, context) : aboutRepo(repo, status, code, context);
  return new HubRefusal(message, hint, status, code);
}

function aboutAccount(status: number, { url }: RefusalContext): [string, string] {
  return status === 401 || status === 403
    ? [`The Hub did not accept the token (HTTP ${status}).`, `Make a token at ${url}/settings/tokens.`]
    : [`The Hub answered (HTTP ${status}).`, "Try again later."];
}

function aboutRepo(repo: HubRepo, status: number, code: string, context: RefusalContext): [string, string?] {
  const name = `the ${repo.type} "${repo.id}"`;
  const page = repoPage(context.url, repo);
  const logIn = context.hasToken
    ? "The token in use belongs to an account without access; log in with another: grpo login, or HF_TOKEN."
    : "Log in with an account that has access: grpo login, or set HF_TOKEN.";
  if (code === "GatedRepo") {
    return [`Access to ${name} is gated (HTTP ${status}).`, `Accept its licence on ${page}, then: ${logIn}`];
  }
  if (code === "RevisionNotFound") {
    const message = `The Hub has ${name}, but not the revision asked for.`;
    return [message, `Its branches and commits are on ${page}/tree/main.`];
  }
  if (status === 401 || status === 403) {
    const message = `The Hub does not give access to ${name} (HTTP ${status}): it is private, gated, or does not exist.`;
    return [message, `Check the spelling; for a gated one accept the licence on ${page}. ${logIn}`];
  }
  if (status === 404) {
    const message = `The Hub has no ${repo.type} "${repo.id}" (HTTP 404).`;
    return [message, "Check the spelling; a local folder is written with a leading ./ or /."];
  }
  const busy = status === 429 || status >= 500;
  const message = `The Hub answered a request about ${name} with HTTP ${status}.`;
  return busy ? [message, "It is busy or failing; try again later."] : [message];
}

/** The address of a repository's page. */
export function repoPage(url: string, repo: HubRepo): string {
  return `${url}/${repo.type === "dataset" ? "datasets/" : ""}${repo.id}`;
}
