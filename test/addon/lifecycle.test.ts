// A model used at the wrong time or with the wrong input: calls while it samples, during and after dispose, at the limits of the
// context, with numbers that are none. Always a typed error or a defined result.

import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { LoraConfig } from "../../lib/model/lora/lora.js";
import { CausalLM } from "../../lib/model/model.js";
import type { NativeEngine } from "../../lib/native/native.js";
import { loadCore } from "../../lib/native/native-loader.js";
import { processMemory, resetPeak } from "../../scripts/process-memory.js";
import { DEVICE } from "../support/device.js";
import { tinyQwen2 } from "./golden.js";
import { ADAMW, BATCH, LOSS, REQUEST, rawEngine, tinyConfig } from "./raw-engine.js";

const f32 = { dtype: "float32", device: DEVICE } as const;
/** More than a minute of work unless it is stopped. */
const endless = { groupSize: 1, maxNewTokens: 1000, temperature: 10, maxRows: 16 } as const;
const manyPrompts = Array.from({ length: 2000 }, (_, i) => [1 + (i % 400)]);
const failure = (code: string) => expect.objectContaining({ name: "GrpoError", code });
const outcome = (promise: Promise<unknown>) =>
  promise.then(
    () => "resolved",
    (error: unknown) => error,
  );

async function open(): Promise<CausalLM> {
  const model = await CausalLM.fromPretrained(tinyQwen2, f32);
  model.applyLora(new LoraConfig({ initLoraWeights: false }));
  return model;
}

describe.runIf(process.platform === "linux")("loading", () => {
  const folder = mkdtempSync(path.join(tmpdir(), "grpo-loading-"));
  afterAll(() => rmSync(folder, { recursive: true }));

  // The file's pages count as the process's while they are mapped.
  it.each(["float32", "bfloat16"] as const)("holds the weights once, as %s", async (dtype) => {
    const shape = JSON.parse(readFileSync(path.join(tinyQwen2, "config.json"), "utf8"));
    const made = await CausalLM.fromConfig({ ...shape, vocab_size: 400_000 }, { ...f32, seed: 1 });
    await made.savePretrained(folder);
    const bytes = made.trainableParameters().all * (dtype === "float32" ? 4 : 2);
    made.dispose();
    expect(bytes).toBeGreaterThan(50e6);
    const before = processMemory("VmRSS");
    expect(resetPeak()).toBe(true);
    const model = await CausalLM.fromPretrained(folder, { dtype, device: DEVICE });
    expect(processMemory("VmHWM") - before).toBeLessThan(1.3 * bytes + 32e6);
    model.dispose();
  });
});

describe("dispose", () => {
  const batch = { promptIds: [[1]], completionIds: [[2]], advantages: [1] };

  it("while sampling ends it, and what waits behind it, with typed errors", async () => {
    const model = await open();
    let sampling: Promise<unknown> = Promise.resolve();
    const firstGroup = new Promise<void>((resolve) => {
      sampling = outcome(model.sample(manyPrompts, { ...endless, onGroup: () => resolve() }));
    });
    const waiting = outcome(model.forward([[1]]));
    await firstGroup;
    model.dispose();
    expect(await sampling).toEqual(failure("CANCELLED"));
    expect(await waiting).toEqual(failure("DISPOSED"));
  });

  it("while training ends it with a typed error or a result", async () => {
    const model = await open();
    const training = outcome(model.forwardBackward({ ...batch, completionIds: [new Array<number>(500).fill(2)] }));
    model.dispose();
    expect(["resolved", failure("CANCELLED"), failure("DISPOSED")]).toContainEqual(await training);
  });

  it("may be called twice, and at once after opening", async () => {
    const model = await CausalLM.fromPretrained(tinyQwen2, f32);
    model.dispose();
    expect(() => model.dispose()).not.toThrow();
    await expect(model[Symbol.asyncDispose]()).resolves.toBeUndefined();
  });

  it("makes every later call fail with DISPOSED", async () => {
    const model = await open();
    model.dispose();
    const calls: (() => Promise<unknown>)[] = [
      () => model.forward([[1]]),
      () => model.logprobs([[1, 2]]),
      async () => model.generate([[1]], { maxNewTokens: 1 }),
      () => model.sample([[1]], { groupSize: 1, maxNewTokens: 1 }),
      () => model.forwardBackward(batch),
      () => model.optimizerStep({ learningRate: 1 }),
      () => model.zeroGrad(),
      () => model.gradients(),
      () => model.disableAdapter(async () => 1),
      async () => model.applyLora(new LoraConfig()),
      () => model.savePretrained("/nonexistent/folder"),
      () => model.saveCheckpoint("/nonexistent/folder"),
      () => model.loadAdapter("/nonexistent/folder"),
    ];
    for (const call of calls) await expect(call(), String(call)).rejects.toEqual(failure("DISPOSED"));
  });

  it("of one model leaves another alone", async () => {
    const [one, other] = [await open(), await open()];
    const before = await other.forward([[1, 2]]);
    one.dispose();
    expect(await other.forward([[1, 2]])).toEqual(before);
    other.dispose();
  });
});

