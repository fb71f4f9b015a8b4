// One large file over HTTP. What a broken transfer leaves (<file>.part) is kept and gone on with, in this process or a later
// one, and the file gets its name only when its SHA-256 is the one that the index states.
import { createHash } from "node:crypto";
import { createReadStream, existsSync, renameSync, rmSync, statSync } from "node:fs";
import { open } from "node:fs/promises";
import { pipeline } from "node:stream/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { GrpoError, reasonOf } from "../errors.js";
import { stallTimeout } from "../hub/hub-env.js";
import { fetchPatiently, pauseAfter } from "../hub/hub-fetch.js";
import { isDiskFull, noRoom } from "./disk-space.js";
import type { TransferProgress } from "./wheel-source.js";

export interface RemoteWheel {
  readonly filename: string;
  readonly url: string;
  readonly sha256: string | undefined;
  readonly size: number | undefined;
  readonly headers?: Readonly<Record<string, string>>;
}

/** Attempts in a row that bring nothing. */
const ATTEMPTS = 4;

/** Brings `file` to `path`, unless it is there, and returns `path`. */
export async function downloadFile(file: RemoteWheel, path: string, progress: TransferProgress): Promise<string> {
  if (existsSync(path)) return path;
  const part = `${path}.part`;
  for (let failures = 0; ; ) {
    const before = sizeOf(part);
    try {
      await receive(file, part, progress);
      break;
    } catch (error) {
      if (isDiskFull(error)) throw noRoom(path);
      failures = sizeOf(part) > before ? 1 : failures + 1;
      if (failures === ATTEMPTS || error instanceof NotFound) throw broken(file, error);
      await sleep(pauseAfter(failures));
    }
  }
  await check(file, part);
  renameSync(part, path);
  return path;
}

class NotFound extends Error {}

async function receive(file: RemoteWheel, part: string, progress: TransferProgress): Promise<void> {
  let done = sizeOf(part);
  if (file.size !== undefined && done === file.size) return;
  const headers: Record<string, string> = { "accept-encoding": "identity", ...file.headers };
  if (done > 0) headers.range = `bytes=${done}-`;
  const stall = new AbortController();
  const response = await fetchPatiently(file.url, { headers, signal: stall.signal }, false);
  // 416: what is here is all there is.
  if (response.status === 416) return void (await response.body?.cancel());
  if (response.status >= 400 && response.status < 500) throw new NotFound(`the server answered ${response.status}`);
  if (!response.ok || response.body === null) throw new Error(`the server answered ${response.status}`);
  const isRest = response.status === 206;
  if (!isRest) done = 0;
  const length = Number(response.headers.get("content-length") ?? Number.NaN);
  const total = file.size ?? (Number.isNaN(length) ? undefined : done + length);
  const give = () => stall.abort(new Error(`no data for ${stallTimeout() / 1000} s`));
  let timer = setTimeout(give, stallTimeout());
  const output = await open(part, isRest ? "a" : "w");
  try {
    for await (const chunk of response.body as AsyncIterable<Uint8Array>) {
      clearTimeout(timer);
      await output.writeFile(chunk);
      done += chunk.length;
      progress.bytes(file.filename, done, total);
      timer = setTimeout(give, stallTimeout());
    }
  } finally {
    clearTimeout(timer);
    stall.abort();
    await output.close();
  }
  if (total !== undefined && done < total) throw new Error(`the connection closed after ${done} of ${total} bytes`);
}

async function check(file: RemoteWheel, part: string): Promise<void> {
  if (file.sha256 === undefined) return;
  const hash = createHash("sha256");
  await pipeline(createReadStream(part), hash);
  const found = hash.digest("hex");
  if (found === file.sha256) return;
  rmSync(part, { force: true });
  const message = `${file.filename} arrived damaged: its SHA-256 is ${found}, the index states ${file.sha256}`;
  throw new GrpoError("DOWNLOAD_FAILED", message, { hint: "run `npx grpo setup` again: it is fetched from the start" });
}

function broken(file: RemoteWheel, error: unknown): GrpoError {
  const cause = error instanceof Error && error.cause !== undefined ? ` (${reasonOf(error.cause)})` : "";
  const { origin, pathname } = new URL(file.url);
  return new GrpoError("DOWNLOAD_FAILED", `${origin}${pathname} could not be fetched: ${reasonOf(error)}${cause}`, {
    hint: "check the network and run `npx grpo setup` again: it continues where it stopped",
    cause: error,
  });
}

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}
