// The small parts of the endpoint: text that stops, streams that merge, tokens that are likeliest, keys.

import fc from "fast-check";
import { Tokenizer, tinyModel } from "grpo";
import { beforeAll, describe, expect, it } from "vitest";
import { callIds } from "../../lib/endpoint/ids.js";
import { checkLogits, likeliestTokens } from "../../lib/endpoint/likeliest.js";
import { mergeStreams } from "../../lib/endpoint/merge-streams.js";
import { TokenText } from "../../lib/endpoint/token-text.js";
import { EventQueue } from "../../lib/event-queue.js";

let tokenizer: Tokenizer;
beforeAll(async () => {
  tokenizer = await Tokenizer.fromPretrained(tinyModel);
});

describe("text of tokens", () => {
  const options = { skipSpecialTokens: true, endIds: new Set([467]), keepStop: false };

  /** The text before the stop string that ends first. */
  function cut(text: string, stops: readonly string[]): string {
    for (let end = 1; end <= text.length; end++) {
      const stop = stops
        .filter((candidate) => text.slice(0, end).endsWith(candidate))
        .sort((a, b) => b.length - a.length)[0];
      if (stop !== undefined) return text.slice(0, end - stop.length);
    }
    return text;
  }

  it("is cut before the first stop string, however it comes in tokens, and nothing is taken back", () => {
    const word = fc.string({ unit: fc.constantFrom("a", "b", "é", " "), maxLength: 30 });
    const stop = fc.string({ unit: fc.constantFrom("a", "b", "é"), minLength: 1, maxLength: 3 });
    fc.assert(
      fc.property(word, fc.array(stop, { maxLength: 3 }), (text, stops) => {
        const pieces = new TokenText(tokenizer, { ...options, stopStrings: stops });
        const found = tokenizer.encode(text).map((id) => pieces.push(id));
        const whole = cut(text, stops);
        let sent = "";
        for (const piece of found) {
          sent += piece;
          expect(whole.startsWith(sent)).toBe(true);
        }
        expect(sent + pieces.end()).toBe(whole);
      }),
      { numRuns: 1000, examples: [["ba", ["a", "ba"]]] },
    );
  });

  it("keeps the stop string, or the end token, where it is asked to", () => {
    const pieces = new TokenText(tokenizer, { ...options, stopStrings: ["lo"], keepStop: true });
    const said = tokenizer.encode("Hello there").map((id) => pieces.push(id));
    expect(said.join("") + pieces.end()).toBe("Hello");
    const shown = new TokenText(tokenizer, { ...options, stopStrings: [], keepStop: true, skipSpecialTokens: false });
    expect(shown.push(467) + shown.end()).toBe("<|im_end|>");
  });
});

describe("streams", () => {
  async function* numbers(...values: number[]) {
    for (const value of values) {
      await new Promise((resolve) => setImmediate(resolve));
      yield value;
    }
  }

  it("are merged with all of their events, each in its order", async () => {
    const found: number[][] = [[], []];
    for await (const [i, value] of mergeStreams([numbers(1, 2, 3), numbers(4, 5)])) found[i]?.push(value);
    expect(found).toEqual([
      [1, 2, 3],
      [4, 5],
    ]);
  });

  it("end all with the error of one", async () => {
    async function* failing() {
      yield* numbers(1);
      throw new Error("failed");
    }
    const read = async () => {
      for await (const _ of mergeStreams([numbers(1, 2, 3), failing()]));
    };
    await expect(read()).rejects.toThrow("failed");
  });

  it("from a callback have what was pushed before their end, and nothing after an error", async () => {
    const queue = new EventQueue<number>();
    queue.push(1);
    queue.end();
    queue.push(2);
    const found: number[] = [];
    for await (const value of queue) found.push(value);
    expect(found).toEqual([1]);
    const failed = new EventQueue<number>();
    failed.push(1);
    failed.fail(new Error("gone"));
    await expect(failed[Symbol.asyncIterator]().next()).rejects.toThrow("gone");
  });
});

describe("the likeliest tokens", () => {
  it("are those of the softmax at the temperature, likeliest first, the smaller id of two equal ones", async () => {
    const logits = Float32Array.from([0, 1, 2, 2, -1, 3, 3, 3, 0, 0, 0, 0]);
    const [scored] = await likeliestTokens([0, 2, 1], logits, { from: 1, top: 3, temperature: 0.5 });
    const normalizer = Math.log([0, 1, 2, 2].reduce((sum, logit) => sum + Math.exp(logit / 0.5), 0));
    expect(scored?.id).toBe(2);
    expect(scored?.logprob).toBeCloseTo(4 - normalizer, 6);
    expect(scored?.top.map(({ id }) => id)).toEqual([2, 3, 1]);
    expect(scored?.top[0]?.logprob).toBe(scored?.logprob);
  });

  it("are not told of a sequence whose logits would fill the memory", () => {
    checkLogits(1700, 152_000);
    expect(() => checkLogits(1800, 152_000)).toThrow(/at most 1766 tokens of this model, found 1800/);
  });
});

it("ids of calls are of nine letters and digits, and none comes twice", () => {
  const next = callIds();
  const ids = Array.from({ length: 10_000 }, next);
  expect(new Set(ids).size).toBe(ids.length);
  expect(ids.every((id) => /^[a-z0-9]{9}$/.test(id))).toBe(true);
});
