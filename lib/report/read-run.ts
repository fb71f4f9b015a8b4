// A run's files as the report needs them. Files may still be written to: a last line without its end is left for the next
// time. What a kill has torn is passed over. Where a run went on from an earlier step, or another began, what was written of later
// steps before does not count.

import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import path from "node:path";
import { createInterface } from "node:readline";
import { GrpoError, reasonOf } from "../errors.js";
import { isJsonObject, type JsonObject } from "../json.js";

export interface RunData {
  /** The run record that metrics.jsonl begins with; of a resumed run the last one. */
  readonly run: JsonObject;
  readonly steps: readonly JsonObject[];
  /** By step; there may be several at one, which `do_sample` tells apart. */
  readonly evaluations: readonly JsonObject[];
  readonly completions: readonly JsonObject[];
  /** Completions in the file; more than `completions` if the newest were asked for only. */
  readonly completionCount: number;
  /** Lines that a killed run has left unfinished; nothing of them is in the rest. */
  readonly damagedLines: number;
}

/** `limit`: the newest completions to keep. Throws BAD_INPUT where there is no run. */
export async function readRun(outputDir: string, limit: number): Promise<RunData> {
  const metrics = path.join(outputDir, "metrics.jsonl");
  await stat(metrics).catch((cause: unknown) => {
    throw new GrpoError("BAD_INPUT", `${path.resolve(outputDir)} has no metrics.jsonl: ${reasonOf(cause)}`, {
      cause,
      hint: 'give the outputDir of a run whose logTo includes "jsonl"',
    });
  });
  const lines = new MetricLines();
  let damagedLines = await readLines(metrics, (line) => lines.add(line));
  const newest = new NewestCompletions(limit);
  const completionsFile = path.join(outputDir, "completions.jsonl");
  const exists = await stat(completionsFile).then(
    () => true,
    () => false,
  );
  if (exists) damagedLines += await readLines(completionsFile, (line) => newest.add(line));
  return {
    run: lines.run ?? {},
    steps: lines.steps,
    evaluations: lines.evaluations,
    completions: newest.list,
    completionCount: newest.count,
    damagedLines,
  };
}

/** What counts of metrics.jsonl. */
class MetricLines {
  /** The last run record. */
  run: JsonObject | undefined;
  readonly #steps = new Map<number, JsonObject>();
  /** With the run record that they came after. */
  #evaluations: { readonly run: JsonObject | undefined; readonly line: JsonObject }[] = [];

  get steps(): JsonObject[] {
    return [...this.#steps.values()].sort(byStep);
  }

  get evaluations(): JsonObject[] {
    return this.#evaluations.map(({ line }) => line).sort(byStep);
  }

  add(line: JsonObject): void {
    const { type, step, do_sample } = line;
    if (type === "run") this.#begin(line);
    else if (type === "step") this.#steps.set(Number(step), line);
    else if (type === "eval") {
      // One run may evaluate several times at a step; a resumed run does an evaluation again that was not done with.
      const isAgain = (of: JsonObject) => of.step === step && of.do_sample === do_sample;
      this.#evaluations = this.#evaluations.filter((before) => before.run === this.run || !isAgain(before.line));
      this.#evaluations.push({ run: this.run, line });
    }
  }

  /** Drops the lines of steps that this run has still to do, and of a run before that it does not go on with. */
  #begin(run: JsonObject): void {
    const after = run.resumed_after_step;
    // Evaluations before the first run are its own.
    const anew = after === 0 && this.run !== undefined;
    const isOutdated = (step: number) => anew || (typeof after === "number" && step > after);
    for (const step of this.#steps.keys()) if (isOutdated(step)) this.#steps.delete(step);
    this.#evaluations = this.#evaluations.filter(({ line }) => !isOutdated(Number(line.step)));
    this.run = run;
  }
}

class NewestCompletions {
  readonly #limit: number;
  /** Completions in the file of each step, by what they are of. */
  readonly #counts = new Map<string, Map<number, number>>();
  #list: JsonObject[] = [];
  count = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  get list(): readonly JsonObject[] {
    return this.#list.slice(-this.#limit);
  }

  add(line: JsonObject): void {
    // The tokens are the engine's business and the largest part of a line.
    const { ids: _ids, loss_mask: _mask, samples, ...rest } = line;
    const told = conversationsOf(samples);
    const shown = told.length > 0 ? { ...rest, samples: told } : rest;
    const [kind, step] = [kindOf(line), Number(line.step)];
    if (line.index === 0) this.#begin(kind, step);
    const counts = this.#counts.get(kind) ?? new Map<number, number>();
    this.#counts.set(kind, counts.set(step, (counts.get(step) ?? 0) + 1));
    this.count++;
    this.#list.push(shown);
    if (this.#list.length >= 2 * this.#limit) this.#list.splice(0, this.#list.length - this.#limit);
  }

  /** Drops what was written of the step before and, as training goes on from there, of all later ones. */
  #begin(kind: string, step: number): void {
    const isAgain = (of: string, s: number) => (kind === "train" ? s >= step : of === kind && s === step);
    let isAnyAgain = false;
    for (const [of, counts] of this.#counts) {
      for (const [s, count] of counts) {
        if (!isAgain(of, s)) continue;
        counts.delete(s);
        this.count -= count;
        isAnyAgain = true;
      }
    }
    if (isAnyAgain) this.#list = this.#list.filter((line) => !isAgain(kindOf(line), Number(line.step)));
  }
}

/** What was said in the samples of a rollout, and the names of its tools. */
function conversationsOf(samples: unknown): JsonObject[] {
  const told = Array.isArray(samples)
    ? samples.filter((sample) => isJsonObject(sample) && Array.isArray(sample.messages))
    : [];
  return told.map(({ prompt_ids: _ids, tools, ...sample }: JsonObject) => {
    return Array.isArray(tools) ? { ...sample, tools: tools.map(nameOfTool) } : sample;
  });
}

function nameOfTool(tool: unknown): string {
  const { function: called, name } = isJsonObject(tool) ? tool : {};
  return String(isJsonObject(called) ? called.name : name);
}

/** Training, a sampled evaluation, or a greedy one. */
function kindOf({ split, do_sample }: JsonObject): string {
  return split === "eval" ? `eval ${do_sample}` : "train";
}

function byStep(a: JsonObject, b: JsonObject): number {
  return Number(a.step) - Number(b.step);
}

/** Returns how many lines cannot be read; the last one is not counted, as it may still be written. */
async function readLines(file: string, use: (line: JsonObject) => void): Promise<number> {
  let damaged = 0;
  let torn = false;
  for await (const text of createInterface({ input: createReadStream(file), crlfDelay: Number.POSITIVE_INFINITY })) {
    if (torn) damaged++;
    const line = parsed(text);
    torn = line === undefined && text !== "";
    if (isJsonObject(line)) use(line);
  }
  return damaged;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
