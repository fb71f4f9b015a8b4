// `grpo train` from end to end with the bundled model: open-r1's recipes as they are, with model and data in local folders; TRL's
// own keys; scripts. What a key means is in train-config.test.ts.

import { spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { readGiven } from "../../lib/recipes/read.js";
import { TRAIN } from "../../lib/recipes/recipe.js";
import { resolveRewards } from "../../lib/recipes/reward-functions.js";
import { runTraining } from "../../lib/recipes/run.js";
import { resolveSettings } from "../../lib/recipes/settings.js";
import { block, type FakePiston, fakePiston, hasPython, needs, said } from "../support/code-services.js";

const root = fileURLToPath(new URL("../..", import.meta.url));
const model = join(root, "scripts/assets/tiny-qwen2");
const recipe = (name: string) => join(root, "test/fixtures/recipes", `${name}.yaml`);

let work = "";
let data = "";
let mine = "";

let piston: FakePiston;

beforeAll(async () => {
  piston = await fakePiston();
  // Below the root, where tsx is found.
  mkdirSync(join(root, "build"), { recursive: true });
  work = mkdtempSync(join(root, "build", "train-"));
  data = join(work, "data");
  mkdirSync(data);
  const rows = readFileSync(join(model, "train.jsonl"), "utf8").trim().split("\n").slice(0, 40);
  const test = (stdout: string) => JSON.stringify({ run: { stdout, stderr: "", code: 0, signal: null } });
  // What the rewards for programs read; the input of a test is what the Piston of the test answers.
  const program = {
    verification_info: {
      language: "python",
      test_cases: [
        { input: "", output: "" },
        { input: "1", output: "1" },
      ],
    },
    id: "1/A",
    year: 2020,
    test_names: ["1", "2"],
    grader_files: [["graders/grader.cpp", "int main();"]],
    time_limit: 1,
    memory_limit: 2 ** 28,
    score_precision: 2,
    input_mode: "stdio",
    generated_checker: null,
    test_cases: [
      [test("0.75"), ""],
      [test("1"), ""],
    ],
    official_tests: [
      { input: test("1"), output: "" },
      { input: test("0"), output: "" },
    ],
  };
  // The column of each recipe, and some that the real data have.
  const wide = rows.map((line) => {
    const { problem, solution } = JSON.parse(line) as { problem: string; solution: string };
    const messages = [{ role: "user", content: problem }];
    return JSON.stringify({
      problem,
      prompt: problem,
      problem_statement: problem,
      solution,
      messages,
      language: "python",
      ...program,
    });
  });
  writeFileSync(join(data, "train.jsonl"), `${wide.join("\n")}\n`);
  writeFileSync(join(data, "test.jsonl"), `${wide.slice(0, 2).join("\n")}\n`);
  mine = join(work, "mine.ts");
  const body = "(batch: { completions: unknown[] }): number[] => batch.completions.map((_, i) => i % 2);\n";
  writeFileSync(mine, ["code", "ioi_code", "cf_code"].map((name) => `export const ${name} = ${body}`).join(""));
});

beforeEach(() => {
  // What the machine's own environment may say.
  for (const name of ["HF_ALLOW_CODE_EVAL", "E2B_API_KEY", "PISTON_ENDPOINTS", "CF_TESTS_FOLDER"])
    vi.stubEnv(name, undefined);
});

afterEach(() => void vi.unstubAllEnvs());

afterAll(() => {
  piston.server.close();
  rmSync(work, { recursive: true, force: true });
});

async function train(
  file: string | undefined,
  overrides: readonly string[],
): Promise<{ text: string; folder: string }> {
  const folder = mkdtempSync(join(work, "run-"));
  return { text: await printed(file, [...overrides, "--output_dir", folder]), folder };
}

/** What a run prints. */
async function printed(file: string | undefined, overrides: readonly string[]): Promise<string> {
  const parts: string[] = [];
  await runTraining(resolveSettings(TRAIN, await readGiven(TRAIN, file, overrides)), {
    write: (part: string) => parts.push(part),
  });
  return parts.join("");
}

const small = (dataset: string): string[] => [
  "--model_name_or_path",
  model,
  "--dataset_name",
  dataset,
  "--use_cpu",
  "--push_to_hub",
  "false",
  "--max_steps",
  "1",
  "--max_completion_length",
  "16",
];

const metricsOf = (folder: string) =>
  readFileSync(join(folder, "metrics.jsonl"), "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, unknown>);

describe("open-r1's recipes", () => {
  const math = ["accuracy_reward", "format_reward", "tag_count_reward"];

  /** One step with its own rewards; what it printed. */
  async function step(name: string, functions: readonly string[], means: Readonly<Record<string, number>>) {
    // Fewer completions than the recipe takes; that it takes them is for its own sizes to say.
    const sizes = ["--per_device_train_batch_size", "4", "--gradient_accumulation_steps", "4"];
    const { text, folder } = await train(recipe(name), [...small(data), ...sizes]);
    expect(text.match(/^notice:/gm)).toHaveLength(1);
    expect(text).toMatch(/^ {2}use_vllm(, .*)?: no effect, the engine samples in this process/m);
    expect(text).toContain("trained to step 1");
    expect(existsSync(join(folder, "model.safetensors"))).toBe(true);
    expect(existsSync(join(folder, "tokenizer.json"))).toBe(true);
    const [begin, metrics] = metricsOf(folder);
    expect(begin).toMatchObject({ reward_functions: functions });
    expect(metrics).toMatchObject({ type: "step", step: 1 });
    for (const [fn, mean] of Object.entries(means)) expect(metrics).toHaveProperty([`rewards/${fn}/mean`], mean);
    const line = JSON.parse(readFileSync(join(folder, "completions.jsonl"), "utf8").split("\n")[0] ?? "");
    expect(JSON.stringify(line.prompt)).toContain("You are a helpful AI Assistant that provides well-reasoned");
    return text;
  }

  it.each(["Qwen2.5-1.5B-Instruct-config_demo", "DeepSeek-R1-Distill-Qwen-1.5B-config_demo"])("%s", async (name) => {
    await step(name, math, {});
  });

  const code = "Qwen2.5-1.5B-Instruct-config_demo_code";
  it.skipIf(!hasPython)(`${code}, on this machine${needs(hasPython, "python3")}`, async () => {
    vi.stubEnv("HF_ALLOW_CODE_EVAL", "1");
    // A program that prints nothing passes one of the two tests.
    const text = await step(code, ["code_reward", "format_reward"], { code_reward: 0.5 });
    expect(text).toMatch(/^ {2}reward_funcs code: programs run on this machine, with limits/m);
  });

  it.each<[string, string[], Record<string, number>]>([
    [
      "Qwen2.5-1.5B-Instruct-config_demo_code_ioi",
      ["ioi_code_reward", "code_format_reward", "format_reward"],
      { ioi_code_reward: 0 },
    ],
    // No program was submitted.
    ["Qwen2.5-Coder-7B-Instruct-config_codeforces", ["cf_code_reward", "code_format_reward"], { cf_code_reward: -1 }],
  ])("%s, over Piston", async (name, functions, means) => {
    vi.stubEnv("PISTON_ENDPOINTS", piston.url);
    expect(await step(name, functions, means)).toContain(`_code: programs run on ${piston.url}`);
  });

  it("score programs, by the recipe's own settings", async () => {
    vi.stubEnv("PISTON_ENDPOINTS", piston.url);
    const scores = async (name: string, batch: object): Promise<unknown> => {
      const settings = resolveSettings(TRAIN, await readGiven(TRAIN, recipe(name), small(data)));
      const { functions } = await resolveRewards(settings.script);
      return functions[0]?.(batch as never);
    };
    const row = JSON.parse(readFileSync(join(data, "train.jsonl"), "utf8").split("\n")[0] ?? "") as object;
    const columns = (language: string) =>
      Object.fromEntries(Object.entries({ ...row, language }).map(([key, value]) => [key, [value, value]]));
    const completions = (language: string) => said([block("a program", language), "none"]);
    const ioi = { ...columns("cpp"), completions: completions("cpp") };
    expect(await scores("Qwen2.5-1.5B-Instruct-config_demo_code_ioi", ioi)).toEqual([0.75, 0]);
    const codeforces = { ...columns("python"), completions: completions("python") };
    expect(await scores("Qwen2.5-Coder-7B-Instruct-config_codeforces", codeforces)).toEqual([0.05, -1]);
  });

  it("those that execute programs ask for a place to do it, before the model is loaded", async () => {
    const names = ["demo_code", "demo_code_ioi"].map((name) => `Qwen2.5-1.5B-Instruct-config_${name}`);
    for (const name of [...names, "Qwen2.5-Coder-7B-Instruct-config_codeforces"]) {
      const refusal = train(recipe(name), small("/no/such/data"));
      await expect(refusal, name).rejects.toThrow(/executes what the model writes, and nothing says where/);
    }
  });

  it("the chat template of a recipe is the one that is rendered and saved", async () => {
    const sizes = ["--per_device_train_batch_size", "4", "--gradient_accumulation_steps", "4"];
    const name = "DeepSeek-R1-Distill-Qwen-1.5B-config_demo";
    const { folder } = await train(recipe(name), [...small(data), ...sizes, "--save_strategy", "no"]);
    expect(readFileSync(join(folder, "chat_template.jinja"), "utf8")).toContain("<｜Assistant｜>");
  });
});

describe("a configuration of TRL's", () => {
  const yaml = () => {
    const file = join(work, "trl.yaml");
    writeFileSync(
      file,
      `model_name_or_path: ${model}
dataset_name: ${data}
dataset_prompt_column: problem
reward_funcs: [accuracy_reward, think_format_reward]
reward_weights: [1.0, 0.5]
use_peft: true
lora_r: 4
lora_target_modules: [q_proj, v_proj]
use_cpu: true
per_device_train_batch_size: 4
num_generations: 4
max_completion_length: 12
learning_rate: 1.0e-4
max_steps: 2
logging_steps: 1
save_steps: 1
eval_strategy: steps
eval_steps: 2
do_eval: true
report_to: tensorboard
env:
  GRPO_TRAIN_TEST: 7
`,
    );
    return file;
  };

  it("trains an adapter, evaluates, and goes on from a checkpoint as if it had never stopped", async () => {
    const whole = await train(yaml(), []);
    expect(process.env.GRPO_TRAIN_TEST).toBe("7");
    const config = JSON.parse(readFileSync(join(whole.folder, "adapter_config.json"), "utf8"));
    expect(config).toMatchObject({ r: 4, lora_alpha: 32, lora_dropout: 0.05, target_modules: ["q_proj", "v_proj"] });
    expect(metricsOf(whole.folder).filter(({ type }) => type === "eval")).toHaveLength(2);
    expect(readdirSync(join(whole.folder, "runs")).length).toBeGreaterThan(0);

    rmSync(join(whole.folder, "checkpoint-2"), { recursive: true });
    const before = readFileSync(join(whole.folder, "adapter_model.safetensors"));
    rmSync(join(whole.folder, "adapter_model.safetensors"));
    const text = await printed(yaml(), ["--resume_from_checkpoint", "--output_dir", whole.folder]);
    expect(text).toContain("trained to step 2");
    expect(readFileSync(join(whole.folder, "adapter_model.safetensors")).equals(before)).toBe(true);
  });

  it("opens the model as model_init_kwargs say, which win over the other keys, and refuses what they cannot", async () => {
    const { folder } = await train(yaml(), ["--max_steps", "1", "--model_init_kwargs", '{"dtype": "bfloat16"}']);
    expect(metricsOf(folder)[0]).toMatchObject({ model: { dtype: "bfloat16" } });
    const unknown = ["--model_init_kwargs", '{"attn_implementation": "sdpa"}', "--output_dir", work];
    await expect(printed(yaml(), unknown)).rejects.toThrow(/attnImplementation\n.*leave it out/);
  });

  it("takes a reward model, with functions and alone", async () => {
    const judge = join(work, "judge");
    cpSync(join(root, "test/fixtures/golden/models/reward-qwen2"), judge, { recursive: true });
    for (const file of ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"]) {
      cpSync(join(model, file), join(judge, file));
    }
    const short = ["--max_steps", "1", "--eval_strategy", "no", "--do_eval", "false", "--save_strategy", "no"];
    const given = ["--reward_model_name_or_path", judge, ...short];
    const both = await train(yaml(), [...given, "--reward_funcs", "think_format_reward"]);
    expect(metricsOf(both.folder)[0]).toMatchObject({ reward_functions: ["judge", "think_format_reward"] });
    const alone = join(work, "alone.yaml");
    writeFileSync(alone, readFileSync(yaml(), "utf8").replace(/^reward_.*\n/gm, ""));
    const [begin, step] = metricsOf((await train(alone, given)).folder);
    expect(begin).toMatchObject({ reward_functions: ["judge"] });
    expect(Number(step?.["rewards/judge/std"])).toBeGreaterThan(0);
  });

  it("that is cut short says with which key to go on", async () => {
    const failing = join(work, "failing.ts");
    const body = "{ if (trainerState.globalStep === 1) throw new Error('down'); return completions.map(() => 0); }";
    const fn = `export function judge({ completions, trainerState }: { completions: unknown[]; trainerState: { globalStep: number } }) ${body}\n`;
    writeFileSync(failing, fn);
    const folder = mkdtempSync(join(work, "run-"));
    const parts: string[] = [];
    const args = ["--reward_funcs", failing, "--reward_weights", "1", "--eval_strategy", "no", "--output_dir", folder];
    const run = runTraining(resolveSettings(TRAIN, await readGiven(TRAIN, yaml(), args)), {
      write: (part) => parts.push(part),
    });
    await expect(run).rejects.toMatchObject({ code: "REWARD_FAILED" });
    const checkpoint = join(folder, "checkpoint-1");
    expect(parts.join("")).toContain(`continue with the same command and --resume_from_checkpoint ${checkpoint}\n`);
  });

  it.each<[readonly string[], RegExp]>([
    [["--reward_funcs", "acuracy"], /there is no reward function "acuracy"\n {2}→ did you mean accuracy\?/],
    [["--reward_funcs", "my_lib.rewards.fn"], /there is no reward function "my_lib\.rewards\.fn"/],
    [["--reward_funcs", "./none.ts#a"], /there is no file .*none\.ts/],
    [["--dataset_prompt_column", "problme"], /no column "problme".*\n {2}→ say which one is the prompt: .*: problem/],
    [["--dataset_prompt_column", "messages"], /row 0: the column "messages" has no text/],
    [["--lora_target_modules", "q_porj"], /q_porj/],
  ])("refuses %j before the model is loaded", async (overrides, message) => {
    await expect(train(yaml(), overrides)).rejects.toThrow(message);
  });

  it("a file with several functions asks which one", async () => {
    await expect(train(yaml(), ["--reward_funcs", mine])).rejects.toThrow("it exports code, ioi_code, cf_code");
    await expect(train(yaml(), ["--reward_funcs", `${mine}#cod`])).rejects.toThrow("has no function cod;");
  });
});

describe("the command", () => {
  const cli = (args: readonly string[]) =>
    spawnSync(process.execPath, [join(root, "dist/cli.js"), "train", ...args], { encoding: "utf8", cwd: work });

  it("ends with 1 and a message for a key that nobody knows", () => {
    const { status, stderr } = cli([recipe("Qwen2.5-1.5B-Instruct-config_demo"), "--max_stpes", "1"]);
    expect([status, stderr]).toEqual([
      1,
      "grpo train: unknown option --max_stpes\n  → did you mean max_steps? [UNKNOWN_OPTION]\n",
    ]);
    expect(cli([]).stderr).toContain("what is there to train?");
    expect(cli(["README"]).stderr).toContain("expected a configuration");
  });

  it("runs a script in TypeScript with its arguments and ends as it does", () => {
    writeFileSync(
      join(work, "script.ts"),
      "const n: number = Number(process.argv[2]);\nconsole.log('n is', n);\nprocess.exit(n);\n",
    );
    const { status, stdout } = cli(["script.ts", "3"]);
    expect([status, stdout]).toEqual([3, "n is 3\n"]);
    writeFileSync(join(work, "ends.mjs"), 'process.kill(process.pid, "SIGKILL");\n');
    expect(cli(["ends.mjs"]).status).toBe(137);
  });

  it("says what is missing where TypeScript cannot be read", () => {
    const folder = mkdtempSync(join(tmpdir(), "grpo-no-tsx-"));
    writeFileSync(join(folder, "script.ts"), "export {};\n");
    const { status, stderr } = cli([join(folder, "script.ts")]);
    if ("typescript" in process.features && process.features.typescript) expect(status).toBe(0);
    else expect(stderr).toMatch(/does not read TypeScript, and .* has no tsx\n {2}→ npm install --save-dev tsx/);
    rmSync(folder, { recursive: true });
  });
});
