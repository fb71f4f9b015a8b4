// A file in a repository, read by range: some rows of a large data set are a small part of it. How long the file is comes
// with the answer to the first request, which brings the file's first bytes as well.

import { GrpoError, reasonOf } from "../errors.js";
import { createHubClient, type HubRepo } from "./hub-client.js";

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
  const request = (range: string) => requestRange(client.fetch, address, range, where);
  const head = await request(`bytes=0-${HEAD_BYTES - 1}`);
  return {
    name,
    byteLength: head.total,
    slice: (start, end) => {
      if (end <= head.bytes.length) return Promise.resolve(head.bytes.slice(start, end));
      return whole(start, end, where, (from) => request(`bytes=${from}-${end - 1}`));
    },
  };
}

interface Part {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Of the whole file. */
  readonly total: number;
}

/** A connection that breaks goes on where it stopped. */
async function whole(
  start: number,
  end: number,
  where: string,
  request: (from: number) => Promise<Part>,
): Promise<Uint8Array<ArrayBuffer>> {
  const result = new Uint8Array(end - start);
  let filled = 0;
  for (let failures = 0; filled < result.length; ) {
    const { bytes } = await request(start + filled);
    result.set(bytes.subarray(0, result.length - filled), filled);
    filled += bytes.length;
    if (bytes.length === 0 && ++failures === ATTEMPTS) {
      throw new GrpoError("HUB_ERROR", `The connection closed again and again while reading ${where}.`);
    }
  }
  return result;
}

async function requestRange(hubFetch: typeof fetch, address: string, range: string, where: string): Promise<Part> {
  const response = await hubFetch(address, { headers: { range, "accept-encoding": "identity" } });
  if (response.status === 206) {
    const total = Number(/\/(\d+)$/.exec(response.headers.get("content-range") ?? "")?.[1]);
    if (Number.isSafeInteger(total)) return { bytes: await bodyOf(response), total };
  }
  // An empty file has no range, and a server that knows no ranges sends everything.
  if (response.status === 416) return { bytes: new Uint8Array(), total: 0 };
  if (response.status === 200) {
    const bytes = await bodyOf(response);
    const [first, last] = range.slice("bytes=".length).split("-").map(Number);
    return { bytes: bytes.slice(first, (last ?? 0) + 1), total: bytes.length };
  }
  throw new GrpoError("HUB_ERROR", `The Hub answered a request for a part of ${where} with HTTP ${response.status}.`);
}

/** What arrives before the connection breaks. */
async function bodyOf(response: Response): Promise<Uint8Array<ArrayBuffer>> {
  const chunks: Uint8Array[] = [];
  try {
    for await (const chunk of (response.body ?? []) as AsyncIterable<Uint8Array>) chunks.push(chunk);
  } catch (thrown) {
    if (chunks.length === 0) throw new GrpoError("HUB_ERROR", `Reading from the Hub failed: ${reasonOf(thrown)}`);
  }
  const bytes = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0));
  let offset = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, offset);
    offset += chunk.length;
  }
  return bytes;
}
