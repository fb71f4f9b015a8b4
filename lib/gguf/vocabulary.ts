// A tokenizer as llama.cpp reads it from a GGUF file: byte-level BPE, its tokens and merges, and by name how a text is split before
// they are merged. llama.cpp knows each way of splitting under a name of its own; a tokenizer that splits otherwise is refused.

import { GrpoError } from "../errors.js";
import { isJsonObject, type JsonObject } from "../json.js";
import { readAddedTokens } from "../tokenizer/pipeline/config.js";
import type { Tokenizer } from "../tokenizer/tokenizer.js";
import type { TokenizerFiles } from "../tokenizer/tokenizer-files.js";
import type { Metadata } from "./gguf-file.js";

const WORDS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+";
const OTHERS = "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

/** llama.cpp's names, by the steps of pre_tokenizer in tokenizer.json. */
const SPLITTINGS: Readonly<Record<string, string>> = {
  "ByteLevel with its pattern": "gpt-2",
  "single digits, ByteLevel with its pattern": "smollm",
  [`/${WORDS}|\\p{N}${OTHERS}/, ByteLevel`]: "qwen2",
  [`/${WORDS}|\\p{N}{1,3}${OTHERS}/, ByteLevel`]: "llama-bpe",
};
/** Takes a word that is a token as it is, without merging; llama.cpp goes by the name. */
const IGNORES_MERGES = "llama-bpe";

const [NORMAL, CONTROL, USER_DEFINED, UNUSED] = [1, 3, 4, 5];

/** `size`: the rows of the model's embedding, which may be more than there are tokens. */
export function vocabularyMetadata(tokenizer: Tokenizer, files: TokenizerFiles, size: number): Metadata {
  const { model } = files.json;
  const splitting = splittingOf(files.json);
  const merges = model.merges;
  if (model.type !== "BPE" || !Array.isArray(merges)) throw unsupported(`model of type ${model.type}`);
  if ((model.ignore_merges === true) !== (splitting === IGNORES_MERGES)) {
    throw unsupported(`ignore_merges ${model.ignore_merges} with the splitting "${splitting}"`);
  }
  const ids = Object.entries({
    "tokenizer.ggml.bos_token_id": tokenizer.bosTokenId,
    "tokenizer.ggml.eos_token_id": tokenizer.eosTokenId,
    "tokenizer.ggml.padding_token_id": tokenizer.padTokenId,
  }).filter((entry): entry is [string, number] => entry[1] !== undefined);
  const template = defaultTemplate(files.templates);
  const encoded = tokenizer.encode("a");
  const adds = (id: number | undefined, index: number) => id !== undefined && encoded.at(index) === id;
  return {
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": splitting,
    ...tokensOf(tokenizer, files, size),
    "tokenizer.ggml.merges": merges.map((pair) => (Array.isArray(pair) ? pair.join(" ") : String(pair))),
    ...Object.fromEntries(ids),
    "tokenizer.ggml.add_bos_token": adds(tokenizer.bosTokenId, 0),
    "tokenizer.ggml.add_eos_token": adds(tokenizer.eosTokenId, -1),
    ...(template === undefined ? {} : { "tokenizer.chat_template": template }),
  };
}

function tokensOf(tokenizer: Tokenizer, { json, addedTokens }: TokenizerFiles, size: number): Metadata {
  if (tokenizer.vocabSize > size) throw unsupported(`${tokenizer.vocabSize} tokens, of which the model has ${size}`);
  const added = new Map(
    [...readAddedTokens(json).map(({ token }) => token), ...addedTokens].map((token) => [token.content, token]),
  );
  const tokens = Array.from({ length: size }, (_, id) => tokenizer.idToToken(id) ?? `[PAD${id}]`);
  const types = Int32Array.from(tokens, (token, id) => {
    const extra = added.get(token);
    if (tokenizer.idToToken(id) === undefined) return UNUSED;
    if (extra === undefined) return NORMAL;
    // As the converter has it: some models do not call their control tokens special.
    return extra.special || /^<\|.*\|>$/s.test(token) ? CONTROL : USER_DEFINED;
  });
  return { "tokenizer.ggml.tokens": tokens, "tokenizer.ggml.token_type": types };
}

function splittingOf(json: JsonObject): string {
  const { normalizer, pre_tokenizer: splitter } = json;
  // llama.cpp leaves NFC out, which acts on few texts; other normalizers act on most.
  if (normalizer != null && !(isJsonObject(normalizer) && normalizer.type === "NFC")) {
    throw unsupported(`the normalizer ${JSON.stringify(normalizer).slice(0, 80)}`);
  }
  const parts = isJsonObject(splitter) && Array.isArray(splitter.pretokenizers) ? splitter.pretokenizers : [splitter];
  const name = SPLITTINGS[parts.map(describe).join(", ")];
  if (name === undefined) throw unsupported(`the pre_tokenizer ${JSON.stringify(splitter ?? null).slice(0, 200)}`);
  return name;
}

function describe(part: unknown): string {
  if (!isJsonObject(part)) return "none";
  const { type, pattern } = part;
  if (type === "ByteLevel" && part.add_prefix_space === false) {
    return part.use_regex === false ? "ByteLevel" : "ByteLevel with its pattern";
  }
  if (type === "Digits" && part.individual_digits === true) return "single digits";
  const isSplit = type === "Split" && part.behavior === "Isolated" && part.invert === false && isJsonObject(pattern);
  return isSplit ? `/${pattern.Regex}/` : "unknown";
}

function defaultTemplate(templates: TokenizerFiles["templates"]): string | undefined {
  return typeof templates === "object" ? templates.default : templates;
}

function unsupported(what: string): GrpoError {
  return new GrpoError("BAD_TOKENIZER", `tokenizer.json: ${what} cannot be written to a GGUF file`, {
    hint: "use llama.cpp's convert_hf_to_gguf.py, as docs/using-the-result.md says",
  });
}
