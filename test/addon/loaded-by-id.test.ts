// GRPOTrainer with a model's id or folder in place of a model, and with peftConfig: as in TRL, the same run as with a model that was
// loaded, and given its adapter, before.

import { cp, mkdtemp, readFile, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { GRPOConfig, type GRPOConfigOptions } from "../../lib/grpo/config.js";
import type { GRPOTrainerOptions } from "../../lib/grpo/setup.js";
import { GRPOTrainer } from "../../lib/grpo/trainer.js";
import { LoraConfig } from "../../lib/model/lora/lora.js";
import { CausalLM } from "../../lib/model/model.js";
import { Tokenizer } from "../../lib/tokenizer/tokenizer.js";
import { DEVICE } from "../support/device.js";

const tiny = fileURLToPath(new URL("../../scripts/assets/tiny-qwen2", import.meta.url));
const rows = ["2 + 2 =", "3 + 4 =", "7 - 5 ="].map((prompt) => ({ prompt }));
const lora = new LoraConfig({ r: 2, loraAlpha: 4, targetModules: "all-linear" });
const sizes = {
  perDeviceTrainBatchSize: 4,
  numGenerations: 4,
  maxCompletionLength: 4,
  maxSteps: 2,
  learningRate: 1e-2,
};

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), "grpo-by-id-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

let runs = 0;
type Options = GRPOTrainerOptions<{ prompt: string }>;

function trainer(
  options: Pick<Options, "model"> & Partial<Options>,
  args: GRPOConfigOptions = {},
): GRPOTrainer<{ prompt: string }> {
  const outputDir = path.join(folder, `run-${runs++}`);
  return new GRPOTrainer({
    args: new GRPOConfig({ ...sizes, saveStrategy: "no", logTo: [], outputDir, ...args }),
    trainDataset: rows,
    evalDataset: rows,
    rewardFuncs: ({ completionIds }) => completionIds.map((ids) => (ids[0] ?? 0) % 7),
    output: { write: () => {} },
    ...options,
  });
}

/** What a trainer saves of its model. */
async function saved(of: GRPOTrainer<{ prompt: string }>): Promise<Buffer> {
  await of.saveModel();
  return readFile(path.join(of.args.outputDir, "adapter_model.safetensors"));
}

function modelOf(of: GRPOTrainer<{ prompt: string }>): CausalLM {
  if (of.model instanceof CausalLM) return of.model;
  throw new Error("it is no CausalLM");
}

describe("a folder in place of a model, with peftConfig", () => {
  it("trains the very adapter that a model loaded before trains", async () => {
    const byFolder = trainer({ model: tiny, peftConfig: lora });
    await using model = await CausalLM.fromPretrained(tiny, { dtype: "float32" });
    model.applyLora(lora, { seed: byFolder.args.seed });
    const byModel = trainer({ model, processingClass: await Tokenizer.fromPretrained(tiny) });
    await byFolder.train();
    await byModel.train();
    expect(await saved(byFolder)).toEqual(await saved(byModel));
    modelOf(byFolder).dispose();
  });

  it("begins with an adapter that depends on the seed of the config alone", async () => {
    const trainers = [7, 7, 8].map((seed) => trainer({ model: tiny, peftConfig: lora }, { seed }));
    const [first, same, other] = await Promise.all(trainers.map((of) => saved(of)));
    expect(same).toEqual(first);
    expect(other).not.toEqual(first);
    for (const of of trainers) modelOf(of).dispose();
  });

  it("is loaded once by whatever comes first, in float32, with its tokenizer", async () => {
    const of = trainer({ model: tiny, peftConfig: lora });
    expect(() => of.model).toThrow(/not loaded yet\n.*trainer\.load\(\)/);
    expect(() => of.processingClass).toThrow(/not loaded yet/);
    const [{ metrics }] = await Promise.all([of.evaluate(), of.load()]);
    expect(metrics.eval_reward).toBeGreaterThanOrEqual(0);
    const model = modelOf(of);
    expect(model.dtype).toBe("float32");
    expect(model.activeAdapter).toBe("default");
    expect(of.processingClass).toBeInstanceOf(Tokenizer);
    await of.train();
    expect(of.model).toBe(model);
    model.dispose();
  });

  it("is opened as modelInitKwargs say", async () => {
    const of = trainer({ model: tiny }, { modelInitKwargs: { dtype: "bfloat16", device: DEVICE } });
    await of.load();
    expect(modelOf(of)).toMatchObject({ dtype: "bfloat16", device: DEVICE });
    modelOf(of).dispose();
  });

  it("is refused where modelInitKwargs bring an adapter already; without peftConfig that one is trained", async () => {
    const adapter = path.join(folder, "adapter");
    await using model = await CausalLM.fromPretrained(tiny);
    model.applyLora(lora);
    await model.savePretrained(adapter);
    const both = trainer({ model: tiny, peftConfig: lora }, { modelInitKwargs: { adapter } });
    await expect(both.train()).rejects.toMatchObject({
      code: "BAD_OPTION",
      hint: expect.stringContaining("peftConfig"),
    });
    const one = trainer({ model: tiny }, { modelInitKwargs: { adapter } });
    await one.train();
    expect(modelOf(one).adapters).toEqual(["default"]);
    modelOf(one).dispose();
  });

  it("says what is missing when it is needed, and is tried again by the next call", async () => {
    const incomplete = path.join(folder, "without-tokenizer");
    await cp(tiny, incomplete, { recursive: true });
    await rm(path.join(incomplete, "tokenizer.json"));
    const of = trainer({ model: incomplete });
    await expect(of.train()).rejects.toMatchObject({ name: "GrpoError", code: "BAD_TOKENIZER" });
    await cp(path.join(tiny, "tokenizer.json"), path.join(incomplete, "tokenizer.json"));
    expect((await of.train()).globalStep).toBe(2);
    modelOf(of).dispose();
    await expect(trainer({ model: "./nowhere" }).evaluate()).rejects.toMatchObject({ code: "FILE_NOT_FOUND" });
  });
});

