// The files of an evaluation in its folder. completions.jsonl grows while it runs, a problem's lines in one write, so that a killed run
// goes on where it was; at the end its lines are in order, and the same whether or not the run was killed.

import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import path from "node:path";
import { GrpoError } from "../errors.js";
import { isJsonObject, type JsonObject, readJsonObject, toJson } from "../json.js";
import { JsonlFile } from "../log/jsonl.js";
import type { Answer, Grade, Grader } from "./task.js";

/** A line of completions.jsonl: an answer and its grade. */
export interface CompletionLine {
  readonly task: string;
  /** false: greedy. */
  readonly do_sample: boolean;
  /** Index among the task's problems. */
  readonly problem: number;
  /** Index among the problem's completions of this kind. */
  readonly sample: number;
  readonly completion: string;
  /** What was graded of it, where that is not all. */
  readonly final?: string;
  readonly finish_reason: Answer["finishReason"];
  readonly tokens: number | null;
  readonly ids?: Answer["ids"];
  readonly score: number | null;
  readonly answer?: string | null;
  readonly vote?: number | null;
  readonly format?: boolean;
  readonly scores?: Readonly<Record<string, number | null>>;
  /** Name and version of what graded it. */
  readonly grader: string;
}

/** Greedy, or so many samples, of a task. */
export interface Pass {
  readonly task: string;
  readonly doSample: boolean;
  /** Completions of each problem. */
  readonly count: number;
}

const FILES = { result: "eval.json", completions: "completions.jsonl", problems: "problems.jsonl" } as const;
export const SCHEMA_VERSION = 1;

export class EvalFolder {
  readonly path: string;
  readonly #file: JsonlFile;
  /** Whole problems, by pass and problem. */
  readonly #done: Map<string, readonly CompletionLine[]>;

  /** Resolves when all that came before is in the file. */
  #written: Promise<void> = Promise.resolve();

  private constructor(folder: string, done: Map<string, readonly CompletionLine[]>) {
    this.path = folder;
    this.#file = new JsonlFile(path.join(folder, FILES.completions));
    this.#done = done;
  }

  /** Begins an evaluation, or goes on with one of the same settings. Throws BAD_OPTION where the folder has one of others. */
  static async open(folder: string, settings: JsonObject, passes: readonly Pass[]): Promise<EvalFolder> {
    await mkdir(folder, { recursive: true });
    const found = await readJsonObject(path.join(folder, FILES.result), "BAD_INPUT").catch((error: unknown) => {
      if (error instanceof GrpoError && error.code === "FILE_NOT_FOUND") return undefined;
      throw error;
    });
    if (found !== undefined) checkSettings(folder, found.settings, settings);
    const lines = await readLines(path.join(folder, FILES.completions));
    // A training writes a file of this name too.
    if (found === undefined && lines.length > 0) throw otherCompletions(folder);
    const done = wholeProblems(lines, passes);
    const opened = new EvalFolder(folder, done);
    const kept = [...done.values()].flat();
    if (kept.length < lines.length) await opened.#writeCompletions(kept);
    if (found === undefined) {
      await writeWhole(path.join(folder, FILES.result), `${pretty({ schema_version: SCHEMA_VERSION, settings })}\n`);
    }
    return opened;
  }

  /** The lines of a problem that is done; undefined while it is not. */
  lines(pass: Pass, problem: number): readonly CompletionLine[] | undefined {
    return this.#done.get(keyOf(pass.task, pass.doSample, problem));
  }

  /** Keeps the lines of a problem. Graded again, they take the place of those before. */
  async add(pass: Pass, problem: number, lines: readonly CompletionLine[]): Promise<void> {
    const key = keyOf(pass.task, pass.doSample, problem);
    const isAgain = this.#done.has(key);
    this.#done.set(key, lines);
    if (isAgain) return;
    // One after another, so that no line is within another.
    const write = this.#written.then(() => this.#file.append(lines));
    this.#written = write.catch(() => {});
    await write;
  }

  /** Writes all files as they stay. `passes` give the order. */
  async finish(result: JsonObject, problems: readonly JsonObject[], passes: readonly Pass[]): Promise<void> {
    const rank = (line: CompletionLine) =>
      passes.findIndex(({ task, doSample }) => task === line.task && doSample === line.do_sample);
    const lines = [...this.#done.values()].sort(([a], [b]) => {
      if (a === undefined || b === undefined) return 0;
      return rank(a) - rank(b) || a.problem - b.problem;
    });
    await this.#writeCompletions(lines.flat());
    await writeWhole(path.join(this.path, FILES.problems), problems.map((line) => `${toJson(line)}\n`).join(""));
    await writeWhole(path.join(this.path, FILES.result), `${pretty(result)}\n`);
  }

  async #writeCompletions(lines: readonly CompletionLine[]): Promise<void> {
    await writeWhole(this.#file.path, lines.map((line) => `${toJson(line)}\n`).join(""));
  }
}

