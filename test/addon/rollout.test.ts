// How completions are drawn together: independence of the batch, rows that leave and prompts that enter, groups that arrive
// while others go on, and cancelling.

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { CausalLM } from "../../lib/model/model.js";
import type { SampledGroup, SampleResult } from "../../lib/model/sampled.js";
import { DEVICE } from "../support/device.js";
import { largestDifference, tinyQwen2 } from "./golden.js";

// Short prompts of different lengths; the model ends their completions after 4 to 30 tokens.
const prompts = [[1], [100, 200], [33, 34, 35], [7, 8, 9, 10, 11], [466, 302, 198]];
const keys = [50, 51, 52, 53, 54];

let model: CausalLM;
beforeAll(async () => {
  model = await CausalLM.fromPretrained(tinyQwen2, { dtype: "float32", device: DEVICE });
});
afterAll(() => model.dispose());

const idsOf = (group: SampledGroup | undefined) => group?.completions.map(({ ids }) => ids);
const lengthsOf = ({ groups }: Pick<SampleResult, "groups">) =>
  groups.map(({ completions }) => completions.map(({ ids }) => ids.length));
const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);

describe("the same seed gives the same completions", () => {
  const options = { groupSize: 4, maxNewTokens: 30, seed: 9 };
  let together: SampleResult;
  beforeAll(async () => {
    together = await model.sample(prompts, { ...options, promptKeys: keys });
  });

  it("of different lengths, which the other tests here need", () => {
    expect(new Set(lengthsOf(together).flat()).size).toBeGreaterThan(5);
  });

  it("when sampled again, with the same log-probabilities bit for bit", async () => {
    const again = await model.sample(prompts, { ...options, promptKeys: keys });
    expect(again.groups).toEqual(together.groups);
  });

  it("in another order of the prompts", async () => {
    const order = [3, 0, 4, 2, 1];
    const shuffled = await model.sample(
      order.map((i) => prompts[i] ?? []),
      { ...options, promptKeys: order.map((i) => keys[i] ?? 0) },
    );
    order.forEach((i, place) => {
      expect(idsOf(shuffled.groups[place])).toEqual(idsOf(together.groups[i]));
    });
  });

  it.each([1, 4, 9, 1000])("with at most %i rows at a time", async (maxRows) => {
    const limited = await model.sample(prompts, { ...options, promptKeys: keys, maxRows });
    expect(limited.groups.map(idsOf)).toEqual(together.groups.map(idsOf));
  });

  it("alone", async () => {
    for (const [i, prompt] of prompts.entries()) {
      const alone = await model.sample([prompt], { ...options, promptKeys: [keys[i] ?? 0] });
      expect(idsOf(alone.groups[0])).toEqual(idsOf(together.groups[i]));
      alone.groups[0]?.completions.forEach(({ logprobs }, sample) => {
        // Products of other sizes sum in another order.
        const expected = together.groups[i]?.completions[sample]?.logprobs ?? [];
        expect(largestDifference(logprobs, expected)).toBeLessThan(1e-4);
      });
    }
  });

  it("in a smaller group, which is the start of the larger", async () => {
    const smaller = await model.sample(prompts, { ...options, promptKeys: keys, groupSize: 2 });
    expect(smaller.groups.map(idsOf)).toEqual(together.groups.map((group) => idsOf(group)?.slice(0, 2)));
  });

  it("with a larger token limit, which only goes on further", async () => {
    const shorter = await model.sample(prompts, { ...options, promptKeys: keys, maxNewTokens: 6 });
    expect(shorter.groups.map(idsOf)).toEqual(
      together.groups.map((group) => idsOf(group)?.map((ids) => ids.slice(0, 6))),
    );
  });

  it("and another seed, step or prompt key gives others", async () => {
    const changes = [{ seed: 10 }, { step: 1 }, { promptKeys: [60, 61, 62, 63, 64] }];
    for (const change of changes) {
      const other = await model.sample(prompts, { ...options, promptKeys: keys, ...change });
      other.groups.forEach((group, i) => {
        expect(idsOf(group)).not.toEqual(idsOf(together.groups[i]));
      });
    }
  });

  it("and samples of one group differ", () => {
    for (const group of together.groups) expect(new Set(idsOf(group)?.map(String)).size).toBeGreaterThan(1);
  });
});

