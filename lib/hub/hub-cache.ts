// Files of one commit into the cache that Python's huggingface_hub uses too: bytes under blobs/ by their digest, names
// under snapshots/ as links to them, branch names under refs/.

import { copyFile, mkdir, rename, rm, stat, statfs, symlink, writeFile } from "node:fs/promises";
import path from "node:path";
import { GrpoError } from "../errors.js";
import { downloadBlob, partialPath, type RemoteCommit, type RemoteFile } from "./download.js";
import { withFileLock } from "./file-lock.js";
import type { RepoType } from "./hub-client.js";
import { symlinksEnabled } from "./hub-env.js";
import { type Progress, startProgress } from "./progress.js";

const AT_ONCE = 8;

/** "models--org--name", as Python names it. */
export function repoFolder(type: RepoType, id: string): string {
  return `${type}s--${id.replaceAll("/", "--")}`;
}

/** Remembers which commit a branch or tag was, for runs without the network. */
export async function saveRef(root: string, revision: string, commit: string): Promise<void> {
  const file = path.join(root, "refs", revision);
  await mkdir(path.dirname(file), { recursive: true });
  const temporary = `${file}.${process.pid}.tmp`;
  await writeFile(temporary, commit);
  await rename(temporary, file);
}

/** Fetches what is missing, several files at a time, with one progress line on a terminal. */
export async function fetchFiles(source: RemoteCommit, cacheDir: string, files: readonly RemoteFile[]): Promise<void> {
  const folder = repoFolder(source.repo.type, source.repo.name);
  const place = { root: path.join(cacheDir, folder), locks: path.join(cacheDir, ".locks", folder) };
  const missing: RemoteFile[] = [];
  for (const file of files) {
    const present = await stat(pointerPath(place, source, file)).catch(() => undefined);
    // A file of the wrong size is left over from a crash of whoever wrote it.
    if (present?.size !== file.size) missing.push(file);
  }
  if (missing.length === 0) return;
  await checkSpace(source, place, missing);
  const progress = startProgress(source.repo.name, missing);
  const queue = [...missing];
  const stop = new AbortController();
  const stoppable = { ...source, signal: stop.signal };
  const worker = async () => {
    for (let file = queue.shift(); file !== undefined && !stop.signal.aborted; file = queue.shift()) {
      await fetchFile(stoppable, place, file, progress).catch((thrown: unknown) => stop.abort(thrown));
    }
  };
  // The first failure stops the others, and nothing is written any more once it is reported.
  await Promise.all(Array.from({ length: Math.min(AT_ONCE, missing.length) }, worker));
  progress.end();
  stop.signal.throwIfAborted();
}

/** Where a repository is in the cache. */
interface Place {
  readonly root: string;
  readonly locks: string;
}

function pointerPath(place: Place, source: RemoteCommit, file: RemoteFile): string {
  return path.join(place.root, "snapshots", source.commit, file.name);
}

async function checkSpace(source: RemoteCommit, place: Place, files: readonly RemoteFile[]): Promise<void> {
  await mkdir(place.root, { recursive: true });
  const disk = await statfs(place.root).catch(() => undefined);
  const missing = await Promise.all(files.map((file) => missingBytes(place, file)));
  const needed = missing.reduce((sum, bytes) => sum + bytes, 0);
  const free = disk === undefined ? Number.POSITIVE_INFINITY : disk.bavail * disk.bsize;
  if (needed <= free) return;
  const sizes = `${Math.ceil(needed / 1e6)} MB are needed, ${Math.floor(free / 1e6)} MB are free`;
  throw new GrpoError("HUB_ERROR", `no room for "${source.repo.name}" in ${place.root}: ${sizes}`, {
    hint: "make room, or put the cache on another disk with HF_HUB_CACHE",
  });
}

/** What is there already, whole or in part, is not fetched again. */
async function missingBytes(place: Place, { etag, size }: RemoteFile): Promise<number> {
  const blob = path.join(place.root, "blobs", etag);
  if ((await stat(blob).catch(() => undefined))?.size === size) return 0;
  const arrived = (await stat(partialPath(blob)).catch(() => undefined))?.size ?? 0;
  return arrived > size ? size : size - arrived;
}

async function fetchFile(source: RemoteCommit, place: Place, file: RemoteFile, progress: Progress): Promise<void> {
  const blob = path.join(place.root, "blobs", file.etag);
  await mkdir(path.dirname(blob), { recursive: true });
  await withFileLock(path.join(place.locks, `${file.etag}.grpo-lock`), async () => {
    const present = await stat(blob).catch(() => undefined);
    if (present?.size === file.size) progress.add(file.size);
    else await downloadBlob(source, file, blob, progress.add);
    await putLink(blob, pointerPath(place, source, file));
  });
  progress.done();
}

async function putLink(blob: string, pointer: string): Promise<void> {
  await mkdir(path.dirname(pointer), { recursive: true });
  await rm(pointer, { force: true });
  if (symlinksEnabled()) {
    try {
      await symlink(path.relative(path.dirname(pointer), blob), pointer);
      return;
    } catch {
      // Windows without the right to make links: a copy will do.
    }
  }
  await copyFile(blob, pointer);
}
