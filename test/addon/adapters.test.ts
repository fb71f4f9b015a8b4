// Several adapters on one model, on the real engine: switching, switching off, merging and unmerging, for every kind of adapter
// that PEFT writes. The fixtures are those of adapter-round-trip.test.ts.

import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { readTensors } from "../../lib/model/files/safetensors.js";
import { LoraConfig, type LoraOptions } from "../../lib/model/lora/lora.js";
import { CausalLM } from "../../lib/model/model.js";
import type { NativeDtype } from "../../lib/native/native.js";
import { temporaryFolder } from "../model/folders.js";
import { DEVICE } from "../support/device.js";
import { goldenPath, largestDifference, numbers, rowsOf, sequences } from "./golden.js";

interface Variant {
  readonly name: string;
  readonly base: string;
}
const { variants }: { variants: readonly Variant[] } = JSON.parse(
  readFileSync(goldenPath("adapter-variants.json"), "utf8"),
);
const kinds = variants.map((variant): [string, Variant] => [variant.name, variant]);

const IDS = [
  [5, 6, 7, 8, 9, 10],
  [11, 3, 4],
];
const BATCH = {
  promptIds: [[5, 6], [7]],
  completionIds: [
    [8, 9, 10],
    [11, 12],
  ],
  advantages: [1, -1],
};
const BASE = "llama-random-tied";

const open = (base = BASE, dtype: NativeDtype = "float32") =>
  CausalLM.fromPretrained(goldenPath(`models/${base}`), { dtype, device: DEVICE });
const lora = (options: LoraOptions = {}) => new LoraConfig({ r: 4, initLoraWeights: false, ...options });

async function savedWeights(model: CausalLM): Promise<Buffer> {
  const folder = await temporaryFolder();
  await model.savePretrained(folder);
  return readFile(path.join(folder, "model.safetensors"));
}

async function train(model: CausalLM, steps: number): Promise<void> {
  for (let step = 0; step < steps; step++) {
    await model.forwardBackward(BATCH);
    await model.optimizerStep({ learningRate: 0.01 });
  }
}

