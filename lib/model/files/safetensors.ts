// Reads and writes the header of safetensors files (https://github.com/huggingface/safetensors#format). Headers come from
// strangers: everything that the engine later relies on is checked here, by the rules of the format's own reader. Tensor
// data is only touched by readTensors, for tests and scripts.

import { open, readFile } from "node:fs/promises";
import path from "node:path";
import { GrpoError, reasonOf } from "../../errors.js";
import { namingForeignKind } from "../../file-kind.js";
import { isJsonObject, repeatedKey } from "../../json.js";
import type { NativeTensorInfo, NativeTensorRef, NativeTensorTable } from "../../native/native.js";
import { isFile, WEIGHTS, WEIGHTS_INDEX } from "./model-files.js";

const MAX_HEADER_BYTES = 100_000_000;

const BITS: Readonly<Record<string, number>> = {
  F4: 4,
  F6_E2M3: 6,
  F6_E3M2: 6,
  BOOL: 8,
  U8: 8,
  I8: 8,
  F8_E5M2: 8,
  F8_E4M3: 8,
  F8_E8M0: 8,
  I16: 16,
  U16: 16,
  F16: 16,
  BF16: 16,
  I32: 32,
  U32: 32,
  F32: 32,
  I64: 64,
  U64: 64,
  F64: 64,
  C64: 64,
};

/** One tensor of one file; `offset` counts from the start of the file. */
export type StoredTensor = Omit<NativeTensorRef, "file">;

export interface SafetensorsFile {
  readonly file: string;
  readonly metadata: Readonly<Record<string, string>>;
  /** The tensors by name, in the order of their data. */
  readonly tensors: ReadonlyMap<string, StoredTensor>;
}

/** Reads and checks the header. Throws FILE_NOT_FOUND or BAD_CHECKPOINT, naming the file and the tensor. */
export async function readHeader(file: string): Promise<SafetensorsFile> {
  try {
    return await readOwnHeader(file);
  } catch (thrown) {
    throw thrown instanceof GrpoError ? await namingForeignKind(file, thrown) : thrown;
  }
}

async function readOwnHeader(file: string): Promise<SafetensorsFile> {
  const { text, dataStart, fileSize } = await readHeaderText(file);
  const header = parseHeader(file, text);
  const metadata = checkMetadata(file, header.__metadata__);
  const tensors = Object.entries(header)
    .filter(([name]) => name !== "__metadata__")
    .map(([name, value]) => checkTensor(file, name, value, dataStart));
  tensors.sort((a, b) => a.offset - b.offset || a.bytes - b.bytes);
  let end = dataStart;
  for (const tensor of tensors) {
    if (tensor.offset !== end) {
      const problem = tensor.offset < end ? "overlaps the tensor before it" : "leaves a gap before it";
      throw bad(file, `tensor ${tensor.name} ${problem}: it begins at byte ${tensor.offset}, expected ${end}`);
    }
    end += tensor.bytes;
  }
  if (end !== fileSize) {
    const problem = end > fileSize ? "the file is truncated" : "bytes follow the last tensor";
    throw bad(file, `${problem}: the header describes ${end} bytes, found ${fileSize}`);
  }
  return { file, metadata, tensors: new Map(tensors.map((tensor) => [tensor.name, tensor])) };
}

async function readHeaderText(file: string): Promise<{ text: string; dataStart: number; fileSize: number }> {
  const handle = await open(file, "r").catch((cause: unknown) => {
    throw new GrpoError("FILE_NOT_FOUND", `cannot open ${file}: ${reasonOf(cause)}`, { cause });
  });
  try {
    const info = await handle.stat();
    if (!info.isFile()) throw bad(file, "expected a safetensors file, found a folder");
    if (info.size < 8) throw bad(file, `expected at least 8 bytes, found ${info.size}`);
    const prefix = Buffer.alloc(8);
    await handle.read(prefix, 0, 8, 0);
    const length = prefix.readBigUInt64LE();
    if (length > BigInt(MAX_HEADER_BYTES)) {
      throw bad(file, `its first 8 bytes ask for a header of ${length} bytes; at most ${MAX_HEADER_BYTES} are allowed`);
    }
    const dataStart = 8 + Number(length);
    if (dataStart > info.size) {
      throw bad(file, `the header should end at byte ${dataStart}, but the file has ${info.size} bytes (truncated?)`);
    }
    const bytes = Buffer.alloc(Number(length));
    const { bytesRead } = await handle.read(bytes, 0, bytes.length, 8);
    if (bytesRead !== bytes.length) throw bad(file, `expected ${bytes.length} bytes of header, read ${bytesRead}`);
    return { text: decodeUtf8(file, bytes), dataStart, fileSize: info.size };
  } finally {
    await handle.close();
  }
}

function decodeUtf8(file: string, bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw bad(file, "the header is not UTF-8 text", cause);
  }
}

