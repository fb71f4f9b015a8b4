// The bytes that each token puts into the middle of a text: what a search for stop strings in token ids works on. Only
// what decoders do at the edges of a text, such as dropping a first space, is left out.

import type { JsonObject } from "../../json.js";
import { bytesOfToken } from "./byte-level.js";
import { countOf, listOf, textOf, typeOf } from "./config.js";
import { byteOfToken, replacer, stripToken, wordPiece } from "./decoders.js";

/** The bytes of id i are bytes[offsets[i]] … bytes[offsets[i + 1]]. */
export interface TokenBytes {
  readonly bytes: Uint8Array;
  /** [greatest id + 2] */
  readonly offsets: Int32Array;
}

/** A token on its way: text, or bytes once a stage has turned it into some. */
type Stage = (token: string) => string | Uint8Array;

const PART = "the decoder";

/** `tokens` gives the spelling of each id that a decoder sees; special tokens and gaps have no bytes. */
export function createTokenBytes(
  decoder: unknown,
  tokens: readonly (string | undefined)[],
  special: ReadonlySet<string>,
): TokenBytes {
  const stages = decoder === null || decoder === undefined ? [(token: string) => ` ${token}`] : createStages(decoder);
  const parts = Array.from({ length: tokens.length }, (_, id) => {
    const token = tokens[id];
    return token === undefined || special.has(token) ? new Uint8Array() : bytesInTheMiddle(token, stages);
  });
  const offsets = new Int32Array(parts.length + 1);
  parts.forEach((part, id) => {
    offsets[id + 1] = (offsets[id] as number) + part.length;
  });
  const bytes = new Uint8Array(offsets.at(-1) as number);
  parts.forEach((part, id) => {
    bytes.set(part, offsets[id]);
  });
  return { bytes, offsets };
}

function bytesInTheMiddle(token: string, stages: readonly Stage[]): Uint8Array {
  let current: string | Uint8Array = token;
  for (const stage of stages) {
    if (typeof current !== "string") break;
    current = stage(current);
  }
  return typeof current === "string" ? Buffer.from(current, "utf8") : current;
}

/** Stages behind Fuse see the whole text and change its edges; they do not count here. */
function createStages(decoder: unknown): Stage[] {
  const stages: Stage[] = [];
  for (const config of flatten(decoder)) {
    if (config.type === "Fuse") break;
    stages.push(createStage(config));
  }
  return stages;
}

function flatten(decoder: unknown): JsonObject[] {
  const type = typeOf(decoder, PART);
  const config = decoder as JsonObject;
  if (type === undefined) return [];
  return type === "Sequence" ? listOf(config, "decoders", PART).flatMap((step) => flatten(step)) : [config];
}

function createStage(config: JsonObject): Stage {
  switch (config.type) {
    case "ByteLevel":
      return bytesOfToken;
    case "ByteFallback":
      return (token) => {
        const byte = byteOfToken(token);
        return byte === undefined ? token : Uint8Array.of(byte);
      };
    case "Replace":
      return replacer(config);
    case "Strip": {
      const [start, stop] = [countOf(config, "start", PART), countOf(config, "stop", PART)];
      return (token) => stripToken(token, textOf(config, "content", PART), start, stop);
    }
    case "Metaspace": {
      const mark = textOf(config, "replacement", PART, "▁");
      return (token) => token.replaceAll(mark, " ");
    }
    case "WordPiece": {
      const join = wordPiece(config);
      return (token) => join(token, 1);
    }
    case "BPEDecoder": {
      const suffix = textOf(config, "suffix", PART, "</w>");
      return (token) => token.replaceAll(suffix, " ");
    }
    default:
      return (token) => token;
  }
}
