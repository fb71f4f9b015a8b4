// Conversations with wild clients; GRPO_FUZZ=10000 runs more of them.

import { Tokenizer, tinyModel } from "grpo";
import { afterAll, beforeAll, expect, it } from "vitest";
import { TOOL_TEMPLATE } from "../endpoint/fake-generator.js";
import { FuzzBench, problemsOf } from "./fuzz.js";

const CONVERSATIONS = Number(process.env.GRPO_FUZZ ?? 600);
const AT_A_TIME = 8;

let bench: FuzzBench;
beforeAll(async () => {
  const tokenizer = await Tokenizer.fromPretrained(tinyModel);
  tokenizer.chatTemplate = TOOL_TEMPLATE;
  bench = await FuzzBench.start(tokenizer);
});
afterAll(() => bench.close());

it("records the ids that were drawn, each once, in the context that they were drawn in", async () => {
  const found: string[] = [];
  let next = 0;
  const totals = { turns: 0, samples: 0, repeats: 0, cancelled: 0 };
  const work = async () => {
    for (let seed = next++; seed < CONVERSATIONS; seed = next++) {
      const conversation = await bench.converse(seed);
      found.push(...problemsOf(conversation).map((problem) => `${seed}: ${problem}`));
      totals.turns += [...conversation.turns.tree].length;
      totals.samples += conversation.samples.length;
      totals.repeats += conversation.repeats;
      totals.cancelled += conversation.turns.dropped.cancelled;
    }
  };
  await Promise.all(Array.from({ length: AT_A_TIME }, work));
  expect(found).toEqual([]);
  // Turns did go on from each other, and the wild things did happen.
  expect(totals.samples).toBeLessThan(totals.turns);
  expect(Math.min(totals.repeats, totals.cancelled)).toBeGreaterThan(0);
}, 3_600_000);
