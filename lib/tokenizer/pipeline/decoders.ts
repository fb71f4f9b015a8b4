// The decoders of tokenizer.json: from tokens back to text. Each is a stage that takes tokens one by one and hands on
// what it is sure of, so that a whole text and a stream of tokens go the same way and give the same text.

import type { JsonObject } from "../../json.js";
import { bytesOfToken } from "./byte-level.js";
import { countOf, flagOf, listOf, textOf, typeOf, unsupported } from "./config.js";
import { findSegments, readPattern } from "./patterns.js";
import { prependScheme } from "./pre-tokenizers.js";

export interface DecoderStage {
  push(token: string): void;
  /** After the last token. */
  end(): void;
}

type Emit = (text: string) => void;
/** `fused`: what comes in are fragments of one single token. */
type StageFactory = (emit: Emit, fused: boolean) => DecoderStage;

const PART = "the decoder";

/** A fresh chain of stages for one text. */
export type Decoder = (emit: Emit) => DecoderStage;

export function createDecoder(json: unknown): Decoder {
  const factories = flatten(json);
  // Without a decoder the library joins tokens with spaces.
  if (json === null || json === undefined) factories.push(eachToken((token, index) => (index > 0 ? " " : "") + token));
  const fusedFrom = factories.indexOf(fuse);
  return (emit) =>
    factories.reduceRight<DecoderStage>(
      (next, factory, index) => link(factory, next, fusedFrom >= 0 && index > fusedFrom),
      { push: emit, end: () => {} },
    );
}

function link(factory: StageFactory, next: DecoderStage, fused: boolean): DecoderStage {
  const stage = factory((text) => next.push(text), fused);
  return {
    push: (token) => stage.push(token),
    end: () => {
      stage.end();
      next.end();
    },
  };
}

function flatten(json: unknown): StageFactory[] {
  const type = typeOf(json, PART);
  if (type === undefined) return [];
  const config = json as JsonObject;
  if (type === "Sequence") return listOf(config, "decoders", PART).flatMap((step) => flatten(step));
  return [createStage(type, config)];
}

function createStage(type: string, config: JsonObject): StageFactory {
  switch (type) {
    case "ByteLevel":
      return gathering(byteLevel);
    case "ByteFallback":
      return gathering(byteFallback);
    case "Fuse":
      return fuse;
    case "Strip":
      return strip(textOf(config, "content", PART), countOf(config, "start", PART), countOf(config, "stop", PART));
    case "Replace": {
      const replace = replacer(config);
      return gathering(eachToken(replace));
    }
    case "Metaspace": {
      const mark = textOf(config, "replacement", PART, "▁");
      const first = prependScheme(config) === "never" ? " " : "";
      return gathering(eachToken((token, index) => token.replaceAll(mark, index === 0 ? first : " ")));
    }
    case "WordPiece":
      return gathering(eachToken(wordPiece(config)));
    case "BPEDecoder":
      return endOfWord(textOf(config, "suffix", PART, "</w>"));
    case "CTC":
      return gathering(ctc(config));
    default:
      return unsupported(PART, `type "${type}"`);
  }
}

/** For stages that treat a token as a whole: fragments of one wait until it is complete. */
function gathering(factory: StageFactory): StageFactory {
  return (emit, fused) => {
    const stage = factory(emit, fused);
    if (!fused) return stage;
    let text = "";
    return {
      push: (fragment) => {
        text += fragment;
      },
      end: () => {
        stage.push(text);
        stage.end();
      },
    };
  };
}

function eachToken(convert: (token: string, index: number) => string): StageFactory {
  return (emit) => {
    let index = 0;
    return { push: (token) => emit(convert(token, index++)), end: () => {} };
  };
}

const fuse: StageFactory = (emit) => ({ push: emit, end: () => {} });

/** Bytes become text as soon as a character is complete; what is no UTF-8 becomes U+FFFD. */
const byteLevel: StageFactory = (emit) => {
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  return {
    push: (token) => emit(decoder.decode(bytesOfToken(token), { stream: true })),
    end: () => emit(decoder.decode()),
  };
};

/** The byte that a token like <0x41> stands for. */
export function byteOfToken(token: string): number | undefined {
  const hex = token.length === 6 ? /^<0x([0-9A-Fa-f]{2})>$/.exec(token)?.[1] : undefined;
  return hex === undefined ? undefined : Number.parseInt(hex, 16);
}

