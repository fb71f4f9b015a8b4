// Stop strings and streaming. The vocabulary is spelled so that texts cross tokens: ids 0..63 are "a", "ab", "b" and so on.

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { CausalLM } from "../../lib/model/model.js";
import { DEVICE } from "../support/device.js";
import { goldenPath } from "./golden.js";

const SPELLINGS = Array.from({ length: 64 }, (_, id) => "abcdefgh".slice(id % 5, (id % 5) + 1 + (id % 3)));
const tokenizer = {
  tokenBytes() {
    const offsets = [0];
    for (const text of SPELLINGS) offsets.push((offsets.at(-1) ?? 0) + text.length);
    return { bytes: new TextEncoder().encode(SPELLINGS.join("")), offsets: Int32Array.from(offsets) };
  },
};
const spell = (ids: readonly number[]) => ids.map((id) => SPELLINGS[id]).join("");

let model: CausalLM;
beforeAll(async () => {
  model = await CausalLM.fromPretrained(goldenPath("models/llama-mha"), { dtype: "float32", device: DEVICE });
});
afterAll(() => model.dispose());

const prompts = [
  [1, 2, 3],
  [7, 5],
];
const options = { maxNewTokens: 30, temperature: 1, numReturnSequences: 3, seed: 5 };

describe("stopStrings", () => {
  it("end a completion with the token that completes one, wherever in tokens it lies", async () => {
    const free = await model.generate(prompts, options);
    // From the middle of one completion, over a boundary of tokens.
    const text = spell(free[1]?.ids ?? []);
    const stop = text.slice(9, 14);
    const stopped = await model.generate(prompts, { ...options, stopStrings: [stop, "zzz"], tokenizer });
    expect(stopped).toHaveLength(6);
    for (const [i, { ids, finishReason }] of stopped.entries()) {
      const whole = free[i]?.ids ?? [];
      const end = whole.findIndex((_, t) => spell(whole.slice(0, t + 1)).includes(stop));
      expect(ids).toEqual(end < 0 ? whole : whole.slice(0, end + 1));
      expect(finishReason).toBe(end < 0 ? free[i]?.finishReason : "stop");
    }
    expect(stopped[1]?.finishReason).toBe("stop");
  });

  it("need the tokenizer, and texts that are not empty", async () => {
    const refused = (wrong: object) => expect(Promise.resolve(model.generate(prompts, wrong))).rejects;
    await refused({ stopStrings: ["a"] }).toThrow(/tokenizer/);
    await refused({ stopStrings: [""], tokenizer }).toThrow(/not empty/);
  });
});

describe("onToken", () => {
  it("sees every token of every completion in its order", async () => {
    const seen = new Map<string, number[]>();
    const onToken = ({ prompt, sample, id }: { prompt: number; sample: number; id: number }) => {
      const key = `${prompt}/${sample}`;
      seen.set(key, [...(seen.get(key) ?? []), id]);
    };
    const all = await model.generate(prompts, { ...options, onToken });
    expect(all.map(({ ids }, i) => [`${Math.floor(i / 3)}/${i % 3}`, ids])).toEqual([...seen].sort());
  });

  it("may throw, which ends the call", async () => {
    const onToken = () => {
      throw new Error("enough");
    };
    await expect(Promise.resolve(model.generate(prompts, { ...options, onToken }))).rejects.toThrow("enough");
  });
});

it("records what training computes, where the rotary embedding depends on the length", async () => {
  const files = { dtype: "float32", device: DEVICE } as const;
  const longrope = await CausalLM.fromPretrained(goldenPath("models/family-phi3-longrope"), files);
  const switchLength = 16;
  // Below the switch as they are, above it with the room that sampling was given.
  const sampled = await longrope.generate(prompts, { ...options, maxNewTokens: 4, seed: 3 });
  const above = await longrope.generate(prompts, { ...options, maxNewTokens: switchLength, seed: 3 });
  for (const [answers, maxNewTokens] of [
    [sampled, 4],
    [above, switchLength],
  ] as const) {
    const batch = {
      promptIds: answers.map(({ prompt }) => prompts[prompt] ?? []),
      completionIds: answers.map(({ ids }) => ids.slice(0, 4)),
      contextLength: 3 + maxNewTokens,
    };
    const computed = await longrope.logprobs(batch);
    answers.forEach(({ logprobs }, i) => {
      for (const [t, value] of (computed[i] ?? []).entries()) {
        expect(value).toBeCloseTo(logprobs[t] ?? Number.NaN, 4);
      }
    });
  }
  const asShort = await longrope.logprobs({
    promptIds: [prompts[0] ?? []],
    completionIds: [above[0]?.ids.slice(0, 4) ?? []],
  });
  expect(Math.abs((asShort[0]?.[3] ?? 0) - (above[0]?.logprobs[3] ?? 0))).toBeGreaterThan(1e-3);
  longrope.dispose();
});
