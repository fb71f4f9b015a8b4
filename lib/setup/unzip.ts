// Unpacks chosen entries of a zip file as streams: libtorch_cpu alone is 0.4 GB, too much to hold in memory. yauzl checks
// names (no absolute path, no "..") and sizes; the checksum of every entry is checked here.
import { createWriteStream, mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { Transform } from "node:stream";
import { text } from "node:stream/consumers";
import { pipeline } from "node:stream/promises";
import { crc32 } from "node:zlib";
import * as yauzl from "yauzl";

/** Where an entry goes, relative to the target folder; undefined: it is left out. */
export type Placement = (entryName: string) => string | undefined;

/** Unpacked bytes of the entries that `place` keeps. */
export async function zipSize(file: string, place: Placement): Promise<number> {
  let bytes = 0;
  for await (const [, entry] of entriesOf(file)) if (place(entry.fileName)) bytes += entry.uncompressedSize;
  return bytes;
}

/** The text of the first entry whose name matches; undefined if there is none. */
export async function readZipText(file: string, name: RegExp): Promise<string | undefined> {
  for await (const [zip, entry] of entriesOf(file)) {
    if (!name.test(entry.fileName)) continue;
    return text((await zip.openReadStreamPromise(entry)).pipe(checksum(entry)));
  }
  return undefined;
}

/** Unpacks what `place` keeps below `target`; rejects on a damaged file. */
export async function unzip(
  file: string,
  target: string,
  place: Placement,
  onBytes: (count: number) => void = () => {},
): Promise<void> {
  for await (const [zip, entry] of entriesOf(file)) {
    const path = place(entry.fileName);
    if (!path || entry.fileName.endsWith("/")) continue;
    mkdirSync(dirname(join(target, path)), { recursive: true });
    const content = await zip.openReadStreamPromise(entry);
    await pipeline(content, checksum(entry), createWriteStream(join(target, path)));
    onBytes(entry.uncompressedSize);
  }
}

async function* entriesOf(file: string): AsyncGenerator<[yauzl.ZipFile, yauzl.Entry]> {
  const zip = await yauzl.openPromise(file, { lazyEntries: true, autoClose: false });
  try {
    for await (const entry of zip.eachEntry()) yield [zip, entry];
  } finally {
    zip.close();
  }
}

function checksum(entry: yauzl.Entry): Transform {
  let sum = 0;
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      sum = crc32(chunk, sum);
      done(null, chunk);
    },
    flush(done) {
      done(sum === entry.crc32 ? null : new Error(`the checksum of ${entry.fileName} is wrong`));
    },
  });
}
