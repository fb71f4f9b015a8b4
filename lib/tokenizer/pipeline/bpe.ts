// Byte pair encoding: the characters of a word, joined pair by pair in the order of the merge list. Ties and leftovers
// follow the Rust library: of equal ranks the leftmost pair goes first, and unknown characters become byte tokens,
// unknown tokens (one for a run of them with `fuse_unk`), or nothing.

import type { JsonObject } from "../../json.js";
import { flagOf, listOf, textOf, unsupported } from "./config.js";
import { byteTokenIds, cached, MODEL_PART, type Model, type ModelTokens } from "./model.js";
import { PairTable } from "./pair-table.js";

interface Symbols {
  /** Token id of each; -1 for a symbol that was joined to the one before it. */
  readonly ids: number[];
  /** Start and end in the word, one after the other. */
  readonly spans: number[];
}

export function createBpe(config: JsonObject, vocabulary: ReadonlyMap<string, number>): Model {
  if (config.dropout) return unsupported(MODEL_PART, "dropout (ids would differ from call to call)");
  const merges = readMerges(config, vocabulary);
  const spell = createSpelling(config, vocabulary);
  const ignoreMerges = flagOf(config, "ignore_merges", false);
  const tokenize = (word: string): ModelTokens => {
    const whole = ignoreMerges ? vocabulary.get(word) : undefined;
    if (whole !== undefined) return { ids: [whole], spans: [0, word.length] };
    const symbols = spell(word);
    if (symbols.ids.length > 1) mergeAll(symbols, merges);
    return compact(symbols);
  };
  return { vocabulary, size: vocabulary.size, tokenize: cached(tokenize) };
}

/** A pair's place in the list is its rank. Lines of "a b" and lists of ["a", "b"] both occur. */
function readMerges(config: JsonObject, vocabulary: ReadonlyMap<string, number>): PairTable {
  const list = listOf(config, "merges", MODEL_PART);
  const prefixLength = textOf(config, "continuing_subword_prefix", MODEL_PART, "").length;
  const table = new PairTable(list.length);
  for (const [rank, entry] of list.entries()) {
    const space = typeof entry === "string" ? entry.indexOf(" ") : -1;
    const pair: readonly unknown[] =
      typeof entry === "string" ? [entry.slice(0, space), entry.slice(space + 1)] : Array.isArray(entry) ? entry : [];
    const [a, b] = pair;
    if (typeof a !== "string" || typeof b !== "string")
      return unsupported(MODEL_PART, `merge ${JSON.stringify(entry)}`);
    const left = vocabulary.get(a);
    const right = vocabulary.get(b);
    const joined = vocabulary.get(a + b.slice(prefixLength));
    if (left === undefined || right === undefined || joined === undefined) {
      return unsupported(MODEL_PART, `merge ${JSON.stringify(entry)} (not in the vocabulary)`);
    }
    table.set(left, right, rank, joined);
  }
  return table;
}

/** The characters of a word as symbols. */
function createSpelling(config: JsonObject, vocabulary: ReadonlyMap<string, number>): (word: string) => Symbols {
  const prefix = textOf(config, "continuing_subword_prefix", MODEL_PART, "");
  const suffix = textOf(config, "end_of_word_suffix", MODEL_PART, "");
  const byteFallback = flagOf(config, "byte_fallback", false);
  const fuse = flagOf(config, "fuse_unk", false);
  const unknown = typeof config.unk_token === "string" ? config.unk_token : undefined;
  const unknownId = unknown === undefined ? undefined : vocabulary.get(unknown);
  return (word) => {
    const ids: number[] = [];
    const spans: number[] = [];
    // The unknown token is written when a known character follows, so byte tokens may overtake it.
    let pending: [start: number, end: number] | undefined;
    const flush = () => {
      if (pending) ids.push(unknownId as number);
      if (pending) spans.push(...pending);
      pending = undefined;
    };
    let dropped = false;
    let start = 0;
    for (const char of word) {
      const end = start + char.length;
      const symbol = (start > 0 ? prefix : "") + char + (end === word.length ? suffix : "");
      const id = vocabulary.get(symbol);
      const bytes = id === undefined && byteFallback ? byteTokenIds(symbol, vocabulary) : undefined;
      if (id !== undefined) {
        flush();
        ids.push(id);
        spans.push(start, end);
      } else if (bytes !== undefined) {
        for (const byte of bytes) {
          ids.push(byte);
          spans.push(start, end);
        }
      } else if (unknown !== undefined) {
        if (unknownId === undefined) return unsupported(MODEL_PART, `unk_token "${unknown}" (not in the vocabulary)`);
        if (pending && fuse) pending[1] = end;
        else {
          flush();
          pending = [start, end];
        }
      } else dropped = true;
      start = end;
    }
    flush();
    return { ids, spans: dropped ? spansWithoutGaps(word, spans) : spans };
  };
}