describe("a call while the model samples", () => {
  it("waits for its turn, in the order of the calls", async () => {
    await using model = await open();
    const ended: string[] = [];
    const track = (name: string, promise: Promise<unknown>) => promise.then(() => ended.push(name));
    const expected = await model.forward([[1, 2]]);
    const late = model.forward([[1, 2]]);
    await Promise.all([
      track("sample", model.sample([[1], [2]], { groupSize: 4, maxNewTokens: 20 })),
      track("forward", late),
      track("logprobs", model.logprobs([[1, 2]])),
      track("second sample", model.sample([[1]], { groupSize: 1, maxNewTokens: 1 })),
      track("zeroGrad", model.zeroGrad()),
    ]);
    expect(ended.filter((name) => name !== "forward")).toEqual(["sample", "logprobs", "second sample", "zeroGrad"]);
    expect(await late).toEqual(expected);
  });

  it("is not cancelled with it; one whose own signal is aborted never starts", async () => {
    await using model = await open();
    const [stop, stopped] = [new AbortController(), AbortSignal.abort()];
    const sampling = outcome(model.sample(manyPrompts, { ...endless, signal: stop.signal }));
    const behind = model.forward([[1]]);
    const aborted = outcome(model.sample([[1]], { groupSize: 1, maxNewTokens: 1, signal: stopped }));
    const before = performance.now();
    stop.abort();
    expect(await sampling).toEqual(failure("CANCELLED"));
    // A decode step takes milliseconds; what was asked for takes a minute.
    expect(performance.now() - before).toBeLessThan(5000);
    expect(await behind).toHaveLength(1);
    expect(await aborted).toEqual(failure("CANCELLED"));
  });

  it("does not change its numbers when the input is changed afterwards", async () => {
    await using model = await open();
    const prompt = [1, 2, 3];
    const expected = await model.forward([[1, 2, 3]]);
    const running = model.forward([prompt]);
    prompt.fill(9);
    expect(await running).toEqual(expected);
  });
});

describe("input that cannot be", () => {
  let model: CausalLM;
  beforeAll(async () => {
    model = await open();
  });
  afterAll(() => model.dispose());
  const sample = (prompts: number[][], maxNewTokens = 1) => model.sample(prompts, { groupSize: 1, maxNewTokens });

  it.each([512, -1, 1.5, Number.NaN, 2 ** 40])("token id %d is refused with its position", async (id) => {
    const refusal = {
      code: "BAD_INPUT",
      message: expect.stringContaining("expected a token id from 0 to 511 at position 1"),
    };
    for (const call of [
      sample([[1, id]]),
      model.forward([[1, id]]),
      model.logprobs([
        [1, 2],
        [3, id],
      ]),
    ]) {
      await expect(call).rejects.toMatchObject(refusal);
    }
    const batch = { promptIds: [[1]], completionIds: [[2, id]], advantages: [1] };
    await expect(model.forwardBackward(batch)).rejects.toMatchObject(refusal);
  });

  it("an empty prompt is refused", async () => {
    await expect(sample([[1], []])).rejects.toEqual(failure("BAD_INPUT"));
    await expect(model.logprobs({ promptIds: [[]], completionIds: [[1]] })).rejects.toEqual(failure("BAD_INPUT"));
    await expect(model.forward([[]])).rejects.toEqual(failure("BAD_INPUT"));
  });

  it("no prompts give no completions", async () => {
    expect(await sample([])).toMatchObject({ groups: [], stats: { tokens: 0 } });
    expect(await model.logprobs([])).toEqual([]);
    expect(await model.forward([])).toEqual([]);
  });

  it("a prompt may fill the context but for the new tokens, and no more", async () => {
    const full = new Array<number>(model.maxPositions).fill(5);
    expect(await model.forward([full])).toHaveLength(1);
    expect((await sample([full.slice(1)])).groups[0]?.completions[0]?.ids).toHaveLength(1);
    await expect(sample([full])).rejects.toEqual(failure("BAD_INPUT"));
    await expect(sample([full.slice(2)], 3)).rejects.toEqual(failure("BAD_INPUT"));
    await expect(model.forward([[...full, 5]])).rejects.toEqual(failure("BAD_INPUT"));
    await expect(model.logprobs([[...full, 5]])).rejects.toEqual(failure("BAD_INPUT"));
  });
});

