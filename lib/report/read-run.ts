// A run's files as the report needs them. Files may still be written to: a last line without its end is left for the next
// time. What a kill has torn is passed over, and what a resumed run has written again counts as it was written last.

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
  const lines: JsonObject[] = [];
  let damagedLines = await readLines(metrics, (line) => lines.push(line));
  const newest = new NewestCompletions(limit);
  const completionsFile = path.join(outputDir, "completions.jsonl");
  const exists = await stat(completionsFile).then(
    () => true,
    () => false,
  );
  if (exists) damagedLines += await readLines(completionsFile, (line) => newest.add(line));
  return {
    run: lines.findLast(({ type }) => type === "run") ?? {},
    steps: latestOfEachStep(lines.filter(({ type }) => type === "step")),
    evaluations: latestOfEachStep(lines.filter(({ type }) => type === "eval")),
    completions: newest.list,
    completionCount: newest.count,
    damagedLines,
  };
}

class NewestCompletions {
  readonly #limit: number;
  readonly #perStep = new Map<string, number>();
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
    const key = stepOf(shown);
    const before = this.#perStep.get(key) ?? 0;
    const again = line.index === 0 && before > 0;
    if (again) this.#drop(key, before);
    this.#perStep.set(key, again ? 1 : before + 1);
    this.count++;
    this.#list.push(shown);
    if (this.#list.length >= 2 * this.#limit) this.#list.splice(0, this.#list.length - this.#limit);
  }

  #drop(key: string, count: number): void {
    this.#list = this.#list.filter((line) => stepOf(line) !== key);
    this.count -= count;
  }
}

function stepOf({ step, split }: JsonObject): string {
  return `${String(split)} ${String(step)}`;
}

/** A resumed run does steps again that were not saved; the later ones count. */
function latestOfEachStep(lines: readonly JsonObject[]): JsonObject[] {
  const byStep = new Map(lines.map((line) => [Number(line.step), line]));
  return [...byStep].sort(([a], [b]) => a - b).map(([, line]) => line);
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
