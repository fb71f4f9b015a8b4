// CausalLM around an engine that computes nothing: loading, naming, queueing, cancelling, saving, and every typed error.

import { cp, mkdir, readdir, readFile, rm, truncate, writeFile } from "node:fs/promises";
import path from "node:path";
import { gzipSync } from "node:zlib";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { readHeader } from "../../lib/model/files/safetensors.js";
import { LoraConfig } from "../../lib/model/lora/lora.js";
import { CausalLM, type FromPretrainedOptions } from "../../lib/model/model.js";
import { FakeEngine, fakeCore, nativeError } from "./fake-engine.js";
import { qwen2, temporaryFolder, tensorsOf, writeModel, writeTensors } from "./folders.js";

vi.mock("../../lib/native/native-loader.js", () => ({ loadCore: () => fakeCore }));

const lora = () => new LoraConfig({ r: 2, loraAlpha: 4, taskType: "CAUSAL_LM" });

let model: CausalLM;
let engine: FakeEngine;

beforeEach(async () => {
  FakeEngine.all.length = 0;
  model = await CausalLM.fromConfig(qwen2);
  engine = FakeEngine.all[0] ?? new FakeEngine({} as never);
  engine.calls.length = 0;
});
afterEach(() => model.dispose());

const failure = async (promise: PromiseLike<unknown>) =>
  Promise.resolve(promise).then(
    () => undefined,
    (error: unknown) => error,
  );