function parseHeader(file: string, text: string): Readonly<Record<string, unknown>> {
  if (!text.startsWith("{")) throw bad(file, "the header does not begin with {; this is not a safetensors file");
  let header: unknown;
  try {
    header = JSON.parse(text);
  } catch (cause) {
    throw bad(file, `the header is not JSON: ${reasonOf(cause)}`, cause);
  }
  const repeated = repeatedKey(text);
  if (repeated !== undefined) throw bad(file, `the header names ${repeated} twice`);
  if (!isJsonObject(header)) throw bad(file, "the header is not a JSON object");
  return header;
}

function checkMetadata(file: string, value: unknown): Readonly<Record<string, string>> {
  if (value === undefined) return {};
  if (!isJsonObject(value)) throw bad(file, "__metadata__ must be an object of strings");
  const entries = Object.entries(value).map(([key, text]): [string, string] => {
    if (typeof text !== "string") throw bad(file, `__metadata__.${key} must be a string`);
    return [key, text];
  });
  return Object.fromEntries(entries);
}

function checkTensor(file: string, name: string, value: unknown, dataStart: number): StoredTensor {
  const wrong = (what: string): GrpoError => bad(file, `tensor ${name}: ${what}`);
  if (!isJsonObject(value)) throw wrong("expected an object with dtype, shape and data_offsets");
  const extra = Object.keys(value).find((key) => !["dtype", "shape", "data_offsets"].includes(key));
  if (extra !== undefined) throw wrong(`unknown field ${extra}`);
  const { dtype, shape, data_offsets: offsets } = value;
  const bits = typeof dtype === "string" && Object.hasOwn(BITS, dtype) ? BITS[dtype] : undefined;
  if (typeof dtype !== "string" || bits === undefined) throw wrong(`unknown dtype ${JSON.stringify(dtype)}`);
  if (!isSizes(shape)) throw wrong(`shape must be a list of whole numbers, found ${JSON.stringify(shape)}`);
  if (!isSizes(offsets) || offsets.length !== 2) {
    throw wrong(`data_offsets must be two whole numbers, found ${JSON.stringify(offsets)}`);
  }
  const [begin = 0, end = 0] = offsets;
  if (end < begin) throw wrong(`data_offsets end (${end}) before they begin (${begin})`);
  const bytes = shape.reduce((product, size) => product * size, bits) / 8;
  if (end - begin !== bytes) {
    throw wrong(`shape [${shape.join(", ")}] of ${dtype} takes ${bytes} bytes, but data_offsets span ${end - begin}`);
  }
  return { name, dtype, shape, offset: dataStart + begin, bytes };
}

/** The weights of a model folder: model.safetensors, or the shards that model.safetensors.index.json names. */
export async function readWeights(folder: string): Promise<NativeTensorTable> {
  const single = path.join(folder, WEIGHTS);
  const index = path.join(folder, WEIGHTS_INDEX);
  // transformers prefers the single file where both exist.
  if (await isFile(single)) return tableOf([await readHeader(single)]);
  if (await isFile(index)) return readShards(folder, index);
  const hint = "convert the weights to safetensors with transformers' save_pretrained";
  throw new GrpoError(
    "FILE_NOT_FOUND",
    `no weights in ${folder}: expected model.safetensors or model.safetensors.index.json`,
    { hint },
  );
}

async function readShards(folder: string, index: string): Promise<NativeTensorTable> {
  const weightMap = await readWeightMap(index);
  const shards = new Map<string, SafetensorsFile>();
  for (const shard of new Set(weightMap.values())) {
    const file = shardPath(folder, index, shard);
    if (!(await isFile(file))) {
      throw new GrpoError("FILE_NOT_FOUND", `${index} names the shard ${shard}, which is missing in ${folder}`);
    }
    shards.set(shard, await readHeader(file));
  }
  for (const [name, shard] of weightMap) {
    if (!shards.get(shard)?.tensors.has(name)) throw bad(index, `tensor ${name} is not in its shard ${shard}`);
  }
  for (const [shard, { tensors }] of shards) {
    for (const name of tensors.keys()) {
      if (weightMap.get(name) !== shard) throw bad(index, `tensor ${name} of ${shard} is not listed for that shard`);
    }
  }
  return tableOf([...shards.values()]);
}

async function readWeightMap(index: string): Promise<Map<string, string>> {
  let content: unknown;
  try {
    content = JSON.parse(await readFile(index, "utf8"));
  } catch (cause) {
    throw bad(index, `not readable as JSON: ${reasonOf(cause)}`, cause);
  }
  const map = isJsonObject(content) ? content.weight_map : undefined;
  if (!isJsonObject(map) || Object.keys(map).length === 0)
    throw bad(index, "expected weight_map: { tensor: shard file }");
  return new Map(
    Object.entries(map).map(([name, shard]): [string, string] => {
      if (typeof shard !== "string") throw bad(index, `weight_map.${name} must be a file name`);
      return [name, shard];
    }),
  );
}

