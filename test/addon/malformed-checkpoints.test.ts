// Checkpoints that are wrong in one thing: each is refused with a typed error that names the tensor, or the file where there is
// none to name. Nothing is loaded, and nothing crashes.

import { cp, readFile, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { buildHeader, readTensors } from "../../lib/model/files/safetensors.js";
import { CausalLM } from "../../lib/model/model.js";
import { temporaryFolder } from "../model/folders.js";
import { DEVICE } from "../support/device.js";
import { goldenPath } from "./golden.js";

const [FIRST, SECOND, THIRD] = [1, 2, 3].map((n) => `model-0000${n}-of-00003.safetensors`) as [string, string, string];
const INDEX = "model.safetensors.index.json";
const NORM = "model.norm.weight";

/** Three shards with an index, untied. */
async function goodCheckpoint(): Promise<string> {
  const folder = await temporaryFolder();
  await cp(goldenPath("models/llama-mha"), folder, { recursive: true });
  return folder;
}

async function editJson(file: string, change: (content: Record<string, never>) => void): Promise<void> {
  const content = JSON.parse(await readFile(file, "utf8"));
  change(content);
  await writeFile(file, JSON.stringify(content));
}

type Stored = { name: string; dtype: string; shape: number[]; data: Buffer };

/** Reads a shard, lets `change` edit its tensors, and writes it again with a header that fits. */
async function editShard(folder: string, shard: string, change: (tensors: Stored[]) => void): Promise<void> {
  const file = path.join(folder, shard);
  const tensors = [...(await readTensors(file))].map(([name, { dtype, shape, data }]) => {
    return { name, dtype, shape: [...shape], data: Buffer.from(data.buffer, data.byteOffset, data.byteLength) };
  });
  change(tensors);
  await writeFile(file, Buffer.concat([buildHeader(tensors), ...tensors.map(({ data }) => data)]));
}

function tensorNamed(tensors: Stored[], name: string): Stored {
  const tensor = tensors.find((each) => each.name === name);
  if (tensor === undefined) throw new Error(`no tensor named ${name} in this shard`);
  return tensor;
}

const setIndex = (folder: string, name: string, shard: string | undefined) =>
  editJson(path.join(folder, INDEX), (index: Record<string, Record<string, unknown>>) => {
    if (index.weight_map) index.weight_map[name] = shard;
  });

type Case = readonly [what: string, code: string, message: RegExp, spoil: (folder: string) => Promise<void>];

const cases: readonly Case[] = [
  ["a missing shard", "FILE_NOT_FOUND", /model-00002-of-00003\.safetensors/, (folder) => rm(path.join(folder, SECOND))],
  [
    "a tensor that is missing everywhere",
    "BAD_CHECKPOINT",
    /tensor model\.norm\.weight of shape \[32\] missing/,
    async (folder) => {
      await editShard(folder, THIRD, (tensors) => {
        tensors.splice(tensors.indexOf(tensorNamed(tensors, NORM)), 1);
      });
      await setIndex(folder, NORM, undefined);
    },
  ],
  [
    "a tensor too many",
    "BAD_CHECKPOINT",
    /tensor model\.layers\.2\.mlp\.up_proj\.weight has no place in this model/,
    async (folder) => {
      const name = "model.layers.2.mlp.up_proj.weight";
      await editShard(folder, THIRD, (tensors) => {
        tensors.push({ name, dtype: "F32", shape: [1], data: Buffer.alloc(4) });
      });
      await setIndex(folder, name, THIRD);
    },
  ],
  [
    "a bias that the config does not name",
    "BAD_CHECKPOINT",
    /tensor model\.layers\.0\.self_attn\.q_proj\.bias has no place/,
    async (folder) => {
      const name = "model.layers.0.self_attn.q_proj.bias";
      await editShard(folder, FIRST, (tensors) => {
        tensors.push({ name, dtype: "F32", shape: [32], data: Buffer.alloc(128) });
      });
      await setIndex(folder, name, FIRST);
    },
  ],
  [
    "whole numbers as weights",
    "BAD_CHECKPOINT",
    /tensor model\.norm\.weight: dtype I32 is not supported/,
    (folder) =>
      editShard(folder, THIRD, (tensors) => {
        tensorNamed(tensors, NORM).dtype = "I32";
      }),
  ],
  [
    "weights of 8 bits",
    "BAD_CHECKPOINT",
    /tensor model\.norm\.weight: dtype F8_E4M3 is not supported/,
    (folder) =>
      editShard(folder, THIRD, (tensors) => {
        Object.assign(tensorNamed(tensors, NORM), { dtype: "F8_E4M3", data: Buffer.alloc(32) });
      }),
  ],
  [
    "another shape",
    "BAD_CHECKPOINT",
    /tensor model\.norm\.weight: expected shape \[32\], found \[16\]/,
    (folder) =>
      editShard(folder, THIRD, (tensors) => {
        Object.assign(tensorNamed(tensors, NORM), { shape: [16], data: Buffer.alloc(64) });
      }),
  ],
  [
    "a transposed shape of as many numbers",
    "BAD_CHECKPOINT",
    /tensor model\.norm\.weight: expected shape \[32\], found \[32, 1\]/,
    (folder) =>
      editShard(folder, THIRD, (tensors) => {
        tensorNamed(tensors, NORM).shape = [32, 1];
      }),
  ],
  [
    "an index that points outside the folder",
    "BAD_CHECKPOINT",
    /shard path "\.\.\/other\.safetensors" leads out/,
    (folder) => setIndex(folder, NORM, "../other.safetensors"),
  ],
  [
    "an index that names the wrong shard",
    "BAD_CHECKPOINT",
    /tensor model\.norm\.weight is not in its shard model-00001/,
    (folder) => setIndex(folder, NORM, FIRST),
  ],
  [
    "a tensor that two shards have",
    "BAD_CHECKPOINT",
    /tensor model\.norm\.weight of model-00001-of-00003\.safetensors is not listed for that shard/,
    (folder) =>
      editShard(folder, FIRST, (tensors) => {
        tensors.push({ name: NORM, dtype: "F32", shape: [32], data: Buffer.alloc(128) });
      }),
  ],
  [
    "a shard without a byte",
    "BAD_CHECKPOINT",
    /model-00002-of-00003\.safetensors: .*at least 8 bytes/,
    (folder) => writeFile(path.join(folder, SECOND), ""),
  ],
  [
    "a shard that was cut off",
    "BAD_CHECKPOINT",
    /model-00002-of-00003\.safetensors: .*truncated/,
    async (folder) => {
      const file = path.join(folder, SECOND);
      await writeFile(file, (await readFile(file)).subarray(0, -100));
    },
  ],
  [
    "a header that is no JSON",
    "BAD_CHECKPOINT",
    /model-00002-of-00003\.safetensors: .*not JSON/,
    async (folder) => {
      const file = path.join(folder, SECOND);
      const bytes = await readFile(file);
      bytes.write("!", 9);
      await writeFile(file, bytes);
    },
  ],
  [
    "an index that is no JSON",
    "BAD_CHECKPOINT",
    /index\.json: not readable as JSON/,
    (folder) => writeFile(path.join(folder, INDEX), "{"),
  ],
  [
    "a head of its own where the config ties it",
    "BAD_CHECKPOINT",
    /tensor lm_head\.weight differs from model\.embed_tokens\.weight/,
    (folder) =>
      editJson(path.join(folder, "config.json"), (config: Record<string, unknown>) => {
        config.tie_word_embeddings = true;
      }),
  ],
  [
    "weights that are not numbers",
    "BAD_CHECKPOINT",
    /tensor model\.norm\.weight has 1 values that are not finite/,
    (folder) =>
      editShard(folder, THIRD, (tensors) => {
        tensorNamed(tensors, NORM).data.writeFloatLE(Number.NaN, 8);
      }),
  ],
];

describe("a checkpoint with", () => {
  it("nothing wrong loads", async () => {
    const folder = await goodCheckpoint();
    await editShard(folder, FIRST, () => {});
    await using model = await CausalLM.fromPretrained(folder, { device: DEVICE });
    expect(model.vocabSize).toBe(64);
  });

  it.each(cases)("%s is refused, naming it", async (_, code, message, spoil) => {
    const folder = await goodCheckpoint();
    await spoil(folder);
    await expect(CausalLM.fromPretrained(folder, { device: DEVICE })).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message),
    });
  });
});

