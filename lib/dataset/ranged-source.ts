// Bytes of a file on the Hub of which only some are needed. RangedFile keeps what was fetched in a sparse file in the cache,
// beside the repository's whole files, so that a later run asks only for what is new; RangedMemory keeps it for a moment.

import { closeSync, existsSync, openSync, readFileSync, writeSync } from "node:fs";
import { mkdir, readFile, rename, truncate, writeFile } from "node:fs/promises";
import path from "node:path";
import { GrpoError } from "../errors.js";
import { startProgress } from "../hub/progress.js";
import type { RemoteFile } from "../hub/remote-file.js";
import { type ByteRange, type ByteSource, readRange } from "./byte-source.js";

const AT_ONCE = 4;
/** Fetching this much too much is quicker than another request. */
const GAP = 1 << 16;
const LONGEST = 8 << 20;
/** A file of which more than this share is needed is fetched whole. */
const MOST = 0.5;

export interface RangedFileOptions {
  /** Where the sparse file is to be; a list of what it holds lies beside it. */
  readonly cacheFile: string;
  /** Undefined where nothing can be fetched. */
  readonly open: (() => Promise<RemoteFile>) | undefined;
  /** Fetches all of the file and returns its path. */
  readonly fetchWhole: () => Promise<string>;
}

export async function openRangedFile(name: string, options: RangedFileOptions): Promise<ByteSource> {
  const { cacheFile } = options;
  const known = await readFile(`${cacheFile}.json`, "utf8").catch(() => undefined);
  const held = known === undefined ? undefined : (JSON.parse(known) as { size: number; ranges: ByteRange[] });
  const remote = held === undefined ? await options.open?.() : undefined;
  const size = held?.size ?? remote?.byteLength;
  if (size === undefined) throw new GrpoError("HUB_ERROR", `${name} is not in the cache`);
  return new RangedFile(name, size, held?.ranges ?? [], remote, options);
}

class RangedFile implements ByteSource {
  readonly name: string;
  readonly byteLength: number;
  readonly #options: RangedFileOptions;
  #ranges: readonly ByteRange[];
  #remote: RemoteFile | undefined;
  #file: string;

  constructor(
    name: string,
    byteLength: number,
    ranges: readonly ByteRange[],
    remote: RemoteFile | undefined,
    options: RangedFileOptions,
  ) {
    this.name = name;
    this.byteLength = byteLength;
    this.#ranges = ranges;
    this.#remote = remote;
    this.#options = options;
    this.#file = options.cacheFile;
  }

