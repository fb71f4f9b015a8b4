// The table of modules, by which TypeScript and the engine go: both have the same tensors with the same shapes, for every family
// and whatever an adapter has; and what does not fit the table is refused by the name of its module.

import { readdirSync, readFileSync } from "node:fs";
import { afterEach, describe, expect, it } from "vitest";
import { at } from "../../lib/at.js";
import type { JsonObject } from "../../lib/json.js";
import { expectedTensors, readModelConfig } from "../../lib/model/families/families.js";
import { readAdapterConfig, resolveAdapter } from "../../lib/model/lora/adapter-files.js";
import { LoraConfig, type LoraOptions } from "../../lib/model/lora/lora.js";
import { resolveLora } from "../../lib/model/lora/lora-resolve.js";
import type { NativeEngine, NativeModelConfig, NativeTensorSet } from "../../lib/native/native.js";
import { loadCore } from "../../lib/native/native-loader.js";
import { goldenPath } from "./golden.js";
import { adapterOf, everyLayer, tinyConfig } from "./raw-engine.js";

const readJson = (name: string): JsonObject => JSON.parse(readFileSync(goldenPath(name), "utf8"));
const models = readdirSync(goldenPath("models"));
const describedAs = (model: string) =>
  readModelConfig(readJson(`models/${model}/config.json`), model.startsWith("reward-") ? "score" : "tokens");

let engine: NativeEngine | undefined;
afterEach(() => engine?.dispose());

/** Without data: all that is asked are names and shapes. */
function open(config: NativeModelConfig): NativeEngine {
  const { Engine } = loadCore();
  engine = new Engine({ config, device: "meta", dtype: "float32", threads: 1 });
  return engine;
}

async function shapesIn(opened: NativeEngine, set: NativeTensorSet): Promise<Record<string, readonly number[]>> {
  return Object.fromEntries((await opened.tensors(set)).map(({ name, shape }) => [name, shape]));
}

describe("the engine has the tensors that TypeScript lists", () => {
  it.each(models)("of %s", async (model) => {
    const config = describedAs(model).native;
    const expected = Object.fromEntries(expectedTensors(config));
    const opened = open(config);
    expect(await shapesIn(opened, "model")).toEqual(expected);
    await opened.trainAll();
    expect(await shapesIn(opened, "adapter")).toEqual(expected);
  });

  const { variants } = readJson("adapter-variants.json") as unknown as { variants: { name: string; base: string }[] };
  it.each(variants)("of PEFT's adapter $name", async ({ name, base }) => {
    const description = describedAs(base);
    const { native, tensors } = resolveAdapter(
      readAdapterConfig(readJson(`adapters/${name}/adapter_config.json`), "f"),
      description,
      "f",
    );
    const opened = open(description.native);
    await opened.addAdapter("default", native);
    expect(await shapesIn(opened, "adapter")).toEqual(shapesOf(tensors));
  });

  const options: LoraOptions[] = [
    { targetModules: "all-linear", useDora: true, bias: "all" },
    { targetModules: ["embed_tokens", "lm_head", "down_proj"], initLoraWeights: false },
    { targetModules: ["down_proj"], modulesToSave: ["embed_tokens", "norm", "self_attn"] },
    { targetModules: ["down_proj"], trainableTokenIndices: { embed_tokens: [3, 1], lm_head: [2] } },
  ];
  const families = models.filter((model) => model.startsWith("family-"));
  it.each(families.flatMap((model) => options.map((lora) => [model, lora] as const)))(
    "of an adapter on %s with %o",
    async (model, lora) => {
      const description = describedAs(model);
      const { native, tensors } = resolveLora(new LoraConfig({ r: 4, ...lora }), description, 0);
      const opened = open(description.native);
      await opened.addAdapter("default", native);
      expect(await shapesIn(opened, "adapter")).toEqual(shapesOf(tensors));
    },
  );
});

function shapesOf(tensors: ReadonlyMap<string, { readonly shape: readonly number[] }>) {
  return Object.fromEntries([...tensors].map(([name, { shape }]) => [name, shape]));
}

