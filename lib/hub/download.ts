// One file from the Hub to a path on disk. A broken transfer goes on where it stopped, in this process or a later one, and
// a file counts only when its size and digest are what the Hub states: SHA-256 for large files, git's object id for others.

import { createHash, type Hash } from "node:crypto";
import { constants } from "node:fs";
import { type FileHandle, open, rename, rm, stat } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { GrpoError, reasonOf } from "../errors.js";
import { syncFile } from "../sync-file.js";
import { HubUnreachable, type RepoType, redacted } from "./hub-client.js";
import { stallTimeout, xetEnabled } from "./hub-env.js";
import { pauseAfter, untilStalled } from "./hub-fetch.js";

export interface RemoteFile {
  readonly name: string;
  readonly size: number;
  /** Names the blob: the SHA-256 of a large file, the git object id of a small one. */
  readonly etag: string;
  readonly sha256: string | undefined;
  /** Kept in chunks (Xet); the client library then fetches several at once. */
  readonly xet: boolean;
}

export interface RemoteCommit {
  readonly repo: { readonly type: RepoType; readonly name: string };
  readonly commit: string;
  readonly hubUrl: string;
  readonly fetch: typeof fetch;
  /** Stops a transfer; what has arrived stays for the next one. */
  readonly signal?: AbortSignal;
}

/** Attempts in a row that bring nothing. */
const ATTEMPTS = 5;
/** Chunks are put together from other chunks, so the first bytes take longer. */
const XET_PATIENCE = 6;

/** Where a blob is until all of it has arrived. */
export function partialPath(blob: string): string {
  return `${blob}.grpo.incomplete`;
}

export async function downloadBlob(
  source: RemoteCommit,
  file: RemoteFile,
  blob: string,
  onBytes: (count: number) => void,
): Promise<void> {
  const partial = partialPath(blob);
  let inherited = ((await stat(partial).catch(() => undefined))?.size ?? 0) > 0;
  while ((await transfer(source, file, partial, onBytes)) !== file.etag) {
    await rm(partial, { force: true });
    // What an earlier process left may have been the damaged part: once more from the start.
    if (!inherited) throw damaged(source, file);
    inherited = false;
  }
  await rename(partial, blob).catch(async (thrown: unknown) => {
    // Another process that wrote the same bytes was quicker.
    if ((await stat(blob).catch(() => undefined))?.size !== file.size) throw thrown;
  });
}

/** The part of a file that has arrived. */
interface Arrived {
  readonly output: FileHandle;
  size: number;
  hash: Hash;
}

/** Brings all of a file into `partial` and returns the digest of what is then in it. */
async function transfer(
  source: RemoteCommit,
  file: RemoteFile,
  partial: string,
  onBytes: (count: number) => void,
): Promise<string> {
  const output = await open(partial, constants.O_RDWR | constants.O_CREAT, 0o644);
  try {
    const arrived = await readBack(file, output);
    onBytes(arrived.size);
    for (let failures = 0; arrived.size < file.size; ) {
      const before = arrived.size;
      try {
        await receive(source, file, arrived, onBytes);
        if (arrived.size < file.size)
          throw new Error(`the connection closed after ${arrived.size} of ${file.size} bytes`);
      } catch (thrown) {
        failures = arrived.size > before ? 1 : failures + 1;
        source.signal?.throwIfAborted();
        // Trying again helps against a broken connection, not against an answer.
        const isAnswer = thrown instanceof GrpoError && !(thrown instanceof HubUnreachable);
        if (isAnswer || failures === ATTEMPTS) throw failed(source, file, thrown);
        await sleep(pauseAfter(failures));
      }
    }
    await syncFile(output);
    return arrived.hash.digest("hex");
  } finally {
    await output.close();
  }
}

async function readBack(file: RemoteFile, output: FileHandle): Promise<Arrived> {
  const arrived = { output, size: 0, hash: newHash(file) };
  if ((await output.stat()).size > file.size) await output.truncate(0);
  const buffer = Buffer.alloc(1 << 20);
  for (;;) {
    const { bytesRead } = await output.read(buffer, 0, buffer.length, arrived.size);
    if (bytesRead === 0) return arrived;
    arrived.hash.update(buffer.subarray(0, bytesRead));
    arrived.size += bytesRead;
  }
}

function newHash(file: RemoteFile): Hash {
  return file.sha256 === undefined ? createHash("sha1").update(`blob ${file.size}\0`) : createHash("sha256");
}

