// Conversations with tools against those of TRL's GRPOTrainer with the same turns of the model (scripts/golden/tool_loops.py): ids, masks,
// messages, what is rolled back, and the metrics.

import path from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { type Environment, type EnvironmentFactories, Environments } from "../../lib/agents/environments.js";
import { describeTool, readyTools, type Tool, type Tools } from "../../lib/agents/tool.js";
import { ToolSampler } from "../../lib/agents/tool-sampler.js";
import { at } from "../../lib/at.js";
import { chatFormat } from "../../lib/chat/create-chat-format.js";
import { renderPrompt } from "../../lib/rollout/prompts.js";
import { finishReasonOf, type SampledRollout } from "../../lib/rollout/sample.js";
import type { Message, RewardBatch, RewardFn } from "../../lib/types.js";
import { byteTokenizer, conversations, publishedTemplate } from "../support/chat-formats.js";
import { ScriptedGenerator, turnsOfSamples } from "../support/scripted-generator.js";
import { readGzipJson } from "../support/tokenizer-golden.js";

interface Case {
  readonly rows: readonly { readonly prompt: readonly Message[] }[];
  readonly turns: readonly (readonly number[][])[];
  readonly maxCompletionLength: number;
  readonly maxToolCallingIterations: number | null;
  readonly positions: number;
  readonly prompts: readonly (readonly Message[])[];
  readonly promptIds: readonly number[][];
  readonly completionIds: readonly number[][];
  readonly mask: readonly number[][];
  readonly completions: readonly (readonly Message[])[];
  readonly rewards: readonly (readonly (number | null)[])[];
  readonly names: readonly string[];
  readonly metrics: Readonly<Record<string, number>>;
}

interface Definition {
  readonly function: { readonly name: string; readonly description: string; readonly parameters: object };
}

interface Fixture {
  readonly now: string;
  readonly tools: readonly Definition[];
  readonly environmentTools: Readonly<Record<string, Definition>>;
  readonly families: Readonly<Record<string, { readonly cases: Readonly<Record<string, Case>> }>>;
  readonly environments: Readonly<Record<"one" | "two", readonly Case[]>>;
}

const file = path.join(fileURLToPath(new URL("../fixtures/agents", import.meta.url)), "tool-loops.json.gz");
const fixture = readGzipJson(file) as Fixture;

// Some templates write the day.
beforeAll(() => void vi.useFakeTimers({ now: new Date(fixture.now), toFake: ["Date"] }));
afterAll(() => void vi.useRealTimers());

const RESULTS: Readonly<Record<string, unknown>> = {
  none: null,
  true: true,
  fraction: 1.5,
  small: 1e-7,
  object: { a: 1, b: [null, true, 2.5, "it's"], c: { d: 'say "hi"' } },
  nested: { "1": [[], { x: -0.5 }], y: "a\tb\\ \u00e9" },
  "empty object": {},
  text: "line\nGrüße 世界 😀",
  "empty text": "",
};

/** The tools of the script, whose functions Python has. */
const EXECUTE: Readonly<Record<string, Tool["execute"]>> = {
  // Strings are joined, as in Python.
  add: ({ a, b }: { a: number; b: number }) => a + b,
  later: async ({ text }: { text: string }) => text,
  fails_later: async ({ text }: { text: string }) => {
    throw new Error(`no ${text}`);
  },
  fails: ({ text, twice }: { text: string; twice?: boolean }) => {
    throw new Error(twice ? `it's ${text}` : text);
  },
  repeat: ({ text, times }: { text: string; times: number }) => text.repeat(times),
  give: ({ what }: { what: string }) => RESULTS[what],
};

function toolOf({ function: { name, description, parameters } }: Definition, execute: Tool["execute"]): Tool {
  return { name, description, inputSchema: parameters, ...(execute && { execute }) };
}

const TOOLS: readonly Tool[] = fixture.tools.map((tool) => toolOf(tool, EXECUTE[tool.function.name]));

