// What the trackers have in common: how each is told of its run, and how a run that goes on finds its own again.

import { mkdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { isJsonObject, type JsonObject, toJson } from "../json.js";

/** What a tracker is made with. */
export interface TrackerOptions {
  readonly outputDir: string;
  /** Where the log's own files are at the moment. */
  readonly folder: () => string;
  /** What is shown of a run that has only evaluations: the trainer's options. */
  readonly config: Readonly<Record<string, unknown>>;
  /** null: the tracker finds one, or the folder's name is taken. */
  readonly runName: string | null;
  /** For trackio; Weights & Biases has a variable of its own. */
  readonly project: string;
  /** A line on the console. */
  readonly note: (text: string) => void;
}

/** The file of outputDir that names the tracker's run. */
export function trackerRunFile(tracker: string): string {
  return `${tracker}-run.json`;
}

/** What keepTrackerRun has kept; undefined where there is nothing, or nothing that can be read. */
export async function keptTrackerRun(outputDir: string, tracker: string): Promise<JsonObject | undefined> {
  try {
    const kept: unknown = JSON.parse(await readFile(path.join(outputDir, trackerRunFile(tracker)), "utf8"));
    return isJsonObject(kept) ? kept : undefined;
  } catch {
    return undefined;
  }
}

/** Keeps what a resumed run needs to go on in the tracker's run. */
export async function keepTrackerRun(outputDir: string, tracker: string, run: JsonObject): Promise<void> {
  await mkdir(outputDir, { recursive: true });
  await writeFile(path.join(outputDir, trackerRunFile(tracker)), `${JSON.stringify(run)}\n`);
}

/** What trackers show as the run's configuration: the trainer's options, and beside them what else the run record has. */
export function configurationOf(run: Readonly<Record<string, unknown>>): JsonObject {
  const { config, run_name: _, resumed_after_step: __, ...rest } = run;
  const plain: unknown = JSON.parse(toJson({ ...(config as object | undefined), ...rest }) ?? "{}");
  return isJsonObject(plain) ? plain : {};
}

/** JSON has no NaN and no infinities: the trackers take them as texts. */
export function numberOrName(value: number): number | string {
  return Number.isFinite(value) ? value : String(value);
}
