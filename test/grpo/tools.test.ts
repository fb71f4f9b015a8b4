// Tools and environments as options of the trainer: what a run logs of them, what reward functions see, how it resumes, what is refused.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Environment, EnvironmentTurn } from "../../lib/agents/environments.js";
import type { Tool } from "../../lib/agents/tool.js";
import { at } from "../../lib/at.js";
import type { GenerationRequest } from "../../lib/endpoint/generator.js";
import { GRPOConfig, type GRPOConfigOptions } from "../../lib/grpo/config.js";
import type { GRPOTrainerOptions } from "../../lib/grpo/setup.js";
import { GRPOTrainer } from "../../lib/grpo/trainer.js";
import { rewards } from "../../lib/rewards/index.js";
import type { Message, RewardBatch } from "../../lib/types.js";
import { byteTokenizer, publishedTemplate } from "../support/chat-formats.js";
import { ScriptedGenerator } from "../support/scripted-generator.js";
import { FakePolicy } from "./fake-policy.js";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(path.join(os.tmpdir(), "grpo-tools-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

interface Row {
  readonly prompt: readonly Message[];
  readonly n: number;
}

class LargePolicy extends FakePolicy {
  override readonly maxPositions: number = 8192;
}

const qwen = await byteTokenizer(publishedTemplate("trl/qwen3"), ["<|im_end|>"]);
const rows = Array.from({ length: 6 }, (_, n): Row => ({ prompt: [{ role: "user", content: `n = ${n}` }], n }));
const echo: Tool = {
  name: "echo",
  description: "Says it again.",
  inputSchema: { type: "object", properties: { n: { type: "integer" } }, required: ["n"] },
  execute: ({ n }: { n: number }) => {
    if (n % 5 === 4) throw new Error("no fours");
    return `heard ${n}`;
  },
};

/** Calls the tool as often as the seed and the weights say, then ends; nothing else decides. */
function turnOf({ weights }: FakePolicy) {
  return ({ ids, seed = 0 }: GenerationRequest): number[] => {
    const text = qwen.decode(ids);
    const number = seed + Math.round(weights.reduce((a, b) => a + b, 0) * 1e6);
    const rounds = text.split("<tool_response>").length - 1;
    const turn =
      rounds > Math.abs(number) % 3
        ? `done ${number}`
        : `<tool_call>\n{"name": "echo", "arguments": {"n": ${Math.abs(number) % 10}}}\n</tool_call>`;
    return qwen.encode(`${turn}<|im_end|>`, { addSpecialTokens: false });
  };
}

function bench(args: GRPOConfigOptions = {}, options: Partial<GRPOTrainerOptions<Row>> = {}) {
  const policy = new LargePolicy();
  const generator = new ScriptedGenerator((request) => turnOf(policy)(request), qwen.eosTokenIds, 8192);
  const sampler = Object.assign(generator, { sample: () => Promise.reject(new Error("turns are drawn one by one")) });
  const trainer = new GRPOTrainer<Row>({
    model: policy,
    sampler,
    processingClass: qwen,
    args: new GRPOConfig({
      perDeviceTrainBatchSize: 8,
      numGenerations: 4,
      maxSteps: 4,
      maxCompletionLength: 600,
      learningRate: 0.01,
      loggingSteps: 1,
      saveStrategy: "no",
      logTo: ["jsonl"],
      outputDir: folder,
      ...args,
    }),
    tools: [echo],
    rewardFuncs: [({ completionIds }: RewardBatch<Row>) => completionIds.map((ids) => ids.length % 97)],
    trainDataset: rows,
    ...options,
  });
  return { trainer, policy, requests: generator.requests };
}

function linesOf(file: string): Record<string, unknown>[] {
  const text = readFileSync(path.join(folder, file), "utf8").trimEnd();
  return text.split("\n").map((line) => JSON.parse(line) as Record<string, unknown>);
}

describe("a run with tools", () => {
  it("logs how often they were called and failed, in steps and evaluations, and whole conversations", async () => {
    const { trainer } = bench({ maxSteps: 2, evalStrategy: "steps", evalSteps: 2 }, { evalDataset: rows.slice(0, 2) });
    await trainer.train();
    const completions = linesOf("completions.jsonl");
    for (const [split, prefix] of [
      ["train", ""],
      ["eval", "eval_"],
    ] as const) {
      const ofSplit = completions.filter((line) => line.split === split && (split === "eval" || line.step === 1));
      const answers = ofSplit.flatMap(({ samples }) => {
        const [{ messages }] = samples as [{ messages: Message[] }];
        return messages.filter(({ role }) => role === "tool").map(({ content }) => content);
      });
      const failed = answers.filter((content) => content === "{'error': 'no fours'}");
      const metrics = linesOf("metrics.jsonl").find((line) => `${prefix}tools/call_frequency` in line);
      expect(metrics?.[`${prefix}tools/call_frequency`]).toBeCloseTo(answers.length / ofSplit.length, 12);
      expect(metrics?.[`${prefix}tools/failure_frequency`]).toBeCloseTo(failed.length / answers.length, 12);
    }
    const line = at(
      completions.filter(({ ids, completion }) => Array.isArray(ids) && /done/.test(String(completion))),
      0,
    );
    const [{ messages, sampled, tools }] = line.samples as [
      { messages: Message[]; sampled: number[]; tools: object[] },
    ];
    expect(messages.map(({ role }) => role)).toEqual(["user", "assistant", "tool", "assistant"]);
    expect(sampled).toEqual([1, 3]);
    expect(tools).toMatchObject([{ type: "function", function: { name: "echo" } }]);
    // What the results brought does not count; the end of the last turn does.
    const mask = line.loss_mask as number[];
    const length = (content: string) => qwen.encode(content, { addSpecialTokens: false }).length;
    const given = `\n<|im_start|>user\n<tool_response>\n${messages[2]?.content}\n</tool_response><|im_end|>\n<|im_start|>assistant\n`;
    expect(mask.filter((counts) => counts === 0)).toHaveLength(length(given));
    expect(mask.at(-1)).toBe(1);
  });

  it("without a call logs that there was none", async () => {
    const { trainer } = bench({ maxSteps: 1, maxToolCallingIterations: 0 });
    await trainer.train();
    expect(trainer.state.logHistory[0]).toMatchObject({ "tools/call_frequency": 0, "tools/failure_frequency": 0 });
  });

  it("stopped and resumed is the same as never stopped", async () => {
    const whole = bench({ outputDir: path.join(folder, "whole"), saveStrategy: "steps", saveSteps: 2 });
    await whole.trainer.train();
    const outputDir = path.join(folder, "cut");
    const cut = bench({ outputDir, saveStrategy: "steps", saveSteps: 2 });
    const stop = new AbortController();
    let calls = 0;
    const dying = {
      ...echo,
      execute: (input: never, options: never) => {
        if (++calls > 30) stop.abort();
        return echo.execute?.(input, options);
      },
    };
    const { trainer } = bench({ outputDir, saveStrategy: "steps", saveSteps: 2 }, { tools: [dying] });
    await expect(trainer.train({ signal: stop.signal })).rejects.toMatchObject({ code: "CANCELLED" });
    expect(trainer.state.globalStep).toBeGreaterThan(0);
    expect(trainer.state.globalStep).toBeLessThan(4);
    const resumed = cut;
    await resumed.trainer.train({ resumeFromCheckpoint: true });
    expect(resumed.policy.weights).toEqual(whole.policy.weights);
    const completions = (run: string) => readFileSync(path.join(folder, run, "completions.jsonl"), "utf8");
    expect(completions("cut")).toBe(completions("whole"));
  });
});

class Room implements Environment<Row> {
  visits = 0;
  tools = [{ ...echo, name: "look", execute: () => `visit ${++this.visits}` }];
  reset({ n }: Row): string {
    this.visits = 0;
    return ` in room ${n}`;
  }
  reward(): number {
    return this.visits;
  }
}

describe("environments", () => {
  it("are seen by reward functions, with the prompts that they made, and reward by themselves", async () => {
    const seen: (readonly [string, unknown])[] = [];
    const made: Room[] = [];
    const { trainer } = bench(
      { maxSteps: 3, rewardWeights: [0.5] },
      {
        rewardFuncs: ({ prompts, environments = [] }) => {
          seen.push(...prompts.map((prompt, i) => [at(prompt, 0).content, environments[i]] as const));
          return prompts.map((_, i) => i);
        },
        environmentFactory: () => {
          made.push(new Room());
          return made.at(-1) as Room;
        },
      },
    );
    await trainer.train();
    expect(seen).toHaveLength(24);
    for (const [content, environment] of seen) {
      expect(content).toMatch(/^n = (\d) in room \1$/);
      expect(environment).toBeInstanceOf(Room);
    }
    // Made once, reset often; none serves two rollouts at a time.
    expect(made).toHaveLength(8);
    expect(new Set(seen.slice(0, 8).map(([, environment]) => environment)).size).toBe(8);
    expect(trainer.state.logHistory[0]).toHaveProperty("rewards/Room/mean");
    const lines = linesOf("completions.jsonl");
    expect(lines[0]?.rewards).toHaveProperty("Room");
    expect(lines[0]?.prompt).toMatchObject([{ content: expect.stringContaining("in room") }]);
  });

  it("that know the reward need no reward function", async () => {
    const { trainer } = bench({ maxSteps: 1 }, { rewardFuncs: [], environmentFactory: () => new Room() });
    await trainer.train();
    expect(trainer.state.logHistory[0]).toHaveProperty("rewards/Room/std");
  });

  it("give turns rewards of their own, once their calls were answered, also of those that call nothing or what is not there", async () => {
    const asked: EnvironmentTurn[] = [];
    class Strict extends Room {
      turnReward(turn: EnvironmentTurn): number | null {
        asked.push(turn);
        return turn.results.length === 0 ? null : turn.results.filter(({ content }) => !content.startsWith("{")).length;
      }
    }
    const { trainer, policy } = bench({ maxSteps: 1 }, { tools: [], environmentFactory: () => new Strict() });
    await trainer.train();
    // The environment has no tool called "echo".
    expect(asked.some(({ results }) => results.some(({ content }) => content.includes("not found")))).toBe(true);
    const turns = linesOf("completions.jsonl").flatMap(({ samples }) => {
      const [{ turns: found, sampled }] = samples as [
        { turns: { turn: number; reward: number | null }[]; sampled: number[] },
      ];
      expect(found.map(({ turn }) => turn)).toEqual(sampled.map((_, i) => i));
      return found;
    });
    expect(turns).toHaveLength(asked.length);
    expect(new Set(turns.map(({ reward }) => reward))).toEqual(new Set([0, null]));
    expect(policy.batches[0]?.tokenAdvantages).toHaveLength(8);
  });

  it.each<[string, unknown, RegExp]>([
    ["is no number", () => "much", /must return a finite number, a boolean or null, found "much"/],
    ["throws", () => Promise.reject(new Error("lost")), /turnReward of an environment threw: lost/],
  ])("whose reward of a turn %s end the run", async (_, turnReward, message) => {
    const environmentFactory = () => ({ reset: () => null, turnReward }) as Environment<Row>;
    const { trainer } = bench({ maxSteps: 1 }, { environmentFactory });
    await expect(trainer.train()).rejects.toMatchObject({
      code: "ENVIRONMENT_FAILED",
      message: expect.stringMatching(message),
    });
  });

  it("in which a tool still works after its time are not used again", async () => {
    const made: object[] = [];
    class Slow {
      readonly tools = [{ ...echo, execute: () => new Promise(() => {}) }];
      reset() {}
    }
    const { trainer } = bench(
      { maxSteps: 2, toolTimeout: 0.02, maxToolCallingIterations: 1 },
      {
        tools: [],
        environmentFactory: () => {
          made.push(new Slow());
          return made.at(-1) as Slow;
        },
      },
    );
    await trainer.train();
    expect(made).toHaveLength(16);
  });

  it("that throw in reset, or return what is no text, end the run", async () => {
    const failing = (reset: () => unknown) =>
      bench({}, { environmentFactory: () => ({ reset: reset as () => string }) });
    const thrown = failing(() => {
      throw new Error("no door");
    });
    await expect(thrown.trainer.train()).rejects.toThrow("reset of an environment threw: no door");
    await expect(failing(() => 5).trainer.train()).rejects.toMatchObject({ code: "ENVIRONMENT_FAILED" });
  });

  it("without any tools have plain completions, and no counts of calls", async () => {
    const { trainer } = bench({ maxSteps: 1 }, { tools: [], environmentFactory: () => ({ reset: () => " x" }) });
    await trainer.train();
    expect(trainer.state.logHistory[0]).not.toHaveProperty("tools/call_frequency");
    const texts = linesOf("completions.jsonl").map(({ completion }) => String(completion));
    expect(texts.every((text) => text.startsWith("<tool_call>") || text.startsWith("done"))).toBe(true);
  });

  it("whose reset takes for ever do not keep a run from being stopped", async () => {
    const stop = new AbortController();
    const { trainer } = bench({}, { environmentFactory: () => ({ reset: () => new Promise(() => stop.abort()) }) });
    await expect(trainer.train({ signal: stop.signal })).rejects.toMatchObject({ code: "CANCELLED" });
  });

  it("do not cross into the processes of a reward", async () => {
    const file = path.join(folder, "ones.mjs");
    writeFileSync(file, "export default ({ completions }) => completions.map(() => 1);");
    const { trainer } = bench(
      { maxSteps: 1 },
      { environmentFactory: () => new Room(), rewardFuncs: rewards.worker(file) },
    );
    await trainer.train();
    expect(trainer.state.logHistory[0]).toHaveProperty("rewards/Room/mean");
  });

  it("of which a row has none end the run", async () => {
    const { trainer } = bench({}, { environmentFactory: { room: () => new Room() } });
    await expect(trainer.train()).rejects.toThrow("a row has the environment undefined");
  });
});

describe("refused before anything is sampled", () => {
  const refused = (options: Partial<GRPOTrainerOptions<Row>>) => () => bench({}, options);

  it("a chat template that does not know tools, naming them", async () => {
    const plain =
      "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n";
    const processingClass = await byteTokenizer(plain, ["<|im_end|>"]);
    expect(refused({ processingClass })).toThrow(/the chat template does not support tools \(echo\); it leaves out/);
  });

  it.each([
    ["deepseekv3", "trl/deepseekv3", "<｜end▁of▁sentence｜>"],
    ["gemma3", "trl/gemma3", "<end_of_turn>"],
    ["llama3", "trl/llama3", "<|eot_id|>"],
    ["cohere2", "trl/cohere2", "<|END_OF_TURN_TOKEN|>"],
    ["phi3", "trl/phi3", "<|end|>"],
  ])("the chat template of %s", async (_, name, end) => {
    const processingClass = await byteTokenizer(publishedTemplate(name), [end]);
    expect(refused({ processingClass })).toThrow(expect.objectContaining({ code: "BAD_TEMPLATE" }));
  });

  it("prompts that are texts", async () => {
    const trainDataset = rows.map((row) => ({ ...row, prompt: "Hi" })) as unknown as Row[];
    await expect(bench({}, { trainDataset }).trainer.train()).rejects.toThrow(
      "beside tools a prompt must be a list of messages",
    );
  });

  it("a sampler that draws no single turns", () => {
    expect(refused({ sampler: new LargePolicy() })).toThrow("the sampler must draw single turns");
  });

  it("an environment that cannot be reset", () => {
    expect(refused({ environmentFactory: (() => ({})) as never })).toThrow("an object with a method reset");
  });

  it("an environment with the name of a tool", () => {
    const environmentFactory = () => ({ tools: [echo], reset: () => null });
    expect(refused({ environmentFactory })).toThrow('its tool "echo" has the name of one of the trainer\'s tools');
  });

  it("a rollout beside tools, which has its own", () => {
    expect(refused({ rollout: async () => ({ reward: 1 }) })).toThrow("keep one of them");
  });

  it("no reward at all", () => {
    expect(refused({ rewardFuncs: [], environmentFactory: () => ({ reset: () => null }) })).toThrow(
      "no reward function",
    );
  });

  it("tools and factories that are none", () => {
    expect(refused({ tools: "add" as never })).toThrow("a list of tools, or an object of tools by name");
    expect(refused({ environmentFactory: {} })).toThrow("a function that makes an environment");
  });
});
