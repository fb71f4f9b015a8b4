// Token ids and texts against Python's tokenizers, special tokens in every form that files come in, and saving.

import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { ProcessingClass } from "../../lib/tokenizer/processing-class.js";
import { Tokenizer } from "../../lib/tokenizer/tokenizer.js";
import { HubServer } from "../support/hub-server.js";

const FIXTURES = new URL("../fixtures/tokenizers/", import.meta.url).pathname;
const TINY = new URL("../../scripts/assets/tiny-qwen2/", import.meta.url).pathname;
const STORIES = path.join(FIXTURES, "stories260k");

interface Golden {
  vocabSize: number;
  encoded: { text: string; ids: number[]; plain: number[] }[];
  decoded: { ids: number[]; text: string; skipped: string }[];
}

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "grpo-tokenizer-"));
});

afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(folder, { recursive: true, force: true });
});

describe.each([
  ["tiny-qwen2", TINY],
  ["stories260k", STORIES],
])("%s", (name, source) => {
  it("gives the ids and texts of Python's tokenizers", async () => {
    const tokenizer = await Tokenizer.fromPretrained(source);
    const golden = JSON.parse(await readFile(path.join(FIXTURES, `golden-${name}.json`), "utf8")) as Golden;
    expect(tokenizer.vocabSize).toBe(golden.vocabSize);
    expect(golden.encoded.length).toBeGreaterThan(50);
    for (const { text, ids, plain } of golden.encoded) {
      expect(tokenizer.encode(text), text).toEqual(ids);
      expect(tokenizer.encode(text, { addSpecialTokens: false }), text).toEqual(plain);
    }
    for (const { ids, text, skipped } of golden.decoded) {
      expect(tokenizer.decode(ids), ids.join(" ")).toBe(text);
      expect(tokenizer.decode(ids, { skipSpecialTokens: true }), ids.join(" ")).toBe(skipped);
    }
  });
});

describe("encoding and decoding", () => {
  it("adds BOS where tokenizer.json's post-processor does", async () => {
    const tokenizer = await Tokenizer.fromPretrained(STORIES);
    expect(tokenizer.encode("hi")[0]).toBe(tokenizer.bosTokenId);
    expect(tokenizer.encode("hi", { addSpecialTokens: false })).toEqual(tokenizer.encode("hi").slice(1));
  });

  it("gives nothing for nothing, and for ids without a token", async () => {
    const tokenizer = await Tokenizer.fromPretrained(TINY);
    expect(tokenizer.encode("")).toEqual([]);
    expect(tokenizer.decode([])).toBe("");
    expect(tokenizer.decode([500, 511])).toBe("");
  });

  it("refuses what is not text or not an id", async () => {
    const tokenizer = await Tokenizer.fromPretrained(TINY);
    expect(() => tokenizer.encode(undefined as unknown as string)).toThrow("takes a string");
    expect(() => tokenizer.decode([1.5])).toThrow("integers from 0");
    expect(() => tokenizer.decode([-1])).toThrow("integers from 0");
  });

  it("says where each token comes from, in positions of the string", async () => {
    const tokenizer = await Tokenizer.fromPretrained(STORIES);
    const text = "😀 once";
    const { ids, offsets } = tokenizer.encodeWithOffsets(text);
    expect(ids).toEqual(tokenizer.encode(text));
    expect(offsets[0]).toEqual([0, 0]);
    expect(new Set(offsets.slice(2, 6).map(([start, end]) => text.slice(start, end)))).toEqual(new Set(["😀"]));
    expect(offsets.at(-1)?.[1]).toBe(text.length);
    expect(() => tokenizer.encodeWithOffsets(1 as unknown as string)).toThrow("takes a string");
  });

  it("reads half of a surrogate pair as U+FFFD", async () => {
    const tokenizer = await Tokenizer.fromPretrained(TINY);
    expect(tokenizer.decode(tokenizer.encode("a\ud83db"))).toBe("a\ufffdb");
    expect(tokenizer.encodeWithOffsets("a\ud83db").offsets.at(-1)).toEqual([2, 3]);
  });

  it("decodes a stream of ids without splitting a character", async () => {
    for (const source of [TINY, STORIES]) {
      const tokenizer = await Tokenizer.fromPretrained(source);
      const ids = tokenizer.encode("né 😀😀!", { addSpecialTokens: false });
      const stream = tokenizer.decodeStream();
      const parts = ids.map((id) => stream.push([id]));
      expect(parts.every((part) => !part.includes("\ufffd"))).toBe(true);
      expect(parts.join("") + stream.end()).toBe(tokenizer.decode(ids));
    }
    const tokenizer = await Tokenizer.fromPretrained(TINY);
    const stream = tokenizer.decodeStream({ skipSpecialTokens: true });
    // The first byte of a character, then nothing more.
    const [first] = tokenizer.encode("😀");
    expect(stream.push([467, first as number])).toBe("");
    expect(stream.end()).toBe("\ufffd");
    expect(() => stream.push([-1])).toThrow("integers from 0");
  });

  it("gives the bytes of every token", async () => {
    const tokenizer = await Tokenizer.fromPretrained(TINY);
    const { bytes, offsets } = tokenizer.tokenBytes();
    const of = (id: number) => bytes.slice(offsets[id], offsets[id + 1]);
    const ids = tokenizer.encode(" é😀");
    expect(Buffer.concat(ids.map(of)).toString("utf8")).toBe(" é😀");
    expect(of(467)).toHaveLength(0);
    const words = await Tokenizer.fromPretrained(STORIES);
    const table = words.tokenBytes();
    const once = words.encode("once", { addSpecialTokens: false })[0] as number;
    expect(table.bytes.slice(table.offsets[once], table.offsets[once + 1])[0]).toBe(0x20);
  });

  it("is what the trainer asks for", async () => {
    const processing: ProcessingClass = await Tokenizer.fromPretrained(TINY);
    const ids = processing.applyChatTemplate([{ role: "user", content: "2+2" }], {
      addGenerationPrompt: true,
      tokenize: true,
    });
    expect(processing.decode(ids)).toBe("<|im_start|>user\n2+2<|im_end|>\n<|im_start|>assistant\n");
  });
});

