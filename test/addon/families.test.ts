// Every family and switch against transformers and PEFT: logits, and the gradient of a summed log-probability by LoRA weights
// on all linear layers. And against itself: what decoding with a cache draws and records is what the full forward gives.
// The deviations go into the table of docs/models.md (scripts/docs-models.ts).

import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readTensors } from "../../lib/model/files/safetensors.js";
import type { CausalLM } from "../../lib/model/model.js";
import type { TokenIds } from "../../lib/types.js";
import { goldenPath, numbers, rowsOf, sequences, type Tensors } from "./golden.js";
import { adapterNames, modelWithAdapter } from "./training-fixtures.js";

declare module "vitest" {
  interface TaskMeta {
    /** Largest deviation of one row: of logits, absolute; of gradients, by the largest entry of their tensor. */
    deviation?: { readonly row: string; readonly kind: "logits" | "gradient"; readonly value: number };
  }
}

interface Row {
  readonly name: string;
  readonly exercises: string;
  readonly groups: number;
}
const { rank, loraAlpha, rows }: { rank: number; loraAlpha: number; rows: Row[] } = JSON.parse(
  readFileSync(goldenPath("families.json"), "utf8"),
);

// Float32 sums in another order than torch's; logits here are of the order of 5, gradients of the order of 10.
const ABSOLUTE = 1e-4;
const RELATIVE = 1e-4;

/** The largest |a − b|; fails if one is above the tolerance. */
function expectClose(actual: ArrayLike<number> | undefined, expected: readonly number[], what: string): number {
  expect(actual, what).toHaveLength(expected.length);
  let largest = 0;
  expected.forEach((value, i) => {
    const difference = Math.abs((actual?.[i] ?? Number.NaN) - value);
    if (!(difference <= ABSOLUTE + RELATIVE * Math.abs(value))) {
      expect.fail(`${what}: entry ${i} is ${actual?.[i]}, expected ${value}`);
    }
    largest = Math.max(largest, difference);
  });
  return largest;
}

describe.each(rows)("$name: $exercises", ({ name, groups }) => {
  let model: CausalLM;
  let tensors: Tensors;
  beforeAll(async () => {
    tensors = await readTensors(goldenPath(`family-${name}.safetensors`));
    const adapter = { model: `family-${name}`, targetModules: "all-linear", r: rank, loraAlpha };
    model = await modelWithAdapter(adapter, tensors);
  });
  afterAll(() => model.dispose());

  const ofGroup = (group: number) => sequences(tensors, `${group}.ids`, `${group}.offsets`);

  it("logits equal transformers', and with an adapter PEFT's", async ({ task }) => {
    let value = 0;
    for (let group = 0; group < groups; group++) {
      const logits = async () => rowsOf(await model.forward(ofGroup(group)), model.vocabSize);
      const base = await model.disableAdapter(logits);
      value = Math.max(value, expectClose(base, numbers(tensors, `${group}.logits_base`), "base"));
      value = Math.max(value, expectClose(await logits(), numbers(tensors, `${group}.logits`), "adapter"));
    }
    task.meta.deviation = { row: name, kind: "logits", value };
  });

  it("the gradient of the summed log-probability equals PEFT's", async ({ task }) => {
    let value = 0;
    for (let group = 0; group < groups; group++) {
      // In micro-batches too: a rope that depends on the length looks at the whole batch.
      const gradients = await gradientOfLogprobs(model, ofGroup(group), group === 0 ? 2048 : 1);
      const names = adapterNames(tensors);
      expect(Object.keys(gradients).sort()).toEqual(names.sort());
      for (const tensor of names) {
        const theirs = numbers(tensors, `${group}.grad.${tensor}`);
        const scale = theirs.reduce((largest, entry) => Math.max(largest, Math.abs(entry)), 0);
        value = Math.max(value, expectClose(gradients[tensor], theirs, tensor) / scale);
      }
    }
    task.meta.deviation = { row: name, kind: "gradient", value };
  });

  it.each([
    ["short", [[7], [5, 9, 11, 30]], 9],
    [
      "long",
      [
        [7, 8, 40],
        [5, 9, 11, 30, 4, 6, 21, 33, 17, 12],
      ],
      14,
    ],
  ])("decodes %s sequences as the full forward computes them", async (_, prompts, maxNewTokens) => {
    await expectDecodes(model, prompts, maxNewTokens);
  });
});

async function gradientOfLogprobs(
  model: CausalLM,
  ids: readonly TokenIds[],
  maxTokensPerMicroBatch: number,
): Promise<Record<string, Float32Array>> {
  await model.zeroGrad();
  const promptIds = ids.map((sequence) => sequence.slice(0, 1));
  const completionIds = ids.map((sequence) => sequence.slice(1));
  // The ratio is 1, so that the gradient of −A · ratio is that of the log-probability where A is −1; nothing is averaged.
  await model.forwardBackward(
    { promptIds, completionIds, advantages: ids.map(() => -1) },
    { lossType: "dapo", beta: 0, lossTokens: 1, maxTokensPerMicroBatch },
  );
  return model.gradients();
}

/** Greedy: each token is the best of the full forward's logits, and its recorded log-probability that of logprobs(). */
async function expectDecodes(model: CausalLM, prompts: readonly TokenIds[], maxNewTokens: number): Promise<void> {
  const { groups } = await model.sample(prompts, { groupSize: 1, maxNewTokens, doSample: false });
  const drawn = groups.map(({ completions }) => completions[0]);
  const completionIds = drawn.map((completion) => completion?.ids ?? []);
  expect(completionIds.map((ids) => ids.length)).toEqual(prompts.map(() => maxNewTokens));
  const logprobs = await model.logprobs({ promptIds: prompts, completionIds });
  drawn.forEach((completion, i) => {
    expectClose(completion?.logprobs, Array.from(logprobs[i] ?? []), "log-probabilities");
  });
  const logits = await model.forward(prompts.map((ids, i) => [...ids, ...(completionIds[i] ?? [])]));
  completionIds.forEach((ids, i) => {
    const start = (prompts[i]?.length ?? 0) - 1;
    const width = model.vocabSize;
    ids.forEach((id, t) => {
      const row = logits[i]?.subarray((start + t) * width, (start + t + 1) * width) ?? [];
      expect(row[id]).toBeGreaterThan(Math.max(...row) - ABSOLUTE);
    });
  });
}
