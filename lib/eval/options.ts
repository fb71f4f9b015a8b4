// What an evaluation can be told: names, defaults and checks.

import {
  badOption,
  checkBoolean,
  checkFunction,
  checkNumber,
  checkOptionNames,
  checkSignal,
  checkText,
  namesOf,
} from "../checks.js";
import { GrpoError } from "../errors.js";
import type { CausalLM } from "../model/model.js";
import type { Tokenizer } from "../tokenizer/tokenizer.js";
import type { EvalTask } from "./load-task.js";
import type { ServerOptions } from "./server-respondent.js";

/** What is evaluated, on which tasks, and how its answers are drawn. */
export interface EvaluationOptions {
  /** Benchmarks by name (gsm8k, math_500, aime24, aime25, gpqa:diamond, ifeval), and rows with a reward function. */
  readonly tasks: EvalTask | readonly EvalTask[];
  /** The model, with the adapter that it has active. This or `server`. */
  readonly model?: CausalLM;
  /** The model's tokenizer; needed with `model`. */
  readonly tokenizer?: Tokenizer;
  /** What the model is called in the result. Default: the folder or id that it was loaded from. */
  readonly name?: string;
  /** A server that answers OpenAI's chat completions, in place of a model. */
  readonly server?: ServerOptions;
  /**
   * Where the completions, the result and the page are written. An evaluation with the same settings goes on there where it was. Default
   * "evaluation".
   */
  readonly outputDir?: string;
  /** Whether each problem is answered greedily too. Default true. */
  readonly greedy?: boolean;
  /** Sampled completions of each problem, for avg@k, pass@k and maj@k; 0: none. Default: the task's (gsm8k and math_500 4, aime 64, gpqa 8). */
  readonly samples?: number;
  /** Of the samples. Default 0.6, with which open-r1 evaluates. */
  readonly temperature?: number;
  /** Of the samples. Default 0.95, with which open-r1 evaluates. */
  readonly topP?: number;
  /** Of the samples and of the bootstrap. Default 0. */
  readonly seed?: number;
  /** Limit of new tokens, for all tasks. Default: the task's. Never more than the model's context leaves. */
  readonly maxNewTokens?: number;
  /** Texts that end a completion. Default none: a model is done when it says so. Refused where a right answer has one in it. */
  readonly stopStrings?: readonly string[];
  /** A system message before every question. Default none. */
  readonly systemPrompt?: string;
  /** false: conversations go to the model as plain text, for models without a chat template. Default true. */
  readonly chatTemplate?: boolean;
  /** Only the first so many problems of each task. Default: all. */
  readonly limit?: number;
  /** Told of each problem that is done. */
  readonly onProgress?: (progress: EvaluationProgress) => void;
  /** Told once of each thing that makes the numbers mean less than they seem to; they are in the result too. */
  readonly onNotice?: (text: string) => void;
  /** Aborting it ends the evaluation with the error CANCELLED; it may be gone on with. */
  readonly signal?: AbortSignal;
}

/** How far an evaluation is. */
export interface EvaluationProgress {
  readonly task: string;
  /** false: the greedy completions. */
  readonly doSample: boolean;
  /** Problems that are done, of all. */
  readonly done: number;
  readonly problems: number;
}

const OPTIONS = namesOf<EvaluationOptions>({
  tasks: true,
  model: true,
  tokenizer: true,
  name: true,
  server: true,
  outputDir: true,
  greedy: true,
  samples: true,
  temperature: true,
  topP: true,
  seed: true,
  maxNewTokens: true,
  stopStrings: true,
  systemPrompt: true,
  chatTemplate: true,
  limit: true,
  onProgress: true,
  onNotice: true,
  signal: true,
});

const WHERE = "evaluate";

/** The options with their defaults. `undefined` of those that a task has a say in. Throws UNKNOWN_OPTION and BAD_OPTION. */
export function readEvaluationOptions(options: EvaluationOptions) {
  checkOptionNames(WHERE, options, OPTIONS);
  const { tasks, model, tokenizer, server, stopStrings = [], onProgress = () => {}, onNotice = () => {} } = options;
  const list = Array.isArray(tasks) ? (tasks as readonly EvalTask[]) : [tasks as EvalTask];
  if (list.length === 0 || list.includes(undefined as never))
    throw badOption(WHERE, "tasks", "at least one task", tasks);
  if ((model === undefined) === (server === undefined)) {
    throw new GrpoError(
      "BAD_OPTION",
      `${WHERE}: expected a model or a server, found ${model === undefined ? "neither" : "both"}`,
    );
  }
  if (model !== undefined && tokenizer === undefined)
    throw badOption(WHERE, "tokenizer", "the model's tokenizer", tokenizer);
  if (!Array.isArray(stopStrings) || stopStrings.some((text) => typeof text !== "string" || text === "")) {
    throw badOption(WHERE, "stopStrings", "a list of texts that are not empty", stopStrings);
  }
  checkFunction(`${WHERE}: onProgress`, onProgress);
  checkFunction(`${WHERE}: onNotice`, onNotice);
  checkSignal(WHERE, options.signal);
  const count = (key: "limit" | "maxNewTokens" | "samples", min: number) => {
    const value = options[key];
    return value === undefined ? undefined : checkNumber(WHERE, key, value, { min, integer: true });
  };
  const read = {
    tasks: list,
    model,
    tokenizer,
    name: options.name === undefined ? undefined : checkText(WHERE, "name", options.name),
    server,
    outputDir: checkText(WHERE, "outputDir", options.outputDir ?? "evaluation"),
    greedy: checkBoolean(WHERE, "greedy", options.greedy ?? true),
    samples: count("samples", 0),
    temperature: checkNumber(WHERE, "temperature", options.temperature ?? 0.6, { min: 0, open: true }),
    topP: checkNumber(WHERE, "topP", options.topP ?? 0.95, { min: Number.MIN_VALUE, max: 1 }),
    seed: checkNumber(WHERE, "seed", options.seed ?? 0, { min: 0, integer: true }),
    maxNewTokens: count("maxNewTokens", 1),
    stopStrings,
    systemPrompt:
      options.systemPrompt === undefined ? undefined : checkText(WHERE, "systemPrompt", options.systemPrompt),
    chatTemplate: checkBoolean(WHERE, "chatTemplate", options.chatTemplate ?? true),
    limit: count("limit", 1),
    onProgress,
    onNotice,
    signal: options.signal ?? new AbortController().signal,
  };
  if (read.greedy || read.samples !== 0) return read;
  throw new GrpoError("BAD_OPTION", `${WHERE}: greedy is false and samples is 0, so that nothing would be asked`);
}

export type EvaluationSettings = ReturnType<typeof readEvaluationOptions>;
