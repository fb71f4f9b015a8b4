// The running batch: whatever else is in it, however a prompt was cut into parts and whatever of it was remembered, tokens and
// log-probabilities are those of sample() alone, bit for bit.

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { LoraConfig } from "../../lib/model/lora/lora.js";
import { CausalLM } from "../../lib/model/model.js";
import type { StreamEvent, StreamOptions } from "../../lib/model/sample-stream.js";
import type { TokenConstraint } from "../../lib/model/token-constraint.js";
import { tinyQwen2 } from "./golden.js";

interface Sampled {
  readonly ids: number[][];
  readonly logprobs: number[][];
  readonly ends: string[];
  readonly knownTokens: number;
}

async function collect(events: AsyncIterable<StreamEvent>): Promise<Sampled> {
  const all = { ids: [] as number[][], logprobs: [] as number[][], ends: [] as string[], knownTokens: 0 };
  for await (const event of events) {
    if (event.type === "opened") all.knownTokens = event.knownTokens;
    else if (event.type === "end") all.ends[event.sample] = event.finishReason;
    else {
      const list = (lists: number[][]) => (lists[event.sample] ??= []);
      list(all.ids).push(event.id);
      list(all.logprobs).push(event.logprob);
    }
  }
  return all;
}

/** The same by sample() alone. */
async function alone(model: CausalLM, prompt: number[], { promptKey = 0, groupSize = 1, ...rest }: StreamOptions) {
  const { topLogprobs, constraint, owner, ...options } = rest;
  const { groups } = await model.sample([prompt], { ...options, groupSize, promptKeys: [promptKey] });
  const completions = groups[0]?.completions ?? [];
  return {
    ids: completions.map(({ ids }) => ids),
    logprobs: completions.map(({ logprobs }) => [...logprobs]),
    ends: completions.map(({ finishReason }) => finishReason),
  };
}

const prompt = (length: number, seed: number) => Array.from({ length }, (_, i) => (i * 7 + seed * 13 + (i >> 3)) % 300);

/** Requests of all kinds. */
const KINDS: [number[], StreamOptions][] = [
  [prompt(5, 1), { maxNewTokens: 40, seed: 1 }],
  [prompt(64, 2), { maxNewTokens: 30, temperature: 0.7, topP: 0.9, seed: 2 }],
  [prompt(65, 3), { maxNewTokens: 20, doSample: false }],
  [prompt(190, 4), { maxNewTokens: 17, topK: 20, groupSize: 3, seed: 9, promptKey: 5 }],
  [prompt(1, 5), { maxNewTokens: 50, repetitionPenalty: 1.3, seed: 4 }],
  [prompt(128, 6), { maxNewTokens: 9, minP: 0.02, stopIds: [11, 12, 13], seed: 3 }],
  [prompt(33, 7), { maxNewTokens: 25, noRepeatNgramSize: 2, groupSize: 2, seed: 8 }],
  [prompt(300, 8), { maxNewTokens: 12, suppressTokens: [5, 6, 7], minNewTokens: 3, seed: 1 }],
];

describe.each(["float32", "bfloat16", "float64"] as const)("a running batch in %s", (dtype) => {
  let model: CausalLM;
  beforeAll(async () => {
    model = await CausalLM.fromPretrained(tinyQwen2, { dtype });
  });
  afterAll(() => model.dispose());

  it("draws for each request what sample() draws for it alone", async () => {
    const together = await Promise.all(KINDS.map(([ids, options]) => collect(model.stream(ids, options))));
    for (const [i, [ids, options]] of KINDS.entries()) {
      expect(together[i], `request ${i}`).toMatchObject(await alone(model, ids, options));
    }
  });

  it("draws the same for requests that come while others run", async () => {
    const expected = await Promise.all(KINDS.map(([ids, options]) => alone(model, ids, options)));
    let entered = 0;
    const results: Promise<Sampled>[] = [];
    const enter = () => {
      const [ids, options] = KINDS[entered++ % KINDS.length] as (typeof KINDS)[0];
      return collect(model.stream(ids, options));
    };
    const events = model.stream(prompt(20, 9), { maxNewTokens: 40, seed: 5 });
    for await (const { type } of events) if (type === "token" && entered < 24) results.push(enter());
    for (const [i, result] of (await Promise.all(results)).entries()) {
      expect(result, `request ${i}`).toMatchObject(expected[i % KINDS.length] as object);
    }
  });
});

