// Rewards of single turns, as rollouts return them and environments give them, at the tokens of those turns.

import type { RolloutContext, RolloutResult } from "grpo";
import { expect, it } from "vitest";
import type { Sample } from "../../lib/rollout/sample.js";
import { Client } from "../endpoint/fake-generator.js";
import { CHAT, clientOf, type Row, rolloutBench } from "./rollout-bench.js";

const ask = (content: string) => ({ role: "user", content });

/** Asks so often, each time behind all that was said, and tells the ids of the answers. */
async function talk(context: RolloutContext<Row>, times: number, begin = "Hi"): Promise<string[]> {
  const { endpoint, signal } = context;
  const client = new Client(endpoint.baseURL, endpoint.apiKey);
  const messages: object[] = [ask(begin)];
  const ids: string[] = [];
  for (let i = 0; i < times; i++) {
    const response = await client.post(CHAT, { model: endpoint.model, messages }, { signal });
    const answer = (await response.json()) as { id: string; choices: [{ message: { content: string } }] };
    ids.push(answer.id);
    messages.push({ role: "assistant", content: answer.choices[0].message.content }, ask(`more ${i}`));
  }
  return ids;
}

async function turnsOf(rollout: (context: RolloutContext<Row>) => Promise<RolloutResult>) {
  let said = 0;
  const { sample, tokenizer } = await rolloutBench(rollout, { say: () => `turn ${said++}` });
  const [[first] = []] = await sample({ groupSize: 1 });
  const samples = first?.samples ?? [];
  const textOf = ({ completionIds }: Sample, start: number, end: number) =>
    tokenizer.decode(completionIds.slice(start, end), { skipSpecialTokens: true });
  return samples.map((one) =>
    one.turns?.map(({ start, end, ...turn }) => ({ ...turn, text: textOf(one, start, end) })),
  );
}

it("are those of the turns in the order in which they were asked for, where they are a list", async () => {
  const turns = await turnsOf(async (context) => {
    await talk(context, 3);
    return { reward: 1, turnRewards: [0.5, null] };
  });
  expect(turns).toEqual([
    [
      { index: 0, reward: 0.5, text: expect.stringMatching(/^turn \d$/) },
      { index: 1, reward: null, text: expect.stringMatching(/^turn \d$/) },
      { index: 2, reward: null, text: expect.stringMatching(/^turn \d$/) },
    ],
  ]);
});

it("are found by the ids of answers, also of a sub-agent, whose turns are in a sample of their own", async () => {
  const turns = await turnsOf(async (context) => {
    const ids = await talk(context, 2);
    const [own = ""] = await talk(context, 1, "Another matter");
    return { turnRewards: { [own]: true, [ids[1] ?? ""]: -2 } };
  });
  const known = turns.flat().map((turn) => [turn?.index, turn?.reward]);
  expect(turns).toHaveLength(2);
  expect(known.toSorted()).toEqual([
    [0, null],
    [1, -2],
    [2, 1],
  ]);
});

it("count a request that came again as one turn, and leave out what is not trained on", async () => {
  const turns = await turnsOf(async (context) => {
    const { chat } = clientOf(context);
    await chat({ model: context.endpoint.untrainedModel, messages: [ask("A title")] });
    await chat({ messages: [ask("Hi")] });
    await chat({ messages: [ask("Hi")] });
    await chat({ messages: [ask("Bye")] });
    return { turnRewards: [1, 2] };
  });
  expect(turns.flat().map((turn) => [turn?.index, turn?.reward])).toEqual(
    expect.arrayContaining([
      [0, 1],
      [1, 2],
    ]),
  );
});

it("are absent where a rollout returns none", async () => {
  const none = await turnsOf(async (context) => {
    await talk(context, 2);
    return { reward: 1, turnRewards: null };
  });
  expect(none).toEqual([undefined]);
});

it.each<[string, unknown, RegExp]>([
  ["more of them than turns", [1, 2, 3], /returned 3 turnRewards for 2 turns/],
  ["an id of nobody's answer", { chatcmpl_x: 1 }, /the turn "chatcmpl_x", which is the id of no answer/],
  ["what is no number", [1, Number.NaN], /expected finite numbers, booleans or null/],
  ["a number in place of a list", 1, /returned the turnRewards 1, expected/],
])("count as a failed rollout where they are %s", async (_, turnRewards, message) => {
  const rollout = async (context: RolloutContext<Row>) => {
    await talk(context, 2);
    return { reward: 1, turnRewards } as RolloutResult;
  };
  const failing = await rolloutBench(rollout);
  await expect(failing.sample()).rejects.toMatchObject({
    code: "ROLLOUT_FAILED",
    message: expect.stringMatching(message),
  });
  const { sample, failures } = await rolloutBench(rollout, { onError: "null" });
  const groups = await sample();
  expect(failures).toEqual(["invalid", "invalid", "invalid", "invalid"]);
  expect(groups.flat().every(({ report, samples }) => report?.unscored && samples[0]?.turns === undefined)).toBe(true);
});
