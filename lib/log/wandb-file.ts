// The file that Weights & Biases writes offline and `wandb sync` uploads: a header, then records in blocks of 32 KiB as in LevelDB's log
// (but a plain CRC-32 each), each record a protocol buffer `Record` of wandb/proto/wandb_internal.proto.

import { appendFile, readFile, truncate, writeFile } from "node:fs/promises";
import { at } from "../at.js";
import { fieldsOf } from "./protobuf.js";

const HEADER = Buffer.from([...Buffer.from(":W&B"), 0xe1, 0xbe, 0]);
const BLOCK = 32_768;
/** Checksum, length, and which part of a record it is. */
const CHUNK_HEADER = 7;
const PART = { whole: 1, first: 2, middle: 3, last: 4 } as const;

export class WandbFile {
  readonly path: string;
  #size: number;

  private constructor(file: string, size: number) {
    this.path = file;
    this.#size = size;
  }

  static async create(file: string): Promise<WandbFile> {
    await writeFile(file, HEADER);
    return new WandbFile(file, HEADER.length);
  }

  /**
   * A file that exists, cut before the first record that `ends` is true of, or that a kill has torn. `ends` sees each record before it:
   * the fields of its message.
   */
  static async reopen(
    file: string,
    ends: (record: ReadonlyMap<number, number | Buffer>) => boolean,
  ): Promise<WandbFile> {
    const bytes = await readFile(file);
    let size = HEADER.length;
    for (const { record, end } of wholeRecords(bytes)) {
      if (ends(new Map([...fieldsOf(record)].map(({ number, value }) => [number, value])))) break;
      size = end;
    }
    await truncate(file, size);
    return new WandbFile(file, size);
  }

  async append(records: readonly Buffer[]): Promise<void> {
    const chunks: Buffer[] = [];
    for (const record of records) {
      for (const chunk of chunksOf(record, this.#size)) {
        chunks.push(chunk);
        this.#size += chunk.length;
      }
    }
    await appendFile(this.path, Buffer.concat(chunks));
  }
}

/** A record from a place in the file on: no chunk goes over the end of a block, and zeros fill what is too small for a header. */
function* chunksOf(record: Buffer, from: number): Generator<Buffer> {
  let place = from;
  let rest = record;
  for (let first = true; first || rest.length > 0; first = false) {
    let room = BLOCK - (place % BLOCK);
    if (room < CHUNK_HEADER) {
      yield Buffer.alloc(room);
      place += room;
      room = BLOCK;
    }
    const part = rest.subarray(0, room - CHUNK_HEADER);
    rest = rest.subarray(part.length);
    const last = rest.length === 0;
    const kind = first ? (last ? PART.whole : PART.first) : last ? PART.last : PART.middle;
    yield chunk(kind, part);
    place += CHUNK_HEADER + part.length;
  }
}

function chunk(kind: number, data: Buffer): Buffer {
  const header = Buffer.alloc(CHUNK_HEADER);
  const typed = Buffer.concat([Buffer.from([kind]), data]);
  header.writeUInt32LE(crc32(typed), 0);
  header.writeUInt16LE(data.length, 4);
  header.writeUInt8(kind, 6);
  return Buffer.concat([header, data]);
}

/** Records up to the first that is torn or damaged, and where in the file each ends. */
function* wholeRecords(bytes: Buffer): Generator<{ readonly record: Buffer; readonly end: number }> {
  let parts: Buffer[] = [];
  let place = HEADER.length;
  while (place + CHUNK_HEADER <= bytes.length) {
    const room = BLOCK - (place % BLOCK);
    if (room < CHUNK_HEADER) {
      place += room;
      continue;
    }
    const kind = bytes.readUInt8(place + 6);
    const end = place + CHUNK_HEADER + bytes.readUInt16LE(place + 4);
    const data = bytes.subarray(place + CHUNK_HEADER, end);
    if (end > bytes.length || crc32(bytes.subarray(place + 6, end)) !== bytes.readUInt32LE(place)) return;
    if (kind === PART.whole || kind === PART.first) parts = [];
    parts.push(data);
    if (kind === PART.whole || kind === PART.last) yield { record: Buffer.concat(parts), end };
    place = end;
  }
}

const CRC32_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value >>> 0;
});

function crc32(data: Buffer): number {
  let crc = 0xffffffff;
  for (const byte of data) crc = at(CRC32_TABLE, (crc ^ byte) & 255) ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}
