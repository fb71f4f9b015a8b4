// A run's files as the report needs them. Files may still be written to: a last line without its end is left for the next
// time.

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
  await readLines(metrics, (line) => lines.push(line));
  const completions: JsonObject[] = [];
  let completionCount = 0;
  const completionsFile = path.join(outputDir, "completions.jsonl");
  const exists = await stat(completionsFile).then(
    () => true,
    () => false,
  );
  if (exists) {
    await readLines(completionsFile, (line) => {
      completionCount++;
      // The ids are the engine's business and the largest part of a line.
      const { ids: _, ...shown } = line;
      completions.push(shown);
      if (completions.length >= 2 * limit) completions.splice(0, completions.length - limit);
    });
  }
  return {
    run: lines.findLast(({ type }) => type === "run") ?? {},
    steps: latestOfEachStep(lines.filter(({ type }) => type === "step")),
    evaluations: latestOfEachStep(lines.filter(({ type }) => type === "eval")),
    completions: completions.slice(-limit),
    completionCount,
  };
}

/** A resumed run does steps again that were not saved; the later ones count. */
function latestOfEachStep(lines: readonly JsonObject[]): JsonObject[] {
  const byStep = new Map(lines.map((line) => [Number(line.step), line]));
  return [...byStep].sort(([a], [b]) => a - b).map(([, line]) => line);
}

async function readLines(file: string, use: (line: JsonObject) => void): Promise<void> {
  let number = 0;
  let torn: { readonly number: number; readonly cause: unknown } | undefined;
  for await (const text of createInterface({ input: createReadStream(file), crlfDelay: Number.POSITIVE_INFINITY })) {
    number++;
    if (torn) throw notJson(file, torn);
    if (text === "") continue;
    try {
      const line: unknown = JSON.parse(text);
      if (isJsonObject(line)) use(line);
    } catch (cause) {
      torn = { number, cause };
    }
  }
}

function notJson(file: string, { number, cause }: { readonly number: number; readonly cause: unknown }): GrpoError {
  return new GrpoError("BAD_INPUT", `${file}: line ${number} is not JSON: ${reasonOf(cause)}`, {
    cause,
    hint: "remove that line; the rest can be read",
  });
}