/** The Rust library adds up the lengths of symbols in bytes, so what was dropped before a symbol moves it to the front. */
function spansWithoutGaps(word: string, spans: readonly number[]): number[] {
  const chars: [start: number, end: number][] = [];
  for (const { 0: char, index } of word.matchAll(/./gsu)) {
    for (let byte = Buffer.byteLength(char); byte > 0; byte--) chars.push([index, index + char.length]);
  }
  const moved: number[] = [];
  let start = 0;
  for (let i = 0; i < spans.length; i += 2) {
    const end = start + Buffer.byteLength(word.slice(spans[i], spans[i + 1]));
    moved.push(chars[start]?.[0] ?? 0, chars[end - 1]?.[1] ?? 0);
    start = end;
  }
  return moved;
}

// Rank and position share one number, so that the heap compares numbers: both fit into 53 bits together.
const POSITIONS = 2 ** 31;

function mergeAll({ ids, spans }: Symbols, merges: PairTable): void {
  const next = ids.map((_, i) => (i + 1 < ids.length ? i + 1 : -1));
  const previous = ids.map((_, i) => i - 1);
  const queue: number[] = [];
  const offer = (at: number) => {
    const right = at < 0 ? -1 : (next[at] as number);
    if (right < 0) return;
    const slot = merges.find(ids[at] as number, ids[right] as number);
    if (slot >= 0) pushHeap(queue, merges.rank(slot) * POSITIONS + at);
  };
  for (let i = 0; i + 1 < ids.length; i++) offer(i);
  while (queue.length > 0) {
    const top = popHeap(queue);
    const at = top % POSITIONS;
    const right = next[at] as number;
    if ((ids[at] as number) < 0 || right < 0) continue;
    const slot = merges.find(ids[at] as number, ids[right] as number);
    // The symbols at this place may have changed since the pair was queued.
    if (slot < 0 || merges.rank(slot) !== (top - at) / POSITIONS) continue;
    ids[at] = merges.joined(slot);
    ids[right] = -1;
    spans[2 * at + 1] = spans[2 * right + 1] as number;
    const after = next[right] as number;
    next[at] = after;
    if (after >= 0) previous[after] = at;
    offer(previous[at] as number);
    offer(at);
  }
}

function compact({ ids, spans }: Symbols): ModelTokens {
  const kept: ModelTokens & Symbols = { ids: [], spans: [] };
  ids.forEach((id, i) => {
    if (id < 0) return;
    kept.ids.push(id);
    kept.spans.push(spans[2 * i] as number, spans[2 * i + 1] as number);
  });
  return kept;
}

function pushHeap(heap: number[], value: number): void {
  let at = heap.length;
  heap.push(value);
  while (at > 0) {
    const parent = (at - 1) >> 1;
    if ((heap[parent] as number) <= value) break;
    heap[at] = heap[parent] as number;
    at = parent;
  }
  heap[at] = value;
}

function popHeap(heap: number[]): number {
  const top = heap[0] as number;
  const value = heap.pop() as number;
  if (heap.length === 0) return top;
  let at = 0;
  for (;;) {
    let child = 2 * at + 1;
    if (child >= heap.length) break;
    if (child + 1 < heap.length && (heap[child + 1] as number) < (heap[child] as number)) child++;
    if ((heap[child] as number) >= value) break;
    heap[at] = heap[child] as number;
    at = child;
  }
  heap[at] = value;
  return top;
}