describe("special tokens", () => {
  it("reads strings and objects, from the config and from special_tokens_map.json", async () => {
    await writeTokenizer({
      "tokenizer_config.json": { eos_token: { content: "<|im_end|>", lstrip: false }, bos_token: null },
      "special_tokens_map.json": { pad_token: { content: "<|endoftext|>" }, eos_token: "<|im_end|>" },
    });
    const tokenizer = await Tokenizer.fromPretrained(folder);
    expect([tokenizer.eosToken, tokenizer.eosTokenId]).toEqual(["<|im_end|>", 467]);
    expect([tokenizer.padToken, tokenizer.padTokenId]).toEqual(["<|endoftext|>", 465]);
    expect([tokenizer.bosToken, tokenizer.bosTokenId]).toEqual([undefined, undefined]);
  });

  it("falls back to the ids of config.json, but respects a null", async () => {
    await writeTokenizer({
      "tokenizer_config.json": { bos_token: null },
      "config.json": { bos_token_id: 465, eos_token_id: [467, 465], pad_token_id: -1 },
    });
    const tokenizer = await Tokenizer.fromPretrained(folder);
    expect(tokenizer.bosToken).toBeUndefined();
    expect(tokenizer.eosToken).toBe("<|im_end|>");
    expect(tokenizer.padToken).toBeUndefined();
    expect(tokenizer.eosTokenIds).toEqual([465, 467]);
  });

  it("unites the tokenizer's EOS with those of generation_config.json", async () => {
    await writeTokenizer({
      "tokenizer_config.json": { eos_token: "<|im_end|>" },
      "generation_config.json": { eos_token_id: [465, 467] },
      "config.json": { eos_token_id: 1 },
    });
    expect((await Tokenizer.fromPretrained(folder)).eosTokenIds).toEqual([465, 467]);
    await writeTokenizer({ "generation_config.json": { eos_token_id: 465 } });
    expect((await Tokenizer.fromPretrained(folder)).eosTokenIds).toEqual([465, 467]);
    await writeTokenizer({ "generation_config.json": { eos_token_id: null } });
    expect((await Tokenizer.fromPretrained(folder)).eosTokenIds).toEqual([467]);
    await writeTokenizer({
      "generation_config.json": { eos_token_id: [-1, 465, 5000] },
      "config.json": { eos_token_id: 1, vocab_size: 512 },
    });
    expect((await Tokenizer.fromPretrained(folder)).eosTokenIds).toEqual([465, 467]);
  });

  it("knows tokens that only tokenizer_config.json names", async () => {
    await writeTokenizer({
      "tokenizer_config.json": {
        added_tokens_decoder: { "470": { content: "<|tool|>", special: true, normalized: false } },
        additional_special_tokens: ["<|extra|>"],
        pad_token: "[PAD]",
      },
    });
    const tokenizer = await Tokenizer.fromPretrained(folder);
    expect(tokenizer.encode("a<|tool|>b")).toContain(470);
    expect([tokenizer.tokenToId("[PAD]"), tokenizer.tokenToId("<|extra|>")].sort()).toEqual([471, 472]);
    expect(tokenizer.decode([470], { skipSpecialTokens: true })).toBe("");
    expect(tokenizer.idToToken(470)).toBe("<|tool|>");
  });

  it("lets the config change how a token of tokenizer.json is found", async () => {
    const flags = { content: "<|im_end|>", lstrip: true, rstrip: true, normalized: false, special: false };
    await writeTokenizer({ "tokenizer_config.json": { added_tokens_decoder: { "467": flags } } });
    const tokenizer = await Tokenizer.fromPretrained(folder);
    expect(tokenizer.encodeWithOffsets("a <|im_end|> b").offsets).toEqual([
      [0, 1],
      [1, 13],
      [13, 14],
    ]);
    expect(tokenizer.decode([467], { skipSpecialTokens: true })).toBe("");
  });

  it("reads special tokens as text where the config says so", async () => {
    await writeTokenizer({ "tokenizer_config.json": { split_special_tokens: true } });
    const tokenizer = await Tokenizer.fromPretrained(folder);
    const ids = tokenizer.encode("a<|im_end|>");
    expect(ids).not.toContain(467);
    expect(tokenizer.decode(ids)).toBe("a<|im_end|>");
  });

  it("takes another token of the vocabulary, and no other word", async () => {
    const tokenizer = await Tokenizer.fromPretrained(TINY);
    tokenizer.padToken = tokenizer.eosToken;
    expect(tokenizer.padTokenId).toBe(467);
    expect(() => {
      tokenizer.padToken = "[NEW]";
    }).toThrow('must be a token of the vocabulary, found "[NEW]"');
    tokenizer.eosToken = "<|endoftext|>";
    expect(tokenizer.eosTokenIds).toEqual([465, 467]);
  });

  it("cleans up spaces only where transformers does", async () => {
    await writeTokenizer({ "tokenizer_config.json": { clean_up_tokenization_spaces: true } });
    const byteLevel = await Tokenizer.fromPretrained(folder);
    expect(byteLevel.decode(byteLevel.encode("yes , no ."))).toBe("yes , no .");
    await writeFile(path.join(folder, "tokenizer.json"), JSON.stringify(wordPiece()));
    const words = await Tokenizer.fromPretrained(folder);
    expect(words.decode(words.encode("yes , no ."))).toBe("yes, no.");
  });
});