/**
 * Runs of byte tokens become text. A run that is no UTF-8 becomes one U+FFFD per byte, so nothing of a run is sure
 * before its end.
 */
const byteFallback: StageFactory = (emit) => {
  const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  let bytes: number[] = [];
  const flush = () => {
    if (bytes.length === 0) return;
    const run = bytes;
    bytes = [];
    try {
      emit(strict.decode(Uint8Array.from(run)));
    } catch {
      for (const _ of run) emit("\uFFFD");
    }
  };
  return {
    push: (token) => {
      const byte = byteOfToken(token);
      if (byte !== undefined) {
        bytes.push(byte);
        return;
      }
      flush();
      emit(token);
    },
    end: flush,
  };
};

export function replacer(config: JsonObject): (token: string) => string {
  const pattern = readPattern(config.pattern, PART);
  const content = textOf(config, "content", PART);
  return (token) =>
    findSegments(token, pattern)
      .map(([start, end, match]) => (match ? content : token.slice(start, end)))
      .join("");
}

/** Up to `start` characters equal to `content` go at the beginning of a token, up to `stop` at its end. */
function strip(content: string, start: number, stop: number): StageFactory {
  return (emit, fused) => {
    if (!fused) return { push: (token) => emit(stripToken(token, content, start, stop)), end: () => {} };
    let toSkip = start;
    let held = "";
    const push = (fragment: string) => {
      let rest = fragment;
      while (toSkip > 0 && rest !== "") {
        if (rest.startsWith(content)) {
          rest = rest.slice(content.length);
          toSkip--;
        } else toSkip = 0;
      }
      held += rest;
      let sure = held.length;
      for (let i = 0; i < stop && held.slice(0, sure).endsWith(content); i++) sure -= content.length;
      emit(held.slice(0, sure));
      held = held.slice(sure);
    };
    return { push, end: () => {} };
  };
}

export function stripToken(token: string, content: string, start: number, stop: number): string {
  let text = token;
  for (let i = 0; i < start && text.startsWith(content); i++) text = text.slice(content.length);
  for (let i = 0; i < stop && text.endsWith(content); i++) text = text.slice(0, -content.length);
  return text;
}

/** The last token's suffix goes, every other one's becomes a space. */
function endOfWord(suffix: string): StageFactory {
  return (emit) => {
    let waiting: string | undefined;
    return {
      push: (token) => {
        if (waiting !== undefined) emit(waiting.replaceAll(suffix, " "));
        waiting = token;
      },
      end: () => {
        if (waiting !== undefined) emit(waiting.replaceAll(suffix, ""));
      },
    };
  };
}

export function wordPiece(config: JsonObject): (token: string, index: number) => string {
  const prefix = textOf(config, "prefix", PART, "##");
  const cleans = flagOf(config, "cleanup", true);
  return (token, index) => {
    const joined = index === 0 ? token : token.startsWith(prefix) ? token.slice(prefix.length) : ` ${token}`;
    return cleans ? cleanUp(joined, true) : joined;
  };
}

function ctc(config: JsonObject): StageFactory {
  const pad = textOf(config, "pad_token", PART, "<pad>");
  const delimiter = textOf(config, "word_delimiter_token", PART, "|");
  const cleans = flagOf(config, "cleanup", true);
  return (emit) => {
    let previous: string | undefined;
    return {
      push: (token) => {
        if (token === previous) return;
        previous = token;
        const text = token.replaceAll(pad, "");
        emit(cleans ? cleanUp(text, true).replaceAll(delimiter, " ") : text);
      },
      end: () => {},
    };
  };
}

/** Joins punctuation and English contractions to the word before; `doNot` is a rule that only the Rust library has. */
export function cleanUp(text: string, doNot: boolean): string {
  const joined = text
    .replaceAll(" .", ".")
    .replaceAll(" ?", "?")
    .replaceAll(" !", "!")
    .replaceAll(" ,", ",")
    .replaceAll(" ' ", "'")
    .replaceAll(" n't", "n't")
    .replaceAll(" 'm", "'m");
  const negated = doNot ? joined.replaceAll(" do not", " don't") : joined;
  return negated.replaceAll(" 's", "'s").replaceAll(" 've", "'ve").replaceAll(" 're", "'re");
}
