// Writes a GGUF file, version 3: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. What stands in it is not decided here.

import { open } from "node:fs/promises";
import path from "node:path";
import { writeFiles } from "../model/files/model-files.js";
import type { TensorType } from "./tensor-types.js";

/** A number is a uint32; one float32 is in a Float32Array. */
export type MetadataValue = string | boolean | number | Float32Array | Int32Array | readonly string[];
export type Metadata = Readonly<Record<string, MetadataValue>>;

export interface GgufTensor {
  readonly name: string;
  /** Row-major, as in PyTorch. */
  readonly shape: readonly number[];
  readonly type: TensorType;
  /** Its values in order, in parts of whole blocks. */
  values(): AsyncIterable<Float32Array>;
}

const ALIGNMENT = 32;
const [VERSION, UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY] = [3, 4, 5, 6, 7, 8, 9];

/** Readers never see half a file. Throws BAD_INPUT where it cannot be written. */
export async function writeGguf(file: string, metadata: Metadata, tensors: readonly GgufTensor[]): Promise<void> {
  const write = async (temporary: string) => {
    const handle = await open(temporary, "w");
    try {
      await handle.writeFile(headerBytes(metadata, tensors));
      for (const tensor of tensors) {
        for await (const values of tensor.values()) await handle.writeFile(tensor.type.encode(values));
        await handle.writeFile(Buffer.alloc(padding(byteLength(tensor))));
      }
    } finally {
      await handle.close();
    }
  };
  await writeFiles(path.dirname(file), { [path.basename(file)]: write });
}

function headerBytes(metadata: Metadata, tensors: readonly GgufTensor[]): Buffer {
  const entries = Object.entries(metadata);
  let offset = 0;
  const infos = tensors.map((tensor) => {
    const { name, shape, type } = tensor;
    // The innermost dimension first.
    const info = [text(name), uint32(shape.length), ...shape.toReversed().map(uint64), uint32(type.id), uint64(offset)];
    offset += byteLength(tensor) + padding(byteLength(tensor));
    return Buffer.concat(info);
  });
  const counts = [uint32(VERSION), uint64(tensors.length), uint64(entries.length)];
  const values = entries.map(([key, value]) => Buffer.concat([text(key), valueBytes(value)]));
  const header = Buffer.concat([Buffer.from("GGUF"), ...counts, ...values, ...infos]);
  return Buffer.concat([header, Buffer.alloc(padding(header.length))]);
}

function valueBytes(value: MetadataValue): Buffer {
  if (typeof value === "string") return Buffer.concat([uint32(STRING), text(value)]);
  if (typeof value === "boolean") return Buffer.concat([uint32(BOOL), Buffer.from([Number(value)])]);
  if (typeof value === "number") return Buffer.concat([uint32(UINT32), uint32(value)]);
  if (value instanceof Float32Array) return Buffer.concat([uint32(FLOAT32), Buffer.from(value.buffer)]);
  const array = (type: number, items: Uint8Array) =>
    Buffer.concat([uint32(ARRAY), uint32(type), uint64(value.length), items]);
  if (value instanceof Int32Array) return array(INT32, Buffer.from(value.buffer));
  return array(STRING, Buffer.concat(value.map(text)));
}

function byteLength({ shape, type }: GgufTensor): number {
  return (shape.reduce((product, size) => product * size, 1) / type.blockSize) * type.blockBytes;
}

const padding = (length: number): number => (ALIGNMENT - (length % ALIGNMENT)) % ALIGNMENT;

function text(value: string): Buffer {
  const bytes = Buffer.from(value, "utf8");
  return Buffer.concat([uint64(bytes.length), bytes]);
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function uint64(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}
