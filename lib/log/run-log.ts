// Everything a run tells the world: console lines, metrics.jsonl (a run record, then one line a step), completions.jsonl (every
// completion of every step) and loggers. What its lines say is the trainer's business; files grow while the run goes on.

import { open } from "node:fs/promises";
import path from "node:path";
import { unlessAborted } from "../abort.js";
import { reasonOf } from "../errors.js";
import type { Output } from "../output.js";
import { Console } from "./console.js";
import { JsonlFile } from "./jsonl.js";
import type { Logger, Outcome } from "./logger.js";
import type { Metrics } from "./metrics.js";
import { isTracker, type Tracker, trackerLogger } from "./trackers.js";

/** One line of completions.jsonl, which has besides its `index` among those of its step and split. */
export interface CompletionRecord {
  readonly step: number;
  readonly split: "train" | "eval";
  /** Of an evaluation; false: greedy. */
  readonly do_sample?: boolean;
  /** Index of the row in the data set. */
  readonly row: number;
  readonly prompt: unknown;
  readonly completion: string;
  /** All tokens after the prompt; of several samples one after the other. */
  readonly ids: readonly number[];
  /** By reward function; null abstained. */
  readonly rewards: Readonly<Record<string, number | null>>;
  /** Weighted sum; null: every function abstained. */
  readonly reward: number | null;
  readonly advantage: number;
  readonly finish_reason: string;
  readonly extra?: Readonly<Record<string, unknown>>;
  /** Beside `ids`, 1: it counts in the loss, 0: it was given. Absent: every token counts. */
  readonly loss_mask?: readonly number[];
  /** Beside `ids`, optimizer steps that had made the weights which drew the token; -1: it was given. Absent: those of the step before. */
  readonly policy_steps?: readonly number[];
  /** The sequences that `ids` are the tokens of. Absent: one, in the context of the prompt. */
  readonly samples?: readonly SampleRecord[];
}

/** One sequence of a completion that is not simply the continuation of its prompt. */
export interface SampleRecord {
  /** The context. Absent: the prompt of the row. */
  readonly prompt_ids?: readonly number[];
  /** Number of its tokens among `ids`. */
  readonly tokens: number;
  readonly finish_reason: string;
  /** Its drawn segments, in their order, which is that of `sampled`. Absent: no turn has a reward of its own. */
  readonly turns?: readonly TurnRecord[];
  /** What was said, from the first message of the context on. Absent: that is the prompt and the completion. */
  readonly messages?: readonly unknown[];
  /** Those of the messages, by index, whose tokens were drawn and count in this sequence. */
  readonly sampled?: readonly number[];
  /** The tools that the model was told of. Absent: none. */
  readonly tools?: readonly unknown[];
  /** The sequence of the completion, by index, that this one branches off. Absent: none. */
  readonly branch_of?: number;
}

/** A turn of a completion. */
export interface TurnRecord {
  /** Which of the completion's turns it is, from 0. */
  readonly turn: number;
  /** Its tokens in the sequence, from the first to the one behind the last. */
  readonly tokens: readonly [number, number];
  /** Its own; null: it has none. */
  readonly reward: number | null;
  /** Of its tokens. */
  readonly advantage: number;
}

export interface EvaluationLog {
  readonly metrics: Readonly<Metrics>;
  readonly record?: Readonly<Record<string, unknown>>;
  readonly completions: readonly CompletionRecord[];
}

export const METRICS_FILE = "metrics.jsonl";
export const COMPLETIONS_FILE = "completions.jsonl";
const schemaVersion = 1;
/** Steps whose lines are held in memory at most, while a slow disk takes them. */
const mostStepsBehind = 16;

/** Lines for a console of so many columns; not called where there is none. */
export type Lines = (width: number) => readonly string[];

const noLines: Lines = () => [];

export interface RunLogOptions {
  readonly outputDir: string;
  readonly logTo: readonly ("console" | "jsonl" | Tracker)[];
  /** For trackers; null: they name it. */
  readonly runName?: string | null | undefined;
  /** For trackers that have projects. */
  readonly project?: string | undefined;
  /** For trackers, of a run that has only evaluations: the trainer's options. */
  readonly config?: Readonly<Record<string, unknown>> | undefined;
  /** Where console lines go; process.stdout by default. */
  readonly output?: Output | undefined;
  readonly loggers?: readonly Logger[] | undefined;
}

export class RunLog {
  readonly #console: Console | undefined;
  readonly #hasFiles: boolean;
  #folder: string;
  #metrics: JsonlFile | undefined;
  #completions: JsonlFile | undefined;
  #loggers: readonly Logger[];
  #pending: Promise<void> = Promise.resolve();
  #failure: { readonly error: unknown } | undefined;
  #stepsBehind = 0;
  /** Of the last run. */
  #outcome: Outcome = "finished";
  /** What ends the waiting for a logger, while a run goes on. */
  #signal: AbortSignal | undefined;