describe("fromPretrained", () => {
  it("loads a folder with the checkpoint's dtype on the first device", async () => {
    const folder = await writeModel(qwen2);
    const loaded = await CausalLM.fromPretrained(folder);
    const native = FakeEngine.all.at(-1);
    expect(native?.options).toMatchObject({ device: "cpu", dtype: "float32", threads: 0 });
    expect(native?.tables[0]?.tensors).toHaveLength(tensorsOf(qwen2).length);
    expect(loaded.config).toEqual(qwen2);
    expect([loaded.device, loaded.dtype, loaded.maxPositions]).toEqual(["cpu", "float32", 32]);
  });

  it("takes the dtype of the weights where the config names none, and the one asked for before both", async () => {
    const { torch_dtype: _, ...config } = qwen2;
    const folder = await writeModel(config);
    expect((await CausalLM.fromPretrained(folder)).dtype).toBe("float32");
    expect((await CausalLM.fromPretrained(folder, { dtype: "bfloat16" })).dtype).toBe("bfloat16");
  });

  it("reads the end-of-text ids of generation_config.json before those of config.json", async () => {
    const folder = await writeModel(qwen2);
    expect((await CausalLM.fromPretrained(folder)).eosTokenIds).toEqual([9]);
    await writeFile(path.join(folder, "generation_config.json"), JSON.stringify({ eos_token_id: [3, 4] }));
    expect((await CausalLM.fromPretrained(folder)).eosTokenIds).toEqual([3, 4]);
  });

  it.each([
    [{ eos_token_id: [3, -1, 10, 151_645] }, [3]],
    [{ eos_token_id: -1 }, []],
    [{ eos_token_id: null }, []],
    [{}, []],
  ])("passes over end-of-text ids that it does not have, and those of config.json: %j", async (generation, ids) => {
    const folder = await writeModel(qwen2);
    await writeFile(path.join(folder, "generation_config.json"), JSON.stringify(generation));
    expect((await CausalLM.fromPretrained(folder)).eosTokenIds).toEqual(ids);
  });

  const weights = "model.safetensors";
  const breakages: [string, (folder: string) => Promise<unknown>, string, RegExp][] = [
    ["a folder without config", (folder) => rm(path.join(folder, "config.json")), "FILE_NOT_FOUND", /no config\.json/],
    ["a folder without weights", (folder) => rm(path.join(folder, weights)), "FILE_NOT_FOUND", /no weights/],
    ["weights cut short", (folder) => truncate(path.join(folder, weights), 5000), "BAD_CHECKPOINT", /truncated/],
    ["a header cut short", (folder) => truncate(path.join(folder, weights), 100), "BAD_CHECKPOINT", /truncated/],
    [
      "a config that is not JSON",
      (folder) => writeFile(path.join(folder, "config.json"), "{"),
      "BAD_CONFIG",
      /not JSON/,
    ],
    [
      "a config that is gzip in truth",
      async (folder) => {
        const file = path.join(folder, "config.json");
        await writeFile(file, gzipSync(await readFile(file)));
      },
      "BAD_CONFIG",
      /config\.json: its content is gzip[\s\S]*gunzip/,
    ],
    [
      "a config that is a list",
      (folder) => writeFile(path.join(folder, "config.json"), "[]"),
      "BAD_CONFIG",
      /JSON object/,
    ],
    [
      "an unknown architecture",
      (folder) => writeFile(path.join(folder, "config.json"), '{"model_type":"gpt_j"}'),
      "UNSUPPORTED_ARCHITECTURE",
      /gpt_j/,
    ],
    [
      "weights of another size",
      (folder) => writeFile(path.join(folder, "config.json"), JSON.stringify({ ...qwen2, vocab_size: 11 })),
      "BAD_CHECKPOINT",
      /model\.embed_tokens\.weight: expected shape \[11, 8\], found \[10, 8\]/,
    ],
    [
      "weights that lack a tensor",
      (folder) => writeTensors(path.join(folder, weights), tensorsOf(qwen2).slice(1)),
      "BAD_CHECKPOINT",
      /model\.embed_tokens\.weight of shape \[10, 8\] missing/,
    ],
    [
      "an end-of-text id that is a text",
      (folder) => writeFile(path.join(folder, "generation_config.json"), '{"eos_token_id":"</s>"}'),
      "BAD_CONFIG",
      /eos_token_id/,
    ],
  ];
  it.each(breakages)("refuses %s with a typed error", async (_, damage, code, message) => {
    const folder = await writeModel(qwen2);
    await damage(folder);
    expect(await failure(CausalLM.fromPretrained(folder))).toMatchObject({
      code,
      message: expect.stringMatching(message),
    });
  });

  it("reads a model and an adapter that lie in folders of a folder", async () => {
    const top = await temporaryFolder();
    await cp(await writeModel(qwen2), path.join(top, "models/a"), { recursive: true });
    model.applyLora(lora());
    await model.savePretrained(path.join(top, "adapters/b"));
    const loaded = await CausalLM.fromPretrained(top, { subfolder: "models/a", adapter: path.join(top, "adapters/b") });
    expect(loaded.trainableParameters()).toEqual(model.trainableParameters());
    await loaded.loadAdapter(top, { subfolder: "adapters/b/", name: "other" });
    expect(loaded.adapters).toEqual(["default", "other"]);
    expect(await failure(CausalLM.fromPretrained(top, { subfolder: "models/b" }))).toMatchObject({
      code: "FILE_NOT_FOUND",
      message: expect.stringContaining("has no folder models/b"),
    });
  });

  it("says where it looked for a wrong path", async () => {
    expect(await failure(CausalLM.fromPretrained("./no/such/model"))).toMatchObject({
      code: "FILE_NOT_FOUND",
      message: expect.stringContaining("no/such/model"),
    });
  });

  it.each([
    [{ dtyp: "float32" }, "UNKNOWN_OPTION", /dtyp.*\n.*dtype/],
    [{ dtype: "int8" }, "BAD_OPTION", /dtype must be one of auto, bfloat16.*"int8"/],
    [{ device: "gpu" }, "BAD_OPTION", /device/],
    [{ device: "cuda" }, "DEVICE_UNAVAILABLE", /cuda/],
    [{ threads: -1 }, "BAD_OPTION", /threads/],
  ])("refuses the option %j", async (options, code, message) => {
    const loading = CausalLM.fromPretrained(await writeModel(qwen2), options as FromPretrainedOptions);
    expect(await failure(loading)).toMatchObject({ code, message: expect.stringMatching(message) });
  });

  it("frees the engine when loading fails, and keeps the native code and hint", async () => {
    const folder = await writeModel(qwen2);
    const dispose = vi.spyOn(FakeEngine.prototype, "dispose");
    vi.spyOn(FakeEngine.prototype, "loadModel").mockRejectedValueOnce(
      nativeError("OUT_OF_MEMORY", "no room", "buy more"),
    );
    const expected = { name: "GrpoError", code: "OUT_OF_MEMORY", hint: "buy more" };
    expect(await failure(CausalLM.fromPretrained(folder))).toMatchObject(expected);
    expect(dispose).toHaveBeenCalledOnce();
    vi.restoreAllMocks();
  });
});