describe("what a batch remembers", () => {
  let model: CausalLM;
  beforeAll(async () => {
    model = await CausalLM.fromPretrained(tinyQwen2, { dtype: "bfloat16" });
  });
  afterAll(() => model.dispose());

  it("is a conversation to its last computed token, turn after turn", async () => {
    let ids = prompt(37, 1);
    for (let turn = 0; turn < 6; turn++) {
      const options = { maxNewTokens: 29, seed: turn };
      const answer = await collect(model.stream(ids, options));
      // Of the turn before, the last token was drawn and not computed.
      expect(answer.knownTokens, `turn ${turn}`).toBe(turn === 0 ? 0 : ids.length - 12);
      expect(answer).toMatchObject(await alone(model, ids, options));
      ids = [...ids, ...(answer.ids[0] ?? []), ...prompt(11, 50 + turn)];
    }
  });

  it("is computed once where several prompts begin alike at the same time", async () => {
    const beginning = prompt(200, 77);
    const results = await Promise.all(
      Array.from({ length: 6 }, (_, i) =>
        collect(model.stream([...beginning, i, i + 1], { maxNewTokens: 3, seed: i })),
      ),
    );
    const known = results.map(({ knownTokens }) => knownTokens);
    expect(known.filter((tokens) => tokens === 0)).toHaveLength(1);
    expect(known.filter((tokens) => tokens >= 200)).toHaveLength(5);
  });

  /** Who enters a batch that still runs has what that may remember; any other job waits for its end. */
  const batchEnded = () => model.forward([[1]]);

  it("is what was used last, within its bytes", async () => {
    await batchEnded();
    const cacheBytes = 3 * 2 ** 20;
    const known = async (seed: number) => {
      const options = { maxNewTokens: 1, doSample: false, cacheBytes };
      return (await collect(model.stream(prompt(640, seed), options))).knownTokens;
    };
    expect([await known(1), await known(1)]).toEqual([0, 639]);
    const seeds = Array.from({ length: 40 }, (_, i) => i + 2);
    for (const seed of seeds) {
      expect(await known(seed)).toBeLessThan(64);
      // One that is asked for again and again stays.
      expect(await known(1)).toBe(639);
    }
    expect(await known(2)).toBeLessThan(64);
    expect(await known(41)).toBe(639);
  });

  it("is nothing where it may have no bytes", async () => {
    await batchEnded();
    const options = { maxNewTokens: 3, seed: 1, cacheBytes: 0 };
    for (let i = 0; i < 2; i++) expect((await collect(model.stream(prompt(200, 1), options))).knownTokens).toBe(0);
  });

  it("is forgotten when the weights change", async () => {
    const own = await CausalLM.fromPretrained(tinyQwen2, { dtype: "float32" });
    const ids = prompt(150, 3);
    const options = { maxNewTokens: 5, doSample: false };
    const before = await collect(own.stream(ids, options));
    expect((await collect(own.stream(ids, options))).knownTokens).toBe(149);
    await own.beginTraining();
    const batch = { promptIds: [ids], completionIds: [before.ids[0] ?? []], advantages: [1] };
    await own.forwardBackward(batch);
    await own.optimizerStep({ learningRate: 0.05 });
    const after = await collect(own.stream(ids, options));
    expect(after.knownTokens).toBe(0);
    expect(after).toMatchObject(await alone(own, ids, options));
    expect(after.logprobs).not.toEqual(before.logprobs);
    own.dispose();
  });

  it("is of the adapter that computed it", async () => {
    const own = await CausalLM.fromPretrained(tinyQwen2, { dtype: "float32" });
    own.applyLora(new LoraConfig({ r: 4, targetModules: "all-linear", initLoraWeights: false }), {
      seed: 1,
      name: "one",
    });
    const ids = prompt(100, 4);
    const options = { maxNewTokens: 6, doSample: false };
    const known = async (adapter: string | null) => {
      const result = await collect(own.stream(ids, { ...options, adapter }));
      expect(result).toMatchObject(await alone(own, ids, { ...options, adapter }));
      return result.knownTokens;
    };
    expect([await known("one"), await known(null), await known("one"), await known(null)]).toEqual([0, 0, 99, 99]);
    own.dispose();
  });
});

