// Files packed with gzip, whatever they are called: their first bytes say so, as they do in Python's datasets. A file on the disk
// is unpacked into the cache once, since rows of a packed file cannot be read from its middle; a stream as it goes.

import { createHash, randomUUID } from "node:crypto";
import { createReadStream, createWriteStream } from "node:fs";
import { mkdir, open, rename, rm, stat } from "node:fs/promises";
import path from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGunzip } from "node:zlib";
import { GrpoError, reasonOf } from "../errors.js";
import { cacheFolder } from "../native/libtorch.js";

/** The first bytes of what else files are packed with, none of which is text. */
const OTHERS: readonly (readonly [name: string, hex: RegExp])[] = [
  ["zip", /^504b0304/],
  ["bzip2", /^425a683.31415926/],
  ["xz", /^fd377a585a00/],
  ["zstd", /^28b52ffd/],
];

/** The path of a file's content: its own, or in the cache where the file is packed. */
export async function localPlain(file: string): Promise<string> {
  const handle = await open(file);
  const start = Buffer.alloc(8);
  try {
    await handle.read(start, 0, start.length, 0);
  } finally {
    await handle.close();
  }
  return isGzip(start, file) ? unpacked(file) : file;
}

/** The content of a file that comes in these pieces. */
export async function* unpackedBytes(chunks: AsyncIterable<Uint8Array>, file: string): AsyncGenerator<Uint8Array> {
  const pieces = chunks[Symbol.asyncIterator]();
  const first = await pieces.next();
  if (first.done) return;
  const all = async function* () {
    try {
      yield first.value;
      for (let next = await pieces.next(); !next.done; next = await pieces.next()) yield next.value;
    } finally {
      await pieces.return?.();
    }
  };
  if (isGzip(first.value, file)) yield* gunzipped(all(), file);
  else yield* all();
}

async function* gunzipped(chunks: AsyncIterable<Uint8Array>, file: string): AsyncGenerator<Uint8Array> {
  const packed = Readable.from(chunks);
  const gunzip = createGunzip();
  packed.on("error", (error) => gunzip.destroy(error));
  try {
    for await (const chunk of packed.pipe(gunzip)) yield chunk as Uint8Array;
  } catch (thrown) {
    throw thrown instanceof GrpoError ? thrown : cannotUnpack(file, thrown);
  } finally {
    packed.destroy();
  }
}

function isGzip(start: Uint8Array, file: string): boolean {
  const bytes = Buffer.from(start.subarray(0, 8)).toString("hex");
  const other = OTHERS.find(([, hex]) => hex.test(bytes));
  if (other === undefined) return bytes.startsWith("1f8b");
  throw new GrpoError("BAD_DATASET", `${file} is packed with ${other[0]}`, {
    hint: "unpack it first, or pack it with gzip",
  });
}

function cannotUnpack(file: string, thrown: unknown): GrpoError {
  return new GrpoError("BAD_DATASET", `${file} cannot be unpacked: ${reasonOf(thrown)}`, { cause: thrown });
}

async function unpacked(file: string): Promise<string> {
  const { size, mtimeMs } = await stat(file);
  const key = createHash("sha256")
    .update(`${path.resolve(file)}\n${size}\n${mtimeMs}`)
    .digest("hex")
    .slice(0, 32);
  const folder = path.join(cacheFolder(), "unpacked");
  const target = path.join(folder, key);
  if (await stat(target).catch(() => undefined)) return target;
  await mkdir(folder, { recursive: true });
  const partial = `${target}.${randomUUID()}`;
  try {
    await pipeline(createReadStream(file), createGunzip(), createWriteStream(partial));
    await rename(partial, target);
    return target;
  } catch (thrown) {
    await rm(partial, { force: true });
    throw cannotUnpack(file, thrown);
  }
}