  /** Throws BAD_OPTION where a tracker lacks what the environment has to say. */
  constructor(options: RunLogOptions) {
    const { outputDir, logTo, runName = null, project = "huggingface", config = {}, output, loggers = [] } = options;
    if (logTo.includes("console")) this.#console = new Console(output);
    this.#hasFiles = logTo.includes("jsonl");
    this.#folder = outputDir;
    this.writeTo(outputDir);
    const note = (text: string) => this.note(text);
    const tracked = { outputDir, folder: () => this.#folder, config, runName, project, note };
    this.#loggers = [...logTo.filter(isTracker).map((tracker) => trackerLogger(tracker, tracked)), ...loggers];
  }

  /** Where the files are from here on; nothing may be on its way to them. */
  writeTo(folder: string): void {
    this.#folder = folder;
    if (!this.#hasFiles) return;
    this.#metrics = new JsonlFile(path.join(folder, METRICS_FILE));
    this.#completions = new JsonlFile(path.join(folder, COMPLETIONS_FILE));
  }

  note(text: string): void {
    this.#console?.line(text);
  }

  status(text: string): void {
    this.#console?.status(text);
  }

  /** The run record: what a reader of metrics.jsonl needs to know about the lines after it. An aborted signal ends the waiting for loggers. */
  async begin(run: Readonly<Record<string, unknown>>, step: number, signal?: AbortSignal): Promise<void> {
    this.#signal = signal;
    // After what evaluations before the run have to say.
    await this.written(async () => {
      await this.#tell((logger) => logger.begin?.(run, step));
      await this.#metrics?.append([
        { schema_version: schemaVersion, type: "run", time: new Date().toISOString(), ...run },
      ]);
    });
  }

  /** Writes while the run goes on, which waits only where the disk is many steps behind. Throws what failed before. */
  async step(step: number, metrics: Readonly<Metrics>, completions: readonly CompletionRecord[]): Promise<void> {
    this.#check();
    this.#stepsBehind++;
    const written = this.#enqueue(async () => {
      await this.#completions?.append(numbered(completions));
      await this.#metrics?.append([{ type: "step", step, ...metrics }]);
    }).finally(() => this.#stepsBehind--);
    if (this.#stepsBehind > mostStepsBehind) await written;
  }

  /** When everything so far is in the files, and what must not run while they grow is done. Throws what failed. */
  async written(then: () => Promise<void> = async () => {}): Promise<void> {
    await this.#enqueue(then);
    this.#check();
  }

  /** The means of a logging window; `lines` are those of the console, which has so many columns. */
  window(step: number, metrics: Readonly<Metrics>, lines: Lines = noLines): void {
    void this.#enqueue(() => this.#tell((logger) => logger.log(step, metrics)));
    this.#print(lines);
  }

  /** `record`: what its line of metrics.jsonl has beside the metrics. */
  evaluation(step: number, { metrics, record, completions }: EvaluationLog, lines: Lines = noLines): void {
    void this.#enqueue(async () => {
      await this.#completions?.append(numbered(completions));
      await this.#metrics?.append([{ type: "eval", step, ...record, ...metrics }]);
      await this.#tell((logger) => logger.log(step, metrics));
    });
    this.#print(lines);
  }

  /** Writes what is left. `outcome`: how the run ended; of evaluations outside a run, as the run before them. */
  async close(outcome: Outcome = this.#outcome): Promise<void> {
    this.#outcome = outcome;
    await this.#pending;
    await this.#tell((logger) => logger.end?.(outcome));
    this.#signal = undefined;
    this.#console?.close();
  }

  #print(lines: Lines): void {
    if (!this.#console) return;
    for (const line of lines(this.#console.width)) this.#console.line(line);
  }

  /** Runs after everything that was asked for before; keeps the first failure for the next call that can throw it. */
  #enqueue(work: () => Promise<void>): Promise<void> {
    this.#pending = this.#pending.then(work).catch((error: unknown) => {
      this.#failure ??= { error };
    });
    return this.#pending;
  }

  #check(): void {
    const failure = this.#failure;
    this.#failure = undefined;
    if (failure) throw failure.error;
  }

  /** A service that is down must not end a run of days. */
  async #tell(call: (logger: Logger) => void | Promise<void>): Promise<void> {
    for (const logger of this.#loggers) {
      try {
        await unlessAborted(call(logger), this.#signal, "it");
      } catch (error) {
        this.#loggers = this.#loggers.filter((other) => other !== logger);
        this.note(`the logger "${logger.name}" failed and is left out from here on: ${reasonOf(error)}`);
      }
    }
  }
}

/** By the index 0 a reader tells that a resumed run writes a step again, even right after the first time. */
function numbered(records: readonly CompletionRecord[]): object[] {
  return records.map(({ step, split, ...record }, index) => ({ step, split, index, ...record }));
}

/** Whether a folder has the metrics of a run, and not of evaluations alone. */
export async function hasRun(outputDir: string): Promise<boolean> {
  const file = await open(path.join(outputDir, METRICS_FILE)).catch(() => undefined);
  try {
    for await (const line of file?.readLines() ?? []) if (line.includes('"type":"run"')) return true;
  } catch {
    // What cannot be read cannot be appended to either, and who tries says why.
  } finally {
    await file?.close().catch(() => {});
  }
  return false;
}
