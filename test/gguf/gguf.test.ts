// GGUF files against those of llama.cpp's own converter (scripts/golden/gguf_files.py), read with Hugging Face's reader: the same
// metadata, names, types and bytes. That llama.cpp computes the same with them: scripts/check-result.ts.

import { createHash } from "node:crypto";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { GGMLQuantizationType, gguf } from "@huggingface/gguf";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { modelToGguf } from "../../lib/gguf/model-to-gguf.js";
import { TENSOR_TYPES, type TensorTypeName, toHalf } from "../../lib/gguf/tensor-types.js";
import { fromHalf } from "../../lib/gguf/tensor-values.js";

interface Case {
  readonly pre: string;
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly fileTypes: Readonly<Record<string, number>>;
  readonly tensors: Readonly<Record<string, Readonly<Record<string, readonly [string, number[], string | number[]]>>>>;
}

const fixtures = fileURLToPath(new URL("../fixtures/golden", import.meta.url));
const tiny = fileURLToPath(new URL("../../scripts/assets/tiny-qwen2", import.meta.url));
const golden = JSON.parse(readFileSync(path.join(fixtures, "gguf.json"), "utf8")) as {
  readonly tokenizers: Readonly<Record<string, Readonly<Record<string, string>>>>;
  readonly cases: Readonly<Record<string, Case>>;
};
const TYPES = Object.keys(TENSOR_TYPES) as TensorTypeName[];

let work = "";
beforeAll(() => {
  work = mkdtempSync(path.join(tmpdir(), "grpo-gguf-"));
});
afterAll(() => rmSync(work, { recursive: true, force: true }));

/** A folder with the model and the tokenizer of a case, and changes to its files. */
function folderOf(name: string, changes: Readonly<Record<string, (json: Json) => unknown>> = {}): string {
  const folder = mkdtempSync(path.join(work, "model-"));
  cpSync(name === "tiny-qwen2" ? tiny : path.join(fixtures, "models", name), folder, { recursive: true });
  const tokenizer = golden.tokenizers[golden.cases[name]?.pre ?? ""] ?? {};
  for (const [file, text] of Object.entries(tokenizer)) writeFileSync(path.join(folder, file), text);
  for (const [file, change] of Object.entries(changes)) {
    const json = JSON.parse(readFileSync(path.join(folder, file), "utf8")) as Json;
    writeFileSync(path.join(folder, file), JSON.stringify({ ...json, ...(change(json) as object) }));
  }
  return folder;
}
type Json = Record<string, Record<string, unknown>>;

/** What golden has of a file. */
async function contentOf(
  file: string,
): Promise<Pick<Case, "metadata"> & { readonly tensors: Record<string, unknown> }> {
  const { metadata, tensorInfos, tensorDataOffset } = await gguf(file, { allowLocalFile: true });
  const bytes = readFileSync(file);
  const tensors = tensorInfos.map(({ name, dtype, shape, offset }) => {
    const type = TENSOR_TYPES[(GGMLQuantizationType[dtype] ?? "").toLowerCase() as TensorTypeName];
    const count = shape.map(Number).reduce((product, size) => product * size, 1);
    const start = Number(tensorDataOffset + offset);
    const data = bytes.subarray(start, start + (count / type.blockSize) * type.blockBytes);
    const digest = createHash("sha256").update(data).digest("hex").slice(0, 16);
    const values = () => [...new Float32Array(Uint8Array.from(data).buffer)].map((value) => expect.closeTo(value, 5));
    const isComputed = name === "rope_freqs.weight";
    return [name, [GGMLQuantizationType[dtype], shape.map(Number), isComputed ? values() : digest]] as const;
  });
  return { metadata: { ...metadata }, tensors: Object.fromEntries(tensors) };
}

describe.each(Object.entries(golden.cases))("%s as a GGUF file", (name, expected) => {
  it.each(TYPES)("has the bytes of llama.cpp's converter as %s", async (type) => {
    const file = path.join(work, `${name}-${type}.gguf`);
    await modelToGguf(folderOf(name), file, type);
    const { metadata, tensors } = await contentOf(file);
    expect(tensors).toEqual(expected.tensors[type]);
    const { "general.file_type": fileType, ...others } = expected.metadata;
    expect(metadata).toMatchObject({ ...others, "general.file_type": expected.fileTypes[type] });
    expect(fileType).toBe(null);
    expect(metadata["general.name"]).toBe(`${name}-${type}`);
  });
});

it("says that a text begins with BOS only where the tokenizer begins it so", async () => {
  for (const [name, begins] of [
    ["family-llama32", true],
    ["family-qwen3", false],
  ] as const) {
    const file = path.join(work, "bos.gguf");
    await modelToGguf(folderOf(name), file, "f32");
    const { metadata } = await contentOf(file);
    expect(metadata["tokenizer.ggml.add_bos_token"]).toBe(begins);
  }
});

describe("what llama.cpp would compute otherwise", () => {
  const refusal = (changes: Parameters<typeof folderOf>[1], name = "family-qwen3") =>
    modelToGguf(folderOf(name, changes), path.join(work, "refused.gguf"), "f32");
  const converter = { hint: expect.stringContaining("convert_hf_to_gguf.py") };

  it.each([
    ["family-mistral", "model_type mistral"],
    ["family-gemma3", "model_type gemma3_text"],
    ["family-qwen2-yarn", "rope type yarn"],
    ["family-qwen2-window", "sliding-window"],
    ["family-llama-bias", "bias"],
  ])("is refused by name: %s", async (name, problem) => {
    const error = { code: "UNSUPPORTED_ARCHITECTURE", message: expect.stringContaining(problem), ...converter };
    await expect(refusal({}, name)).rejects.toMatchObject(error);
  });

  it.each([
    ["another pattern", "pre_tokenizer", { pre_tokenizer: { type: "Whitespace" } }],
    ["no splitting", "pre_tokenizer", { pre_tokenizer: null }],
    ["a space in front", "pre_tokenizer", { pre_tokenizer: { type: "ByteLevel", add_prefix_space: true } }],
    ["a normalizer that changes most texts", "normalizer", { normalizer: { type: "Lowercase" } }],
  ])("is refused in a tokenizer: %s", async (_, problem, change) => {
    const error = { code: "BAD_TOKENIZER", message: expect.stringContaining(problem), ...converter };
    await expect(refusal({ "tokenizer.json": () => change })).rejects.toMatchObject(error);
  });

  it("is refused in a tokenizer: words that are taken without merging, under another name", async () => {
    const change = ({ model }: Json) => ({ model: { ...model, ignore_merges: true } });
    const error = { code: "BAD_TOKENIZER", message: expect.stringContaining("ignore_merges"), ...converter };
    await expect(refusal({ "tokenizer.json": change })).rejects.toMatchObject(error);
  });
});

it("rounds to float16 as IEEE 754 does, and reads each of them back", () => {
  for (let bits = 0; bits < 65_536; bits++) {
    const value = fromHalf(bits);
    if (!Number.isNaN(value)) expect(toHalf(value)).toBe(bits);
  }
  const [one, next] = [1, 1 + 2 ** -10];
  expect([toHalf((one + next) / 2), toHalf(next + 2 ** -11), toHalf(65_519), toHalf(65_520), toHalf(2 ** -25)]).toEqual(
    [0x3c00, 0x3c02, 0x7bff, 0x7c00, 0],
  );
});
