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
    steps: lines.inOrder("step"),
    evaluations: lines.inOrder("eval"),
    completions: newest.list,
    completionCount: newest.count,
    damagedLines,
  };
}

/** What counts of metrics.jsonl. */
class MetricLines {
  /** The last run record. */
  run: JsonObject | undefined;
  readonly #lines = { step: new Map<number, JsonObject>(), eval: new Map<number, JsonObject>() };

  add(line: JsonObject): void {
    const { type, step } = line;
    if (type === "run") this.#begin(line);
    else if (type === "step" || type === "eval") this.#lines[type].set(Number(step), line);
  }

  /** The lines of a kind, by step. */
  inOrder(type: "step" | "eval"): JsonObject[] {
    return [...this.#lines[type]].sort(([a], [b]) => a - b).map(([, line]) => line);
  }

  /** Drops the lines of steps that this run has still to do, and of a run before that it does not go on with. */
  #begin(run: JsonObject): void {
    const after = run.resumed_after_step;
    // Evaluations before the first run are its own.
    const anew = after === 0 && this.run !== undefined;
    const isOutdated = (step: number) => anew || (typeof after === "number" && step > after);
    for (const lines of Object.values(this.#lines)) {
      for (const step of lines.keys()) if (isOutdated(step)) lines.delete(step);
    }
    this.run = run;
  }
}

class NewestCompletions {
  readonly #limit: number;
  /** Completions of each step, by split. */
  readonly #counts = { train: new Map<number, number>(), eval: new Map<number, number>() };
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
    const { ids: _ids, loss_mask: _mask, samples: _samples, ...shown } = line;
    if (line.index === 0) this.#begin(splitOf(line), Number(line.step));
    const counts = this.#counts[splitOf(line)];
    counts.set(Number(line.step), (counts.get(Number(line.step)) ?? 0) + 1);
    this.count++;
    this.#list.push(shown);
    if (this.#list.length >= 2 * this.#limit) this.#list.splice(0, this.#list.length - this.#limit);
  }

  /** Drops what was written of the step before and, as training goes on from there, of all later ones. */
  #begin(split: "train" | "eval", step: number): void {
    const again = (of: "train" | "eval", s: number) => (split === "train" ? s >= step : of === split && s === step);
    const dropped = (["train", "eval"] as const).flatMap((of) => {
      return [...this.#counts[of]].filter(([s]) => again(of, s)).map(([s, count]) => ({ of, s, count }));
    });
    if (dropped.length === 0) return;
    for (const { of, s, count } of dropped) {
      this.#counts[of].delete(s);
      this.count -= count;
    }
    this.#list = this.#list.filter((line) => !again(splitOf(line), Number(line.step)));
  }
}

function splitOf({ split }: JsonObject): "train" | "eval" {
  return split === "eval" ? "eval" : "train";
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
