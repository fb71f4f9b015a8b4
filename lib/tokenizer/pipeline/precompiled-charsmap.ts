// SentencePiece's precompiled normalization: a double-array trie from byte strings to offsets into a list of
// zero-terminated replacements. The layout is that of SentencePiece's normalizer, base64 in tokenizer.json.

import type { AlignedText, Change } from "./aligned-text.js";
import { unsupported } from "./config.js";

const encoder = new TextEncoder();
/** Longer graphemes are looked up character by character, as in the Rust library. */
const MAX_GRAPHEME_BYTES = 5;

export function readCharsmap(base64: string): (piece: AlignedText) => AlignedText {
  const data = Buffer.from(base64, "base64");
  const trieBytes = data.length >= 4 ? data.readUInt32LE(0) : -1;
  if (trieBytes < 4 || trieBytes % 4 !== 0 || 4 + trieBytes > data.length) {
    return unsupported("the normalizer", "precompiled_charsmap (its table is cut off)");
  }
  const trie = Uint32Array.from({ length: trieBytes / 4 }, (_, i) => data.readUInt32LE(4 + 4 * i));
  const replacements = data.subarray(4 + trieBytes);
  const cache = new Map<string, string | undefined>();
  const lookUp = (part: string): string | undefined => {
    if (cache.has(part)) return cache.get(part);
    const at = shortestPrefix(trie, encoder.encode(part));
    const end = at === undefined ? -1 : replacements.indexOf(0, at);
    const found = at === undefined ? undefined : replacements.toString("utf8", at, end < 0 ? undefined : end);
    cache.set(part, found);
    return found;
  };
  const segmenter = new Intl.Segmenter("und", { granularity: "grapheme" });
  return (piece) => {
    const changes: Change[] = [];
    let modified = false;
    const replace = (part: string): boolean => {
      const replacement = lookUp(part);
      if (replacement === undefined) return false;
      modified = true;
      pushReplacement(changes, part, replacement);
      return true;
    };
    for (const { segment } of segmenter.segment(piece.text)) {
      if (Buffer.byteLength(segment) <= MAX_GRAPHEME_BYTES && replace(segment)) continue;
      for (const char of segment) if (!replace(char)) changes.push([char, 0]);
    }
    return modified ? piece.transform(changes) : piece;
  };
}

/** The value of the shortest key that `bytes` begins with. */
function shortestPrefix(trie: Uint32Array, bytes: Uint8Array): number | undefined {
  const offset = (unit: number) => (unit >>> 10) << ((unit & 0x200) >>> 6);
  let node = offset(trie[0] as number);
  for (const byte of bytes) {
    if (byte === 0) return undefined;
    node ^= byte;
    const unit = trie[node] ?? 0;
    if ((unit & 0x800000ff) >>> 0 !== byte) return undefined;
    node ^= offset(unit);
    if ((unit >>> 8) & 1) return (trie[node] as number) & 0x7fffffff;
  }
  return undefined;
}

function pushReplacement(changes: Change[], from: string, to: string): void {
  const chars = Array.from(to);
  const difference = chars.length - Array.from(from).length;
  for (const [index, char] of chars.entries()) changes.push([char, index >= chars.length - difference ? 1 : 0]);
  // Characters that go are counted on the last one that stays, be it of an earlier part.
  const last = changes.at(-1);
  if (difference < 0 && last) changes[changes.length - 1] = [last[0], last[1] + difference];
}