describe("applyLora", () => {
  it("counts at once and prints PEFT's line", () => {
    const log = vi.spyOn(console, "log").mockImplementation(() => {});
    expect(model.applyLora(lora())).toBe(model);
    model.printTrainableParameters();
    // Two layers; q_proj 8→8 and v_proj 8→4 with rank 2: 2 · (32 + 24).
    expect(model.trainableParameters().trainable).toBe(112);
    expect(log.mock.calls).toEqual([["trainable params: 112 || all params: 1,224 || trainable%: 9.1503"]]);
    log.mockRestore();
  });

  it("lets a failure of the engine surface in the next call, once", async () => {
    engine.failures.set("addAdapter default", nativeError("OUT_OF_MEMORY", "no room"));
    model.applyLora(lora());
    expect(await failure(model.zeroGrad())).toMatchObject({ code: "OUT_OF_MEMORY" });
    expect(engine.calls).toEqual(["addAdapter default"]);
    await model.zeroGrad();
    expect(model.trainableParameters().trainable).toBe(0);
  });

  it("refuses what is no LoraConfig, a second adapter, and unknown options", () => {
    expect(() => model.applyLora({ r: 2 } as never)).toThrow(expect.objectContaining({ code: "BAD_OPTION" }));
    expect(() => model.applyLora(lora(), { sed: 1 } as never)).toThrow(
      expect.objectContaining({ code: "UNKNOWN_OPTION" }),
    );
    model.applyLora(lora());
    expect(() => model.applyLora(lora())).toThrow(/already has an adapter/);
  });
});

describe("disableAdapter", () => {
  it("turns the adapter on again after success and after failure", async () => {
    expect(await model.disableAdapter(async () => 3)).toBe(3);
    const thrown = model.disableAdapter(async () => {
      throw new Error("mine");
    });
    await expect(thrown).rejects.toThrow("mine");
    const toggles = ["setAdapterEnabled false", "setAdapterEnabled true"];
    expect(engine.calls).toEqual([...toggles, ...toggles]);
  });
});

describe("sample and generate", () => {
  it("hand over each group as it finishes and return all in the order of the prompts", async () => {
    const seen: number[] = [];
    const options = {
      groupSize: 2,
      maxNewTokens: 3,
      onGroup: (group: { prompt: number }) => void seen.push(group.prompt),
    };
    const { groups, stats } = await model.sample([[1], [2], [3]], options);
    expect(seen).toEqual([2, 1, 0]);
    expect(groups.map(({ prompt }) => prompt)).toEqual([0, 1, 2]);
    expect(stats.decodeSteps).toBe(2);
  });

  it("stops and throws what onGroup threw", async () => {
    let calls = 0;
    const onGroup = () => {
      calls++;
      throw new Error("mine");
    };
    await expect(model.sample([[1], [2], [3]], { groupSize: 1, maxNewTokens: 3, onGroup })).rejects.toThrow("mine");
    expect(calls).toBe(1);
  });

  it("can be awaited or iterated, and tell a stop id from the end of text", async () => {
    const options = { numReturnSequences: 2, stop: [5] };
    const all = await model.generate([[1], [2]], options);
    expect(all.map(({ prompt, finishReason }) => [prompt, finishReason])).toEqual([
      [0, "stop"],
      [0, "stop"],
      [1, "eos"],
      [1, "eos"],
    ]);
    const order: number[] = [];
    for await (const completion of model.generate([[1], [2]], options)) order.push(completion.prompt);
    expect(order).toEqual([1, 1, 0, 0]);
  });

  it("stop when a loop is left early", async () => {
    engine.beforeGroup = () => new Promise((resolve) => setTimeout(resolve, 5));
    for await (const completion of model.generate([[1], [2], [3]])) {
      expect(completion.prompt).toBe(2);
      break;
    }
    expect(engine.cancels).toBe(1);
    await model.zeroGrad();
  });

  it("give the error to whoever iterates", async () => {
    engine.failures.set("sample", nativeError("NON_FINITE", "logits are NaN"));
    const loop = async () => {
      for await (const _ of model.generate([[1]])) void _;
    };
    expect(await failure(loop())).toMatchObject({ code: "NON_FINITE" });
  });

  it("refuse bad prompts before the engine sees them", async () => {
    expect(await failure(model.sample([["a"]] as never, { groupSize: 1, maxNewTokens: 1 }))).toMatchObject({
      code: "BAD_INPUT",
    });
    expect(engine.calls).toEqual([]);
  });
});

