// Weights & Biases: the run as its offline file, which `wandb sync` uploads. Nothing is sent from here.
// Records, names and variables are those of transformers' integration and of the wandb package in offline mode.

import { randomInt } from "node:crypto";
import { mkdir } from "node:fs/promises";
import path from "node:path";
import type { JsonObject } from "../json.js";
import type { Logger, Outcome } from "./logger.js";
import { type Metrics, tagged } from "./metrics.js";
import { type Encoded, field, fieldsOf, message, text, varint } from "./protobuf.js";
import { configurationOf, keepTrackerRun, keptTrackerRun, type TrackerOptions } from "./tracker.js";
import { WandbFile } from "./wandb-file.js";

/** The oldest reader that understands these records, as wandb itself writes it. */
const MIN_CONSUMER = "0.70.0";
const STEP = "train/global_step";
/** Fields of `Record`. */
const RECORD = { num: 1, history: 2, summary: 3, config: 5, metric: 12, run: 17, exit: 18, header: 21 } as const;
const EXIT_CODES: Readonly<Record<Outcome, number>> = { finished: 0, stopped: 255, failed: 1 };
const ID_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789";

export function wandbLogger(options: TrackerOptions): Logger {
  const { WANDB_MODE: mode = "", WANDB_DISABLED: disabled = "" } = process.env;
  if (mode === "disabled" || ["1", "true", "yes", "on"].includes(disabled.toLowerCase())) {
    options.note("wandb   writes nothing: WANDB_MODE or WANDB_DISABLED says so");
    return { name: "wandb", log: () => {} };
  }
  const run = new WandbRun(options);
  return {
    name: "wandb",
    begin: (record, step) => run.begin(record, step),
    log: (step, metrics) => run.log(step, metrics),
    end: (outcome) => run.end(outcome),
  };
}

class WandbRun {
  readonly #options: TrackerOptions;
  #file: WandbFile | undefined;
  #id = "";
  #begun = false;
  /** Whether the file has its end, which what follows cuts off. */
  #ended = false;
  /** File whose upload was told of. */
  #told: string | undefined;
  #records = 0;
  /** Rows of the history so far. */
  #rows = 0;
  #started = Date.now();

  constructor(options: TrackerOptions) {
    this.#options = options;
  }

