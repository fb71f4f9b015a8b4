import { readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { gzipSync } from "node:zlib";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { GrpoError } from "../../lib/errors.js";
import { buildHeader, inFileOrder, readHeader, readTensors, readWeights } from "../../lib/model/files/safetensors.js";
import { temporaryFolder, writeTensors } from "./folders.js";

const golden = new URL("../fixtures/golden/", import.meta.url).pathname;

/** A file with this header text (or bytes) and so many bytes of data. */
async function fileOf(header: unknown, dataBytes = 0): Promise<string> {
  const text = typeof header === "string" ? Buffer.from(header) : Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  const file = path.join(await temporaryFolder(), "model.safetensors");
  await writeFile(file, Buffer.concat([length, text, Buffer.alloc(dataBytes)]));
  return file;
}

const tensor = (begin: number, end: number, shape = [(end - begin) / 4], dtype = "F32") => {
  return { dtype, shape, data_offsets: [begin, end] };
};

describe("readHeader", () => {
  it("reads names, shapes and places of a file that safetensors wrote", async () => {
    const file = path.join(golden, "adapters/tiny-qwen2-qv/adapter_model.safetensors");
    const { tensors, metadata } = await readHeader(file);
    expect(metadata).toEqual({ format: "pt" });
    const size = (await readFile(file)).length;
    const all = [...tensors.values()];
    expect(all.at(-1)).toMatchObject({ dtype: "F32" });
    expect((all.at(-1)?.offset ?? 0) + (all.at(-1)?.bytes ?? 0)).toBe(size);
    expect(tensors.get("base_model.model.model.layers.0.self_attn.v_proj.lora_B.weight")?.shape).toEqual([64, 8]);
  });

  it("accepts scalars, empty tensors and every element size", async () => {
    const file = await fileOf({ a: tensor(0, 4, []), b: tensor(4, 4, [0, 7]), c: tensor(4, 6, [4], "F4") }, 6);
    expect([...(await readHeader(file)).tensors.values()].map(({ bytes }) => bytes).sort()).toEqual([0, 2, 4]);
  });

  it.each([
    ["a header that is not JSON", "{oops}", 0, /not JSON/],
    ["a file of another kind", "PK12345678", 0, /not a safetensors file/],
    ["a header that is a list", "[]", 0, /not a safetensors file/],
    ["a name given twice", '{"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},"a":{}}', 0, /names a twice/],
    ["a name given twice, once escaped", '{"a":{},"\\u0061":{}}', 0, /names a twice/],
    ["a field given twice", '{"a":{"dtype":"F32","dtype":"F16"}}', 0, /names dtype twice/],
    ["an unknown dtype", { a: tensor(0, 4, [1], "F31") }, 4, /tensor a: unknown dtype "F31"/],
    ["a dtype that only objects have", { a: tensor(0, 4, [1], "constructor") }, 4, /unknown dtype/],
    ["a negative size", { a: tensor(0, 4, [-1]) }, 4, /tensor a: shape/],
    ["a fractional size", { a: tensor(0, 4, [0.5, 2]) }, 4, /tensor a: shape/],
    ["a size as text", { a: { ...tensor(0, 4), shape: ["1"] } }, 4, /tensor a: shape/],
    ["a shape whose product overflows", { a: tensor(0, 4, [2 ** 40, 2 ** 40]) }, 4, /tensor a: shape/],
    ["offsets that run backwards", { a: tensor(4, 0, [1]) }, 4, /tensor a: data_offsets end/],
    ["a shape that takes other bytes than the offsets", { a: tensor(0, 8, [3]) }, 8, /takes 12 bytes.*span 8/],
    ["overlapping tensors", { a: tensor(0, 8), b: tensor(4, 12) }, 12, /tensor b overlaps/],
    ["a gap between tensors", { a: tensor(0, 4), b: tensor(8, 12) }, 12, /tensor b leaves a gap/],
    ["a gap before the first", { a: tensor(4, 8) }, 8, /tensor a leaves a gap/],
    ["data cut short", { a: tensor(0, 8) }, 7, /truncated/],
    ["bytes after the last tensor", { a: tensor(0, 8) }, 9, /bytes follow the last tensor/],
    ["a field that the format does not have", { a: { ...tensor(0, 4), x: 1 } }, 4, /tensor a: unknown field x/],
    ["a tensor that is a number", { a: 1 }, 0, /tensor a: expected an object/],
    ["metadata that is not text", { __metadata__: { step: 1 } }, 0, /__metadata__\.step/],
  ])("refuses %s, naming it", async (_, header, bytes, message) => {
    const file = await fileOf(header, bytes);
    const error = await readHeader(file).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: "BAD_CHECKPOINT", message: expect.stringMatching(message) });
    expect((error as GrpoError).message).toContain(file);
  });

  it.each([
    ["fewer than 8 bytes", Buffer.from([1, 2, 3]), /at least 8 bytes/],
    ["a header longer than the file", Buffer.from([200, 0, 0, 0, 0, 0, 0, 0, 123]), /truncated/],
    ["a header of 2^63 bytes", Buffer.from([0, 0, 0, 0, 0, 0, 0, 128, 123]), /at most 100000000/],
    ["bytes that are not UTF-8", Buffer.from([2, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xfe]), /not UTF-8/],
  ])("refuses %s", async (_, bytes, message) => {
    const file = path.join(await temporaryFolder(), "model.safetensors");
    await writeFile(file, bytes);
    await expect(readHeader(file)).rejects.toMatchObject({
      code: "BAD_CHECKPOINT",
      message: expect.stringMatching(message),
    });
  });

  it.each([
    ["gzip", gzipSync(Buffer.alloc(3000, "weights")), /gunzip/],
    ["a zip archive", Buffer.from("PK\x03\x04\x14\0\0\0\x08\0 archive/data.pkl", "latin1"), /PyTorch/],
    [
      "a Git LFS pointer",
      Buffer.from(`version https://git-lfs.github.com/spec/v1\noid sha256:${"0".repeat(64)}`),
      /git lfs/,
    ],
    ["an HTML page", Buffer.from("\n<!DOCTYPE html><html><head>"), /not the page/],
    ["a GGUF file", Buffer.from("GGUF\x03\0\0\0\x10\0\0\0"), /safetensors/],
  ])("says that a file is %s in truth", async (kind, bytes, hint) => {
    const file = path.join(await temporaryFolder(), "model.safetensors");
    await writeFile(file, bytes);
    await expect(readHeader(file)).rejects.toMatchObject({
      code: "BAD_CHECKPOINT",
      message: expect.stringContaining(`${file}: its content is ${kind}`),
      hint: expect.stringMatching(hint),
    });
  });

  it("names a file that is not there", async () => {
    const file = path.join(await temporaryFolder(), "no.safetensors");
    await expect(readHeader(file)).rejects.toMatchObject({
      code: "FILE_NOT_FOUND",
      message: expect.stringContaining(file),
    });
  });

  it("throws nothing but typed errors, whatever bytes are damaged", async () => {
    const whole = await readFile(path.join(golden, "models/qwen2-random/model.safetensors"));
    const file = path.join(await temporaryFolder(), "model.safetensors");
    const change = fc.tuple(fc.nat(2000), fc.nat(255));
    await fc.assert(
      fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 4 }), fc.nat(whole.length), async (changes, cut) => {
        const bytes = Buffer.from(whole.subarray(0, changes.length % 2 ? whole.length : cut));
        for (const [at, value] of changes) if (at < bytes.length) bytes[at] = value;
        await writeFile(file, bytes);
        const result = await readHeader(file).catch((thrown: unknown) => thrown);
        return !(result instanceof Error) || (result instanceof GrpoError && result.code === "BAD_CHECKPOINT");
      }),
      { numRuns: 200, seed: 1 },
    );
  });
});