describe("a running batch", () => {
  let model: CausalLM;
  beforeAll(async () => {
    model = await CausalLM.fromPretrained(tinyQwen2, { dtype: "float32" });
  });
  afterAll(() => model.dispose());

  it("lets a short prompt answer while a long one is computed in parts", async () => {
    const order: string[] = [];
    const first = async (name: string, ids: number[]) => {
      for await (const { type } of model.stream(ids, { maxNewTokens: 1, seed: 1 }))
        if (type === "token") order.push(name);
    };
    await Promise.all([first("long", prompt(1000, 1)), first("short", prompt(6, 2))]);
    expect(order).toEqual(["short", "long"]);
  });

  it("goes on without those that leave it", async () => {
    const stop = new AbortController();
    const left = collect(model.stream(prompt(9, 1), { maxNewTokens: 1000, seed: 1, stopIds: [], signal: stop.signal }));
    const rejects = expect(left).rejects.toMatchObject({ code: "CANCELLED" });
    const stayed = [prompt(9, 2), { maxNewTokens: 60, seed: 2 }] as const;
    const running = model.stream(...stayed);
    const seen: StreamEvent[] = [];
    for await (const event of running) {
      seen.push(event);
      if (seen.length === 5) stop.abort();
    }
    await rejects;
    const ids = seen.flatMap((event) => (event.type === "token" ? [event.id] : []));
    expect([ids]).toEqual((await alone(model, [...stayed[0]], stayed[1])).ids);
  });

  it("ends for other jobs of the model, which it does not hold up for ever", async () => {
    const ids = prompt(12, 1);
    let scored = 0;
    let over = false;
    const talk = async (seed: number) => {
      while (!over) await collect(model.stream(prompt(10, seed), { maxNewTokens: 20, seed }));
    };
    const talks = [talk(1), talk(2), talk(3)];
    for (; scored < 5; scored++) await model.logprobs([ids]);
    over = true;
    await Promise.all(talks);
    expect(scored).toBe(5);
  });

  it("tells the likeliest tokens beside each that is drawn", async () => {
    const ids = prompt(21, 3);
    const events = model.stream(ids, { maxNewTokens: 4, seed: 1, temperature: 0.8, topLogprobs: 5 });
    let context = ids;
    for await (const event of events) {
      if (event.type !== "token") continue;
      const [logits = new Float32Array()] = await model.forward([context]);
      const row = Array.from(logits.subarray(-model.vocabSize), (value) => value / 0.8);
      const sum = Math.log(row.reduce((total, value) => total + Math.exp(value), 0));
      const best = row.map((value, id) => ({ id, logprob: value - sum })).sort((a, b) => b.logprob - a.logprob);
      expect(event.top.map(({ id }) => id)).toEqual(best.slice(0, 5).map(({ id }) => id));
      for (const [i, { logprob }] of event.top.entries()) expect(logprob).toBeCloseTo(best[i]?.logprob ?? 0, 4);
      context = [...context, event.id];
    }
  });

  it("refuses a prompt that is too long, and one of an id that the model lacks", async () => {
    const sampled = (ids: number[], maxNewTokens: number) => collect(model.stream(ids, { maxNewTokens }));
    await expect(sampled(prompt(9, 1), model.maxPositions)).rejects.toMatchObject({ code: "BAD_INPUT" });
    await expect(sampled([model.vocabSize], 2)).rejects.toMatchObject({ code: "BAD_INPUT" });
    await expect(sampled([], 2)).rejects.toMatchObject({ code: "BAD_INPUT" });
    const many = collect(model.stream([1], { maxNewTokens: 1, groupSize: 1000 }));
    await expect(many).rejects.toMatchObject({ code: "BAD_OPTION", message: expect.stringContaining("groupSize") });
  });
});

