// An evaluation: every problem of every task is asked, greedily and in samples, every answer graded and kept, and all of it summed up.

import { setMaxListeners } from "node:events";
import { at } from "../at.js";
import { ModelGenerator } from "../endpoint/model-generator.js";
import { GrpoError } from "../errors.js";
import type { JsonObject } from "../json.js";
import { packageVersion } from "../package-files.js";
import { Semaphore } from "../rewards/semaphore.js";
import type { Prompt } from "../types.js";
import { EngineRespondent } from "./engine-respondent.js";
import { RESAMPLES } from "./estimators.js";
import { loadTask } from "./load-task.js";
import { noticesOf, refuseCuttingStops } from "./notices.js";
import { type EvaluationOptions, type EvaluationSettings, readEvaluationOptions } from "./options.js";
import { answerIn, EvalFolder, graderName, lineOf, type Pass, SCHEMA_VERSION } from "./records.js";
import { writeEvaluationReport } from "./report.js";
import { type Drawing, type Respondent, seedFor } from "./respondent.js";
import { type EvaluationResult, passesOf, problemLines, resultOf } from "./result.js";
import { ServerRespondent } from "./server-respondent.js";
import { digestOf, type Problem, type Task } from "./task.js";

interface Running {
  readonly settings: EvaluationSettings;
  readonly respondent: Respondent;
  readonly folder: EvalFolder;
}

/**
 * Evaluates a model, or a server, and writes `outputDir`: eval.json (the result), completions.jsonl, problems.jsonl and report.html. In a
 * folder with an evaluation of the same settings it goes on where that was, and answers that another version graded are graded again.
 * Throws BAD_OPTION, UNKNOWN_OPTION, BAD_DATASET; what reward functions throw; SERVER_ERROR; CANCELLED.
 */
export async function evaluate(options: EvaluationOptions): Promise<EvaluationResult> {
  const settings = readEvaluationOptions(options);
  const tasks: Task[] = [];
  try {
    for (const task of settings.tasks) tasks.push(await loadTask(task, settings));
    return await evaluateTasks(settings, tasks);
  } finally {
    await Promise.all(tasks.map(({ grader }) => grader.close?.()));
  }
}

async function evaluateTasks(settings: EvaluationSettings, tasks: readonly Task[]): Promise<EvaluationResult> {
  const names = tasks.map(({ name }) => name);
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined) throw new GrpoError("BAD_OPTION", `evaluate: two tasks are called ${twice}`);
  for (const task of tasks) refuseCuttingStops(task, settings.stopStrings);
  const respondent = await respondentOf(settings);
  checkTemplate(tasks, respondent, settings);
  const passes = tasks.flatMap((task) => passesOf(task, settings));
  const facts = await respondent.facts(promptOf(settings, at(at(tasks, 0).problems, 0)));
  const recorded = recordOf(settings, facts, tasks);
  const folder = await EvalFolder.open(settings.outputDir, recorded, passes);
  for (const task of tasks) {
    for (const pass of passesOf(task, settings)) await runPass({ settings, respondent, folder }, task, pass);
  }
  return summarize({ settings, respondent, folder }, tasks, recorded);
}

async function respondentOf({ server, model, tokenizer, name }: EvaluationSettings): Promise<Respondent> {
  if (server !== undefined) return ServerRespondent.open(server);
  if (model === undefined || tokenizer === undefined) throw new GrpoError("INTERNAL", "an evaluation without a model");
  const generator = new ModelGenerator(model, tokenizer);
  const own = model.source?.idOrPath ?? "model";
  return new EngineRespondent({ generator, tokenizer, defaults: model.ownSampling, name: name ?? own });
}

/** A chat model that gets plain text, or a base model that gets a conversation, is another model. */
function checkTemplate(tasks: readonly Task[], respondent: Respondent, { chatTemplate }: EvaluationSettings): void {
  const talks = tasks.some(({ problems }) => problems.some(({ prompt }) => typeof prompt !== "string"));
  if (!talks || !chatTemplate || respondent.hasChatTemplate) return;
  throw new GrpoError("BAD_TEMPLATE", "the tokenizer has no chat template, and the problems are conversations", {
    hint: "set tokenizer.chatTemplate, or chatTemplate: false (--no-chat-template) to ask in plain text, as of a base model",
  });
}

