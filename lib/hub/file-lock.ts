// Locks between processes: of those that download into one cache, so that two do not fetch the same file twice, and of runs, so that
// two do not write into one folder. A lock of the cache saves work; it is not what keeps the cache whole (blobs appear by renaming
// and their digests are checked). Python's huggingface_hub locks with flock(), which Node does not have, on files beside these; the
// two do not see each other.

import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { link, mkdir, open, readFile, rename, rm, stat, utimes } from "node:fs/promises";
import { hostname } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const BEAT_MS = 5_000;
/** A holder on another machine that has not beaten for so long is gone. */
const STALE_MS = 60_000;
const POLL_MS = 100;

/** Who has a lock. */
export interface LockHolder {
  readonly id: string;
  readonly pid: number;
  readonly host: string;
  /** When the process began, in ticks since the machine did, where the system tells. */
  readonly began?: string | undefined;
}

/** A lock that one has. */
export interface FileLock {
  release(): Promise<void>;
}

/** Runs `use` while no other process is in it with the same file. */
export async function withFileLock<T>(file: string, use: () => Promise<T>): Promise<T> {
  let lock = await takeFileLock(file);
  while (!("release" in lock)) {
    await sleep(POLL_MS);
    lock = await takeFileLock(file);
  }
  try {
    return await use();
  } finally {
    await lock.release();
  }
}

/** Takes the lock; where another has it, says who, if that can be read. A lock whose holder is gone is taken over. */
export async function takeFileLock(file: string): Promise<FileLock | { readonly holder: LockHolder | undefined }> {
  const own: LockHolder = { id: randomUUID(), pid: process.pid, host: hostname(), began: beginOf(process.pid) };
  await mkdir(path.dirname(file), { recursive: true });
  while (!(await create(file, JSON.stringify(own)))) {
    const stale = await staleHolder(file);
    if (stale === undefined) return { holder: await readHolder(file) };
    await remove(file, stale);
  }
  const beat = setInterval(() => {
    const now = new Date();
    utimes(file, now, now).catch(() => {});
  }, BEAT_MS).unref();
  return {
    async release() {
      clearInterval(beat);
      // Someone may have taken the lock over, if this machine slept.
      if ((await readHolder(file))?.id === own.id) await rm(file, { force: true });
    },
  };
}

async function create(file: string, content: string): Promise<boolean> {
  try {
    const handle = await open(file, "wx");
    await handle.writeFile(content);
    await handle.close();
    return true;
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw thrown;
  }
}

/** The id in a lock whose holder is gone; undefined while it is held, or when there is none any more. */
async function staleHolder(file: string): Promise<string | undefined> {
  const info = await stat(file).catch(() => undefined);
  if (info === undefined) return undefined;
  const holder = await readHolder(file);
  const silent = Date.now() - info.mtimeMs > STALE_MS;
  // Nothing readable: its writer is about to write, or died before it could.
  if (holder === undefined) return silent ? "" : undefined;
  const dead = holder.host === hostname() && !isAlive(holder);
  return dead || silent ? holder.id : undefined;
}

/** Takes a stale lock away, but not the fresh one of a process that was quicker. */
async function remove(file: string, staleId: string): Promise<void> {
  const aside = `${file}.${randomUUID()}`;
  try {
    await rename(file, aside);
    if (((await readHolder(aside))?.id ?? "") !== staleId) await link(aside, file).catch(() => {});
    await rm(aside, { force: true });
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code !== "ENOENT") throw thrown;
  }
}

async function readHolder(file: string): Promise<LockHolder | undefined> {
  try {
    return JSON.parse(await readFile(file, "utf8")) as LockHolder;
  } catch {
    return undefined;
  }
}

/** A process of that number may be another one by now. */
function isAlive({ pid, began }: LockHolder): boolean {
  try {
    process.kill(pid, 0);
    return began === undefined || beginOf(pid) === began;
  } catch (thrown) {
    // EPERM: it is there and belongs to someone else.
    return (thrown as NodeJS.ErrnoException).code === "EPERM";
  }
}

function beginOf(pid: number): string | undefined {
  try {
    // After the name in parentheses, which may hold anything: field 22 of proc(5), counted from field 3.
    return readFileSync(`/proc/${pid}/stat`, "latin1").split(") ").at(-1)?.split(" ")[19];
  } catch {
    return undefined;
  }
}
