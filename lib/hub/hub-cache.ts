// Files of one commit into the cache: bytes under blobs/ by their digest, names under snapshots/ as links to them, branch
// names under refs/. A blob appears only when it is complete: size always checked, SHA-256 where the Hub tells it.

import { createHash, randomUUID } from "node:crypto";
import { copyFile, mkdir, open, rename, rm, stat, symlink, writeFile } from "node:fs/promises";
import path from "node:path";
import { downloadFile } from "@huggingface/hub";
import { GrpoError, reasonOf } from "../errors.js";
import { HubUnreachable, type RepoType } from "./hub-client.js";

export interface RemoteFile {
  readonly name: string;
  readonly size: number;
  /** Names the blob: the SHA-256 of a large file, the git object id of a small one. */
  readonly etag: string;
  readonly sha256: string | undefined;
}

export interface RemoteCommit {
  readonly repo: { readonly type: RepoType; readonly name: string };
  readonly commit: string;
  /** The repository's folder in the cache. */
  readonly root: string;
  readonly hubUrl: string;
  readonly fetch: typeof fetch;
}

const AT_ONCE = 2;
const ATTEMPTS = 3;

/** "models--org--name", as Python names it. */
export function repoFolder(type: RepoType, id: string): string {
  return `${type}s--${id.replaceAll("/", "--")}`;
}

export async function saveRef(root: string, revision: string, commit: string): Promise<void> {
  const file = path.join(root, "refs", revision);
  await mkdir(path.dirname(file), { recursive: true });
  await writeFile(file, commit);
}

/** Fetches what is missing, two files at a time, with one progress line on a terminal. */
export async function fetchFiles(source: RemoteCommit, files: readonly RemoteFile[]): Promise<void> {
  const missing: RemoteFile[] = [];
  for (const file of files) {
    const present = await stat(pointerPath(source, file)).catch(() => undefined);
    // A file of the wrong size is left over from a crash of whoever wrote it.
    if (present?.size !== file.size) missing.push(file);
  }
  if (missing.length === 0) return;
  const progress = startProgress(source.repo.name, missing);
  const queue = [...missing];
  const worker = async () => {
    for (let file = queue.shift(); file !== undefined; file = queue.shift()) {
      await fetchFile(source, file, progress.add);
      progress.done();
    }
  };
  try {
    await Promise.all(Array.from({ length: Math.min(AT_ONCE, missing.length) }, worker));
  } finally {
    // After a failure the other worker ends with the file in its hands.
    queue.length = 0;
    progress.end();
  }
}

async function fetchFile(source: RemoteCommit, file: RemoteFile, onBytes: (count: number) => void): Promise<void> {
  const blob = path.join(source.root, "blobs", file.etag);
  await mkdir(path.dirname(blob), { recursive: true });
  const present = await stat(blob).catch(() => undefined);
  if (present?.size !== file.size) await download(source, file, blob, onBytes);
  await link(blob, pointerPath(source, file));
}

function pointerPath(source: RemoteCommit, file: RemoteFile): string {
  return path.join(source.root, "snapshots", source.commit, file.name);
}

/** A broken transfer goes on where it stopped; its name is its own, so that two downloads of the same bytes do not mix. */
async function download(
  source: RemoteCommit,
  file: RemoteFile,
  blob: string,
  onBytes: (count: number) => void,
): Promise<void> {
  const partial = `${blob}.${randomUUID()}.incomplete`;
  const hash = file.sha256 === undefined ? undefined : createHash("sha256");
  let received = 0;
  const count = (chunk: Uint8Array) => {
    received += chunk.length;
    hash?.update(chunk);
    onBytes(chunk.length);
  };
  try {
    for (let attempt = 1; received < file.size || attempt === 1; attempt++) {
      try {
        await receive(source, file, partial, received, count);
        if (received < file.size) throw new Error(`the connection closed after ${received} of ${file.size} bytes`);
      } catch (thrown) {
        if (attempt === ATTEMPTS || isFinal(thrown)) throw thrown;
      }
    }
    checkComplete(source, file, received, hash?.digest("hex"));
    await rename(partial, blob);
  } catch (thrown) {
    if (thrown instanceof GrpoError) throw thrown;
    throw new GrpoError(
      "HUB_ERROR",
      `Download of ${file.name} from "${source.repo.name}" failed: ${reasonOf(thrown)}`,
      {
        hint: "Check the connection and run it again; files that are complete are kept.",
        cause: thrown,
      },
    );
  } finally {
    await rm(partial, { force: true });
  }
}