/** Ids of one parity in turn, told what was drawn. */
class Alternating implements TokenConstraint {
  readonly accepted: number[] = [];
  constructor(readonly vocabSize: number) {}
  readonly isComplete = false;
  fill(mask: Int32Array): boolean {
    const parity = this.accepted.length % 2;
    if (this.accepted.length % 3 === 2) return false;
    mask.fill(0);
    for (let id = parity; id < this.vocabSize; id += 2) mask[id >> 5] = (mask[id >> 5] ?? 0) | (1 << (id % 32));
    return true;
  }
  accept(id: number): void {
    this.accepted.push(id);
  }
}

describe.each(["float32", "float64"] as const)("constraints in %s", (dtype) => {
  let model: CausalLM;
  beforeAll(async () => {
    model = await CausalLM.fromPretrained(tinyQwen2, { dtype });
  });
  afterAll(() => model.dispose());

  const expectAlternating = (ids: readonly number[]) => {
    for (const [i, id] of ids.entries()) if (i % 3 !== 2) expect(id % 2, `token ${i}`).toBe(i % 2);
  };

  it("leave only what they allow, beside completions that are free", async () => {
    const made: Alternating[] = [];
    const constraint = () => made[made.push(new Alternating(model.vocabSize)) - 1] as Alternating;
    const free: [number[], StreamOptions] = [prompt(14, 2), { maxNewTokens: 20, seed: 3 }];
    const [bound, other] = await Promise.all([
      collect(model.stream(prompt(14, 1), { maxNewTokens: 12, groupSize: 3, seed: 1, constraint })),
      collect(model.stream(...free)),
    ]);
    expect(bound.ids.map((ids) => [...ids])).toEqual(made.map(({ accepted }) => accepted));
    for (const ids of bound.ids) expectAlternating(ids);
    expect(other).toMatchObject(await alone(model, ...free));
  });

  it("do not touch the log-probabilities that are recorded", async () => {
    const ids = prompt(14, 1);
    const constraint = () => new Alternating(model.vocabSize);
    const bound = await collect(model.stream(ids, { maxNewTokens: 12, seed: 1, constraint }));
    const [scored] = await model.logprobs([[...ids, ...(bound.ids[0] ?? [])]]);
    const own = [...(scored ?? [])].slice(ids.length - 1);
    for (const [i, value] of own.entries())
      expect(bound.logprobs[0]?.[i]).toBeCloseTo(value, dtype === "float32" ? 6 : 5);
  });

  it("hold in sample() as in a running batch", async () => {
    const constraint = () => new Alternating(model.vocabSize);
    const options = { maxNewTokens: 9, seed: 4 };
    const { groups } = await model.sample([prompt(8, 1), prompt(70, 2)], { ...options, groupSize: 2, constraint });
    for (const { prompt: index, completions } of groups) {
      const ids = [prompt(8, 1), prompt(70, 2)][index] ?? [];
      const streamed = await collect(model.stream(ids, { ...options, groupSize: 2, promptKey: index, constraint }));
      expect(streamed.ids).toEqual(completions.map((completion) => completion.ids));
      for (const completion of completions) expectAlternating(completion.ids);
    }
  });

  it("that throw end their own request and no other", async () => {
    class Throwing extends Alternating {
      override accept(id: number): void {
        if (this.accepted.length === 2) throw new Error("no more");
        super.accept(id);
      }
    }
    const bad = collect(
      model.stream(prompt(5, 1), { maxNewTokens: 9, constraint: () => new Throwing(model.vocabSize) }),
    );
    const good = collect(model.stream(prompt(5, 2), { maxNewTokens: 9, seed: 1 }));
    await expect(bad).rejects.toThrow("no more");
    expect((await good).ends).toHaveLength(1);
  });
});
