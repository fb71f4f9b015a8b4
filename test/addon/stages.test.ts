// Trainings of one model one after the other against TRL's: each trainer begins with a fresh optimizer on the model as it is, one that
// trains again goes on with its own.

import { describe, expect, it } from "vitest";
import { LoraConfig } from "../../lib/model/lora/lora.js";
import { CausalLM } from "../../lib/model/model.js";
import { DEVICE } from "../support/device.js";
import { tinyQwen2 } from "./golden.js";
import { expectAdapter, expectLog, type GoldenRun, goldenTrainer, type RunsFixture } from "./run-fixtures.js";
import { modelWithAdapter, readFixture } from "./training-fixtures.js";

interface StagesFixture extends RunsFixture {
  readonly chains: readonly {
    readonly name: string;
    /** Without options the trainer before trains once more. */
    readonly stages: readonly { readonly options: GoldenRun["options"] | null; readonly steps: GoldenRun["steps"] }[];
  }[];
}

const { json, tensors } = await readFixture<StagesFixture>("stages");

describe("stages equal TRL's in every metric of every step and in the adapter after each", () => {
  it.each(json.chains)("$name", async ({ name, stages }) => {
    await using model = await modelWithAdapter(json, tensors);
    let trainer: ReturnType<typeof goldenTrainer> | undefined;
    for (const [i, { options, steps }] of stages.entries()) {
      if (options !== null) trainer = goldenTrainer(model, json, options, "own");
      await trainer?.train();
      expectLog(trainer?.state.logHistory ?? [], steps);
      await expectAdapter(model, tensors, `${name} ${i + 1}`);
    }
  });
});

describe("a model that is trained in stages", () => {
  it("is compared with what a stage began with, whatever the stages before did", async () => {
    await using model = await CausalLM.fromPretrained(tinyQwen2, { dtype: "float32", device: DEVICE, threads: 1 });
    const ids = [[1, 2, 3, 4, 5]];
    const base = await model.logprobs(ids);
    model.applyLora(new LoraConfig({ r: 2 }));
    const step = async () => {
      await model.forwardBackward({ promptIds: [[1, 2]], completionIds: [[3, 4]], advantages: [1] });
      await model.optimizerStep({ learningRate: 0.1 });
    };
    // A first training without a reference, one without a single step, and one that compares.
    await model.beginTraining();
    await step();
    await model.beginTraining();
    const before = await model.logprobs(ids);
    await model.beginTraining({ reference: true });
    await step();
    expect(await model.logprobs(ids, { reference: true })).toEqual(before);
    expect(before).not.toEqual(base);
    // An adapter of its own, which is still the base.
    model.applyLora(new LoraConfig({ r: 2 }), { name: "other" });
    await model.setAdapter("other");
    await model.beginTraining({ reference: true });
    await step();
    expect(await model.logprobs(ids, { reference: true })).toEqual(base);
  });
});
