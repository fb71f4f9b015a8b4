// Whole trainings with tools and environments against TRL's with the same turns of the model (scripts/golden/tool_runs.py): every metric of
// every step, the counts of calls among them, and the adapter at the end.

import { fileURLToPath } from "node:url";
import { describe, it, vi } from "vitest";
import type { Environment } from "../../lib/agents/environments.js";
import type { Tool } from "../../lib/agents/tool.js";
import { at } from "../../lib/at.js";
import { GRPOConfig, type GRPOConfigOptions } from "../../lib/grpo/config.js";
import { GRPOTrainer } from "../../lib/grpo/trainer.js";
import { Tokenizer } from "../../lib/tokenizer/tokenizer.js";
import type { Message, RewardBatch } from "../../lib/types.js";
import { publishedTemplate } from "../support/chat-formats.js";
import { type NextTurn, ScriptedGenerator, turnsOfSamples } from "../support/scripted-generator.js";
import { expectAdapter, expectLog, type GoldenRun } from "./run-fixtures.js";
import { modelWithAdapter, readFixture } from "./training-fixtures.js";

interface Definition {
  readonly function: { readonly name: string; readonly description: string; readonly parameters: object };
}

interface ToolRun extends GoldenRun {
  readonly options: GRPOConfigOptions;
  readonly tools: readonly Definition[];
  /** [generations][completions][turns] */
  readonly turns: readonly (readonly (readonly number[][])[])[];
}

interface Row {
  readonly prompt: readonly Message[];
  readonly start: number;
}

interface ToolRuns {
  readonly maxCompletionLength: number;
  readonly rows: readonly Row[];
  readonly environmentTool: Definition;
  readonly runs: readonly ToolRun[];
}

const TINY = fileURLToPath(new URL("../../scripts/assets/tiny-qwen2/", import.meta.url));
// Contexts of eight hundred tokens, five times as long as those of the other trainings, are summed in another order.
const TOLERANCE = 5e-5;
const fixture = await readFixture<ToolRuns>("tool-runs");

const EXECUTE: Readonly<Record<string, Tool["execute"]>> = {
  add: ({ a, b }: { a: number; b: number }) => a + b,
  repeat: ({ text, times }: { text: string; times: unknown }) => {
    // What Python says of a text times a text.
    if (typeof times !== "number") throw new TypeError("can't multiply sequence by non-int of type 'str'");
    return text.repeat(times);
  },
};

function toolOf({ function: { name, description, parameters } }: Definition, execute: Tool["execute"]): Tool {
  return { name, description, inputSchema: parameters, ...(execute && { execute }) };
}

class Counter implements Environment<Row> {
  #count = 0;
  readonly tools = [toolOf(fixture.json.environmentTool, ({ by }: { by: number }) => this.#increase(by))];

  reset({ start }: Row) {
    this.#count = start;
    return ` It stands at ${start}.`;
  }

  reward() {
    return this.#count;
  }

  #increase(by: number): number {
    this.#count += by;
    return this.#count;
  }
}

function by_ids({ completionIds }: RewardBatch) {
  return completionIds.map((ids) => (ids.reduce((a, b) => a + b, 0) % 101) / 100);
}

/** The turns of one generation after the other; a generation begins with a first turn for each of its completions. */
function turnsOfGenerations(tokenizer: Tokenizer, { turns }: ToolRun): NextTurn {
  let begun = 0;
  let next: NextTurn | undefined;
  return (request) => {
    const isFirst = tokenizer.decode(request.ids).split("<|im_start|>assistant").length === 2;
    if (isFirst && begun++ % at(turns, 0).length === 0) {
      next = turnsOfSamples(at(turns, (begun - 1) / at(turns, 0).length));
    }
    return next?.(request);
  };
}

describe("a training with tools equals TRL's in every metric of every step and in its adapter", () => {
  it.each(fixture.json.runs)("$name", async (run) => {
    const { json, tensors } = fixture;
    const tokenizer = await Tokenizer.fromPretrained(TINY);
    tokenizer.chatTemplate = publishedTemplate("trl/qwen2_5");
    await using model = await modelWithAdapter(json, tensors, "float32", TINY);
    // TRL has made the adapter itself, and its weights were set afterwards: the reference is the model without one.
    vi.spyOn(model, "beginTraining").mockResolvedValue();
    const generator = new ScriptedGenerator(
      turnsOfGenerations(tokenizer, run),
      tokenizer.eosTokenIds,
      model.maxPositions,
    );
    const sampler = Object.assign(generator, {
      sample: () => Promise.reject(new Error("turns are drawn one by one")),
    });
    const trainer = new GRPOTrainer<Row>({
      model,
      sampler,
      processingClass: tokenizer,
      tools: run.tools.map((tool) => toolOf(tool, EXECUTE[tool.function.name])),
      ...(run.name === "an environment" ? { environmentFactory: () => new Counter() } : {}),
      rewardFuncs: by_ids,
      args: new GRPOConfig({
        numGenerations: 4,
        perDeviceTrainBatchSize: 8,
        maxSteps: 3,
        maxCompletionLength: json.maxCompletionLength,
        learningRate: 1e-3,
        adamEpsilon: 1e-3,
        shuffleDataset: false,
        loggingSteps: 1,
        saveStrategy: "no",
        logTo: [],
        ...run.options,
      }),
      trainDataset: json.rows,
    });
    await trainer.train();
    expectLog(trainer.state.logHistory, run.steps, TOLERANCE);
    await expectAdapter(model, tensors, run.name, TOLERANCE);
  });
});
