// Compares a tokenizer with what Python's tokenizers recorded for it (scripts/golden/tokenizer_families.py): ids,
// offsets, decoded texts, streams of ids, and the bytes of tokens.

import { readFileSync } from "node:fs";
import path from "node:path";
import { gunzipSync } from "node:zlib";
import type { TokenizerJson } from "../../lib/tokenizer/pipeline/config.js";
import type { TokenBytes } from "../../lib/tokenizer/pipeline/token-bytes.js";
import { TokenizerBackend } from "../../lib/tokenizer/tokenizer-backend.js";

interface Golden {
  readonly vocabSize: number;
  readonly encoded: readonly { readonly ids: number[]; readonly offsets: number[] }[];
  /** Without special tokens; null where that is the same. */
  readonly plain: readonly (number[] | null)[];
  readonly decoded: readonly string[];
  readonly skipped: readonly string[];
  readonly drawn: readonly number[][];
  readonly drawnDecoded: readonly string[];
  readonly drawnSkipped: readonly string[];
}

export interface Comparison {
  readonly tokens: number;
  readonly compared: number;
  /** The first few differences, in words. */
  readonly mismatches: string[];
}

export function readGzipJson(file: string): unknown {
  return JSON.parse(gunzipSync(readFileSync(file)).toString("utf8"));
}

export function readFamily(
  folder: string,
  name: string,
): { readonly backend: TokenizerBackend; readonly golden: Golden } {
  const json = readGzipJson(path.join(folder, `${name}.json.gz`)) as TokenizerJson;
  const golden = readGzipJson(path.join(folder, `${name}.golden.json.gz`)) as Golden;
  return { backend: new TokenizerBackend(json, []), golden };
}

export function compareWithGolden(backend: TokenizerBackend, golden: Golden, texts: readonly string[]): Comparison {
  const mismatches: string[] = [];
  let compared = 0;
  let tokens = 0;
  const check = (what: string, found: unknown, expected: unknown) => {
    compared++;
    const [a, b] = [JSON.stringify(found), JSON.stringify(expected)];
    if (a !== b) mismatches.push(`${what}\n  found    ${a}\n  expected ${b}`);
  };
  check("vocabulary size", backend.size, golden.vocabSize);
  const bytes = backend.tokenBytes();
  texts.forEach((text, i) => {
    const expected = golden.encoded[i] as Golden["encoded"][number];
    const plain = golden.plain[i] ?? expected.ids;
    const shown = JSON.stringify(text);
    const detailed = backend.encodeWithOffsets(text, true);
    tokens += plain.length;
    check(`ids of ${shown}`, backend.encode(text, true), expected.ids);
    check(
      `ids with offsets of ${shown}`,
      detailed.map(({ id }) => id),
      expected.ids,
    );
    check(
      `offsets of ${shown}`,
      detailed.flatMap(({ offsets }) => toCodePoints(text, offsets)),
      expected.offsets,
    );
    check(`plain ids of ${shown}`, backend.encode(text, false), plain);
    check(`text of ${shown}`, backend.decode(plain, false), golden.decoded[i]);
    check(`text without special tokens of ${shown}`, backend.decode(plain, true), golden.skipped[i]);
    check(`streamed text of ${shown}`, streamed(backend, plain, i), golden.decoded[i]);
    check(`bytes of ${shown}`, sameBytes(bytes, plain, golden.skipped[i] as string), true);
  });
  golden.drawn.forEach((ids, i) => {
    check(`text of ${ids.join(" ")}`, backend.decode(ids, false), golden.drawnDecoded[i]);
    check(`text without special tokens of ${ids.join(" ")}`, backend.decode(ids, true), golden.drawnSkipped[i]);
    check(`streamed text of ${ids.join(" ")}`, streamed(backend, ids, i), golden.drawnDecoded[i]);
  });
  return { tokens, compared, mismatches };
}

function textOfBytes({ bytes, offsets }: TokenBytes, ids: readonly number[]): string {
  return Buffer.concat(ids.map((id) => bytes.subarray(offsets[id], offsets[id + 1]))).toString("utf8");
}

/** Decoders take spaces away at the edges of a text, and some from all of its first token; the bytes have them. */
function sameBytes(table: TokenBytes, ids: readonly number[], text: string): boolean {
  const trim = (all: string) => all.replace(/^ +| +$/g, "");
  return trim(textOfBytes(table, ids)) === trim(text) || text.endsWith(textOfBytes(table, ids.slice(1)));
}

/** Python counts code points, JavaScript UTF-16 units. */
function toCodePoints(text: string, offsets: readonly number[]): number[] {
  return offsets.map((offset) => {
    let count = 0;
    for (let at = 0; at < offset; count++) at += (text.codePointAt(at) as number) > 0xffff ? 2 : 1;
    return count;
  });
}

function streamed(backend: TokenizerBackend, ids: readonly number[], seed: number): string {
  const stream = backend.decodeStream(false);
  let text = "";
  for (let at = 0, step = 1; at < ids.length; at += step) {
    step = ((at + seed) % 3) + 1;
    const part = stream.push(ids.slice(at, at + step));
    // A half of a surrogate pair would be a split character.
    if (/\p{Cs}/u.test(part)) return `split character in ${JSON.stringify(part)}`;
    text += part;
  }
  return text + stream.end();
}