describe("adapters of other names", () => {
  async function both(): Promise<CausalLM> {
    const model = await open();
    model.applyLora(lora({ useDora: true }), { seed: 1 });
    model.applyLora(lora({ modulesToSave: ["lm_head"], targetModules: ["o_proj"] }), { seed: 2, name: "other" });
    return model;
  }

  it("compute in single calls that name them, at the same time as others and as the model alone", async () => {
    await using model = await both();
    const alone = await model.disableAdapter(() => model.forward(IDS));
    const own = await model.forward(IDS);
    await model.setAdapter("other");
    const other = await model.forward(IDS);
    await model.setAdapter("default");
    const asked = ["other", null, "default", undefined].map((adapter) => {
      return model.forward(IDS, adapter === undefined ? {} : { adapter });
    });
    expect(await Promise.all(asked)).toEqual([other, alone, own, own]);
    expect(model.activeAdapter).toBe("default");
    const scores = await Promise.all([model.logprobs(IDS, { adapter: "other" }), model.logprobs(IDS)]);
    await model.setAdapter("other");
    expect(scores[0]).toEqual(await model.logprobs(IDS));
    expect(scores[0]).not.toEqual(scores[1]);
    const [drawn] = await model.generate(IDS, { maxNewTokens: 6, adapter: "default" });
    await model.setAdapter("default");
    expect(drawn).toEqual((await model.generate(IDS, { maxNewTokens: 6 }))[0]);
    await expect(model.generate(IDS, { adapter: "none" })).rejects.toThrow(/none/);
    await expect(model.forward(IDS, { adapter: "none" })).rejects.toMatchObject({ code: "BAD_INPUT" });
  });

  it("answer as if each were alone, and the first is active until another is chosen", async () => {
    await using model = await both();
    await using first = await open();
    first.applyLora(lora({ useDora: true }), { seed: 1 });
    await using second = await open();
    second.applyLora(lora({ modulesToSave: ["lm_head"], targetModules: ["o_proj"] }), { seed: 2 });
    expect(model.adapters).toEqual(["default", "other"]);
    for (const [name, alone] of [
      ["default", first],
      ["other", second],
      ["default", first],
    ] as const) {
      if (name !== model.activeAdapter) await model.setAdapter(name);
      expect(await model.forward(IDS)).toEqual(await alone.forward(IDS));
    }
  });

  it("train only while they are active, each with moments of its own", async () => {
    await using model = await both();
    await using alone = await open();
    alone.applyLora(lora({ useDora: true }), { seed: 1 });
    await train(model, 1);
    await model.setAdapter("other");
    const before = await model.forward(IDS);
    await model.setAdapter("default");
    await train(model, 1);
    await model.setAdapter("other");
    expect(await model.forward(IDS)).toEqual(before);
    await train(model, 2);
    await model.setAdapter("default");
    await train(model, 1);
    await train(alone, 3);
    expect(await model.forward(IDS)).toEqual(await alone.forward(IDS));
  });

  it("are saved each in a folder of its own, and load under any name", async () => {
    await using model = await both();
    await model.setAdapter("other");
    const other = await model.forward(IDS);
    const folder = await temporaryFolder();
    await model.savePretrained(folder);
    expect(model.activeAdapter).toBe("other");
    await using loaded = await open();
    await loaded.loadAdapter(folder);
    await loaded.loadAdapter(path.join(folder, "other"), { name: "again" });
    expect(loaded.activeAdapter).toBe("default");
    await loaded.setAdapter("again");
    expect(await loaded.forward(IDS)).toEqual(other);
  });

  it("are refused where they do not exist, or exist already", async () => {
    await using model = await both();
    await expect(model.setAdapter("third")).rejects.toThrow(/no adapter named "third"[\s\S]*default, other/);
    await expect(model.mergeAdapter({ adapters: ["third"] })).rejects.toThrow(/no adapter named "third"/);
    expect(() => model.applyLora(lora(), { name: "other" })).toThrow(/already has an adapter named other/);
    expect(() => model.applyLora(lora(), { name: "../other" })).toThrow(
      expect.objectContaining({ code: "BAD_OPTION" }),
    );
  });

  it("can be deleted; another one becomes active, or none", async () => {
    await using model = await both();
    await using base = await open();
    await model.deleteAdapter("default");
    expect(model.activeAdapter).toBe("other");
    await model.deleteAdapter("other");
    expect(model.activeAdapter).toBeNull();
    expect(await model.forward(IDS)).toEqual(await base.forward(IDS));
    expect(model.trainableParameters().trainable).toBe(0);
  });
});

describe.each(kinds)("an adapter of kind %s", (name, { base }) => {
  const withAdapter = async () => {
    const model = await open(base);
    await model.loadAdapter(goldenPath(`adapters/${name}`));
    return model;
  };

  it("leaves no trace in the base when it trains, merges and unmerges", async () => {
    await using plain = await open(base);
    await using model = await withAdapter();
    await train(model, 1);
    await model.disableAdapter(async () => expect(await model.forward(IDS)).toEqual(await plain.forward(IDS)));
    const before = await model.forward(IDS);
    await model.mergeAdapter();
    await model.unmergeAdapter();
    expect(await model.forward(IDS)).toEqual(before);
    await model.unload();
    expect(await savedWeights(model)).toEqual(await savedWeights(plain));
  });

  it("merges, in place or into a folder, to a model with PEFT's logits", async () => {
    const golden = await readTensors(goldenPath(`adapter-${name}.safetensors`));
    await using model = await withAdapter();
    const folder = await temporaryFolder();
    await model.saveMerged(folder, { maxShardSize: "20KB" });
    await model.mergeAndUnload({ safeMerge: true });
    await using saved = await CausalLM.fromPretrained(folder, { device: DEVICE, dtype: "float32" });
    const ids = sequences(golden);
    for (const merged of [model, saved]) {
      const logits = rowsOf(await merged.forward(ids), merged.vocabSize);
      expect(largestDifference(logits, numbers(golden, "logits"))).toBeLessThan(1e-4);
    }
    expect(saved.config.tie_word_embeddings).toBe(model.config.tie_word_embeddings);
  });
});

