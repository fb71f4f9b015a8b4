// `grpo train`: what becomes of every key of a configuration. Expected values are TRL's (scripts/golden/trl_config.py); nothing here
// loads a model.

import { mkdtempSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { parse } from "yaml";
import { GrpoError } from "../../lib/errors.js";
import { keySchemas } from "../../lib/recipes/json-schema.js";
import { noticeText } from "../../lib/recipes/notices.js";
import { readGiven } from "../../lib/recipes/read.js";
import { TRAIN } from "../../lib/recipes/recipe.js";
import { resolveRewards } from "../../lib/recipes/reward-functions.js";
import { resolveSettings, type TrainSettings } from "../../lib/recipes/settings.js";
import { pageFile, pageText, RECIPES, schemaFile, schemaText } from "../../scripts/docs-train.js";

const fixture = (path: string) => fileURLToPath(new URL(`../fixtures/${path}`, import.meta.url));

interface TrlConfig {
  readonly keys: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  readonly yaml: string;
  readonly parsed: readonly { readonly line: readonly string[]; readonly values: Readonly<Record<string, unknown>> }[];
}
const trl = JSON.parse(readFileSync(fixture("golden/trl-config.json"), "utf8")) as TrlConfig;

function yamlFile(text: string): string {
  const file = join(mkdtempSync(join(tmpdir(), "grpo-train-")), "config.yaml");
  writeFileSync(file, text);
  return file;
}

const base = "model_name_or_path: some/model\ndataset_name: some/data\n";

async function settings(yaml: string, overrides: readonly string[] = []): Promise<TrainSettings> {
  return resolveSettings(TRAIN, await readGiven(TRAIN, yamlFile(base + yaml), overrides));
}

async function refusal(yaml: string, overrides: readonly string[] = []): Promise<GrpoError> {
  const error = await settings(yaml, overrides).catch((thrown: unknown) => thrown);
  if (error instanceof GrpoError) return error;
  throw new Error(`accepted: ${yaml} ${overrides.join(" ")}`);
}

describe("TRL's keys", () => {
  it.each(Object.entries(trl.keys))("of the group %s are all known, with TRL's own defaults", async (_, keys) => {
    const yaml = Object.entries(keys).map(([name, value]) => `${name}: ${JSON.stringify(value)}\n`);
    const given = await readGiven(TRAIN, yamlFile(yaml.join("")), ["--model_name_or_path", "some/model"]);
    expect(resolveSettings(TRAIN, given).args).toMatchObject({
      numGenerations: 8,
      lossType: "dapo",
      learningRate: 1e-6,
    });
  });

  it("are read from a command line as TRL's parser reads them", async () => {
    for (const { line, values } of trl.parsed) {
      const { script, args } = resolveSettings(TRAIN, await readGiven(TRAIN, yamlFile(trl.yaml), line));
      expect(script, line.join(" ")).toMatchObject({
        model_name_or_path: values.model_name_or_path,
        dataset_name: values.dataset_name,
        use_peft: values.use_peft,
        lora_target_modules: values.lora_target_modules,
      });
      expect(script.reward_funcs ?? null).toEqual(values.reward_funcs);
      expect(args).toMatchObject({
        learningRate: values.learning_rate,
        warmupSteps: values.warmup_steps,
        lrSchedulerType: values.lr_scheduler_type,
        lrSchedulerKwargs: values.lr_scheduler_kwargs,
        rewardWeights: values.reward_weights,
        maxSteps: values.max_steps,
        shuffleDataset: values.shuffle_dataset,
        logCompletions: values.log_completions,
        runName: values.run_name,
        lossType: values.loss_type,
      });
    }
  });
});

describe("what a key does", () => {
  it.each<[string, object]>([
    ["warmup_ratio: 0.1", { warmupSteps: 0.1 }],
    ["warmup_ratio: 0.1\nwarmup_steps: 7", { warmupSteps: 7 }],
    ["scale_rewards: false", { scaleRewards: "none" }],
    ["scale_rewards: true", { scaleRewards: "group" }],
    ["scale_rewards: batch", { scaleRewards: "batch" }],
    ["eval_strategy: no", { evalStrategy: "no" }],
    ["log_completions: yes", { logCompletions: true }],
    ["save_steps: 0.05", { saveSteps: 0.05 }],
    ['learning_rate: "1e-5"', { learningRate: 1e-5 }],
    ["run_name: 7", { runName: "7" }],
    ["reward_weights: 0.5", { rewardWeights: [0.5] }],
    ["report_to: tensorboard", { logTo: ["console", "jsonl", "tensorboard"] }],
    ["report_to: [tensorboard]\nlog_to: [jsonl]", { logTo: ["jsonl", "tensorboard"] }],
    ["report_to: [wandb, mlflow]\nlog_to: [jsonl]", { logTo: ["jsonl", "wandb", "mlflow"] }],
    ["report_to: trackio\nproject: maths", { logTo: ["console", "jsonl", "trackio"], project: "maths" }],
    ["report_to: none", { logTo: ["console", "jsonl"] }],
    ["max_prompt_length: 512", { maxPromptLength: 512, promptOverflow: "truncate" }],
    ["max_prompt_length: 512\nprompt_overflow: drop", { promptOverflow: "drop" }],
    ["num_completions_to_print: 0\nlog_completions: true", { logCompletions: false }],
    ["num_completions_to_print: 3", { numCompletionsToPrint: 3 }],
    ["num_processes: 4\ngradient_accumulation_steps: 2", { gradientAccumulationSteps: 8, completionsPerStep: 64 }],
    ["num_processes: 2\nsteps_per_generation: 3", { gradientAccumulationSteps: 2, stepsPerGeneration: 6 }],
    ["gradient_checkpointing: true", { gradientCheckpointing: true }],
    ["activation_checkpointing: true", { gradientCheckpointing: true }],
    ["gradient_checkpointing: true\nactivation_checkpointing: false", { gradientCheckpointing: false }],
    ["activation_checkpointing: null\ngradient_checkpointing: true", { gradientCheckpointing: true }],
    ["router_aux_loss_coef: null\npad_to_multiple_of: auto", { gradientCheckpointing: false }],
    ["hub_model_id: a/b\nhub_strategy: end", { hubModelId: "a/b", hubStrategy: "end" }],
  ])("%j", async (yaml, expected) => {
    expect((await settings(yaml)).args).toMatchObject(expected);
  });

  it.each<[string, object]>([
    ["torch_dtype: bfloat16", { dtype: "bfloat16" }],
    ["", { dtype: "float32", use_peft: false, lora_r: 16, lora_alpha: 32, lora_dropout: 0.05, model_revision: "main" }],
    ["lora_target_modules: all-linear\nuse_peft: true", { lora_target_modules: "all-linear" }],
    ["resume_from_checkpoint: true", { resume_from_checkpoint: true }],
    ["resume_from_checkpoint: out/checkpoint-5", { resume_from_checkpoint: "out/checkpoint-5" }],
    ["reward_funcs: accuracy", { reward_funcs: ["accuracy"] }],
    [
      "",
      { cosine_min_value_wrong: 0, cosine_max_value_wrong: -0.5, max_completion_len: 16384, soft_punish_cache: 4096 },
    ],
    ["dataset_config: null", { dataset_train_split: "train" }],
  ])("%j for the script", async (yaml, expected) => {
    expect((await settings(yaml)).script).toMatchObject(expected);
  });

  it.each<[readonly string[], object]>([
    [["--reward_funcs", "./mine.ts#code,code_format"], { reward_funcs: ["./mine.ts#code", "code_format"] }],
    [["--reward-funcs=[accuracy, format]"], { reward_funcs: ["accuracy", "format"] }],
    [["--dtype", "bfloat16"], { dtype: "bfloat16" }],
    [["--torch_dtype", "auto"], { dtype: "auto" }],
    [["--no_use_peft"], { use_peft: false }],
    [["--resume_from_checkpoint"], { resume_from_checkpoint: true }],
    [["--system_prompt", "Answer: briefly, [please]"], { system_prompt: "Answer: briefly, [please]" }],
  ])("%j on the command line", async (overrides, expected) => {
    expect((await settings("torch_dtype: float16\n", overrides)).script).toMatchObject(expected);
  });

  it("the configuration of a data set goes with it", async () => {
    const yaml = "dataset_config: main\n";
    expect((await settings(yaml)).script.dataset_config).toBe("main");
    const moved = await settings(yaml, ["--dataset_name", "./here"]);
    expect(moved.script.dataset_config).toBeUndefined();
    expect(noticeText(moved.notices)).toContain("dataset_config: no effect, it belongs to the data set");
    const named = await settings(yaml, ["--dataset_name", "./here", "--dataset_config", "other"]);
    expect(named.script.dataset_config).toBe("other");
  });
});

describe("what means nothing here", () => {
  it("is named in one notice, with the reason", async () => {
    const yaml = "use_vllm: true\nvllm_mode: colocate\nattn_implementation: sdpa\nbf16: true\nlog_level: info\n";
    const text = noticeText((await settings(yaml)).notices) ?? "";
    expect(text.match(/^notice:/gm)).toHaveLength(1);
    expect(text).toContain("use_vllm, vllm_mode: no effect, the engine samples in this process");
    for (const key of ["attn_implementation", "bf16", "log_level"]) {
      expect(text).toMatch(new RegExp(`^ {2}(.*, )?${key}(, .*)?: no effect, .+`, "m"));
    }
  });

  it("is not said of the pattern that completions are kept to", async () => {
    const { args, notices } = await settings("use_vllm: true\nvllm_structured_outputs_regex: 'a+'\n");
    expect(args).toMatchObject({ vllmStructuredOutputsRegex: "a+" });
    expect(noticeText(notices)).not.toContain("vllm_structured_outputs_regex");
  });

  it("is not named where it is off", async () => {
    expect((await settings("use_vllm: false\nload_in_4bit: false\ncallbacks: []\n")).notices).toEqual([]);
  });

  it("names LoRA's keys in a run without an adapter", async () => {
    expect(noticeText((await settings("lora_r: 8\n")).notices)).toContain("lora_r: no effect, use_peft is false");
    expect((await settings("lora_r: 8\nuse_peft: true\n")).notices).toEqual([]);
  });

  it("counts the processes that groups need, and says so", async () => {
    const yaml = "per_device_train_batch_size: 16\ngradient_accumulation_steps: 4\nnum_generations: 14\n";
    const { args, notices } = await settings(yaml);
    expect(args).toMatchObject({ gradientAccumulationSteps: 28, completionsPerStep: 448 });
    expect(noticeText(notices)).toContain("num_processes: 7, the fewest with which num_generations 14 divides");
    expect((await settings(`${yaml}num_processes: 14\n`)).notices).toEqual([]);
  });
});

describe("what is refused", () => {
  it.each<[string, string, RegExp]>([
    [
      "learning_rat: 1",
      "UNKNOWN_OPTION",
      /config\.yaml: unknown key "learning_rat"\n {2}→ did you mean learning_rate\?/,
    ],
    ["learningRate: 1", "UNKNOWN_OPTION", /unknown key "learningRate"\n {2}→ did you mean learning_rate\?/],
    ["evaluation_strategy: steps", "UNKNOWN_OPTION", /write eval_strategy/],
    ["load_in_4bit: true", "BAD_OPTION", /load_in_4bit true is not supported/],
    ["load_in_8bit: true", "BAD_OPTION", /load_in_8bit true is not supported/],
    ["fp16: true", "BAD_OPTION", /^fp16 true is not supported/],
    ["neftune_noise_alpha: 5", "BAD_OPTION", /^neftune_noise_alpha 5 is not supported/],
    ["learning_rate: fast", "BAD_OPTION", /^learning_rate: found "fast"/],
    ["loss_type: dapoo", "BAD_OPTION", /^loss_type must be one of .*\n {2}→ did you mean "dapo"/],
    [
      "generation_batch_size: 16\nsteps_per_generation: 2",
      "BAD_OPTION",
      /generation_batch_size 16 and steps_per_generation 2/,
    ],
    ["lora_r: 0", "BAD_OPTION", /config\.yaml: lora_r: found 0/],
    ["dtype: int8", "BAD_OPTION", /dtype: found "int8"/],
    ["dtype: float32\ntorch_dtype: bfloat16", "BAD_OPTION", /two names of one key/],
    ["datasets: [{path: a, weight: 1}]", "BAD_OPTION", /datasets\.0/],
    ["warmup_ratio: 3", "BAD_OPTION", /warmup_ratio: found 3/],
    ["max_steps: 1\nmax_steps: 2", "BAD_CONFIG", /is not YAML.*unique/s],
    ["- a", "BAD_CONFIG", /is not YAML/],
  ])("%j", async (yaml, code, message) => {
    const error = await refusal(yaml);
    expect(error.message).toMatch(message);
    expect(error.code).toBe(code);
  });

  it("an unknown option of the command line is named as it was written", async () => {
    expect((await refusal("", ["--max-step", "3"])).message).toBe(
      "unknown option --max-step\n  → did you mean max_steps?",
    );
    expect((await refusal("", ["3"])).message).toMatch(/expected an option/);
    expect((await refusal("", ["--lora_r=x"])).message).toMatch(/^--lora_r: found "x"/);
  });

  it("a configuration without a model, and a file that is not there", async () => {
    const without = await readGiven(TRAIN, yamlFile("max_steps: 1\n"), []);
    expect(() => resolveSettings(TRAIN, without)).toThrow(/which model\?/);
    await expect(readGiven(TRAIN, "/no/such.yaml", [])).rejects.toMatchObject({ code: "FILE_NOT_FOUND" });
  });
});

describe("reward functions", () => {
  const calls = async (yaml: string, batch: object): Promise<[name: string, rewards: unknown][]> => {
    const { functions } = await resolveRewards((await settings(yaml)).script);
    return functions.map((fn) => [fn.name, fn(batch as never)]);
  };
  const tokens = (n: number) => new Array<number>(n).fill(1);

  it("have TRL's and open-r1's settings and the names of their metrics there", async () => {
    const solved = "<think>\nyes\n</think>\n<answer>\n$4$\n</answer>";
    const batch = {
      completions: [solved, "$5$"],
      solution: ["$4$", "$4$"],
      completionIds: [tokens(1153), tokens(1281)],
    };
    expect(await calls("reward_funcs: [accuracy_reward, accuracy, format, tag_count, length]\n", batch)).toEqual([
      ["accuracy_reward", [1, 0]],
      ["accuracy_reward", [1, 0]],
      ["format_reward", [1, 0]],
      ["tag_count_reward", [1, 0]],
      ["len_reward", [-0.5, 0]],
    ]);
    const trlPunishment = await calls("reward_funcs: [get_soft_overlong_punishment]\n", batch);
    expect(trlPunishment).toEqual([["soft_overlong_punishment_reward", [-129 / 256, -1]]]);
    const own = "reward_funcs: [soft_overlong_punishment]\nmax_completion_len: 2000\nsoft_punish_cache: 1000\n";
    expect(await calls(own, batch)).toEqual([["soft_overlong_punishment_reward", [-0.153, -0.281]]]);
  });

  it("take the keys that are theirs", async () => {
    const batch = { completions: ["", "a a a a a"], solution: ["$4$", "$4$"], completionIds: [[], [1, 2, 3, 4, 5]] };
    // A wrong answer without length; open-r1's script has 0 there, its function -1.
    const cosine = await calls("reward_funcs: cosine\ncosine_max_len: 5\ncosine_max_value_wrong: -0.25\n", batch);
    expect(cosine[0]?.[0]).toBe("cosine_scaled_reward");
    expect(cosine[0]?.[1]).toEqual([0, expect.closeTo(-0.25 + 0.125 * (1 + Math.cos((9 / 5) * Math.PI)), 12)]);
    const words = await calls(
      "reward_funcs: repetition_penalty\nrepetition_n_grams: 2\nrepetition_max_penalty: -2\n",
      batch,
    );
    expect(words).toEqual([["repetition_penalty_reward", [0, -1.5]]]);
    const code = { completions: ["<think>\nx\n</think>\n<answer>\n```cpp\nx\n```\n</answer>"] };
    expect(await calls("reward_funcs: code_format\ncode_language: cpp\n", code)).toEqual([["code_format_reward", [1]]]);
    expect(await calls("reward_funcs: code_format\n", code)).toEqual([["code_format_reward", [0]]]);
  });
});

describe("the JSON Schema", () => {
  it("is that of the code, and so are the tables of the page (else: npx tsx scripts/docs-train.ts)", () => {
    for (const recipe of RECIPES) expect(readFileSync(schemaFile(recipe), "utf8")).toBe(schemaText(recipe));
    expect(readFileSync(pageFile, "utf8")).toBe(pageText());
  });

  it("has every key of TRL and of open-r1's recipes, and is published", () => {
    const { properties } = JSON.parse(readFileSync(schemaFile(TRAIN), "utf8")) as {
      properties: Record<string, unknown>;
    };
    const recipes = readdirSync(fixture("recipes")).filter((name) => name.endsWith(".yaml"));
    expect(recipes).toHaveLength(5);
    const names = recipes.flatMap((name) => Object.keys(parse(readFileSync(fixture(`recipes/${name}`), "utf8"))));
    for (const name of [...names, ...Object.values(trl.keys).flatMap(Object.keys)]) {
      expect(properties, name).toHaveProperty(name);
    }
    expect(Object.keys(properties)).toEqual([...keySchemas(TRAIN).keys()]);
    const { files } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8"));
    expect(files).toContain("docs");
  });
});