describe("cancelling", () => {
  it("ends the running job of its own signal", async () => {
    const stop = new AbortController();
    engine.beforeGroup = async () => stop.abort(new Error("enough"));
    const error = await failure(model.sample([[1]], { groupSize: 1, maxNewTokens: 3, signal: stop.signal }));
    expect(error).toMatchObject({ code: "CANCELLED", cause: expect.objectContaining({ message: "enough" }) });
  });

  it("of a waiting job leaves the running one alone", async () => {
    const stop = new AbortController();
    const options = { groupSize: 1, maxNewTokens: 3 };
    const running = model.sample([[1]], options);
    const waiting = failure(model.sample([[1]], { ...options, signal: stop.signal }));
    stop.abort();
    expect((await running).groups).toHaveLength(1);
    expect(await waiting).toMatchObject({ code: "CANCELLED" });
    expect(engine.cancels).toBe(0);
    expect(engine.calls).toEqual(["sample"]);
  });

  it("before the call starts nothing", async () => {
    const signal = AbortSignal.abort();
    expect(await failure(model.sample([[1]], { groupSize: 1, maxNewTokens: 3, signal }))).toMatchObject({
      code: "CANCELLED",
    });
    expect(engine.calls).toEqual([]);
  });
});

describe("logprobs, forward, gradients", () => {
  it("give one array per completion, or per sequence without its first token", async () => {
    expect(await model.logprobs({ promptIds: [[1], [1]], completionIds: [[2, 3], []] })).toEqual([
      Float32Array.of(-2, -3),
      new Float32Array(),
    ]);
    expect(await model.logprobs([[1, 2, 3], [4]])).toEqual([Float32Array.of(-2, -3), new Float32Array()]);
  });

  it("give logits per sequence", async () => {
    expect((await model.forward([[1, 2], [3]])).map(({ length }) => length)).toEqual([20, 10]);
  });

  it("name gradients as PEFT's files do", async () => {
    model.applyLora(lora());
    expect(Object.keys(await model.gradients())).toEqual([
      "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight",
    ]);
  });

  it("refuse sequences beyond the model's positions", async () => {
    const long = new Array<number>(33).fill(1);
    expect(await failure(model.forward([long]))).toMatchObject({
      code: "BAD_INPUT",
      message: expect.stringMatching(/33/),
    });
    expect(await failure(model.logprobs([long]))).toMatchObject({ code: "BAD_INPUT" });
  });
});

describe("forwardBackward and optimizerStep", () => {
  const batch = { promptIds: [[1], [1]], completionIds: [[2], [3]], advantages: [1, -1] };

  it.each([
    ["too few advantages", { ...batch, advantages: [1] }, {}, "BAD_INPUT", /expected 2 advantages, found 1/],
    ["no advantages", { ...batch, advantages: undefined }, {}, "BAD_INPUT", /2 advantages, found none/],
    [
      "old log-probabilities of other lengths",
      { ...batch, oldLogprobs: [[1], [1, 2]] },
      {},
      "BAD_INPUT",
      /oldLogprobs\[1\]/,
    ],
    ["a loss mask of too few rows", { ...batch, lossMask: [[1]] }, {}, "BAD_INPUT", /2 lossMask, found 1/],
    [
      "a loss mask of other lengths",
      { ...batch, lossMask: [[1], Uint8Array.of(1, 0)] },
      {},
      "BAD_INPUT",
      /lossMask\[1\]: expected 1 values, found 2/,
    ],
    [
      "a mark that is neither 0 nor 1",
      { ...batch, lossMask: [[1], [0.5]] },
      {},
      "BAD_INPUT",
      /lossMask\[1\]: expected 0 or 1 at position 0, found 0\.5/,
    ],
    [
      "slices that do not begin at 0",
      { ...batch, sliceOffsets: [1, 2] },
      {},
      "BAD_INPUT",
      /sliceOffsets: expected row numbers that ascend from 0 to 2, found \[1,2\]/,
    ],
    ["slices that end before the rows", { ...batch, sliceOffsets: [0, 1] }, {}, "BAD_INPUT", /sliceOffsets/],
    ["slices that descend", { ...batch, sliceOffsets: [0, 2, 1, 2] }, {}, "BAD_INPUT", /sliceOffsets/],
    ["slices of half a row", { ...batch, sliceOffsets: [0, 0.5, 2] }, {}, "BAD_INPUT", /sliceOffsets/],
    ["no slices", { ...batch, sliceOffsets: [] }, {}, "BAD_INPUT", /sliceOffsets/],
    ["slices told twice", { ...batch, sliceOffsets: [0, 2] }, { rowsPerSlice: 1 }, "BAD_INPUT", /rowsPerSlice/],
    ["slices of half a row by number", batch, { rowsPerSlice: 0.5 }, "BAD_OPTION", /rowsPerSlice/],
    ["beta without a reference", batch, { beta: 0.04 }, "BAD_INPUT", /referenceLogprobs/],
    ["an unknown field", { ...batch, rewards: [] }, {}, "UNKNOWN_OPTION", /rewards/],
    ["an unknown loss", batch, { lossType: "ppo" }, "BAD_OPTION", /ppo/],
  ])("refuse %s", async (_, fields, loss, code, message) => {
    const error = await failure(model.forwardBackward(fields as never, loss as never));
    expect(error).toMatchObject({ code, message: expect.stringMatching(message) });
    expect(engine.calls).toEqual([]);
  });

  it("pass what is right", async () => {
    expect((await model.forwardBackward(batch)).loss).toBe(0.5);
    expect((await model.optimizerStep({ learningRate: 1e-5 })).applied).toBe(true);
  });

  it("refuse a step without a learning rate, or with an option that is not there", async () => {
    expect(await failure(model.optimizerStep({} as never))).toMatchObject({ code: "BAD_OPTION" });
    expect(await failure(model.optimizerStep({ learningRate: 1, lr: 1 } as never))).toMatchObject({
      code: "UNKNOWN_OPTION",
    });
  });
});

