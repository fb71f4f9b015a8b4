// Adapters that are broken in one way each: every one is refused with BAD_ADAPTER and the name of what is wrong, and the model
// is as it was.

import { cp, mkdtemp, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { CausalLM } from "../../lib/model/model.js";
import { DEVICE } from "../support/device.js";
import { goldenPath } from "./golden.js";

const good = goldenPath("adapters/save-norms");
const CONFIG = "adapter_config.json";
const WEIGHTS = "adapter_model.safetensors";
const first = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight";

const folders: string[] = [];
let model: CausalLM;
let before: Float32Array[];
beforeAll(async () => {
  model = await CausalLM.fromPretrained(goldenPath("models/family-gemma3"), { dtype: "float32", device: DEVICE });
  before = await model.forward([[3, 4, 5]]);
});
afterAll(async () => {
  model.dispose();
  for (const folder of folders) await rm(folder, { recursive: true, force: true });
});

type Header = Record<string, { dtype: string; shape: number[]; data_offsets: [number, number] }>;

/** Writes the file anew with a changed header (as text) and data. */
async function rewrite(
  file: string,
  change: (header: Header, data: Buffer) => { text?: string; data?: Buffer } | undefined,
) {
  const content = await readFile(file);
  const length = Number(content.readBigUInt64LE());
  const header: Header = JSON.parse(content.subarray(8, 8 + length).toString());
  const data = Buffer.from(content.subarray(8 + length));
  const changed = change(header, data) ?? {};
  const text = Buffer.from(changed.text ?? JSON.stringify(header));
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(BigInt(text.length));
  await writeFile(file, Buffer.concat([prefix, text, changed.data ?? data]));
}

async function setConfig(folder: string, fields: object): Promise<void> {
  const file = path.join(folder, CONFIG);
  await writeFile(file, JSON.stringify({ ...JSON.parse(await readFile(file, "utf8")), ...fields }));
}

const entry = (header: Header) => {
  const found = header[first];
  if (found === undefined) throw new Error(`the fixture has no ${first}`);
  return found;
};

const weights = (change: Parameters<typeof rewrite>[1]) => (folder: string) =>
  rewrite(path.join(folder, WEIGHTS), change);
const config = (fields: object) => (folder: string) => setConfig(folder, fields);

/** What is wrong, how it is made so, what the error names, and the adapter that is broken, if another. */
const cases: [string, (folder: string) => Promise<void>, RegExp, string?][] = [
  ["no configuration", (folder) => rm(path.join(folder, CONFIG)), /adapter_config\.json/],
  ["no weights", (folder) => rm(path.join(folder, WEIGHTS)), /adapter_model\.safetensors/],
  ["weights of length zero", (folder) => truncate(path.join(folder, WEIGHTS), 0), /adapter_model.*found 0/],
  ["truncated weights", (folder) => truncate(path.join(folder, WEIGHTS), 9000), /adapter_model.*truncated/],
  [
    "a configuration that is no JSON",
    (folder) => writeFile(path.join(folder, CONFIG), "{r: 8}"),
    /adapter_config.*JSON/,
  ],
  [
    "an extra tensor",
    weights((header, data) => {
      header["base_model.model.model.layers.0.self_attn.o_proj.lora_A.weight"] = {
        dtype: "F32",
        shape: [1],
        data_offsets: [data.length, data.length + 4],
      };
      return { data: Buffer.concat([data, Buffer.alloc(4)]) };
    }),
    /o_proj\.lora_A\.weight does not belong to anything/,
  ],
  [
    "a tensor under another name",
    weights((header) => {
      header[first.replace("base_model.model.", "")] = entry(header);
      delete header[first];
    }),
    /tensor base_model.*q_proj\.lora_A\.weight missing/,
  ],
  [
    "a tensor of whole numbers",
    weights((header) => {
      entry(header).dtype = "I32";
    }),
    /q_proj\.lora_A\.weight: dtype I32/,
  ],
  [
    "a transposed tensor",
    weights((header) => {
      entry(header).shape.reverse();
    }),
    /q_proj\.lora_A\.weight: expected shape \[4, 32\], found \[32, 4\]/,
  ],
  [
    "a weight that is not a number",
    weights((header, data) => {
      data.writeFloatLE(Number.NaN, entry(header).data_offsets[0] + 8);
    }),
    /q_proj\.lora_A\.weight/,
  ],
  [
    "an infinite weight of a module trained in full",
    weights((header, data) => {
      const norm = header["base_model.model.model.norm.weight"];
      data.writeFloatLE(Number.POSITIVE_INFINITY, norm?.data_offsets[0] ?? 0);
    }),
    /model\.norm\.weight/,
  ],
  [
    "a tensor twice",
    weights((header) => {
      const text = JSON.stringify(header);
      return { text: `${text.slice(0, -1)},${JSON.stringify(first)}:${JSON.stringify(entry(header))}}` };
    }),
    /q_proj\.lora_A\.weight/,
  ],
  [
    "an embedding of another base model",
    weights((header, data) => {
      const copy = header["base_model.model.model.embed_tokens.base_layer.weight"];
      data.writeFloatLE(7, copy?.data_offsets[0] ?? 0);
    }),
    /model\.embed_tokens\.base_layer\.weight differs from the base model's/,
    goldenPath("adapters/embedding-scaled"),
  ],
  ["another rank", config({ r: 5 }), /lora_A\.weight: expected shape \[5, 32\], found \[4, 32\]/],
  ["an option of PEFT's that is not supported", config({ lora_bias: true }), /lora_bias is true/],
  [
    "a tensor under two names",
    weights((header) => {
      header[first.replace("lora_A", "lora_A.default")] = entry(header);
      delete header[first.replace("q_proj", "v_proj")];
    }),
    /adapter_model/,
  ],
  ["a pattern that would match for ages", config({ target_modules: "(([a-z_.0-9])+)+!" }), /target_modules.*too long/],
  ["another method", config({ peft_type: "LOHA" }), /peft_type.*"LOHA"/],
];

describe("a malformed adapter", () => {
  it.each(cases)(
    "with %s is refused by name, and leaves the model as it was",
    async (_, breakIt, message, from = good) => {
      const folder = await mkdtemp(path.join(tmpdir(), "grpo-test-"));
      folders.push(folder);
      await cp(from, folder, { recursive: true });
      await breakIt(folder);
      await expect(model.loadAdapter(folder)).rejects.toThrow(
        expect.objectContaining({ code: "BAD_ADAPTER", message: expect.stringMatching(message) }),
      );
      expect(model.trainableParameters().trainable).toBe(0);
      expect(await model.forward([[3, 4, 5]])).toEqual(before);
    },
  );

  it("does not stand in the way of a good one, and replaces no part of it", async () => {
    await model.loadAdapter(good);
    const adapted = await model.forward([[3, 4, 5]]);
    expect(adapted).not.toEqual(before);
    const folder = await mkdtemp(path.join(tmpdir(), "grpo-test-"));
    folders.push(folder);
    await cp(good, folder, { recursive: true });
    await rewrite(path.join(folder, WEIGHTS), (_, data) => {
      for (let at = 0; at < data.length; at += 4) data.writeFloatLE(at < data.length - 4 ? 1 : Number.NaN, at);
    });
    await expect(model.loadAdapter(folder)).rejects.toThrow(expect.objectContaining({ code: "BAD_ADAPTER" }));
    expect(await model.forward([[3, 4, 5]])).toEqual(adapted);
  });
});