describe("more completions than rows", () => {
  it("enter as others finish, although most groups are only partly done", async () => {
    // 320 groups of 2 in 256 rows: at most times many groups wait for their last completion.
    const many = Array.from({ length: 320 }, (_, i) => prompts[i % prompts.length] ?? []);
    const options = { groupSize: 2, maxNewTokens: 30, seed: 4 };
    const all = await model.sample(many, options);
    expect(all.groups).toHaveLength(320);
    const some = [0, 63, 127, 128, 200, 319];
    const alone = await model.sample(
      some.map((i) => many[i] ?? []),
      { ...options, promptKeys: some },
    );
    expect(alone.groups.map(idsOf)).toEqual(some.map((i) => idsOf(all.groups[i])));
    expect(sum(lengthsOf(all).flat())).toBe(all.stats.tokens);
    // 640 completions would be three whole batches of up to 30 steps; refilled rows need about half of that.
    expect(all.stats.decodeSteps).toBeLessThan(60);
  });
});

describe("finished rows", () => {
  it("leave at once: only tokens of completions are computed", async () => {
    const result = await model.sample(prompts, { groupSize: 4, maxNewTokens: 30, seed: 9 });
    const lengths = lengthsOf(result).flat();
    expect(result.stats.tokens).toBe(sum(lengths));
    // The first token comes from the prompt's own pass.
    expect(result.stats.decodeSteps).toBe(Math.max(...lengths) - 1);
    expect(result.stats.prefillTokens).toBe(sum(prompts.map((prompt) => prompt.length)));
  });

  it("say why they ended", async () => {
    const { groups } = await model.sample(prompts, { groupSize: 8, maxNewTokens: 8, seed: 9 });
    const completions = groups.flatMap((group) => group.completions);
    const reasons = new Set(completions.map(({ finishReason }) => finishReason));
    expect(reasons).toEqual(new Set(["eos", "length"]));
    for (const { ids, logprobs, finishReason } of completions) {
      expect(logprobs).toHaveLength(ids.length);
      expect(ids.slice(0, -1).some((id) => model.eosTokenIds.includes(id))).toBe(false);
      expect(model.eosTokenIds.includes(ids.at(-1) ?? -1)).toBe(finishReason === "eos");
      if (finishReason === "length") expect(ids).toHaveLength(8);
    }
  });
});

describe("groups", () => {
  it("arrive in the order in which they finish, before the call ends", async () => {
    const arrived: number[] = [];
    let ended = false;
    const result = await model
      .sample(prompts, {
        groupSize: 4,
        maxNewTokens: 30,
        seed: 9,
        onGroup: (group) => {
          expect(ended).toBe(false);
          arrived.push(group.prompt);
        },
      })
      .finally(() => {
        ended = true;
      });
    expect([...arrived].sort()).toEqual([0, 1, 2, 3, 4]);
    const longest = lengthsOf(result).map((lengths) => Math.max(...lengths));
    const finishedAt = arrived.map((prompt) => longest[prompt] ?? 0);
    expect(finishedAt).toEqual([...finishedAt].sort((a, b) => a - b));
    expect(new Set(finishedAt).size).toBeGreaterThan(1);
  });

  it("arrive while others are still decoded, which can then be cancelled", async () => {
    const stop = new AbortController();
    const arrived: number[] = [];
    const sampling = model.sample(prompts, {
      // So hot that drawing is nearly uniform: lengths vary by hundreds of steps, and the first callback takes less than one.
      groupSize: 1,
      maxNewTokens: 900,
      temperature: 10,
      seed: 9,
      signal: stop.signal,
      onGroup: ({ prompt }) => {
        arrived.push(prompt);
        stop.abort(new Error("enough"));
      },
    });
    await expect(sampling).rejects.toMatchObject({ name: "GrpoError", code: "CANCELLED" });
    expect(arrived.length).toBeLessThan(prompts.length);
  });
});