/** What must not change between two halves of an evaluation. */
function recordOf(settings: EvaluationSettings, facts: JsonObject, tasks: readonly Task[]): JsonObject {
  const { greedy, temperature, topP, seed, stopStrings, systemPrompt, chatTemplate } = settings;
  return {
    ...facts,
    greedy,
    temperature,
    top_p: topP,
    seed,
    stop_strings: stopStrings,
    system_prompt: systemPrompt ?? null,
    chat_template_applied: chatTemplate,
    tasks: tasks.map((task) => ({
      name: task.name,
      digest: digestOf(task),
      problems: task.problems.length,
      samples: settings.samples ?? task.samples,
      max_new_tokens: settings.maxNewTokens ?? task.maxNewTokens,
    })),
    bootstrap_resamples: RESAMPLES,
  };
}

/** Asks and grades what is not done yet; problems overlap, as many as the respondent takes. */
async function runPass({ settings, respondent, folder }: Running, task: Task, pass: Pass): Promise<void> {
  const slots = new Semaphore(Math.max(1, Math.floor(respondent.concurrency / pass.count)));
  const stop = new AbortController();
  const signal = AbortSignal.any([settings.signal, stop.signal]);
  // Every answer under way listens. Node 20 cannot say of a signal with the limit 0 what its limit is, which undici asks.
  setMaxListeners(Number.POSITIVE_INFINITY, signal);
  let done = 0;
  const solve = async (index: number): Promise<void> => {
    if (signal.aborted) throw stopped();
    const lines = folder.lines(pass, index);
    if (lines?.[0]?.grader !== graderName(task.grader)) {
      const answers = lines?.map(answerIn) ?? (await askProblem(settings, respondent, task, pass, index, signal));
      const grades = await task.grader.grade(at(task.problems, index), answers, signal);
      const graded = answers.map((answer, i) => lineOf(pass, index, i, answer, at(grades, i), task.grader));
      await folder.add(pass, index, graded);
    }
    settings.onProgress({ task: task.name, doSample: pass.doSample, done: ++done, problems: task.problems.length });
  };
  try {
    await Promise.all(task.problems.map((_, index) => slots.run(() => solve(index))));
    if (signal.aborted) throw stopped();
  } catch (error) {
    // The others would go on, and write, after the caller has been told.
    stop.abort();
    throw error;
  }
}

function stopped(): GrpoError {
  return new GrpoError("CANCELLED", "the evaluation was stopped");
}

function askProblem(
  settings: EvaluationSettings,
  respondent: Respondent,
  task: Task,
  pass: Pass,
  index: number,
  signal: AbortSignal,
) {
  return respondent.ask({
    prompt: promptOf(settings, at(task.problems, index)),
    count: pass.count,
    drawing: drawingOf(settings, task, pass),
    // Problems draw independently of one another, and the same whichever were asked before.
    seed: pass.doSample ? seedFor(settings.seed, index) : undefined,
    signal,
  });
}

function drawingOf(
  { temperature, topP, maxNewTokens, stopStrings }: EvaluationSettings,
  task: Task,
  pass: Pass,
): Drawing {
  return {
    temperature: pass.doSample ? temperature : 0,
    topP: pass.doSample ? topP : 1,
    maxNewTokens: maxNewTokens ?? task.maxNewTokens,
    stopStrings,
  };
}

/** Without a chat template, the messages one after another. */
function promptOf({ chatTemplate }: EvaluationSettings, { prompt }: Problem): Prompt {
  if (chatTemplate || typeof prompt === "string") return prompt;
  return prompt.map(({ content }) => content).join("\n\n");
}

async function summarize({ settings, folder }: Running, tasks: readonly Task[], recorded: JsonObject) {
  const results = tasks.map((task) => resultOf(task, settings, folder));
  const notices = noticesOf(results, settings);
  const result: EvaluationResult = {
    schema_version: SCHEMA_VERSION,
    settings: recorded,
    grpo_version: String(packageVersion),
    tasks: results,
    notices,
  };
  const problems = tasks.flatMap((task) => problemLines(task, settings, folder));
  const passes = tasks.flatMap((task) => passesOf(task, settings));
  await folder.finish(result as unknown as JsonObject, problems, passes);
  await writeEvaluationReport([folder.path]);
  for (const notice of notices) settings.onNotice(notice);
  return result;
}