class Counter implements Environment<{ start?: number; silent?: boolean }> {
  #count = 0;
  readonly tools: Tools = [toolOf(environmentTool("increase"), ({ by }: { by: number }) => this.#increase(by))];

  reset({ start = 0, silent = false }: { start?: number; silent?: boolean }) {
    this.#count = start;
    return silent ? null : ` It stands at ${start}.`;
  }

  reward() {
    return this.#count;
  }

  #increase(by: number): number {
    this.#count += by;
    return this.#count;
  }
}

class Word implements Environment<{ word?: string }> {
  #word = "";
  readonly tools: Tools = [toolOf(environmentTool("say"), async () => this.#word)];

  async reset({ word = "a" }: { word?: string }) {
    this.#word = word;
  }
}

function environmentTool(name: string): Definition {
  const found = fixture.environmentTools[name];
  if (found === undefined) throw new Error(`no tool ${name}`);
  return found;
}

interface Sampled {
  readonly rollouts: readonly SampledRollout[];
  readonly rewards: readonly RewardFn[];
}

async function sample(
  family: string,
  given: Case,
  tools: readonly Tool[],
  factories?: EnvironmentFactories<never>,
): Promise<Sampled> {
  const { template, ends } = at(
    [conversations.families[family]].filter((one) => one !== undefined),
    0,
  );
  const tokenizer = await byteTokenizer(publishedTemplate(template), ends);
  const ready = readyTools("tools", tools);
  const environments = factories && new Environments(factories, ready);
  const render = (prompt: readonly Message[], row: unknown) =>
    renderPrompt(tokenizer, prompt, {
      chatTemplateKwargs: {},
      tools: (environments?.toolsOf(row) ?? ready).map(describeTool),
    });
  const sampler = new ToolSampler({
    generator: new ScriptedGenerator(turnsOfSamples(given.turns), tokenizer.eosTokenIds, given.positions),
    format: chatFormat(tokenizer),
    tools: ready,
    environments,
    render,
    minP: 0,
    maxRounds: given.maxToolCallingIterations,
    toolTimeout: 60,
    variables: {},
  });
  const [row] = given.rows;
  if (row === undefined) throw new Error("a case has a row");
  const options = { groupSize: given.turns.length, maxNewTokens: given.maxCompletionLength };
  const { groups } = await sampler.sample([render(row.prompt, row)], options, [row]);
  return { rollouts: at(groups, 0).completions, rewards: (environments?.rewards ?? []) as readonly RewardFn[] };
}

/** Without the ids of calls, which TRL's messages do not have. */
function withoutIds(completion: SampledRollout["completion"]): unknown {
  const messages: unknown[] = typeof completion === "string" ? [] : [...completion];
  return JSON.parse(JSON.stringify(messages), (key, value) =>
    key === "tool_call_id" || (key === "id" && String(value).startsWith("call_")) ? undefined : value,
  );
}

function expectRollouts(rollouts: readonly SampledRollout[], expected: Case): void {
  expect(rollouts).toHaveLength(expected.turns.length);
  for (const [i, { samples, completion }] of rollouts.entries()) {
    const [only, ...others] = samples;
    expect(others).toEqual([]);
    expect(only?.promptIds).toEqual(expected.promptIds[i]);
    expect(only?.completionIds).toEqual(expected.completionIds[i]);
    const mask = at(expected.mask, i);
    expect([...(only?.lossMask ?? new Uint8Array(mask.length).fill(1))]).toEqual(mask);
    const logprobs = at(expected.completionIds, i).map((id, t) => (mask[t] === 1 ? -id / 100 : 0));
    expect(only?.samplingLogprobs).toEqual(Float32Array.from(logprobs));
    expect(withoutIds(completion)).toEqual(expected.completions[i]);
  }
  const calls = rollouts.reduce((sum, { tools }) => sum + (tools?.calls ?? 0), 0);
  const failures = rollouts.reduce((sum, { tools }) => sum + (tools?.failures ?? 0), 0);
  const truncated = rollouts.filter((rollout) => finishReasonOf(rollout) === "length").length;
  expect(calls / rollouts.length).toBeCloseTo(expected.metrics["tools/call_frequency"] ?? Number.NaN, 6);
  expect(failures / (calls || 1)).toBeCloseTo(expected.metrics["tools/failure_frequency"] ?? Number.NaN, 6);
  expect(truncated / rollouts.length).toBe(expected.metrics["completions/clipped_ratio"]);
}

describe.each(Object.keys(fixture.families))("a conversation of %s", (family) => {
  const { cases } = at(
    [fixture.families[family]].filter((one) => one !== undefined),
    0,
  );
  it.each(Object.entries(cases))("%s", async (_, expected) => {
    const { rollouts } = await sample(family, expected, TOOLS);
    expectRollouts(rollouts, expected);
  });
});

describe.each([
  ["one environment for all rows", "one", () => new Counter()],
  ["an environment by row", "two", { counter: () => new Counter(), word: () => new Word() }],
] as const)("%s", (_, name, factories) => {
  it.each(fixture.environments[name].map((given) => [given.rows[0], given] as const))("%j", async (_, expected) => {
    const { rollouts, rewards } = await sample("qwen3", expected, TOOLS.slice(0, 1), factories);
    expectRollouts(rollouts, expected);
    rollouts.forEach(({ prompt }, i) => {
      expect(prompt ?? at(expected.rows, i).prompt).toEqual(expected.prompts[i]);
    });
    expect(rewards.map((reward) => reward.name)).toEqual(expected.names.slice(1));
    const environments = rollouts.map(({ environment }) => environment);
    const scores = await Promise.all(rewards.map((reward) => reward({ environments } as unknown as RewardBatch)));
    expect(scores.map((score) => score.map((value) => value))).toEqual([expected.rewards.map(([, second]) => second)]);
  });
});