describe("a gradient that is not finite", () => {
  it.each([Number.NaN, Number.POSITIVE_INFINITY])(
    "from advantage %d is not applied and leaves no trace",
    async (bad) => {
      const [hurt, whole] = [await open(), await open()];
      const batch = { promptIds: [[1, 2], [3]], completionIds: [[4, 5], [6]], advantages: [1, -1] };
      const step = async (model: CausalLM, advantages: readonly number[]) => {
        await model.forwardBackward({ ...batch, advantages });
        return model.optimizerStep({ learningRate: 1e-2 });
      };
      await step(hurt, [1, -1]);
      await step(whole, [1, -1]);
      const { applied, gradNorm } = await step(hurt, [bad, -1]);
      expect(applied).toBe(false);
      expect(Number.isFinite(gradNorm)).toBe(false);
      expect(await hurt.forward([[1, 2]])).toEqual(await whole.forward([[1, 2]]));
      // The optimizer's moments and step count are untouched too: the next step is the same.
      expect(await step(hurt, [0.5, -1])).toEqual(await step(whole, [0.5, -1]));
      expect(await hurt.forward([[1, 2]])).toEqual(await whole.forward([[1, 2]]));
      hurt.dispose();
      whole.dispose();
    },
  );
});

describe("devices", () => {
  const cuda = loadCore()
    .devices()
    .some(({ type }) => type === "cuda");

  it("that are not there are refused before anything is loaded", async () => {
    const opening = CausalLM.fromPretrained(tinyQwen2, { device: "cuda:99" });
    await expect(opening).rejects.toEqual(failure("DEVICE_UNAVAILABLE"));
  });

  // With a GPU in the machine there is nothing to refuse.
  it.skipIf(cuda)("cuda without a GPU is refused by the library and by the engine itself", async () => {
    await expect(CausalLM.fromPretrained(tinyQwen2, { device: "cuda" })).rejects.toEqual(failure("DEVICE_UNAVAILABLE"));
    const config = await tinyConfig();
    const create = () => new (loadCore().Engine)({ config, device: "cuda", dtype: "float32", threads: 0 });
    expect(create).toThrow(expect.objectContaining({ code: "DEVICE_UNAVAILABLE" }));
  });
});