  async begin(record: Readonly<Record<string, unknown>>, step: number): Promise<void> {
    const { outputDir } = this.#options;
    const config = configurationOf(record);
    const kept = step > 0 ? await keptTrackerRun(outputDir, "wandb") : undefined;
    const goesOn = kept !== undefined && (await this.#goOn(kept, step));
    // What an evaluation before the run has begun is this run's.
    const open = goesOn || (step === 0 && !this.#begun && (await this.#reopen()));
    if (open) await this.#append({ config: configRecord(config) });
    else await this.#create(config);
    this.#begun = true;
    this.#told = undefined;
    await keepTrackerRun(outputDir, "wandb", { run_id: this.#id, file: path.resolve(this.#file?.path ?? "") });
  }

  async log(step: number, metrics: Readonly<Metrics>): Promise<void> {
    if (!(await this.#reopen())) await this.#create(configurationOf({ config: this.#options.config }));
    const now = Date.now();
    const runtime = (now - this.#started) / 1000;
    const row = { ...tagged(metrics), [STEP]: step, _timestamp: now / 1000, _runtime: runtime, _step: this.#rows };
    const items = Object.entries(row).map(([name, value]) => field(1, item(name, String(value))));
    const history = message(...items, field(2, message(field(1, varint(this.#rows)))));
    this.#rows++;
    await this.#append({ history, summary: message(...items) });
  }

  async end(outcome: Outcome): Promise<void> {
    if (this.#file === undefined || this.#ended) return;
    this.#ended = true;
    await this.#append({ exit: this.#exitRecord(outcome) });
    const { path: file } = this.#file;
    if (this.#told !== file) this.#options.note(`wandb    upload the run with: wandb sync ${path.dirname(file)}`);
    this.#told = file;
  }

  /** Whether there is a file to go on in; where it was ended, its end is cut off. */
  async #reopen(): Promise<boolean> {
    if (this.#file === undefined) return false;
    return !this.#ended || this.#goOn({ run_id: this.#id, file: this.#file.path }, Infinity);
  }

  async #create(config: JsonObject): Promise<void> {
    const { WANDB_DIR: home, WANDB_RUN_ID: given } = process.env;
    this.#id = given || Array.from({ length: 8 }, () => ID_LETTERS[randomInt(ID_LETTERS.length)]).join("");
    this.#started = Date.now();
    this.#rows = 0;
    this.#records = 0;
    this.#ended = false;
    const time = new Date(this.#started).toISOString().replace(/[-:]/g, "").replace("T", "_").slice(0, 15);
    const folder = path.join(home || this.#options.outputDir, "wandb", `offline-run-${time}-${this.#id}`);
    await mkdir(path.join(folder, "files"), { recursive: true });
    this.#file = await WandbFile.create(path.join(folder, `run-${this.#id}.wandb`));
    await this.#append({ header: message(field(1, message(field(1, text("grpo")), field(2, text(MIN_CONSUMER))))) });
    await this.#append({ run: this.#runRecord(config) });
    await this.#append({ metric: message(field(1, text(STEP)), field(6, message(field(3, varint(1))))) });
    const synced = message(field(1, varint(1)), field(3, varint(1)));
    await this.#append({ metric: message(field(2, text("*")), field(4, text(STEP)), field(6, synced)) });
  }

  /** Cuts from the file of the run what came after the step that it goes on after, and its end; false where the file is gone. */
  async #goOn({ file, run_id: id }: JsonObject, step: number): Promise<boolean> {
    if (typeof file !== "string" || typeof id !== "string") return false;
    let rows = 0;
    let records = 0;
    let started = Date.now();
    const isLater = (record: ReadonlyMap<number, number | Buffer>) => {
      const history = record.get(RECORD.history);
      if (record.has(RECORD.exit) || (Buffer.isBuffer(history) && stepOf(history) > step)) return true;
      if (history !== undefined) rows++;
      const run = record.get(RECORD.run);
      if (Buffer.isBuffer(run)) started = startOf(run) ?? started;
      records++;
      return false;
    };
    this.#file = await WandbFile.reopen(file, isLater).catch(() => undefined);
    this.#ended = false;
    this.#id = id;
    this.#rows = rows;
    this.#records = records;
    this.#started = started;
    return this.#file !== undefined;
  }

  async #append(parts: Partial<Readonly<Record<keyof typeof RECORD, Encoded>>>): Promise<void> {
    const records = Object.entries(parts).map(([name, part]) =>
      Buffer.concat([field(RECORD.num, varint(++this.#records)), field(RECORD[name as keyof typeof RECORD], part)]),
    );
    await this.#file?.append(records);
  }

  #exitRecord(outcome: Outcome): Encoded {
    const seconds = Math.round((Date.now() - this.#started) / 1000);
    return message(field(1, varint(EXIT_CODES[outcome])), field(2, varint(seconds)));
  }

  #runRecord(config: JsonObject): Encoded {
    const { WANDB_ENTITY: entity, WANDB_RUN_GROUP: group, WANDB_JOB_TYPE: job, WANDB_NAME: name } = process.env;
    const { WANDB_NOTES: notes, WANDB_TAGS: tags = "", WANDB_PROJECT: project = "huggingface" } = process.env;
    const optional = (number: number, value: string | undefined) => (value ? [field(number, text(value))] : []);
    const start = message(
      field(1, varint(Math.floor(this.#started / 1000))),
      field(2, varint((this.#started % 1000) * 1_000_000)),
    );
    return message(
      field(1, text(this.#id)),
      ...optional(2, entity),
      field(3, text(project)),
      field(4, configRecord(config)),
      ...optional(6, group),
      ...optional(7, job),
      ...optional(8, name || (this.#options.runName ?? undefined)),
      ...optional(9, notes),
      ...tags.split(",").flatMap((tag) => optional(10, tag.trim())),
      field(17, start),
    );
  }
}

function configRecord(config: JsonObject): Encoded {
  return message(
    ...Object.entries(config).map(([key, value]) =>
      field(1, message(field(1, text(key)), field(16, text(JSON.stringify(value))))),
    ),
  );
}

/** An item of a history or summary. */
function item(name: string, json: string): Encoded {
  return message(field(2, text(name)), field(16, text(json)));
}

/** The trainer's step of a row of the history. */
function stepOf(history: Buffer): number {
  for (const { number, value } of fieldsOf(history)) {
    if (number !== 1 || !Buffer.isBuffer(value)) continue;
    const parts = new Map([...fieldsOf(value)].map((part) => [part.number, String(part.value)]));
    if (parts.get(2) === STEP) return Number(parts.get(16));
  }
  return 0;
}

/** When a run began, in milliseconds since 1970. */
function startOf(run: Buffer): number | undefined {
  for (const { number, value } of fieldsOf(run)) {
    if (number !== 17 || !Buffer.isBuffer(value)) continue;
    const seconds = new Map([...fieldsOf(value)].map((part) => [part.number, part.value])).get(1);
    return typeof seconds === "number" ? seconds * 1000 : undefined;
  }
  return undefined;
}