  read(start: number, end: number): Uint8Array<ArrayBuffer> {
    return readRange(this.#file, start, end);
  }

  async ensure(wanted: readonly ByteRange[]): Promise<void> {
    if (this.#file !== this.#options.cacheFile) return;
    const missing = subtract(merge(wanted, GAP), this.#ranges);
    if (missing.length === 0) return;
    if (sum(missing) > MOST * this.byteLength) {
      this.#file = await this.#options.fetchWhole();
      return;
    }
    const { cacheFile, open } = this.#options;
    this.#remote ??= await open?.();
    const remote = this.#remote;
    if (remote === undefined) {
      throw new GrpoError("HUB_ERROR", `only other rows of ${this.name} are in the cache, and the Hub is not asked`, {
        hint: "go online to fetch them (HF_HUB_OFFLINE, HF_DATASETS_OFFLINE)",
      });
    }
    await mkdir(path.dirname(cacheFile), { recursive: true });
    if (!existsSync(cacheFile)) await writeFile(cacheFile, "");
    await truncate(cacheFile, this.byteLength);
    const progress = startProgress(`${this.name}, in part`, [{ size: sum(missing) }]);
    try {
      await fetchAll(remote, missing, ({ start }, bytes) => {
        writeAt(cacheFile, start, bytes);
        progress.add(bytes.length);
      });
      progress.done();
    } finally {
      progress.end();
    }
    this.#ranges = merge([...this.#savedRanges(), ...this.#ranges, ...missing], 0);
    // The list changes only after the bytes are there, and in one step.
    const partial = `${cacheFile}.${process.pid}.tmp`;
    await writeFile(partial, JSON.stringify({ size: this.byteLength, ranges: this.#ranges }));
    await rename(partial, `${cacheFile}.json`);
  }

  /** What another process may have added meanwhile. */
  #savedRanges(): readonly ByteRange[] {
    try {
      const saved = JSON.parse(readFileSync(`${this.#options.cacheFile}.json`, "utf8")) as { ranges: ByteRange[] };
      return saved.ranges;
    } catch {
      return [];
    }
  }
}

interface Part {
  readonly start: number;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** What the last two calls of ensure() asked for: the part that is read, and the next one. */
export class RangedMemory implements ByteSource {
  readonly name: string;
  readonly byteLength: number;
  readonly #remote: RemoteFile;
  #before: readonly Part[] = [];
  #last: readonly Part[] = [];

  constructor(name: string, remote: RemoteFile) {
    this.name = name;
    this.byteLength = remote.byteLength;
    this.#remote = remote;
  }

  read(start: number, end: number): Uint8Array<ArrayBuffer> {
    const found = this.#holding(start, end);
    if (found === undefined) throw new GrpoError("INTERNAL", `bytes ${start} to ${end} of ${this.name} are not there`);
    return found.bytes.subarray(start - found.start, end - found.start);
  }

  async ensure(ranges: readonly ByteRange[]): Promise<void> {
    const wanted = merge(ranges, GAP);
    const held = wanted.flatMap(({ start, end }) => this.#holding(start, end) ?? []);
    const missing = wanted.filter(({ start, end }) => this.#holding(start, end) === undefined);
    const fetched: Part[] = [];
    await fetchAll(
      this.#remote,
      missing,
      ({ start }, bytes) => fetched.push({ start, bytes }),
      Number.POSITIVE_INFINITY,
    );
    this.#before = this.#last;
    this.#last = [...held, ...fetched];
  }

  #holding(start: number, end: number): Part | undefined {
    const holds = (part: Part) => part.start <= start && end <= part.start + part.bytes.length;
    return this.#last.find(holds) ?? this.#before.find(holds);
  }
}

async function fetchAll(
  remote: RemoteFile,
  ranges: readonly ByteRange[],
  give: (range: ByteRange, bytes: Uint8Array<ArrayBuffer>) => void,
  longest = LONGEST,
): Promise<void> {
  const queue = ranges.flatMap((range) => cut(range, longest));
  const worker = async () => {
    for (let range = queue.shift(); range !== undefined; range = queue.shift()) {
      give(range, await remote.slice(range.start, range.end));
    }
  };
  const workers = Array.from({ length: AT_ONCE }, () =>
    worker().catch((thrown: unknown) => {
      // The others end with the range in their hands, and nothing is given any more once the failure is reported.
      queue.length = 0;
      throw thrown;
    }),
  );
  const failed = (await Promise.allSettled(workers)).find((end) => end.status === "rejected");
  if (failed !== undefined) throw failed.reason;
}

function writeAt(file: string, start: number, bytes: Uint8Array): void {
  const descriptor = openSync(file, "r+");
  try {
    for (let done = 0; done < bytes.length; ) {
      done += writeSync(descriptor, bytes, done, bytes.length - done, start + done);
    }
  } finally {
    closeSync(descriptor);
  }
}

function cut({ start, end }: ByteRange, longest: number): ByteRange[] {
  if (end - start <= longest) return [{ start, end }];
  const count = Math.ceil((end - start) / longest);
  return Array.from({ length: count }, (_, i) => ({
    start: start + i * longest,
    end: Math.min(end, start + (i + 1) * longest),
  }));
}

/** Ranges in order, those that touch or nearly touch as one. */
export function merge(ranges: readonly ByteRange[], gap: number): ByteRange[] {
  const merged: { start: number; end: number }[] = [];
  for (const { start, end } of [...ranges].sort((a, b) => a.start - b.start)) {
    const last = merged.at(-1);
    if (last && start <= last.end + gap) last.end = Math.max(last.end, end);
    else if (end > start) merged.push({ start, end });
  }
  return merged;
}

/** The parts of `wanted` that are not in `held`; both in order. */
export function subtract(wanted: readonly ByteRange[], held: readonly ByteRange[]): ByteRange[] {
  return wanted.flatMap(({ start, end }) => {
    const rest: ByteRange[] = [];
    let from = start;
    for (const range of held) {
      if (range.end <= from || range.start >= end) continue;
      if (range.start > from) rest.push({ start: from, end: range.start });
      from = Math.max(from, range.end);
    }
    if (from < end) rest.push({ start: from, end });
    return rest;
  });
}

function sum(ranges: readonly ByteRange[]): number {
  return ranges.reduce((total, { start, end }) => total + end - start, 0);
}