describe("saving", () => {
  it("writes PEFT's three files for an adapter, nothing else, and keeps a README that is there", async () => {
    const folder = path.join(await temporaryFolder(), "new/adapter");
    model.applyLora(lora());
    await model.savePretrained(folder);
    expect((await readdir(folder)).sort()).toEqual(["README.md", "adapter_config.json", "adapter_model.safetensors"]);
    const { tensors, metadata } = await readHeader(path.join(folder, "adapter_model.safetensors"));
    expect(metadata).toEqual({ format: "pt" });
    expect([...tensors.keys()][0]).toBe("base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight");
    await writeFile(path.join(folder, "README.md"), "mine");
    await model.savePretrained(folder);
    expect(await readFile(path.join(folder, "README.md"), "utf8")).toBe("mine");
  });

  it("spells the numbers of both configs as it read them: to a strict reader 1.0 is not 1", async () => {
    const folder = await writeModel(qwen2);
    const text = (await readFile(path.join(folder, "config.json"), "utf8")).replace("10000", "10000.0");
    await writeFile(path.join(folder, "config.json"), text);
    await writeFile(path.join(folder, "generation_config.json"), '{"temperature": 1.0}');
    const read = await CausalLM.fromPretrained(folder);
    const target = await temporaryFolder();
    await read.savePretrained(target);
    expect(await readFile(path.join(target, "config.json"), "utf8")).toContain('"rope_theta":10000.0');
    expect(await readFile(path.join(target, "generation_config.json"), "utf8")).toBe('{"temperature": 1.0}');
  });

  it("writes the whole model without an adapter", async () => {
    const folder = await temporaryFolder();
    await model.savePretrained(folder);
    expect((await readdir(folder)).sort()).toEqual(["config.json", "model.safetensors"]);
    expect(JSON.parse(await readFile(path.join(folder, "config.json"), "utf8"))).toEqual(qwen2);
  });

  it("leaves earlier files whole and no other ones behind when it fails", async () => {
    const folder = await temporaryFolder();
    model.applyLora(lora());
    await model.savePretrained(folder);
    const before = await readFile(path.join(folder, "adapter_model.safetensors"));
    engine.failures.set("saveSet adapter 8", nativeError("FILE_NOT_FOUND", "no space left on device"));
    expect(await failure(model.savePretrained(folder))).toMatchObject({ code: "BAD_INPUT", message: /no space/ });
    expect(await readFile(path.join(folder, "adapter_model.safetensors"))).toEqual(before);
    expect(await readdir(folder)).toHaveLength(3);
  });

  it("says so when the folder is a file", async () => {
    const file = path.join(await temporaryFolder(), "file");
    await writeFile(file, "");
    expect(await failure(model.savePretrained(file))).toMatchObject({ code: "BAD_INPUT" });
  });

  it("keeps adapter, optimizer and step in a checkpoint", async () => {
    const folder = await temporaryFolder();
    model.applyLora(lora());
    await model.saveCheckpoint(folder);
    const other = await CausalLM.fromConfig(qwen2);
    other.applyLora(lora());
    await other.loadCheckpoint(folder);
    expect(FakeEngine.all.at(-1)?.calls.slice(-3)).toEqual([
      "loadSet adapter 0",
      "setOptimizer adamw",
      "loadSet optimizer 7",
    ]);
    const bare = await CausalLM.fromConfig(qwen2);
    expect(await failure(bare.saveCheckpoint(folder))).toMatchObject({ code: "BAD_INPUT" });
  });
});

