// The Hub's chunk storage (Xet) for the tests: takes xorbs and shards as clients upload them, and tells how to put a file
// together again. It trusts the hashes that clients give. Formats: the Xet protocol's xorb and shard layouts.

import { __internal_XetBlob as XetBlob } from "@huggingface/hub";
import { sha256 } from "./hub-repos.js";

interface Term {
  readonly xorb: string;
  readonly first: number;
  /** After the last chunk. */
  readonly end: number;
  readonly length: number;
}

interface Chunk {
  readonly offset: number;
  readonly stored: number;
  readonly length: number;
}

interface XetFile {
  readonly hash: string;
  readonly terms: readonly Term[];
}

const HEADER = 48;
const HASH = 32;
const BOOKEND = "f".repeat(64);

export class XetStore {
  readonly #xorbs = new Map<string, Buffer>();
  /** By the SHA-256 of the content. */
  readonly #files = new Map<string, XetFile>();
  readonly #hashes = new Map<string, XetFile>();

  addXorb(hash: string, content: Buffer): void {
    this.#xorbs.set(hash, content);
  }

  xorb(hash: string): Buffer | undefined {
    return this.#xorbs.get(hash);
  }

  /** Registers the files of a shard. */
  addShard(shard: Buffer): void {
    let at = HEADER;
    for (let hash = readHash(shard, at); hash !== BOOKEND; hash = readHash(shard, at)) {
      const flags = shard.readUInt32LE(at + HASH);
      const count = shard.readUInt32LE(at + HASH + 4);
      at += HEADER;
      const terms: Term[] = [];
      for (let i = 0; i < count; i++, at += HEADER) {
        const length = shard.readUInt32LE(at + HASH + 4);
        const [first, end] = [shard.readUInt32LE(at + HASH + 8), shard.readUInt32LE(at + HASH + 12)];
        terms.push({ xorb: readHash(shard, at), first, end, length });
      }
      const verification = (flags & 0x80000000) !== 0;
      const metadata = (flags & 0x40000000) !== 0;
      if (verification) at += count * HEADER;
      const file = { hash, terms };
      this.#hashes.set(hash, file);
      if (metadata) {
        this.#files.set(readHash(shard, at), file);
        at += HEADER;
      }
    }
  }

  /** The Xet hash of a file that was uploaded here. */
  hashOf(content: Buffer): string | undefined {
    return this.#files.get(sha256(content))?.hash;
  }

  has(sha: string): boolean {
    return this.#files.has(sha);
  }

  /** The bytes of an uploaded file, by their SHA-256. */
  async read(sha: string): Promise<Buffer | undefined> {
    const file = this.#files.get(sha);
    if (file === undefined) return undefined;
    const size = file.terms.reduce((sum, { length }) => sum + length, 0);
    const answer: typeof fetch = async (input, init) => {
      const url = new URL(String(input));
      if (url.pathname === "/token") return Response.json({ accessToken: "-", casUrl: "http://cas", exp: 1e10 });
      if (url.pathname === "/info") return Response.json(this.reconstruction(2, file.hash, 0, size, "http://cas"));
      const [, first, last] = /bytes=(\d+)-(\d+)/.exec(new Headers(init?.headers).get("range") ?? "") ?? [];
      const xorb = this.#xorbs.get(url.pathname.split("/").at(-1) ?? "") ?? Buffer.alloc(0);
      return new Response(new Uint8Array(xorb.subarray(Number(first), Number(last) + 1)), { status: 206 });
    };
    const addresses = { refreshUrl: "http://cas/token", reconstructionUrl: "http://cas/info" };
    const blob = new XetBlob({ ...addresses, hash: file.hash, size, fetch: answer, parallelDownloads: false });
    return Buffer.from(await blob.arrayBuffer());
  }

  /** What GET /v2/reconstructions (or, with `version` 1, its older form) answers for the bytes [start, end). */
  reconstruction(version: 1 | 2, hash: string, start: number, end: number, url: string): object | undefined {
    const file = this.#hashes.get(hash);
    if (file === undefined) return undefined;
    const terms: object[] = [];
    const ranges = new Map<string, { chunks: object; bytes: object }[]>();
    let at = 0;
    let skipped: number | undefined;
    for (const term of file.terms) {
      const from = at;
      at += term.length;
      if (at <= start || from >= end) continue;
      skipped ??= Math.max(0, start - from);
      const chunks = chunksOf(this.#xorbs.get(term.xorb) ?? Buffer.alloc(0));
      const [first, last] = [chunks[term.first], chunks[term.end - 1]];
      if (first === undefined || last === undefined) return undefined;
      const range = { start: term.first, end: term.end };
      const bytes = { start: first.offset, end: last.offset + last.stored - 1 };
      terms.push({ hash: term.xorb, unpacked_length: term.length, range });
      ranges.set(term.xorb, [...(ranges.get(term.xorb) ?? []), { chunks: range, bytes }]);
    }
    const head = { offset_into_first_range: skipped ?? 0, terms };
    const entries = [...ranges].map(([xorb, parts]) => {
      const address = `${url}/xorb-data/${xorb}`;
      if (version === 2) return [xorb, parts.map((part) => ({ url: address, ranges: [part] }))];
      return [xorb, parts.map(({ chunks, bytes }) => ({ range: chunks, url: address, url_range: bytes }))];
    });
    return { ...head, [version === 2 ? "xorbs" : "fetch_info"]: Object.fromEntries(entries) };
  }
}

/** Chunk after chunk, each behind 8 bytes: version, stored length (3), scheme, length (3). */
function chunksOf(xorb: Buffer): Chunk[] {
  const chunks: Chunk[] = [];
  for (let offset = 0; offset + 8 <= xorb.length && xorb[offset] === 0; ) {
    const stored = 8 + xorb.readUIntLE(offset + 1, 3);
    chunks.push({ offset, stored, length: xorb.readUIntLE(offset + 5, 3) });
    offset += stored;
  }
  return chunks;
}

/** Four little-endian 64-bit numbers, printed as numbers. */
function readHash(bytes: Buffer, at: number): string {
  let text = "";
  for (let i = 0; i < HASH; i += 8) {
    text += bytes
      .readBigUInt64LE(at + i)
      .toString(16)
      .padStart(16, "0");
  }
  return text;
}
