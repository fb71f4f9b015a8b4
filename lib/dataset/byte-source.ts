// Bytes of a file by range, at once: parquet is read here and there, and rows are handed out without waiting.

import { closeSync, openSync, readSync, statSync } from "node:fs";
import { GrpoError, reasonOf } from "../errors.js";

export interface ByteRange {
  readonly start: number;
  readonly end: number;
}

export interface ByteSource {
  readonly name: string;
  readonly byteLength: number;
  read(start: number, end: number): Uint8Array<ArrayBuffer>;
  /** Fetches ranges that read() will be asked for; absent where everything is there. */
  ensure?(ranges: readonly ByteRange[]): Promise<void>;
}

/** The file is opened for each read: a data set has no moment at which it could close one. `name` is for messages. */
export function localSource(file: string, name = file): ByteSource {
  return {
    name,
    byteLength: statSync(file).size,
    read: (start, end) => readRange(file, start, end),
  };
}

export function readRange(file: string, start: number, end: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(end - start);
  let descriptor: number | undefined;
  try {
    descriptor = openSync(file, "r");
    let filled = 0;
    while (filled < bytes.length) {
      const count = readSync(descriptor, bytes, filled, bytes.length - filled, start + filled);
      if (count === 0) throw new Error(`it ends at byte ${start + filled}`);
      filled += count;
    }
    return bytes;
  } catch (thrown) {
    throw new GrpoError("BAD_DATASET", `bytes ${start} to ${end} of ${file} cannot be read: ${reasonOf(thrown)}`, {
      hint: "load the file again: it was changed or removed meanwhile",
      cause: thrown,
    });
  } finally {
    if (descriptor !== undefined) closeSync(descriptor);
  }
}
