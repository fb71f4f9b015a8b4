// What an editor shows beside an option or a reward: the comment of the table that the option stands in, through every type that is made
// of it. And the default that a comment names is the one that acts.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { GRPOConfig } from "grpo";
import { beforeAll, describe, expect, test } from "vitest";
import { optionsSchema } from "../../lib/options/fields.js";
import { lossSchema } from "../../lib/options/loss.js";
import { optimizers, stepFields } from "../../lib/options/optimizer.js";
import { GRPO, ignoredOptionsFile, SFT } from "../../scripts/docs-config.js";
import { Editor } from "./editor.js";
import { root } from "./pages.js";

/** Public types of options, and with them what else has members that are set by name. */
const TYPES = [
  "GRPOConfigOptions",
  "GRPOConfig",
  "LossOptions",
  "OptimizerStepOptions",
  "LoraOptions",
  "GRPOTrainerOptions<{ prompt: string }>",
  "SFTConfigOptions",
  "SFTTrainerOptions<{ text: string }>",
  "SftLossOptions",
  "EvaluateOptions",
  "TrainOptions",
  "TrainerPushOptions",
  "FromPretrainedOptions",
  "FromConfigOptions",
  "SaveOptions",
  "SaveMergedOptions",
  "MergeOptions",
  "SampleOptions",
  "GenerateOptions",
  "CommandOptions",
  "EndpointOptions",
  "ServeModelOptions",
  "McpToolsOptions",
  "ToolCallOptions",
  "EvaluationOptions",
  "EvaluationReportOptions",
  "ServerOptions",
  "ServerSamplerOptions",
  "LoadDatasetOptions",
  "ReadyDatasetOptions",
  "InterleaveOptions",
  "StreamShuffleOptions",
  "PushOptions",
  "ReportOptions",
  "CodeOptions",
  "CfCodeOptions",
  "IoiCodeOptions",
  "RewardModelOptions",
  "WorkerOptions",
  "TokenizerOptions",
  "ChatTemplateOptions",
  "Parameters<typeof rewards.softOverlongPunishment>[0]",
  "Parameters<typeof rewards.cosineScaled>[0]",
  "NonNullable<Parameters<typeof rewards.openR1CosineScaled>[0]>",
  "NonNullable<Parameters<typeof rewards.repetitionPenalty>[0]>",
  "NonNullable<Parameters<typeof rewards.codeFormat>[0]>",
  "typeof rewards",
] as const;

/** Texts by type and member. */
let help: ReadonlyMap<string, ReadonlyMap<string, string>>;

beforeAll(() => {
  const names = TYPES.flatMap((type) => /^[A-Z]\w*Options|GRPOConfig$/.exec(type)?.[0] ?? []);
  const head = `import { rewards, type ${[...new Set(names)].join(", type ")} } from "grpo";\n`;
  const values = TYPES.map((type, i) => `declare const value${i}: ${type};\n`).join("");
  const offered = new Editor(`${head}${values}${TYPES.map((_, i) => `value${i}.;\n`).join("")}`);
  const uses = TYPES.map((type, i) => [type, i, offered.completions(`\nvalue${i}.`)] as const);
  let source = head + values;
  const places = uses.map(([type, i, members]) => {
    const at = members.map((member) => {
      source += `value${i}.`;
      const position = source.length;
      source += `${member};\n`;
      return [member, position] as const;
    });
    return [type, at] as const;
  });
  const editor = new Editor(source);
  help = new Map(
    places.map(([type, at]) => [type, new Map(at.map(([member, position]) => [member, editor.hover(position)]))]),
  );
}, 60_000);

test("every public type of options is among these", () => {
  const names = readFileSync(join(root, "lib/index.ts"), "utf8").match(/\w+Options\b/g) ?? [];
  expect(names.filter((name) => !TYPES.some((type) => type.startsWith(name)))).toEqual([]);
});

const textsOf = (type: (typeof TYPES)[number]): ReadonlyMap<string, string> => help.get(type) ?? new Map();

test.each(TYPES)("%s tells of every member", (type) => {
  const texts = [...textsOf(type)];
  expect(texts.length).toBeGreaterThan(0);
  expect(texts.filter(([, text]) => text === "").map(([member]) => member)).toEqual([]);
});

describe("the default that a comment names is the one that acts", () => {
  /** "… Default 0.2." or "… Default 0: the tokens of this batch." */
  const named = (text: string | undefined): unknown => {
    const found = /Default (\[.*?\]|"[^"]*"|[^\s:]+?)[.:]?(\s|$)/.exec(text ?? "")?.[1];
    return found === undefined ? undefined : JSON.parse(found);
  };

  function expectDefaults(type: (typeof TYPES)[number], defaults: object): void {
    const texts = textsOf(type);
    const names = Object.keys(defaults);
    expect(Object.fromEntries(names.map((name) => [name, named(texts.get(name))]))).toEqual({ ...defaults });
  }

  test("of a run", () => {
    const { notes: _, ...defaults } = new GRPOConfig();
    expectDefaults("GRPOConfigOptions", defaults);
    expectDefaults("GRPOConfig", defaults);
  });

  test("of the loss", () => expectDefaults("LossOptions", lossSchema().parse({})));

  test("of a step", () => {
    const { learningRate: _, ...defaults } = optionsSchema(stepFields)().parse({ learningRate: 1 });
    const { nsSteps, adjustLrFn } = optionsSchema(optimizers.muon.own)().parse({});
    expectDefaults("OptimizerStepOptions", { ...defaults, nsSteps, adjustLrFn });
  });
});

describe("an option of TRL's without effect", () => {
  test("is struck out, with the reason", () => {
    const texts = textsOf("GRPOConfigOptions");
    expect(texts.get("padToMultipleOf")).toBe("@deprecated No effect: nothing is padded.");
    expect(texts.get("fp16")).toMatch(/^@deprecated Not supported yet: .*false/);
  });

  test("has its reason from one place", () => {
    for (const config of [GRPO, SFT]) {
      expect(readFileSync(config.ignoredOptions, "utf8")).toBe(ignoredOptionsFile(config));
    }
  });
});
