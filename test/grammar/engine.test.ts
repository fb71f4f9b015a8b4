// The engine under a grammar: whatever else is in the batch, completions keep to their form, and their log-probabilities are those of
// the model without it.

import { CausalLM, completionConstraint, tinyModel } from "grpo";
import { afterAll, beforeAll, expect, it } from "vitest";
import { DEVICE } from "../support/device.js";
import { tokenizer } from "./draw.js";

let model: CausalLM;
beforeAll(async () => {
  model = await CausalLM.fromPretrained(tinyModel, { device: DEVICE });
});
afterAll(() => model.dispose());

const prompts = ["Ada has 5 cards.", "Ben has", "How many?"].map((text) => tokenizer.encode(text));
const textOf = (ids: readonly number[]) => tokenizer.decode(ids, { skipSpecialTokens: true });

it("keeps every completion of generate() to a pattern", async () => {
  const regex = "(?:yes|no), [0-9]{1,3}(?: cards)?";
  const completions = await model.generate(prompts, {
    doSample: true,
    numReturnSequences: 8,
    maxNewTokens: 64,
    constraint: completionConstraint(tokenizer, { regex }),
  });
  expect(completions).toHaveLength(24);
  for (const { ids, finishReason } of completions) {
    expect(finishReason).toBe("eos");
    expect(textOf(ids)).toMatch(new RegExp(`^${regex}$`));
  }
});

it("keeps to it greedily, with what else shapes a draw, and to a form of its own for each prompt", async () => {
  const forms = [
    { choice: ["left", "right"] },
    { jsonSchema: { type: "integer", minimum: 10, maximum: 19 } },
    { regex: "a{20}" },
  ];
  const makers = forms.map((form) => completionConstraint(tokenizer, form));
  for (const how of [
    { doSample: false },
    { topK: 1 },
    { topP: 0.1, temperature: 2 },
    { minP: 0.9 },
    { repetitionPenalty: 3 },
  ]) {
    const { groups } = await model.sample(prompts, {
      groupSize: 2,
      maxNewTokens: 64,
      ...how,
      constraint: (prompt) => (makers[prompt] as (typeof makers)[number])(),
    });
    const [choices, numbers, letters] = groups.map(({ completions }) => completions.map(({ ids }) => textOf(ids)));
    for (const text of choices ?? []) expect(["left", "right"]).toContain(text);
    for (const text of numbers ?? []) expect(text).toMatch(/^1[0-9]$/);
    expect(letters).toEqual(["a".repeat(20), "a".repeat(20)]);
  }
});

it("records the log-probabilities of the model without it", async () => {
  const { groups } = await model.sample(prompts, {
    groupSize: 2,
    maxNewTokens: 64,
    constraint: completionConstraint(tokenizer, { regex: "[a-f]{4,12}" }),
  });
  for (const { prompt, completions } of groups) {
    for (const { ids, logprobs } of completions) {
      const own = prompts[prompt] as number[];
      const [whole = new Float32Array()] = await model.logprobs([[...own, ...ids]]);
      expect([...logprobs]).toEqual([...whole.slice(own.length - 1)]);
    }
  }
});