describe("loadAdapter", () => {
  async function saved(): Promise<string> {
    const folder = await temporaryFolder();
    model.applyLora(lora());
    await model.savePretrained(folder);
    return folder;
  }

  it("gives a bare model the adapter with its configuration", async () => {
    const folder = await saved();
    const loaded = await CausalLM.fromPretrained(await writeModel(qwen2), { adapter: folder });
    expect(loaded.trainableParameters()).toEqual(model.trainableParameters());
    const table = FakeEngine.all.at(-1)?.tables.at(-1);
    expect(table?.tensors[0]?.name).toBe("model.layers.0.self_attn.q_proj.lora_A.weight");
  });

  it("refuses an adapter of another shape on a model that has one", async () => {
    const folder = await saved();
    const other = await CausalLM.fromConfig(qwen2);
    other.applyLora(new LoraConfig({ r: 4 }));
    expect(await failure(other.loadAdapter(folder))).toMatchObject({ code: "BAD_ADAPTER" });
  });

  it.each([
    ["another rank in the configuration", { r: 3 }, /expected shape \[3, 8\], found \[2, 8\]/],
    [
      "more targets than tensors",
      { target_modules: ["q_proj", "v_proj", "o_proj"] },
      /o_proj\.lora_A\.weight.*missing/,
    ],
    [
      "fewer targets than tensors",
      { target_modules: ["q_proj"] },
      /v_proj\.lora_A\.weight does not belong to anything/,
    ],
    ["targets that the model lacks", { target_modules: ["c_attn"] }, /"c_attn"/],
    ["an option that is not supported", { use_qalora: true }, /use_qalora/],
  ])("refuses %s", async (_, fields, message) => {
    const folder = await saved();
    const file = path.join(folder, "adapter_config.json");
    await writeFile(file, JSON.stringify({ ...JSON.parse(await readFile(file, "utf8")), ...fields }));
    const bare = await CausalLM.fromConfig(qwen2);
    expect(await failure(bare.loadAdapter(folder))).toMatchObject({
      code: "BAD_ADAPTER",
      message: expect.stringMatching(message),
    });
    expect(bare.trainableParameters().trainable).toBe(0);
  });

  it("names what is missing in a folder", async () => {
    const folder = await temporaryFolder();
    expect(await failure(model.loadAdapter(folder))).toMatchObject({ code: "BAD_ADAPTER" });
    await mkdir(path.join(folder, "x"));
    expect(await failure(model.loadAdapter(folder, { revison: "x" } as never))).toMatchObject({
      code: "UNKNOWN_OPTION",
    });
  });
});

describe("dispose", () => {
  it("may be called twice, and everything afterwards is DISPOSED", async () => {
    model.dispose();
    model.dispose();
    expect(engine.disposed).toBe(1);
    const options = { groupSize: 1, maxNewTokens: 1 };
    for (const call of [
      model.zeroGrad(),
      model.sample([[1]], options),
      model.generate([[1]]),
      model.savePretrained("x"),
    ]) {
      expect(await failure(call)).toMatchObject({ code: "DISPOSED" });
    }
    expect(() => model.applyLora(lora())).toThrow(expect.objectContaining({ code: "DISPOSED" }));
  });

  it("happens at the end of an `await using` block", async () => {
    {
      await using scoped = await CausalLM.fromConfig(qwen2);
      expect(scoped.device).toBe("cpu");
    }
    expect(FakeEngine.all.at(-1)?.disposed).toBe(1);
  });
});

describe("an unexpected failure of the engine", () => {
  it("is INTERNAL and keeps its cause", async () => {
    const cause = new TypeError("odd");
    engine.failures.set("zeroGrad", cause);
    expect(await failure(model.zeroGrad())).toMatchObject({ code: "INTERNAL", message: "odd", cause });
  });
});