/** Shards lie beside the index; anything else could make the loader read files of the user's that are none of its business. */
function shardPath(folder: string, index: string, shard: string): string {
  const plain = shard.endsWith(".safetensors") && !/[/\\]|^\.|\0/.test(shard);
  if (!plain) throw bad(index, `the shard path ${JSON.stringify(shard)} leads out of the model's folder`);
  return path.join(folder, shard);
}

export function tableOf(files: readonly SafetensorsFile[]): NativeTensorTable {
  return {
    files: files.map(({ file }) => file),
    tensors: files.flatMap(({ tensors }, file) => [...tensors.values()].map((tensor) => ({ ...tensor, file }))),
  };
}

/** Tensors in an order that keeps each aligned to its element size, as the reference writer does: wide dtypes first. */
export function inFileOrder<T extends NativeTensorInfo>(tensors: readonly T[]): T[] {
  const order = (a: T, b: T) => (BITS[b.dtype] ?? 0) - (BITS[a.dtype] ?? 0) || compare(a.name, b.name);
  return [...tensors].sort(order);
}

export function tensorBytes({ name, dtype, shape }: NativeTensorInfo): number {
  const bits = BITS[dtype];
  if (bits === undefined) throw new GrpoError("INTERNAL", `no safetensors dtype named ${dtype} (tensor ${name})`);
  return shape.reduce((product, size) => product * size, bits) / 8;
}

/** The bytes before the data: 8 bytes of length, then JSON padded with spaces so that the data begins at a multiple of 8. */
export function buildHeader(tensors: readonly NativeTensorInfo[], metadata: Record<string, string> = {}): Uint8Array {
  const header: [string, unknown][] = [["__metadata__", { format: "pt", ...metadata }]];
  let offset = 0;
  for (const tensor of tensors) {
    const { name, dtype, shape } = tensor;
    const end = offset + tensorBytes(tensor);
    header.push([name, { dtype, shape, data_offsets: [offset, end] }]);
    offset = end;
  }
  const json = Buffer.from(JSON.stringify(Object.fromEntries(header)), "utf8");
  const padded = Math.ceil(json.length / 8) * 8;
  const bytes = Buffer.alloc(8 + padded, " ");
  bytes.writeBigUInt64LE(BigInt(padded), 0);
  json.copy(bytes, 8);
  return bytes;
}

export interface TensorData {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly data: Float32Array | Float64Array | Int32Array | BigInt64Array | Uint8Array;
}

/** The header of a file of tensors, and what goes after it in which order. */
export function fileLayout(
  listed: readonly NativeTensorInfo[],
  metadata: Record<string, string> = {},
  namesInFile: (name: string) => readonly string[] = (name) => [name],
): { readonly header: Uint8Array; readonly names: string[] } {
  const stored = listed.flatMap((tensor) =>
    namesInFile(tensor.name).map((name) => ({ ...tensor, name, source: tensor.name })),
  );
  const tensors = inFileOrder(stored);
  return { header: buildHeader(tensors, metadata), names: tensors.map(({ source }) => source) };
}

/** Every tensor of a file, in memory: for tests and scripts. BF16 becomes float32. */
export async function readTensors(file: string): Promise<Map<string, TensorData>> {
  const { tensors } = await readHeader(file);
  const content = await readFile(file);
  const read = ({ name, dtype, shape, offset, bytes }: StoredTensor): TensorData => {
    // A copy, because typed arrays need an aligned start.
    const buffer = content.buffer.slice(content.byteOffset + offset, content.byteOffset + offset + bytes);
    if (dtype === "F32") return { dtype, shape, data: new Float32Array(buffer) };
    if (dtype === "F64") return { dtype, shape, data: new Float64Array(buffer) };
    if (dtype === "I32") return { dtype, shape, data: new Int32Array(buffer) };
    if (dtype === "U8") return { dtype, shape, data: new Uint8Array(buffer) };
    if (dtype === "I64") return { dtype, shape, data: new BigInt64Array(buffer) };
    if (dtype !== "BF16") throw bad(file, `tensor ${name}: reading ${dtype} is not supported`);
    // bfloat16 is the upper half of a float32.
    const widened = Uint32Array.from(new Uint16Array(buffer), (half) => half << 16);
    return { dtype, shape, data: new Float32Array(widened.buffer) };
  };
  return new Map([...tensors].map(([name, tensor]) => [name, read(tensor)]));
}

function bad(file: string, what: string, cause?: unknown): GrpoError {
  return new GrpoError("BAD_CHECKPOINT", `${file}: ${what}`, { cause, hint: "download or export the file again" });
}

function isSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((size) => Number.isSafeInteger(size) && size >= 0);
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