describe("the engine itself, without the checks of the library", () => {
  let engine: NativeEngine;
  beforeAll(async () => {
    engine = await rawEngine(DEVICE);
  });
  afterAll(() => engine.dispose());
  const ints = (...values: number[]) => Int32Array.from(values);
  const train = { ...BATCH, advantages: new Float32Array(5), referenceLogprobs: new Float32Array(8) };

  const calls: Record<string, () => Promise<unknown>> = {
    "a token outside the vocabulary": () => engine.forward(ints(1, 512), ints(0, 2)),
    "a negative token": () => engine.sample({ ...REQUEST, promptIds: ints(1, -2, 3, 4, 5, 6, 7, 8) }, () => {}),
    "a stop id outside the vocabulary": () => engine.sample({ ...REQUEST, stopIds: ints(512) }, () => {}),
    "a token to suppress outside the vocabulary": () =>
      engine.sample({ ...REQUEST, suppressTokens: ints(512) }, () => {}),
    "a bad word without tokens": () =>
      engine.sample({ ...REQUEST, badWordIds: ints(1), badWordOffsets: ints(0, 0, 1) }, () => {}),
    "bad words past their ids": () =>
      engine.sample({ ...REQUEST, badWordIds: ints(1), badWordOffsets: ints(0, 2) }, () => {}),
    "an empty prompt": () => engine.sample({ ...REQUEST, promptOffsets: ints(0, 3, 3, 8) }, () => {}),
    "offsets that do not end with the ids": () => engine.forward(ints(1, 2, 3), ints(0, 2)),
    "offsets that descend": () => engine.logprobs({ ...BATCH, completionOffsets: ints(0, 4, 1, 4, 6, 8) }, 1),
    "prompt offsets past the ids": () => engine.sample({ ...REQUEST, promptOffsets: ints(0, 3, 7, 99) }, () => {}),
    "prompt offsets that descend": () => engine.logprobs({ ...BATCH, promptOffsets: ints(0, 9, 7, 8) }, 1),
    "offsets that do not begin at 0": () =>
      engine.logprobs({ ...BATCH, completionOffsets: ints(-4, 1, 4, 4, 6, 8) }, 1),
    "a prompt that is not there": () => engine.logprobs({ ...BATCH, promptOf: ints(0, 0, 1, 1, 3) }, 1),
    "prompts out of order": () => engine.logprobs({ ...BATCH, promptOf: ints(1, 0, 1, 1, 2) }, 1),
    "keys that are too few": () => engine.sample({ ...REQUEST, promptKeys: ints(0) }, () => {}),
    "advantages that are too few": () => engine.forwardBackward({ ...train, advantages: new Float32Array(4) }, LOSS),
    "references that are too few": () =>
      engine.forwardBackward({ ...train, referenceLogprobs: new Float32Array(7) }, LOSS),
    "old log-probabilities that are too few": () =>
      engine.forwardBackward({ ...train, oldLogprobs: new Float32Array(1) }, LOSS),
    "a loss mask that is too short": () =>
      engine.forwardBackward({ ...train, lossMask: new Uint8Array(7).fill(1) }, LOSS),
    "slices that end before the completions": () =>
      engine.forwardBackward({ ...train, sliceOffsets: ints(0, 4) }, LOSS),
    "slices that descend": () => engine.forwardBackward({ ...train, sliceOffsets: ints(0, 4, 2, 5) }, LOSS),
    "more tokens than positions": () => engine.sample({ ...REQUEST, maxNewTokens: 1021 }, () => {}),
  };
  it.each(Object.keys(calls))("refuses %s", async (name) => {
    // Arguments of a wrong shape are refused at once, their content on the engine's thread.
    const call = async () => calls[name]?.();
    await expect(call()).rejects.toMatchObject({ code: "BAD_INPUT" });
  });

  it("still works after all that", async () => {
    const { applied } = await engine.forwardBackward(train, LOSS).then(() => engine.optimizerStep(ADAMW));
    expect(applied).toBe(true);
  });
});

describe("what one model is given", () => {
  const threads = () => readdirSync("/proc/self/task").length;
  /** Threads of the process that each of these models adds with its first pass, while those before it live. */
  async function added(all: readonly { readonly threads?: number }[]): Promise<number[]> {
    const models: CausalLM[] = [];
    const counts: number[] = [];
    for (const options of all) {
      const before = threads();
      const model = await CausalLM.fromPretrained(tinyQwen2, { ...f32, ...options });
      models.push(model);
      await model.forward([Array.from({ length: 500 }, (_, i) => 1 + (i % 300))]);
      counts.push(threads() - before);
    }
    await Promise.all(models.map((model) => model.dispose()));
    return counts;
  }

  it.runIf(process.platform === "linux")("threads says nothing of the models after it", async () => {
    // Other threads of the process, such as those of models that are gone, end when they please.
    await vi.waitFor(
      async () => {
        const [usual, alone, after] = await added([{}, { threads: 1 }, {}]);
        expect(alone).toBe(1);
        expect(after).toBe(usual);
        if (availableParallelism() > 1) expect(usual).toBeGreaterThan(1);
      },
      { timeout: 30_000 },
    );
  });
});

describe("aborting", () => {
  it("ends sampling whose completions end with their first token", async () => {
    await using model = await open();
    const controller = new AbortController();
    let groups = 0;
    const onGroup = () => {
      groups++;
      controller.abort();
    };
    const sampling = model.sample(manyPrompts, { ...endless, maxNewTokens: 1, signal: controller.signal, onGroup });
    await expect(sampling).rejects.toEqual(failure("CANCELLED"));
    expect(groups).toBeLessThan(manyPrompts.length);
  });
});

describe("nothing to score", () => {
  it.each([{}, { topEntropyQuantile: 0.5 }, { entropyCoef: 0.1 }])("is a loss of zero with %j", async (options) => {
    await using model = await open();
    const batch = { promptIds: [[1], [1]], completionIds: [[], []], advantages: [1, -1] };
    expect(await model.forwardBackward(batch, options)).toMatchObject({ loss: 0 });
  });
});

it.runIf(process.platform === "linux")("writing to a full disk is DISK_FULL", async () => {
  const engine = await rawEngine(DEVICE);
  await expect(engine.saveSet("adapter", "/dev/full", new Uint8Array(8), [])).rejects.toMatchObject({
    code: "DISK_FULL",
  });
  engine.dispose();
});