/** Retrying helps against a broken connection, not against an answer. */
function isFinal(thrown: unknown): boolean {
  return thrown instanceof GrpoError && !(thrown instanceof HubUnreachable);
}

async function receive(
  source: RemoteCommit,
  file: RemoteFile,
  partial: string,
  from: number,
  count: (chunk: Uint8Array) => void,
): Promise<void> {
  const { repo, commit, hubUrl, fetch } = source;
  const content = await downloadFile({ repo, path: file.name, revision: commit, hubUrl, fetch });
  if (content === null) {
    throw new GrpoError("HUB_ERROR", `The Hub lists ${file.name} in "${repo.name}" but does not have it.`);
  }
  if (content.size !== file.size) {
    throw new GrpoError("HUB_ERROR", sizeMessage(source, file, content.size));
  }
  const rest = from === 0 ? content : content.slice(from, content.size);
  const output = await open(partial, from === 0 ? "w" : "a");
  try {
    // Counted only once written, so that a later attempt knows where the file ends.
    for await (const chunk of rest.stream() as AsyncIterable<Uint8Array>) {
      await output.writeFile(chunk);
      count(chunk);
    }
  } finally {
    await output.close();
  }
}

function checkComplete(source: RemoteCommit, file: RemoteFile, received: number, digest: string | undefined): void {
  if (received !== file.size) throw new GrpoError("HUB_ERROR", sizeMessage(source, file, received));
  if (digest === file.sha256) return;
  const message = `${file.name} of "${source.repo.name}" arrived damaged: its SHA-256 is not the one that the Hub states.`;
  throw new GrpoError("HUB_ERROR", message, { hint: "Run it again; a proxy on the way may be changing files." });
}

function sizeMessage(source: RemoteCommit, file: RemoteFile, found: number): string {
  return `${file.name} of "${source.repo.name}" has ${found} bytes; the Hub's list says ${file.size}.`;
}

async function link(blob: string, pointer: string): Promise<void> {
  await mkdir(path.dirname(pointer), { recursive: true });
  await rm(pointer, { force: true });
  try {
    await symlink(path.relative(path.dirname(pointer), blob), pointer);
  } catch {
    // Windows without the right to make links.
    await copyFile(blob, pointer);
  }
}

interface Progress {
  add(bytes: number): void;
  done(): void;
  end(): void;
}

/** One line on a terminal, rewritten at most five times a second; nothing into files and pipes. */
function startProgress(name: string, files: readonly RemoteFile[]): Progress {
  const total = files.reduce((sum, file) => sum + file.size, 0);
  const started = performance.now();
  const visible = process.stderr.isTTY === true;
  let bytes = 0;
  let finished = 0;
  let shownAt = 0;
  const show = (force: boolean) => {
    const now = performance.now();
    if (!visible || (!force && now - shownAt < 200)) return;
    shownAt = now;
    const rate = bytes / Math.max(1, now - started) / 1000;
    const done = `${finished}/${files.length} files, ${megabytes(bytes)} of ${megabytes(total)} MB`;
    process.stderr.write(`\r\x1b[2K${name}: ${done}, ${rate.toFixed(1)} MB/s`);
  };
  return {
    add(count) {
      bytes += count;
      show(false);
    },
    done() {
      finished++;
      show(true);
    },
    end() {
      if (visible) process.stderr.write("\n");
    },
  };
}

function megabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0);
}
