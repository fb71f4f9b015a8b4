// `grpo eval`: benchmarks, or rows with a reward function, through the built-in engine or any server of OpenAI's protocol. stdout has the
// numbers and the page's path; progress and notices go to stderr.

import { parseArgs } from "node:util";
import type { Dataset } from "../dataset/dataset.js";
import { GrpoError } from "../errors.js";
import { BENCHMARKS } from "../eval/benchmarks.js";
import { type Comparison, compareEvaluations } from "../eval/compare.js";
import { evaluate } from "../eval/evaluate.js";
import type { EvalTask } from "../eval/load-task.js";
import type { EvaluationOptions, EvaluationProgress } from "../eval/options.js";
import { writeEvaluationReport } from "../eval/report.js";
import type { EvaluationResult } from "../eval/result.js";
import { CausalLM } from "../model/model.js";
import type { FromPretrainedOptions } from "../model/model-options.js";
import { loadTrainData } from "../recipes/data.js";
import { type ScriptSettings, scriptSchema } from "../recipes/keys.js";
import { resolveRewards } from "../recipes/reward-functions.js";
import { Tokenizer } from "../tokenizer/tokenizer.js";
import type { Command } from "./command.js";

const options = {
  model: { type: "string" },
  adapter: { type: "string" },
  dtype: { type: "string" },
  device: { type: "string" },
  revision: { type: "string" },
  server: { type: "string" },
  "api-key": { type: "string" },
  concurrency: { type: "string" },
  output: { type: "string" },
  against: { type: "string" },
  samples: { type: "string" },
  "no-greedy": { type: "boolean" },
  temperature: { type: "string" },
  "top-p": { type: "string" },
  seed: { type: "string" },
  "max-new-tokens": { type: "string" },
  stop: { type: "string", multiple: true },
  system: { type: "string" },
  "no-chat-template": { type: "boolean" },
  limit: { type: "string" },
  reward: { type: "string", multiple: true },
  split: { type: "string" },
  config: { type: "string" },
  "prompt-column": { type: "string" },
  json: { type: "boolean" },
  quiet: { type: "boolean" },
} as const;

type Values = ReturnType<typeof parseArgs<{ options: typeof options; allowPositionals: true }>>["values"];

export const evalCommand: Command = {
  usage:
    "<task> [<task> …] --model <id or folder> [--adapter <id or folder>]\n" +
    "       grpo eval <task> [<task> …] --server <base URL> [--model <name>]\n\n" +
    `  A task is a benchmark (${Object.keys(BENCHMARKS).join(", ")}), NAME=<folder, file or id> for a\n` +
    "  benchmark with rows from elsewhere, or a data set (folder, file or id) with --reward.\n" +
    "  Run again in the same folder, it goes on where it was.\n\n" +
    "  --output DIR               default evaluation: eval.json, completions.jsonl, problems.jsonl, report.html\n" +
    "  --against DIR              an evaluation before this one: differences with p-values, both on one page\n" +
    "  --samples K                sampled completions of each problem, for avg@k, pass@k and maj@k; 0: none;\n" +
    "                             default: the benchmark's (aime 64, gpqa 8, others 4)\n" +
    "  --no-greedy                no greedy completion\n" +
    "  --temperature T, --top-p P of the samples; default 0.6 and 0.95\n" +
    "  --seed N                   default 0\n" +
    "  --max-new-tokens N         default: the benchmark's, within the model's context\n" +
    "  --limit N                  only the first N problems of each task\n" +
    "  --system TEXT              system message\n" +
    "  --stop TEXT                ends a completion; may be given several times; default none\n" +
    "  --no-chat-template         plain text, for models without a chat template\n" +
    "  --server URL               such as http://127.0.0.1:8000/v1, of grpo serve, vLLM, SGLang, llama.cpp, …\n" +
    "  --api-key KEY              default: the variable OPENAI_API_KEY, else none\n" +
    "  --concurrency N            requests to the server at a time, default 32\n" +
    "  --reward NAME              of a data set: as in reward_funcs of grpo train; several: the first is the score\n" +
    "  --split S, --config C, --prompt-column P\n" +
    "                             of a data set: default split test, column prompt\n" +
    "  --json                     the result as JSON on stdout\n" +
    "  --quiet                    no progress\n" +
    "  --dtype, --device, --revision   as of CausalLM.fromPretrained",

  async run(args) {
    const { values, positionals } = parseArgs({ args: [...args], options, allowPositionals: true });
    if (positionals.length === 0) {
      throw new GrpoError("BAD_OPTION", "on what?", {
        hint: `grpo eval <task> --model <id or folder>; tasks are ${Object.keys(BENCHMARKS).join(", ")}, or a data set with --reward`,
      });
    }
    const tasks = await Promise.all(positionals.map((text) => taskOf(text, values)));
    const settings = settingsOf(tasks, values);
    const result = await evaluateModel(settings, values);
    await report(result, settings.outputDir, values);
    return 0;
  },
};