describe("saving", () => {
  it("keeps every byte when nothing changed", async () => {
    for (const source of [TINY, STORIES]) {
      const out = path.join(folder, path.basename(source));
      await (await Tokenizer.fromPretrained(source)).savePretrained(out);
      for (const name of await readdir(out)) {
        expect((await readFile(path.join(out, name))).equals(await readFile(path.join(source, name))), name).toBe(true);
      }
      expect(await readdir(out)).toContain("tokenizer.json");
      expect(await readdir(out)).not.toContain("config.json");
    }
  });

  it("saves a changed token in both files, and digits that a double cannot hold", async () => {
    const limit = '"model_max_length": 1000000000000000019884624838656';
    await writeTokenizer({ "special_tokens_map.json": { pad_token: { content: "<|endoftext|>" } } });
    await writeFile(path.join(folder, "tokenizer_config.json"), `{"eos_token": "<|im_end|>", ${limit}, "zeta": 1.5}`);
    const tokenizer = await Tokenizer.fromPretrained(folder);
    tokenizer.padToken = tokenizer.eosToken;
    const out = path.join(folder, "out");
    await tokenizer.savePretrained(out);
    const config = await readFile(path.join(out, "tokenizer_config.json"), "utf8");
    expect(config).toContain(`${limit},`);
    expect(JSON.parse(config)).toMatchObject({ eos_token: "<|im_end|>", pad_token: "<|im_end|>", zeta: 1.5 });
    expect(JSON.parse(await readFile(path.join(out, "special_tokens_map.json"), "utf8"))).toEqual({
      pad_token: "<|im_end|>",
    });
    expect((await Tokenizer.fromPretrained(out)).padToken).toBe("<|im_end|>");
  });

  it("writes a template that the program set", async () => {
    const tokenizer = await Tokenizer.fromPretrained(STORIES);
    tokenizer.chatTemplate = "{{ messages[0].content }}!";
    await tokenizer.savePretrained(folder);
    const again = await Tokenizer.fromPretrained(folder);
    expect(again.applyChatTemplate([{ role: "user", content: "hi" }])).toBe("hi!");
    expect(() => {
      tokenizer.chatTemplate = "{% if %}";
    }).toThrow("cannot be parsed");
    expect(tokenizer.chatTemplate).toBe("{{ messages[0].content }}!");
  });

  it("uploads what it saves, and loads it from the Hub without weights", async () => {
    const hub = new HubServer();
    await hub.start();
    try {
      vi.stubEnv("HF_ENDPOINT", hub.url);
      vi.stubEnv("HF_HOME", folder);
      vi.stubEnv("HF_HUB_CACHE", "");
      vi.stubEnv("HF_TOKEN", hub.token);
      vi.stubEnv("HF_HUB_OFFLINE", "");
      const tokenizer = await Tokenizer.fromPretrained(TINY);
      await tokenizer.pushToHub("ada/tiny");
      const files = hub.commits[0]?.files ?? {};
      expect(Object.keys(files).sort()).toEqual(["chat_template.jinja", "tokenizer.json", "tokenizer_config.json"]);
      hub.add("ada/tiny", { files: { ...files, "model.safetensors": "weights" } });
      hub.requests.length = 0;
      const loaded = await Tokenizer.fromPretrained("ada/tiny");
      expect(loaded.encode("hello")).toEqual(tokenizer.encode("hello"));
      expect(hub.requests.join("\n")).not.toContain("model.safetensors");
    } finally {
      await hub.stop();
    }
  });
});