/** The result and the lines of a finished evaluation. Throws BAD_INPUT where there is none. */
export async function readEvaluation(
  folder: string,
): Promise<{ readonly result: JsonObject; readonly problems: JsonObject[]; readonly completions: CompletionLine[] }> {
  const result = await readJsonObject(path.join(folder, FILES.result), "BAD_INPUT").catch((cause: unknown) => {
    throw new GrpoError("BAD_INPUT", `${path.resolve(folder)} has no evaluation`, {
      cause,
      hint: "give the outputDir of one",
    });
  });
  if (!Array.isArray(result.tasks)) {
    throw new GrpoError("BAD_INPUT", `the evaluation in ${path.resolve(folder)} has not come to its end`, {
      hint: "run it again with the same options: it goes on where it was",
    });
  }
  const problems = await readLines(path.join(folder, FILES.problems));
  const completions = await readLines(path.join(folder, FILES.completions));
  return { result, problems, completions: completions as unknown as CompletionLine[] };
}

export function graderName({ name, version }: Pick<Grader, "name" | "version">): string {
  return `${name} ${version}`;
}

export function lineOf(
  pass: Pass,
  problem: number,
  sample: number,
  answer: Answer,
  grade: Grade,
  grader: Grader,
): CompletionLine {
  const { text, final, finishReason, tokens, ids } = answer;
  return {
    task: pass.task,
    do_sample: pass.doSample,
    problem,
    sample,
    completion: text,
    ...(final === text ? {} : { final }),
    finish_reason: finishReason,
    tokens,
    ...(ids === null ? {} : { ids }),
    ...grade,
    grader: graderName(grader),
  };
}

/** The answer in a line, to be graded again. */
export function answerIn({ completion, final, finish_reason, tokens, ids }: CompletionLine): Answer {
  return { text: completion, final: final ?? completion, finishReason: finish_reason, tokens, ids: ids ?? null };
}

/** Problems that have all their completions; the first lines of each count. */
function wholeProblems(lines: readonly JsonObject[], passes: readonly Pass[]): Map<string, readonly CompletionLine[]> {
  const groups = new Map<string, CompletionLine[]>();
  for (const line of lines as unknown as CompletionLine[]) {
    const key = keyOf(line.task, line.do_sample, line.problem);
    const group = groups.get(key) ?? [];
    groups.set(key, group);
    if (line.sample === group.length) group.push(line);
  }
  const counts = new Map(passes.map(({ task, doSample, count }) => [`${task} ${doSample}`, count]));
  const isWhole = (group: readonly CompletionLine[]) =>
    group[0] !== undefined && counts.get(`${group[0].task} ${group[0].do_sample}`) === group.length;
  return new Map([...groups].filter(([, group]) => isWhole(group)));
}

function keyOf(task: string, doSample: boolean, problem: number): string {
  return JSON.stringify([task, doSample, problem]);
}

/** What a kill has torn is passed over. */
async function readLines(file: string): Promise<JsonObject[]> {
  const text = await readFile(file, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return "";
    throw error;
  });
  return text.split("\n").flatMap((line) => {
    try {
      const value: unknown = JSON.parse(line);
      return isJsonObject(value) ? [value] : [];
    } catch {
      return [];
    }
  });
}

function checkSettings(folder: string, found: unknown, settings: JsonObject): void {
  const before = isJsonObject(found) ? found : {};
  const names = [...new Set([...Object.keys(before), ...Object.keys(settings)])];
  const differing = names.find((name) => JSON.stringify(before[name]) !== JSON.stringify(settings[name]));
  if (differing === undefined) return;
  const [was, is] = [JSON.stringify(before[differing]), JSON.stringify(settings[differing])];
  throw new GrpoError(
    "BAD_OPTION",
    `${path.resolve(folder)} has an evaluation with another ${differing}: ${was}, not ${is}`,
    {
      hint: "choose another outputDir, or the options of that evaluation to go on with it",
    },
  );
}

function otherCompletions(folder: string): GrpoError {
  const message = `${path.resolve(folder)} has a ${FILES.completions} of something else, such as a training`;
  return new GrpoError("BAD_OPTION", message, { hint: "choose another outputDir" });
}

function pretty(value: JsonObject): string {
  return JSON.stringify(value, null, 2);
}

async function writeWhole(file: string, text: string): Promise<void> {
  await writeFile(`${file}.tmp`, text);
  await rename(`${file}.tmp`, file);
}