async function evaluateModel(settings: Evaluating, values: Values): Promise<EvaluationResult> {
  const { model: name, server, "api-key": apiKey } = values;
  if (server !== undefined) {
    const concurrency = numberOf("concurrency", values.concurrency);
    return evaluate({ ...settings, server: { baseURL: server, ...defined({ model: name, apiKey, concurrency }) } });
  }
  if (name === undefined) {
    throw new GrpoError("BAD_OPTION", "which model?", {
      hint: "grpo eval … --model <id or folder>, or --server <base URL>",
    });
  }
  const { adapter, dtype, device, revision } = values;
  const tokenizer = await Tokenizer.fromPretrained(name, defined({ revision }));
  // fromPretrained checks what they may be.
  const load = defined({ adapter, dtype, device, revision }) as FromPretrainedOptions;
  const model = await CausalLM.fromPretrained(name, load);
  try {
    return await evaluate({
      ...settings,
      model,
      tokenizer,
      name: adapter === undefined ? name : `${name} + ${adapter}`,
    });
  } finally {
    model.dispose();
  }
}

type Evaluating = EvaluationOptions & { readonly outputDir: string };

function settingsOf(tasks: readonly EvalTask[], values: Values): Evaluating {
  const { output = "evaluation", system: systemPrompt, stop: stopStrings } = values;
  const numbers = {
    samples: numberOf("samples", values.samples),
    temperature: numberOf("temperature", values.temperature),
    topP: numberOf("top-p", values["top-p"]),
    seed: numberOf("seed", values.seed),
    maxNewTokens: numberOf("max-new-tokens", values["max-new-tokens"]),
    limit: numberOf("limit", values.limit),
  };
  return {
    tasks,
    outputDir: output,
    greedy: values["no-greedy"] !== true,
    chatTemplate: values["no-chat-template"] !== true,
    ...defined({ ...numbers, systemPrompt, stopStrings }),
    onNotice: (text) => console.error(`grpo eval: ${text}`),
    ...(values.quiet ? {} : { onProgress: new Progress().show }),
  };
}

/** NAME, NAME=SOURCE, or a data set. */
async function taskOf(text: string, values: Values): Promise<EvalTask> {
  const [, name = "", source] = /^([\w:]+)=(.+)$/.exec(text) ?? [];
  if (source !== undefined) {
    const { split } = values;
    return { benchmark: name, source, ...defined({ split }) };
  }
  // What is neither a path nor an id is the name of a benchmark, which may be misspelt.
  if (Object.hasOwn(BENCHMARKS, text) || !/[/.\\]/.test(text)) return text;
  const script = scriptOf(text, values);
  const { functions } = await resolveRewards(script);
  const { train } = await loadTrainData(script, false, 0);
  return { name: text, dataset: train as Dataset<object>, rewardFuncs: functions };
}