describe("readWeights", () => {
  const tensors = ["a", "b"].map((name) => ({ name, dtype: "F32", shape: [2] }));

  async function sharded(weightMap: Record<string, unknown>): Promise<string> {
    const folder = await temporaryFolder();
    await writeTensors(path.join(folder, "1.safetensors"), tensors.slice(0, 1));
    await writeTensors(path.join(folder, "2.safetensors"), tensors.slice(1));
    const index = path.join(folder, "model.safetensors.index.json");
    await writeFile(index, JSON.stringify({ weight_map: weightMap }));
    return folder;
  }

  it("finds each tensor in the shard that the index names", async () => {
    const table = await readWeights(await sharded({ a: "1.safetensors", b: "2.safetensors" }));
    const found = table.tensors.map(({ name, file }) => [name, path.basename(table.files[file] ?? "")]);
    expect(found).toEqual([
      ["a", "1.safetensors"],
      ["b", "2.safetensors"],
    ]);
  });

  it.each([
    ["a missing shard", { a: "1.safetensors", b: "3.safetensors" }, "FILE_NOT_FOUND", /3\.safetensors/],
    [
      "a tensor that its shard lacks",
      { a: "1.safetensors", b: "1.safetensors" },
      "BAD_CHECKPOINT",
      /tensor b is not in/,
    ],
    ["a tensor that is not listed", { a: "1.safetensors", c: "2.safetensors" }, "BAD_CHECKPOINT", /tensor c/],
    ["a shard outside the folder", { a: "../1.safetensors" }, "BAD_CHECKPOINT", /leads out/],
    ["a shard by absolute path", { a: "/etc/x.safetensors" }, "BAD_CHECKPOINT", /leads out/],
    ["a shard by a Windows path", { a: "..\\x.safetensors" }, "BAD_CHECKPOINT", /leads out/],
    ["a shard that is no name", { a: 3 }, "BAD_CHECKPOINT", /weight_map\.a/],
    ["an empty index", {}, "BAD_CHECKPOINT", /weight_map/],
  ])("refuses %s", async (_, weightMap, code, message) => {
    const folder = await sharded(weightMap);
    await expect(readWeights(folder)).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
  });

  it("says which files it looked for", async () => {
    await expect(readWeights(await temporaryFolder())).rejects.toMatchObject({
      code: "FILE_NOT_FOUND",
      message: expect.stringContaining("model.safetensors.index.json"),
    });
  });
});

