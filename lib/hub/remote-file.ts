// A file in a repository, read by range: some rows of a large data set are a small part of it. How long the file is comes
// with the answer to the first request, which brings the file's first bytes as well.

import { setTimeout as sleep } from "node:timers/promises";
import { GrpoError } from "../errors.js";
import { createHubClient, type HubRepo } from "./hub-client.js";
import { stallTimeout } from "./hub-env.js";
import { pauseAfter, untilStalled } from "./hub-fetch.js";

export interface RemoteFile {
  readonly name: string;
  readonly byteLength: number;
  slice(start: number, end: number): Promise<Uint8Array<ArrayBuffer>>;
}

export interface OpenRemoteFile {
  /** A commit: another revision could change between two ranges. */
  readonly revision: string;
  readonly token?: string | undefined;
}

const ATTEMPTS = 5;
/** Fetched with the size: the mark of the file's format. */
const HEAD_BYTES = 64;

export async function openRemoteFile(repo: HubRepo, name: string, options: OpenRemoteFile): Promise<RemoteFile> {
  const client = createHubClient(repo, options.token);
  const folder = `${client.url}/${repo.type === "dataset" ? "datasets/" : ""}${repo.id}`;
  const file = name.split("/").map(encodeURIComponent).join("/");
  const address = `${folder}/resolve/${encodeURIComponent(options.revision)}/${file}`;
  const where = `${name} of "${repo.id}"`;
  const request = (start: number, end: number) => requestRange(client.fetch, address, { start, end }, where);
  const first = await request(0, HEAD_BYTES);
  const headEnd = Math.min(HEAD_BYTES, first.total);
  const head = await whole({ start: 0, end: headEnd }, where, request, first.bytes);
  return {
    name,
    byteLength: first.total,
    slice: (start, end) => {
      if (end <= head.length) return Promise.resolve(head.slice(start, end));
      return whole({ start, end }, where, request);
    },
  };
}

interface Range {
  readonly start: number;
  readonly end: number;
}

interface Part {
  /** The bytes from the start of the range, as far as they came; possibly none. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Bytes of the whole file. */
  readonly total: number;
}

/** A connection that breaks or stalls goes on where it stopped. */
async function whole(
  { start, end }: Range,
  where: string,
  request: (start: number, end: number) => Promise<Part>,
  arrived: Uint8Array = new Uint8Array(),
): Promise<Uint8Array<ArrayBuffer>> {
  const result = new Uint8Array(end - start);
  result.set(arrived.subarray(0, result.length));
  let filled = Math.min(arrived.length, result.length);
  for (let failures = 0; filled < result.length; ) {
    const { bytes } = await request(start + filled, end);
    result.set(bytes.subarray(0, result.length - filled), filled);
    filled += bytes.length;
    if (bytes.length > 0) continue;
    if (++failures === ATTEMPTS) {
      throw new GrpoError("HUB_ERROR", `the connection closed again and again while reading ${where}`);
    }
    await sleep(pauseAfter(failures));
  }
  return result;
}

async function requestRange(
  hubFetch: typeof fetch,
  address: string,
  { start, end }: Range,
  where: string,
): Promise<Part> {
  const stall = new AbortController();
  const headers = { range: `bytes=${start}-${end - 1}`, "accept-encoding": "identity" };
  const response = await hubFetch(address, { headers, signal: stall.signal });
  if (response.status === 206) {
    const total = Number(/\/(\d+)$/.exec(response.headers.get("content-range") ?? "")?.[1]);
    if (Number.isSafeInteger(total)) return { bytes: (await bodyOf(response, stall)).bytes, total };
  }
  // An empty file has no range, and a server that knows no ranges sends everything.
  if (response.status === 416) return { bytes: new Uint8Array(), total: 0 };
  if (response.status === 200) {
    const { bytes, complete } = await bodyOf(response, stall);
    const total = complete ? bytes.length : Number(response.headers.get("content-length") ?? Number.NaN);
    if (Number.isSafeInteger(total)) return { bytes: bytes.slice(start, end), total };
    throw new GrpoError("HUB_ERROR", `the connection closed while reading ${where}, of which no size is known`);
  }
  throw new GrpoError("HUB_ERROR", `the Hub answered a request for a part of ${where} with HTTP ${response.status}`);
}

/** What arrives before the connection breaks or stalls. */
async function bodyOf(
  response: Response,
  stall: AbortController,
): Promise<{ readonly bytes: Uint8Array<ArrayBuffer>; readonly complete: boolean }> {
  const chunks: Uint8Array[] = [];
  let complete = false;
  try {
    const body = (response.body ?? []) as AsyncIterable<Uint8Array>;
    for await (const chunk of untilStalled(body, stall, stallTimeout())) chunks.push(chunk);
    complete = true;
  } catch {
    // Whoever asked counts the bytes, and asks for the others.
  }
  const bytes = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0));
  let offset = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, offset);
    offset += chunk.length;
  }
  return { bytes, complete };
}
