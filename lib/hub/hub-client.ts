// How requests reach the Hub: address, token, and what each refusal means in plain words. A token goes into a header for
// the Hub's own host and nowhere else.

import { existsSync } from "node:fs";
import path from "node:path";
import { GrpoError, reasonOf } from "../errors.js";
import { isJsonObject } from "../json.js";
import { cleanToken, findToken, hubUrl, offlineBy, stallTimeout } from "./hub-env.js";
import { fetchPatiently, pauseAskedFor } from "./hub-fetch.js";

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
  /** Milliseconds that the Hub asked to wait before another try. */
  readonly askedPause: number | undefined;

  constructor(message: string, hint: string | undefined, response: Response) {
    super("HUB_ERROR", message, hint === undefined ? {} : { hint });
    this.status = response.status;
    this.reason = errorCode(response);
    this.askedPause = pauseAskedFor(response);
  }
}

/** `repo` is what is asked about, for messages; undefined for questions about the account. */
export function createHubClient(repo: HubRepo | undefined, token: string | undefined): HubClient {
  const url = hubUrl();
  const secret = token === undefined ? findToken() : cleanToken(token, "the token");
  const hubFetch: typeof fetch = async (input, init) => {
    const address = String(input instanceof Request ? input.url : input);
    const switched = offlineBy(repo?.type);
    if (switched !== undefined) throw offline(switched, address);
    const headers = new Headers(init?.headers);
    // The storage has tokens of its own, and answers that the client library knows how to read.
    if (new URL(address).origin !== new URL(url).origin) return request(address, { ...init, headers });
    headers.delete("authorization");
    if (secret !== undefined) headers.set("authorization", `Bearer ${secret}`);
    const response = await request(address, { ...init, headers });
    if (response.ok || isForCaller(response)) return response;
    const explanation = await explanationOf(response);
    const said = redacted(secret === undefined ? explanation : explanation.replaceAll(secret, "***"));
    const writes = (init?.method ?? "GET") !== "GET" && !address.includes("/paths-info/");
    throw refusal(repo, response, said, { hasToken: secret !== undefined, url, writes });
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
function isForCaller(response: Response): boolean {
  const { status } = response;
  return (status === 404 && errorCode(response) === "EntryNotFound") || status === 409 || status === 416;
}

function errorCode(response: Response): string {
  return response.headers.get("x-error-code") ?? "";
}

const LONGEST_EXPLANATION = 2048;

/** What the Hub itself says about a refusal, in a header or as JSON; empty if nothing. */
async function explanationOf(response: Response): Promise<string> {
  const header = response.headers.get("x-error-message");
  const body = await beginningOf(response);
  if (header) return header;
  try {
    const { error, errors } = JSON.parse(body) as { readonly error?: unknown; readonly errors?: unknown };
    const texts = [error, errors].flat().map((item) => (isJsonObject(item) ? item.message : item));
    return texts.filter((text) => typeof text === "string").join(" ");
  } catch {
    return "";
  }
}

async function beginningOf(response: Response): Promise<string> {
  if (response.body === null) return "";
  const stall = new AbortController();
  const reader = response.body.getReader();
  stall.signal.addEventListener("abort", () => void reader.cancel().catch(() => {}));
  const decoder = new TextDecoder();
  let text = "";
  const timer = setTimeout(() => stall.abort(), stallTimeout());
  try {
    while (text.length < LONGEST_EXPLANATION) {
      const { done, value } = await reader.read();
      if (done) break;
      text += decoder.decode(value, { stream: true });
    }
  } catch {
    // An explanation that does not arrive is none.
  } finally {
    clearTimeout(timer);
    stall.abort();
  }
  return text;
}

function offline(variable: string, address: string): GrpoError {
  return new GrpoError("HUB_ERROR", `${variable} is set, and this would ask ${new URL(address).host}`, {
    hint: "unset it to use the network",
  });
}

function unreachable(address: string, thrown: unknown): HubUnreachable {
  const cause = thrown instanceof Error && thrown.cause instanceof Error ? thrown.cause : thrown;
  return new HubUnreachable("HUB_ERROR", `cannot reach ${new URL(address).host}: ${redacted(reasonOf(cause))}`, {
    hint: "check the connection or HF_ENDPOINT; with the files in the cache, set HF_HUB_OFFLINE=1",
  });
}

/** Any failure as a GrpoError. The cause is left out: the client's errors carry signed addresses. */
export function asHubError(what: string, thrown: unknown): GrpoError {
  if (thrown instanceof GrpoError) return thrown;
  return new GrpoError("HUB_ERROR", `${what}: ${redacted(reasonOf(thrown))}`);
}

/** The text without what grants access: query parts of addresses (signatures), passwords in them, and tokens. */
export function redacted(text: string): string {
  return text
    .replace(/(https?:\/\/)[^\s/@]+@/g, "$1")
    .replace(/(https?:\/\/[^\s?]+)\?\S*/g, "$1")
    .replace(/\bhf_\w+|\bBearer \S+/g, "***");
}

interface RefusalContext {
  readonly hasToken: boolean;
  readonly url: string;
  readonly writes: boolean;
}

function refusal(repo: HubRepo | undefined, response: Response, said: string, context: RefusalContext): HubRefusal {
  const { status } = response;
  const [message, hint] =
    repo === undefined ? aboutAccount(status, context) : aboutRepo(repo, status, errorCode(response), context);
  const quoted = said.replace(/\s+/g, " ").trim();
  return new HubRefusal(quoted === "" ? message : `${message}; the Hub says: ${quoted}`, hint, response);
}

function aboutAccount(status: number, { url }: RefusalContext): [string, string] {
  return status === 401 || status === 403
    ? [`the Hub did not accept the token (HTTP ${status})`, `make a token at ${url}/settings/tokens`]
    : [`the Hub answered (HTTP ${status})`, "try again later"];
}

function aboutRepo(repo: HubRepo, status: number, code: string, context: RefusalContext): [string, string?] {
  const name = `the ${repo.type} "${repo.id}"`;
  const page = repoPage(context.url, repo);
  const logIn = context.hasToken
    ? "log in with another account, the token in use has no access: grpo login, or HF_TOKEN"
    : "log in with an account that has access: grpo login, or set HF_TOKEN";
  if (code === "GatedRepo") {
    return [`access to ${name} is gated (HTTP ${status})`, `accept its licence on ${page}, then ${logIn}`];
  }
  if (code === "RevisionNotFound") {
    const message = `the Hub has ${name}, but not the revision asked for`;
    return [message, `choose one of its branches and commits: ${page}/tree/main`];
  }
  if (status === 403 && context.writes && context.hasToken) {
    const token = `make a token with write access on ${context.url}/settings/tokens, then: grpo login, or set HF_TOKEN`;
    return [`the Hub does not let this token write to ${name} (HTTP 403)`, token];
  }
  if (status === 401 || status === 403) {
    const message = `the Hub does not give access to ${name} (HTTP ${status}): it is private, gated, or does not exist`;
    return [
      message,
      `check the spelling; for a gated one accept the licence on ${page}, then ${logIn}${noFolder(repo, context)}`,
    ];
  }
  if (status === 404) {
    const message = `the Hub has no ${repo.type} "${repo.id}" (HTTP 404)`;
    return [message, `check the spelling${noFolder(repo, context)}`];
  }
  const busy = status === 429 || status >= 500;
  const message = `the Hub answered a request about ${name} with HTTP ${status}`;
  return busy ? [message, "try again later: it is busy or failing"] : [message];
}

/** Whoever meant a folder gets to the Hub because the folder is not there. */
function noFolder({ id }: HubRepo, { writes }: RefusalContext): string {
  const folder = path.resolve(id);
  return writes || existsSync(folder) ? "" : `; for a folder of yours, ${folder} does not exist`;
}

/** The address of a repository's page. */
export function repoPage(url: string, repo: HubRepo): string {
  return `${url}/${repo.type === "dataset" ? "datasets/" : ""}${repo.id}`;
}