it("reads the files in a folder of a folder", async () => {
  await cp(TINY, path.join(folder, "some/tokenizer"), { recursive: true });
  const tokenizer = await Tokenizer.fromPretrained(folder, { subfolder: "some/tokenizer" });
  expect(tokenizer.encode("one two")).toEqual((await Tokenizer.fromPretrained(TINY)).encode("one two"));
  await expect(Tokenizer.fromPretrained(folder, { subfolder: "some/model" })).rejects.toMatchObject({
    code: "FILE_NOT_FOUND",
  });
});

it("says that it is offline where the cache has other files of the model only", async () => {
  const root = path.join(folder, "models--org--m");
  const snapshot = path.join(root, "snapshots", "a".repeat(40));
  await mkdir(snapshot, { recursive: true });
  await mkdir(path.join(root, "refs"));
  await writeFile(path.join(root, "refs/main"), "a".repeat(40));
  await writeFile(path.join(snapshot, "config.json"), "{}");
  vi.stubEnv("HF_HUB_OFFLINE", "1");
  await expect(Tokenizer.fromPretrained("org/m", { cacheDir: folder })).rejects.toMatchObject({
    code: "BAD_TOKENIZER",
    message: expect.stringMatching(/no tokenizer\.json.*HF_HUB_OFFLINE is set/),
  });
});

describe("bad files", () => {
  it.each([
    ["no tokenizer.json", {}, "no tokenizer.json in"],
    ["broken JSON", { "tokenizer.json": "{" }, "tokenizer.json is not valid JSON"],
    [
      "a pointer",
      { "tokenizer.json": "version https://git-lfs.github.com/spec/v1" },
      "has a Git LFS pointer for its content",
    ],
    ["a list", { "tokenizer.json": "[]" }, "must hold a JSON object"],
    ["no model", { "tokenizer.json": "{}" }, 'has no "model" part'],
    ["an unknown part", { "tokenizer.json": '{"model":{"type":"Nope"}}' }, 'unsupported type "Nope"'],
    ["a bad template list", { "tokenizer_config.json": '{"chat_template":[{"name":1}]}' }, "chat_template must be"],
  ])("names the file with %s", async (_, files: Record<string, string>, message) => {
    if (!("tokenizer.json" in files) && Object.keys(files).length > 0) await writeTokenizer({});
    for (const [name, text] of Object.entries(files)) await writeFile(path.join(folder, name), text);
    await expect(Tokenizer.fromPretrained(folder)).rejects.toMatchObject({
      code: "BAD_TOKENIZER",
      message: expect.stringContaining(message),
    });
  });

  it("refuses an EOS id that is no id", async () => {
    await writeTokenizer({ "generation_config.json": { eos_token_id: "2" } });
    const tokenizer = await Tokenizer.fromPretrained(folder);
    expect(() => tokenizer.eosTokenIds).toThrow("eos_token_id must be a token id");
  });
});

/** The tiny tokenizer.json with other files beside it; those of an earlier call stay. */
async function writeTokenizer(files: Readonly<Record<string, unknown>>): Promise<void> {
  await mkdir(folder, { recursive: true });
  await writeFile(path.join(folder, "tokenizer.json"), await readFile(path.join(TINY, "tokenizer.json")));
  for (const [name, value] of Object.entries(files)) await writeFile(path.join(folder, name), JSON.stringify(value));
}

function wordPiece() {
  return {
    added_tokens: [],
    normalizer: null,
    pre_tokenizer: { type: "WhitespaceSplit" },
    post_processor: null,
    decoder: { type: "WordPiece", prefix: "##", cleanup: false },
    model: {
      type: "WordPiece",
      unk_token: "[UNK]",
      continuing_subword_prefix: "##",
      max_input_chars_per_word: 100,
      vocab: { "[UNK]": 0, yes: 1, no: 2, ",": 3, ".": 4 },
    },
  };
}