async function receive(
  source: RemoteCommit,
  file: RemoteFile,
  arrived: Arrived,
  onBytes: (count: number) => void,
): Promise<void> {
  const stall = new AbortController();
  const viaXet = file.xet && xetEnabled();
  const patience = stallTimeout() * (viaXet ? XET_PATIENCE : 1);
  const signal = source.signal === undefined ? stall.signal : AbortSignal.any([stall.signal, source.signal]);
  const body = await (viaXet ? openChunks : openPlain)(source, file, arrived, signal);
  try {
    for await (const chunk of untilStalled(body as AsyncIterable<Uint8Array>, stall, patience)) {
      if (arrived.size + chunk.length > file.size) throw new GrpoError("HUB_ERROR", sizeMessage(source, file, "more"));
      // At its own place, not at the end: should two processes ever write to one file, both write the same bytes there.
      await writeAt(arrived.output, chunk, arrived.size);
      arrived.hash.update(chunk);
      arrived.size += chunk.length;
      onBytes(chunk.length);
    }
  } finally {
    stall.abort();
  }
}

async function writeAt(output: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    done += (await output.write(bytes, done, bytes.length - done, position + done)).bytesWritten;
  }
}

/** What is still missing, by plain HTTP. A server that sends the whole file instead is taken from the start. */
async function openPlain(
  source: RemoteCommit,
  file: RemoteFile,
  arrived: Arrived,
  signal: AbortSignal,
): Promise<ReadableStream<Uint8Array>> {
  const { repo, commit, hubUrl } = source;
  const name = file.name.split("/").map(encodeURIComponent).join("/");
  const address = `${hubUrl}/${repo.type === "dataset" ? "datasets/" : ""}${repo.name}/resolve/${commit}/${name}`;
  const range: Record<string, string> = arrived.size > 0 ? { range: `bytes=${arrived.size}-` } : {};
  const response = await source.fetch(address, { headers: { ...range, "accept-encoding": "identity" }, signal });
  const isPart = response.status === 206;
  const total = isPart ? response.headers.get("content-range")?.split("/")[1] : response.headers.get("content-length");
  if (response.status === 404) {
    throw new GrpoError("HUB_ERROR", `the Hub lists ${file.name} in "${repo.name}" but does not have it`);
  }
  // Nothing is after what is here already: the file is not the one of the list.
  const found = response.status === 416 ? "other" : total;
  if (found && Number(found) !== file.size) throw new GrpoError("HUB_ERROR", sizeMessage(source, file, found));
  if (!isPart && arrived.size > 0) {
    await arrived.output.truncate(0);
    Object.assign(arrived, { size: 0, hash: newHash(file) });
  }
  if (response.body === null) throw new Error("the answer has no content");
  return response.body;
}

async function openChunks(
  source: RemoteCommit,
  file: RemoteFile,
  arrived: Arrived,
  signal: AbortSignal,
): Promise<ReadableStream<Uint8Array>> {
  const { repo, commit: revision, hubUrl } = source;
  const fetch: typeof globalThis.fetch = (input, init) => source.fetch(input, { ...init, signal });
  const { downloadFile } = await import("@huggingface/hub");
  const content = await downloadFile({ repo, path: file.name, revision, hubUrl, fetch });
  if (content === null) {
    throw new GrpoError("HUB_ERROR", `the Hub lists ${file.name} in "${repo.name}" but does not have it`);
  }
  if (content.size !== file.size) throw new GrpoError("HUB_ERROR", sizeMessage(source, file, content.size));
  return content.slice(arrived.size, content.size).stream() as ReadableStream<Uint8Array>;
}

function failed(source: RemoteCommit, file: RemoteFile, thrown: unknown): GrpoError {
  if (thrown instanceof GrpoError && !(thrown instanceof HubUnreachable)) return thrown;
  const reason = redacted(reasonOf(thrown)).split("\n")[0];
  return new GrpoError("HUB_ERROR", `download of ${file.name} from "${source.repo.name}" failed: ${reason}`, {
    hint: "check the connection and run it again: it continues where it stopped",
  });
}

function damaged(source: RemoteCommit, file: RemoteFile): GrpoError {
  const digest = file.sha256 === undefined ? "git object id" : "SHA-256";
  const message = `${file.name} of "${source.repo.name}" arrived damaged: its ${digest} is not the one that the Hub states`;
  return new GrpoError("HUB_ERROR", message, { hint: "run it again; a proxy on the way may be changing files" });
}

function sizeMessage(source: RemoteCommit, file: RemoteFile, found: number | string): string {
  return `${file.name} of "${source.repo.name}" has ${found} bytes; the Hub's list says ${file.size}`;
}
