// SentencePiece's Unigram model: of all ways to cut a text into pieces of the vocabulary the one with the highest sum of
// log-probabilities, found by Viterbi's algorithm. Characters that no piece covers cost the lowest score less a penalty.

import type { JsonObject } from "../../json.js";
import { widthAt } from "./aligned-text.js";
import { flagOf, listOf, unsupported } from "./config.js";
import { byteTokenIds, cached, MODEL_PART, type Model, type ModelTokens } from "./model.js";

const UNKNOWN_PENALTY = 10;

interface Pieces {
  readonly vocabulary: ReadonlyMap<string, number>;
  readonly scores: readonly number[];
  readonly minScore: number;
  /** Length of the longest piece that begins with a given UTF-16 unit. */
  readonly maxLength: ReadonlyMap<number, number>;
}

export function createUnigram(config: JsonObject): Model {
  const pieces = readPieces(config);
  const unknownId = typeof config.unk_id === "number" ? config.unk_id : undefined;
  const byteFallback = flagOf(config, "byte_fallback", false);
  const tokenize = (text: string): ModelTokens => {
    const ids: number[] = [];
    const spans: number[] = [];
    for (const [start, end] of bestPath(text, pieces, unknownId)) {
      const piece = text.slice(start, end);
      const id = pieces.vocabulary.get(piece);
      const bytes = id === undefined && byteFallback ? byteTokenIds(piece, pieces.vocabulary) : undefined;
      for (const one of bytes ?? [id ?? requireUnknown(unknownId)]) {
        ids.push(one);
        spans.push(start, end);
      }
    }
    return { ids, spans };
  };
  return { vocabulary: pieces.vocabulary, size: pieces.scores.length, tokenize: cached(tokenize) };
}

function readPieces(config: JsonObject): Pieces {
  const vocabulary = new Map<string, number>();
  const scores: number[] = [];
  const maxLength = new Map<number, number>();
  for (const [id, entry] of listOf(config, "vocab", MODEL_PART).entries()) {
    const [piece, score]: readonly unknown[] = Array.isArray(entry) ? entry : [];
    if (typeof piece !== "string" || typeof score !== "number") {
      return unsupported(MODEL_PART, `vocabulary entry ${JSON.stringify(entry)} (expected [piece, score])`);
    }
    vocabulary.set(piece, id);
    scores.push(score);
    const first = piece.charCodeAt(0);
    maxLength.set(first, Math.max(maxLength.get(first) ?? 0, piece.length));
  }
  return { vocabulary, scores, minScore: scores.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY), maxLength };
}

/** [start, end] of every piece; neighbouring unknown ones are one. */
function bestPath(text: string, pieces: Pieces, unknownId: number | undefined): [number, number][] {
  const { vocabulary, scores, maxLength } = pieces;
  const unknownScore = pieces.minScore - UNKNOWN_PENALTY;
  // For every position: the best score of a path that ends there, where its last piece starts, and that piece's id.
  const best = new Float64Array(text.length + 1);
  const from = new Int32Array(text.length + 1).fill(-1);
  const idAt = new Int32Array(text.length + 1);
  const offer = (start: number, end: number, id: number, score: number) => {
    if ((from[end] as number) >= 0 && score <= (best[end] as number)) return;
    best[end] = score;
    from[end] = start;
    idAt[end] = id;
  };
  for (let start = 0, width = 0; start < text.length; start += width) {
    width = widthAt(text, start);
    const here = best[start] as number;
    const longest = Math.min(maxLength.get(text.charCodeAt(start)) ?? 0, text.length - start);
    let single = false;
    for (let length = width; length <= longest; length++) {
      const id = vocabulary.get(text.slice(start, start + length));
      if (id === undefined) continue;
      offer(start, start + length, id, here + (scores[id] as number));
      if (length === width) single = true;
    }
    if (!single) offer(start, start + width, requireUnknown(unknownId), here + unknownScore);
  }
  return backtrack(from, idAt, unknownId);
}

function backtrack(from: Int32Array, idAt: Int32Array, unknownId: number | undefined): [number, number][] {
  const path: [number, number][] = [];
  let fusing = false;
  for (let end = from.length - 1; end > 0; ) {
    const start = from[end] as number;
    const last = path.at(-1);
    const isUnknown = idAt[end] === unknownId;
    if (isUnknown && fusing && last) last[0] = start;
    else path.push([start, end]);
    fusing = isUnknown;
    end = start;
  }
  return path.reverse();
}

function requireUnknown(unknownId: number | undefined): number {
  return unknownId ?? unsupported(MODEL_PART, "unk_id (a text has characters that no piece covers)");
}