describe("a model that was loaded", () => {
  it("gets the adapter of peftConfig when the trainer is made", async () => {
    await using model = await CausalLM.fromPretrained(tiny);
    trainer({ model, peftConfig: lora });
    expect(model.adapters).toEqual(["default"]);
  });

  it("stays as it is where the trainer is refused", async () => {
    await using model = await CausalLM.fromPretrained(tiny);
    expect(() => trainer({ model, peftConfig: lora, callbacks: [{ onEnd() {} } as object] })).toThrow("onEnd");
    expect(() => trainer({ model, peftConfig: lora, rewardFuncs: [] })).toThrow("reward function");
    expect(model.adapters).toEqual([]);
  });

  it("is refused with peftConfig where it has an adapter", async () => {
    await using model = await CausalLM.fromPretrained(tiny);
    model.applyLora(lora);
    expect(() => trainer({ model, peftConfig: lora })).toThrow(/has an adapter already\n.*mergeAndUnload/);
    await model.mergeAndUnload();
    expect(() => trainer({ model, peftConfig: lora })).not.toThrow();
  });

  it("brings the tokenizer of the place that it is from", async () => {
    await using model = await CausalLM.fromPretrained(tiny);
    expect(model.source).toEqual({ idOrPath: tiny });
    const of = trainer({ model });
    await of.train();
    expect(of.processingClass).toBeInstanceOf(Tokenizer);
  });

  it("of a config needs a tokenizer", async () => {
    const config = JSON.parse(await readFile(path.join(tiny, "config.json"), "utf8"));
    await using model = await CausalLM.fromConfig(config);
    expect(model.source).toBeNull();
    expect(() => trainer({ model })).toThrow(/processingClass is missing/);
  });

  it("is not opened as modelInitKwargs say, which the run notes", async () => {
    await using model = await CausalLM.fromPretrained(tiny, { dtype: "float32" });
    const printed: string[] = [];
    const output = { write: (text: string) => printed.push(text) };
    await trainer({ model, output }, { logTo: ["console"], modelInitKwargs: { dtype: "bfloat16" } }).train();
    expect(model.dtype).toBe("float32");
    expect(printed.join("")).toContain("note     modelInitKwargs has no effect: the model was loaded before");
  });
});

it("without args the output folder is named after the model", async () => {
  await using loaded = await CausalLM.fromPretrained(tiny);
  for (const model of [tiny, loaded]) {
    const { args } = new GRPOTrainer({ model, trainDataset: rows, rewardFuncs: () => [0] });
    expect(args).toEqual(new GRPOConfig({ outputDir: "tiny-qwen2-GRPO" }));
  }
});

it("modelInitKwargs are checked with the config, and take no token, which the run's files would show", () => {
  const config = (modelInitKwargs: object) => () => new GRPOConfig({ modelInitKwargs });
  expect(config({ torch_dtype: "bfloat16" })).toThrow(/modelInitKwargs: unknown option torch_dtype\n.*write dtype/);
  expect(config({ attn_implementation: "sdpa" })).toThrow(/attn_implementation\n.*leave it out/);
  expect(config({ token: "hf_secret" })).toThrow(/grpo login/);
  expect(config(["bfloat16"])).toThrow(/expected an options object/);
});
