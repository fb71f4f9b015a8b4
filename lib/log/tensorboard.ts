// TensorBoard event files: records framed as TFRecord, each a protocol buffer `Event` of tensorflow/core/util/event.proto.
// Only what scalars need is encoded: a wall time, a step, a tag and a number.

import { mkdir, open } from "node:fs/promises";
import { hostname } from "node:os";
import path from "node:path";
import { at } from "../at.js";
import { GrpoError, reasonOf } from "../errors.js";
import { double, field, float, lengthDelimited, varint } from "./protobuf.js";

/** The folder of a run's event files within its outputDir, and their names. */
export const EVENT_FOLDER = "runs";
export const EVENT_FILE = /^events\.out\.tfevents\./;

export class TensorBoardFile {
  readonly path: string;
  readonly #now: () => number;

  /** A new file in `folder`; readers merge all files of a folder. `now` gives milliseconds since 1970. */
  constructor(folder: string, now: () => number = Date.now) {
    this.path = path.join(folder, `events.out.tfevents.${Math.floor(now() / 1000)}.${hostname()}.${process.pid}`);
    this.#now = now;
  }

  /** Says where the run begins: readers then drop what there is of this step and of later ones. */
  async begin(step: number): Promise<void> {
    const session = field(7, lengthDelimited(field(1, varint(1)))); // session_log { status: START }
    await this.#append([this.#event(Buffer.concat([field(2, varint(step)), session]))]);
  }

  /** Appends one scalar for each finite value. */
  async scalars(step: number, values: Readonly<Record<string, number>>): Promise<void> {
    const summaries = Object.entries(values)
      .filter(([, value]) => Number.isFinite(value))
      .map(([tag, value]) => field(1, lengthDelimited(scalar(tag, value))));
    if (summaries.length === 0) return;
    const body = Buffer.concat([field(2, varint(step)), field(5, lengthDelimited(Buffer.concat(summaries)))]);
    await this.#append([this.#event(body)]);
  }

  #event(body: Buffer): Buffer {
    return Buffer.concat([field(1, double(this.#now() / 1000)), body]);
  }

  async #append(events: readonly Buffer[]): Promise<void> {
    try {
      await mkdir(path.dirname(this.path), { recursive: true });
      const file = await open(this.path, "a");
      try {
        const { size } = await file.stat();
        const version = size > 0 ? [] : [this.#event(field(3, lengthDelimited(Buffer.from("brain.Event:2"))))];
        await file.write(Buffer.concat([...version, ...events].map(record)));
      } finally {
        await file.close();
      }
    } catch (cause) {
      throw new GrpoError("BAD_OPTION", `cannot write ${this.path}: ${reasonOf(cause)}`, {
        cause,
        hint: "check that outputDir is a folder you may write to and that the disk is not full",
      });
    }
  }
}

function scalar(tag: string, value: number): Buffer {
  return Buffer.concat([field(1, lengthDelimited(Buffer.from(tag))), field(2, float(value))]);
}

/** TFRecord: length, its checksum, data, its checksum. */
function record(data: Buffer): Buffer {
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(data.length));
  return Buffer.concat([length, maskedChecksum(length), data, maskedChecksum(data)]);
}

const CRC32C_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0x82f63b78 : value >>> 1;
  return value >>> 0;
});

function maskedChecksum(data: Buffer): Buffer {
  let crc = 0xffffffff;
  for (const byte of data) crc = at(CRC32C_TABLE, (crc ^ byte) & 255) ^ (crc >>> 8);
  crc = (crc ^ 0xffffffff) >>> 0;
  const masked = Buffer.alloc(4);
  masked.writeUInt32LE((((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0);
  return masked;
}