describe("buildHeader", () => {
  it("makes files that read back, with wide dtypes first and the data aligned", async () => {
    const tensors = inFileOrder([
      { name: "half", dtype: "BF16", shape: [3] },
      { name: "b", dtype: "F32", shape: [2, 2] },
      { name: "a", dtype: "F32", shape: [1] },
      { name: "wide", dtype: "I64", shape: [1] },
    ]);
    expect(tensors.map(({ name }) => name)).toEqual(["wide", "a", "b", "half"]);
    const header = buildHeader(tensors, { step: "3" });
    expect(header.length % 8).toBe(0);
    const data = Buffer.alloc(8 + 4 + 16 + 6);
    data.writeBigInt64LE(-5n, 0);
    data.writeFloatLE(0.5, 8);
    data.writeUInt16LE(0xc000, 8 + 4 + 16); // -2 in bfloat16
    const file = path.join(await temporaryFolder(), "x.safetensors");
    await writeFile(file, Buffer.concat([header, data]));
    expect((await readHeader(file)).metadata).toEqual({ format: "pt", step: "3" });
    const read = await readTensors(file);
    expect(read.get("wide")?.data).toEqual(new BigInt64Array([-5n]));
    expect(read.get("a")?.data).toEqual(new Float32Array([0.5]));
    expect(read.get("half")?.data).toEqual(new Float32Array([-2, 0, 0]));
  });
});