describe("a checkpoint that is converted", () => {
  it("is refused if a weight is too large for the type that is asked for", async () => {
    const folder = await goodCheckpoint();
    await editShard(folder, THIRD, (tensors) => {
      tensorNamed(tensors, NORM).data.writeFloatLE(1e5, 8);
    });
    await expect(CausalLM.fromPretrained(folder, { device: DEVICE, dtype: "float16" })).rejects.toMatchObject({
      code: "BAD_CHECKPOINT",
      message: expect.stringMatching(/tensor model\.norm\.weight .*not finite in Half/),
    });
  });
});

describe("a tied checkpoint", () => {
  it("may hold the head a second time if it is the same", async () => {
    const folder = await goodCheckpoint();
    await editJson(path.join(folder, "config.json"), (config: Record<string, unknown>) => {
      config.tie_word_embeddings = true;
    });
    const embedding = (await readTensors(path.join(folder, FIRST))).get("model.embed_tokens.weight")?.data;
    if (!(embedding instanceof Float32Array)) throw new Error("the first shard has the embeddings");
    await editShard(folder, THIRD, (tensors) => {
      tensorNamed(tensors, "lm_head.weight").data = Buffer.from(embedding.buffer);
    });
    await using model = await CausalLM.fromPretrained(folder, { device: DEVICE });
    expect(await model.forward([[1]])).toHaveLength(1);
  });
});