describe("merging", () => {
  it("of two adapters adds both, and unmerging restores bfloat16 weights bit for bit", async () => {
    await using model = await open("qwen2-bf16", "bfloat16");
    const weights = await savedWeights(model);
    model.applyLora(lora(), { seed: 1 });
    model.applyLora(lora({ targetModules: ["v_proj", "up_proj"] }), { seed: 2, name: "other" });
    const first = await model.forward(IDS);
    await model.mergeAdapter({ adapters: ["default", "other"] });
    expect(largestDifference((await model.forward(IDS))[0] ?? [], first[0] ?? [])).toBeGreaterThan(0.01);
    await model.unmergeAdapter();
    expect(await model.forward(IDS)).toEqual(first);
    await model.unload();
    expect(await savedWeights(model)).toEqual(weights);
  });

  it("stands in the way of training, switching and the reference until it is undone", async () => {
    await using model = await open();
    model.applyLora(lora());
    await model.mergeAdapter();
    const refused = expect.objectContaining({ code: "BAD_INPUT", message: expect.stringContaining("unmergeAdapter") });
    await expect(model.forwardBackward(BATCH)).rejects.toThrow(refused);
    await expect(model.logprobs(IDS, { reference: true })).rejects.toThrow(refused);
    await expect(model.disableAdapter(async () => {})).rejects.toThrow(refused);
    await expect(model.mergeAdapter()).rejects.toThrow(refused);
    await model.unmergeAdapter();
    await expect(model.unmergeAdapter()).rejects.toThrow(/no adapter is merged/);
    await train(model, 1);
  });

  it("refuses values that are not finite where it is asked to be safe, and changes nothing", async () => {
    // Half precision ends at 65504.
    await using model = await open(BASE, "float16");
    model.applyLora(lora({ loraAlpha: 1e7 }));
    const weights = await model.forward(IDS);
    const broken = expect.objectContaining({ code: "BAD_ADAPTER", message: expect.stringMatching(/q_proj|v_proj/) });
    await expect(model.mergeAdapter({ safeMerge: true })).rejects.toThrow(broken);
    await expect(model.saveMerged(await temporaryFolder(), { safeMerge: true })).rejects.toThrow(broken);
    expect(await model.forward(IDS)).toEqual(weights);
  });
});

describe("the reference of an adapter", () => {
  it("is the base for a fresh one, and a loaded one as it was", async () => {
    await using base = await open();
    await using fresh = await open();
    fresh.applyLora(lora());
    await fresh.beginTraining({ reference: true });
    await train(fresh, 1);
    expect(await fresh.logprobs(IDS, { reference: true })).toEqual(await base.logprobs(IDS));

    const folder = await temporaryFolder();
    await fresh.savePretrained(folder);
    await using loaded = await open();
    await loaded.loadAdapter(folder);
    const before = await loaded.logprobs(IDS);
    await loaded.beginTraining({ reference: true });
    await train(loaded, 1);
    expect(await loaded.logprobs(IDS, { reference: true })).toEqual(before);
    expect(await loaded.logprobs(IDS)).not.toEqual(before);
  });

  it("cannot be mixed with the policy", async () => {
    await using model = await open();
    model.applyLora(lora());
    await expect(model.beginTraining({ reference: true, mixed: true })).rejects.toThrow(/syncRefModel/);
    await expect(model.mixReference(0.5)).rejects.toThrow(/trained in full/);
  });
});
