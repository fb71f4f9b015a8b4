// Tokenizers with the structure of published families against Rust's library: ids, offsets, texts, streams and bytes for
// texts of every kind. scripts/check-tokenizers.ts does the same with thousands of texts and with published files.

import { readdirSync } from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";
import type { TokenizerJson } from "../../lib/tokenizer/pipeline/config.js";
import { TokenizerBackend } from "../../lib/tokenizer/tokenizer-backend.js";
import { compareWithGolden, readFamily, readGzipJson } from "../support/tokenizer-golden.js";

const FAMILIES = new URL("../fixtures/tokenizers/families/", import.meta.url).pathname;
const texts = readGzipJson(path.join(FAMILIES, "texts.json.gz")) as string[];
const names = readdirSync(FAMILIES)
  .filter((file) => file.endsWith(".golden.json.gz"))
  .map((file) => file.slice(0, -".golden.json.gz".length));

describe("families of tokenizers", () => {
  it.each(names)("%s equals the Rust library", (name) => {
    const { backend, golden } = readFamily(FAMILIES, name);
    const { compared, mismatches } = compareWithGolden(backend, golden, texts);
    expect(mismatches).toEqual([]);
    expect(compared).toBeGreaterThan(1500);
  });
});

describe("what tokenizer.json must not hold", () => {
  const json = (changes: object) =>
    ({ model: { type: "BPE", vocab: { a: 0, b: 1 }, merges: [] }, ...changes }) as TokenizerJson;
  const model = (changes: object) => json({ model: { type: "BPE", vocab: { a: 0, b: 1 }, merges: [], ...changes } });

  it.each([
    ["an unknown normalizer", json({ normalizer: { type: "Nope" } }), 'the normalizer has an unsupported type "Nope"'],
    ["an unknown pre-tokenizer", json({ pre_tokenizer: { type: "UnicodeScripts" } }), 'type "UnicodeScripts"'],
    ["an unknown post-processor", json({ post_processor: { type: "Nope" } }), "the post-processor has an unsupported"],
    ["an unknown decoder", json({ decoder: { type: "Nope" } }), "the decoder has an unsupported"],
    ["a part of another form", json({ decoder: "ByteLevel" }), 'form: "ByteLevel"'],
    [
      "a bad pattern",
      json({ pre_tokenizer: { type: "Split", pattern: { Regex: "(" }, behavior: "Isolated" } }),
      'regular expression "("',
    ],
    [
      "a bad behaviour",
      json({ pre_tokenizer: { type: "Split", pattern: { String: " " }, behavior: "Nope" } }),
      "expected one of Removed, Isolated",
    ],
    ["a missing list", json({ normalizer: { type: "Sequence" } }), '"normalizers" (expected a list)'],
    ["a table that is cut off", json({ normalizer: { type: "Precompiled", precompiled_charsmap: "AAA=" } }), "cut off"],
    ["dropout", model({ dropout: 0.1 }), "dropout"],
    ["a merge of unknown tokens", model({ merges: ["a c"] }), 'merge "a c" (not in the vocabulary)'],
    ["a merge that is none", model({ merges: [1] }), "merge 1"],
    ["an id that is none", model({ vocab: { a: -1 } }), 'id -1 of the token "a"'],
    ["no vocabulary", model({ vocab: 1 }), "vocabulary (expected an object"],
    ["a piece without a score", model({ type: "Unigram", vocab: [["a"]] }), "expected [piece, score]"],
  ])("is refused: %s", (_, tokenizer, message) => {
    expect(() => new TokenizerBackend(tokenizer, [])).toThrow(
      expect.objectContaining({ code: "BAD_TOKENIZER", message: expect.stringContaining(message) }),
    );
  });

  it("says that a text needs an unknown token which is not there", () => {
    const unigram = new TokenizerBackend(model({ type: "Unigram", vocab: [["a", -1]] }), []);
    expect(unigram.encode("a", false)).toEqual([0]);
    expect(() => unigram.encode("b", false)).toThrow("unk_id");
    const words = new TokenizerBackend(model({ type: "WordLevel", unk_token: "<unk>" }), []);
    expect(() => words.encode("c", false)).toThrow('unk_token "<unk>"');
  });

  it("ignores truncation and padding, as transformers does unless it is asked for them", () => {
    const limits = { truncation: { max_length: 1, direction: "Right", strategy: "LongestFirst", stride: 0 } };
    expect(
      new TokenizerBackend(json({ ...limits, padding: { strategy: { Fixed: 9 } } }), []).encode("ab", true),
    ).toEqual([0, 1]);
  });
});