describe("the engine refuses, by the name of the module,", () => {
  type Change = (modules: NativeModelConfig["modules"]) => void;
  const first = (modules: NativeModelConfig["modules"]) => at(modules.layers, 0);
  const tables: [string, Change, RegExp][] = [
    [
      "a projection of another input",
      (modules) => void first(modules).attention.output.in++,
      /o_proj: expected an input of/,
    ],
    [
      "parts that are not queries, keys and values",
      (modules) => void at(first(modules).attention.qkv.parts, 1).out++,
      /q_proj, .*k_proj, .*v_proj: expected outputs of/,
    ],
    [
      "a feed-forward of another width",
      (modules) => void first(modules).feedForward.down.in--,
      /down_proj: expected an input of/,
    ],
    ["a norm of another size", (modules) => void modules.norm.size--, /model\.norm: expected a size of/],
    [
      "a norm of queries alone",
      (modules) => {
        first(modules).attention.qNorm = { name: "q_norm", size: 1 };
      },
      /q_norm: expected a size of|must both have a norm/,
    ],
    [
      "an embedding of another vocabulary",
      (modules) => void modules.embedding.rows--,
      /embed_tokens: expected rows of/,
    ],
    [
      "an output layer of another size",
      (modules) => void at(modules.output.parts, 0).out--,
      /lm_head: expected outputs of/,
    ],
    [
      "a module that is there twice",
      (modules) => {
        at(first(modules).attention.qkv.parts, 1).name = at(first(modules).attention.qkv.parts, 0).name;
      },
      /q_proj is there twice/,
    ],
    ["a layer too few", (modules) => void modules.layers.pop(), /numLayers layers/],
  ];
  it.each(tables)("%s", async (_, change, message) => {
    const config = structuredClone(await tinyConfig());
    change(config.modules);
    expect(() => open(config)).toThrow(
      expect.objectContaining({ code: "BAD_INPUT", message: expect.stringMatching(message) }),
    );
  });

  const q = "model.layers.0.self_attn.q_proj";
  type Tensors = { name: string; shape: number[] }[];
  const adapters: [string, (tensors: Tensors) => void, RegExp][] = [
    [
      "an adapter's tensor that no module can carry",
      (tensors) => void tensors.push({ name: "model.layers.0.mlp.up.lora_A.weight", shape: [2, 4] }),
      /mlp\.up\.lora_A\.weight, which no module/,
    ],
    [
      "one of another shape",
      (tensors) => {
        at(tensors, 0).shape = [2, 4];
      },
      /q_proj\.lora_A\.weight must have the shape \[rank, \d+\], found \[2, 4\]/,
    ],
    [
      "a pair of two ranks",
      (tensors) => {
        at(tensors, 0).shape = [3, at(at(tensors, 0).shape, 1)];
      },
      /q_proj.*of one rank/,
    ],
    ["half a pair", (tensors) => void tensors.splice(1, 1), /q_proj.*of one rank/],
  ];
  it.each(adapters)("%s", async (_, change, message) => {
    const config = await tinyConfig();
    const spec = adapterOf(config, { targets: [{ module: q, rank: 2, scaling: 1 }] });
    change(spec.tensors);
    await expect(open(config).addAdapter("default", spec)).rejects.toMatchObject({
      code: "BAD_INPUT",
      message: expect.stringMatching(message),
    });
  });

  it("rows of tokens of a module that is neither embedding nor output layer", async () => {
    const config = await tinyConfig();
    const spec = { ...adapterOf(config, {}), tokenRows: [{ module: q, ids: Int32Array.of(1) }] };
    await expect(open(config).addAdapter("default", spec)).rejects.toMatchObject({
      code: "BAD_INPUT",
      message: expect.stringMatching(/model\.embed_tokens or to lm_head, not to .*q_proj/),
    });
  });

  it("nothing of an adapter on every linear layer", async () => {
    const config = await tinyConfig();
    const spec = adapterOf(config, { targets: everyLayer(config, 2, 1) });
    await expect(open(config).addAdapter("default", spec)).resolves.toBeUndefined();
  });
});