/** The data set and its rewards as the keys of `grpo train` that say the same. */
function scriptOf(text: string, values: Values): ScriptSettings {
  const { reward = [], split = "test", config, "prompt-column": column } = values;
  if (reward.length === 0) {
    throw new GrpoError("BAD_OPTION", `${text} is a data set; how are answers to it graded?`, {
      hint: "give --reward, such as accuracy or ./rewards.ts#name",
    });
  }
  return scriptSchema.parse({
    // A key that these do not read, and that a configuration cannot do without.
    model_name_or_path: text,
    dataset_name: text,
    dataset_train_split: split,
    reward_funcs: reward,
    ...defined({ dataset_config: config, dataset_prompt_column: column }),
  });
}

/** Rewrites a line on a terminal, and says a line for every tenth elsewhere. */
class Progress {
  #last = "";

  readonly show = ({ task, doSample, done, problems }: EvaluationProgress): void => {
    const text = `${task}, ${doSample ? "sampled" : "greedy"}: ${done} of ${problems} problems`;
    if (process.stderr.isTTY)
      process.stderr.write(`\r${text.padEnd(this.#last.length)}${done === problems ? "\n" : ""}`);
    else if (done === problems || done % Math.ceil(problems / 10) === 0) console.error(text);
    this.#last = text;
  };
}

async function report(result: EvaluationResult, outputDir: string, { against, json }: Values): Promise<void> {
  const comparison = against === undefined ? undefined : await compareEvaluations(against, outputDir);
  const page = await writeEvaluationReport(against === undefined ? [outputDir] : [against, outputDir]);
  if (json) console.log(JSON.stringify({ ...result, ...(comparison === undefined ? {} : { comparison }) }, null, 2));
  else console.log([...numbersOf(result), ...(comparison === undefined ? [] : changesOf(comparison)), page].join("\n"));
}

function numbersOf({ tasks }: EvaluationResult): string[] {
  return tasks.flatMap(({ task, problems, greedy, sampled }) => [
    `${task} (${problems} problems)`,
    ...(["greedy", "sampled"] as const).flatMap((drawing) =>
      Object.entries((drawing === "greedy" ? greedy : sampled)?.metrics ?? {}).map(([metric, { value, low, high }]) => {
        const [middle, bounds] = [shown(metric, value), `[${shown(metric, low)}, ${shown(metric, high)}]`];
        return `  ${`${drawing} ${metric}`.padEnd(NAME_WIDTH)} ${middle.padStart(8)}  ${bounds}`;
      }),
    ),
  ]);
}

function changesOf({ differences, differing }: Comparison): string[] {
  const lines = differences.map(({ task, drawing, metric, difference: { value, low, high }, p, better, worse }) => {
    const change = `${value > 0 ? "+" : ""}${shown(metric, value)}`;
    const bounds = `[${shown(metric, low)}, ${shown(metric, high)}]`;
    const name = `${task} ${drawing} ${metric}`.padEnd(NAME_WIDTH + 8);
    return `  ${name} ${change.padStart(8)}  ${bounds}  p = ${p.toPrecision(2)}  better ${better}, worse ${worse}`;
  });
  return ["after minus before", ...lines, `differing settings: ${differing.join(", ") || "none"}`];
}

const NAME_WIDTH = 28;

/** Everything but a count of tokens is a share, or a reward. */
function shown(metric: string, value: number): string {
  return metric === "tokens" ? value.toFixed(1) : value.toFixed(4);
}

/** Ranges are checked where the numbers are used. */
function numberOf(flag: string, value: string | undefined): number | undefined {
  if (value === undefined) return undefined;
  const parsed = value.trim() === "" ? Number.NaN : Number(value);
  if (!Number.isNaN(parsed)) return parsed;
  throw new GrpoError("BAD_OPTION", `--${flag} must be a number, found ${JSON.stringify(value)}`);
}

function defined<T extends object>(values: T): { [Key in keyof T]?: Exclude<T[Key], undefined> } {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as never;
}
