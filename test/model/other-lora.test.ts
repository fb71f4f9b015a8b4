// A checkpoint or an adapter that does not fit the adapter that a model has: what differs is named, with both values.

import { afterEach, expect, it, vi } from "vitest";
import { LoraConfig, type LoraOptions } from "../../lib/model/lora/lora.js";
import { CausalLM } from "../../lib/model/model.js";
import { fakeCore } from "./fake-engine.js";
import { qwen2, temporaryFolder } from "./folders.js";

vi.mock("../../lib/native/native-loader.js", () => ({ loadCore: () => fakeCore }));

const models: CausalLM[] = [];
afterEach(() => {
  for (const model of models.splice(0)) model.dispose();
});

async function open(lora?: LoraOptions): Promise<CausalLM> {
  const model = await CausalLM.fromConfig(qwen2);
  models.push(model);
  if (lora) model.applyLora(new LoraConfig(lora));
  else await model.beginTraining();
  return model;
}

const BASE: LoraOptions = { r: 2, loraAlpha: 4, targetModules: ["q_proj", "v_proj"] };

it.each<[LoraOptions, string]>([
  [{ r: 6, loraAlpha: 12 }, "r 2, this run has 6; with loraAlpha 4, this run has 12"],
  [{ loraAlpha: 16 }, "loraAlpha 4, this run has 16"],
  [{ loraDropout: 0.1 }, "loraDropout 0, this run has 0.1"],
  [{ targetModules: ["q_proj"] }, 'targetModules ["q_proj","v_proj"], this run has ["q_proj"]'],
  [{ targetModules: "all-linear" }, 'targetModules ["q_proj","v_proj"], this run has "all-linear"'],
  [{ useRslora: true }, "useRslora false, this run has true"],
  [{ rankPattern: { v_proj: 1 } }, 'rankPattern {}, this run has {"v_proj":1}'],
])("a checkpoint is not resumed with %o", async (change, differences) => {
  const folder = await temporaryFolder();
  await (await open(BASE)).saveCheckpoint(folder);
  const other = await open({ ...BASE, ...change });
  await expect(other.loadCheckpoint(folder)).rejects.toMatchObject({
    code: "BAD_CHECKPOINT",
    message: expect.stringContaining(`${folder} was written with ${differences}\n`),
    hint: expect.stringContaining("LoraConfig"),
  });
});

it("a checkpoint is resumed where another spelling means the same, and where only the beginning differs", async () => {
  const folder = await temporaryFolder();
  await (await open(BASE)).saveCheckpoint(folder);
  const same = await open({ ...BASE, targetModules: ".*\\.(q|v)_proj", initLoraWeights: "gaussian" });
  await same.loadCheckpoint(folder);
});

it("an adapter is loaded into one that computes the same, whatever its dropout, and else refused with what differs", async () => {
  const folder = await temporaryFolder();
  await (await open({ ...BASE, loraDropout: 0.2 })).savePretrained(folder);
  await (await open(BASE)).loadAdapter(folder);
  await expect((await open({ ...BASE, loraAlpha: 8 })).loadAdapter(folder)).rejects.toMatchObject({
    code: "BAD_ADAPTER",
    message: expect.stringContaining("was made with loraAlpha 4, the adapter named default has 8\n"),
  });
});

it("an adapter's checkpoint is not resumed by a model in full, nor the other way round", async () => {
  const [adapter, whole] = [await temporaryFolder(), await temporaryFolder()];
  await (await open(BASE)).saveCheckpoint(adapter);
  await (await open()).saveCheckpoint(whole);
  await expect((await open()).loadCheckpoint(adapter)).rejects.toMatchObject({
    code: "BAD_CHECKPOINT",
    message: expect.stringContaining("holds an adapter, this run trains the model in full"),
  });
  await expect((await open(BASE)).loadCheckpoint(whole)).rejects.toMatchObject({
    code: "BAD_CHECKPOINT",
    message: expect.stringContaining("holds a model that was trained in full, this run trains an adapter"),
  });
});
