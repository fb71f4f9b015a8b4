// Which tokens may be drawn at all: the options of sample() and generate(), and what they leave open as the model's own file
// says; checked, in the form that the engine takes. A rule that asks for nothing is not there.

import { badOption, checkNumber } from "../checks.js";
import { GrpoError } from "../errors.js";
import type { NativeSampleRequest } from "../native/native.js";
import { asBadConfig, type OwnGeneration } from "./generation-config.js";
import { flattenIds } from "./ragged.js";
import type { TokenRules } from "./sampled.js";

type NativeRules = Pick<
  NativeSampleRequest,
  | "minNewTokens"
  | "noRepeatNgramSize"
  | "badWordIds"
  | "badWordOffsets"
  | "suppressTokens"
  | "beginSuppressTokens"
  | "forcedEosTokens"
>;

/** What a rule is read beside: the vocabulary, and the ids that end a completion. */
export interface RuleContext {
  readonly vocabSize: number;
  readonly stopIds: Int32Array;
  /** Tokens of the longest prompt. */
  readonly longest: number;
}

interface Rule {
  /** Its name in generation_config.json. */
  readonly key: string;
  /** Throws BAD_OPTION; `where` and `name` say where the value stands. */
  read(where: string, name: string, value: unknown, context: RuleContext): NativeRules;
}

const RULES: Readonly<Record<keyof TokenRules, Rule>> = {
  minNewTokens: {
    key: "min_new_tokens",
    read: (where, name, value) => count("minNewTokens", where, name, value),
  },
  noRepeatNgramSize: {
    key: "no_repeat_ngram_size",
    read: (where, name, value) => count("noRepeatNgramSize", where, name, value),
  },
  badWordsIds: { key: "bad_words_ids", read: badWords },
  suppressTokens: {
    key: "suppress_tokens",
    read: (where, name, value, context) => ids("suppressTokens", knownIds(where, name, value, context)),
  },
  beginSuppressTokens: {
    key: "begin_suppress_tokens",
    read: (where, name, value, context) => ids("beginSuppressTokens", knownIds(where, name, value, context)),
  },
  forcedEosTokenId: { key: "forced_eos_token_id", read: forcedEos },
};

/** Throws BAD_OPTION for what the call says, BAD_CONFIG for what the model's file says. */
export function nativeRules(options: TokenRules, own: OwnGeneration, context: RuleContext): NativeRules {
  const values = withMinLength(own, context.longest);
  const rules = (Object.entries(RULES) as [keyof TokenRules, Rule][]).map(([option, { key, read }]) => {
    const [given, stored] = [options[option], values[key]];
    if (given !== undefined) return read("sample", option, given, context);
    return stored == null ? {} : asBadConfig(() => read(own.file, key, stored, context));
  });
  const all: NativeRules = Object.assign({}, ...rules);
  checkForced(options.forcedEosTokenId === undefined ? own.file : "sample", all);
  return all;
}

/** min_length counts the prompt, as far as min_new_tokens does not say it. */
function withMinLength({ file, values }: OwnGeneration, longest: number): OwnGeneration["values"] {
  const { min_length: total, min_new_tokens: own } = values;
  if (total == null || own != null) return values;
  return { ...values, min_new_tokens: asBadConfig(() => checkNumber(file, "min_length", total, WHOLE)) - longest };
}

const WHOLE = { integer: true };

/** As in transformers, none where it is 0 or less. */
function count(rule: "minNewTokens" | "noRepeatNgramSize", where: string, name: string, value: unknown): NativeRules {
  const number = checkNumber(where, name, value, WHOLE);
  return number > 0 ? { [rule]: number } : {};
}

function ids(rule: "suppressTokens" | "beginSuppressTokens" | "forcedEosTokens", list: readonly number[]): NativeRules {
  return list.length > 0 ? { [rule]: Int32Array.from(list) } : {};
}

/** Those that the model has: any other never comes. */
function knownIds(where: string, name: string, value: unknown, { vocabSize }: RuleContext): readonly number[] {
  if (!isWholeNumbers(value)) throw badOption(where, name, "a list of token ids", value);
  return value.filter((id) => id >= 0 && id < vocabSize);
}

/** transformers passes over empty words, and over the end of a text, so that a completion can end. */
function badWords(where: string, name: string, value: unknown, { vocabSize, stopIds }: RuleContext): NativeRules {
  const isWord = (word: unknown) => isWholeNumbers(word) && word.every((id) => id >= 0 && id < vocabSize);
  if (!Array.isArray(value) || !value.every(isWord)) {
    throw badOption(where, name, `a list of lists of token ids below ${vocabSize}`, value);
  }
  const words = (value as number[][]).filter(([id, ...rest]) => {
    return id !== undefined && (rest.length > 0 || !stopIds.includes(id));
  });
  if (words.length === 0) return {};
  const { ids: badWordIds, offsets: badWordOffsets } = flattenIds("bad word", words, vocabSize);
  return { badWordIds, badWordOffsets };
}

function forcedEos(where: string, name: string, value: unknown, { vocabSize }: RuleContext): NativeRules {
  const list = Array.isArray(value) ? value : [value];
  const good = isWholeNumbers(list) && list.every((id) => id >= 0 && id < vocabSize);
  if (!good) throw badOption(where, name, `a token id below ${vocabSize}, or a list of them`, value);
  return ids("forcedEosTokens", list);
}

function checkForced(where: string, { forcedEosTokens: forced, suppressTokens: suppressed }: NativeRules): void {
  if (!forced?.every((id) => suppressed?.includes(id))) return;
  const ids = forced.join(", ");
  throw new GrpoError("BAD_OPTION", `${where}: every token of forced_eos_token_id (${ids}) is in suppress_tokens`, {
    hint: "leave one of the two out",
  });
}

function isWholeNumbers(value: unknown): value is readonly number[] {
  return Array.isArray(value) && value.every(Number.isInteger);
}
