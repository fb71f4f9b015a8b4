// The folder that a run writes into. One folder is for one run: while it goes on nobody else writes there, and what an earlier run has
// left is moved aside, or refused, before another begins. Evaluations before a run are kept apart from an earlier one's files.

import { accessSync, constants, mkdirSync } from "node:fs";
import { mkdir, readdir, realpath, rename, rm } from "node:fs/promises";
import path from "node:path";
import { GrpoError, reasonOf } from "../errors.js";
import { takeFileLock } from "../hub/file-lock.js";
import { COMPLETIONS_FILE, hasRun, METRICS_FILE } from "../log/run-log.js";
import { EVENT_FILE, EVENT_FOLDER } from "../log/tensorboard.js";
import { trackerRunFile } from "../log/tracker.js";
import { TRACKERS_WITH_RUNS } from "../log/trackers.js";
import { CHECKPOINT_NAME } from "./checkpoint.js";
import type { RunOptions } from "./options.js";

const LOCK = ".run.lock";
const ASIDE = "earlier-run-";
const APART = "evaluation-";
/** What a run leaves beside its checkpoints and TensorBoard's files. */
const RUN_FILES: readonly string[] = [
  METRICS_FILE,
  COMPLETIONS_FILE,
  "report.html",
  ...TRACKERS_WITH_RUNS.map(trackerRunFile),
];

/** What a log leaves that has only evaluations, beside TensorBoard's files. */
const LOG_FILES = [METRICS_FILE, COMPLETIONS_FILE];

type FolderOptions = Pick<RunOptions, "outputDir" | "saveStrategy" | "logTo" | "pushToHub" | "earlierRun">;

export class OutputFolder {
  readonly path: string;
  readonly #earlierRun: RunOptions["earlierRun"];
  /** Whether a run leaves anything here. */
  readonly #used: boolean;
  /** Whether a log has files in it. */
  readonly #logged: boolean;
  /** Why the folder cannot be written to. */
  readonly #failure: GrpoError | undefined;
  #evaluations: Promise<string> | undefined;

  /** Makes the folder, as transformers does; what is wrong with it is known from then on. */
  constructor({ outputDir, saveStrategy, logTo, pushToHub, earlierRun }: FolderOptions) {
    this.path = outputDir;
    this.#earlierRun = earlierRun;
    this.#used = saveStrategy !== "no" || pushToHub || logTo.some((place) => place !== "console");
    this.#logged = logTo.includes("jsonl") || logTo.includes("tensorboard");
    this.#failure = this.#used ? failureToMake(outputDir) : undefined;
  }

  /** What keeps it from being written to. */
  get problem(): string | undefined {
    return this.#failure?.message;
  }

  /** Throws BAD_OPTION where the folder cannot be written to. */
  checkWritable(): void {
    if (this.#failure) throw this.#failure;
  }

  /** Keeps other runs out until the result is called. Throws BAD_INPUT where one is going on here. */
  async lock(): Promise<() => Promise<void>> {
    if (!this.#used) return async () => {};
    const file = path.join(this.path, LOCK);
    const lock = await takeFileLock(file);
    if ("release" in lock) return () => lock.release();
    const { holder } = lock;
    const who = holder === undefined ? "" : `: process ${holder.pid} on ${holder.host}`;
    throw new GrpoError("BAD_INPUT", `another run is writing into ${this.path}${who}`, {
      hint: `give each run an outputDir of its own; if that one has ended, wait a minute or delete ${file}`,
    });
  }

  /** Throws BAD_OPTION where an earlier run may not be moved. `checkpoint`: folder that the run goes on from, if it does. */
  async checkFree(checkpoint: string | undefined): Promise<void> {
    if (this.#earlierRun !== "refuse" || !(await this.#holdsAnother(checkpoint))) return;
    throw new GrpoError("BAD_OPTION", `${this.path} has an earlier run, and earlierRun is "refuse"`, {
      hint: 'continue it with resumeFromCheckpoint: true, give another outputDir, or set earlierRun to "move"',
    });
  }

  /** Moves an earlier run's files into a folder of their own, whose path is returned; undefined where there is none. */
  async moveEarlierRun(checkpoint: string | undefined): Promise<string | undefined> {
    if (!(await this.#holdsAnother(checkpoint))) return undefined;
    const aside = await this.#newFolder(ASIDE);
    await moveFiles(this.path, aside, belongsToRun);
    return aside;
  }

  /** Where evaluations outside a run are logged: here, or apart from what an earlier run has here. */
  evaluations(): Promise<string> {
    this.#evaluations ??= this.#placeForEvaluations();
    return this.#evaluations;
  }

  /** A run begins here, after an earlier one was moved: evaluations before it are its own, unless it goes on from a checkpoint. */
  async beginRun(checkpoint: string | undefined): Promise<void> {
    const before = (await this.#evaluations) ?? this.path;
    this.#evaluations = Promise.resolve(this.path);
    if (before === this.path || checkpoint !== undefined) return;
    await moveFiles(before, this.path, (name) => LOG_FILES.includes(name));
    await rm(before, { recursive: true });
  }

  async #placeForEvaluations(): Promise<string> {
    if (!this.#logged || !(await this.#holdsAnother(undefined))) return this.path;
    return this.#newFolder(APART);
  }

  /** Whether there is a run here other than the one that goes on. */
  async #holdsAnother(checkpoint: string | undefined): Promise<boolean> {
    if (!this.#used) return false;
    if (checkpoint !== undefined && (await sameFolder(path.dirname(path.resolve(checkpoint)), this.path))) return false;
    const names = await readdir(this.path);
    return names.some((name) => CHECKPOINT_NAME.test(name)) || (await hasRun(this.path));
  }

  async #newFolder(prefix: string): Promise<string> {
    for (let k = 1; ; k++) {
      const folder = path.join(this.path, `${prefix}${k}`);
      try {
        await mkdir(folder);
        return folder;
      } catch (thrown) {
        if ((thrown as NodeJS.ErrnoException).code !== "EEXIST") throw thrown;
      }
    }
  }
}

function failureToMake(outputDir: string): GrpoError | undefined {
  try {
    mkdirSync(outputDir, { recursive: true });
    accessSync(outputDir, constants.W_OK | constants.X_OK);
    return undefined;
  } catch (cause) {
    return new GrpoError("BAD_OPTION", `outputDir ${outputDir} cannot be written to: ${reasonOf(cause)}`, {
      cause,
      hint: "give a folder that you may write to",
    });
  }
}

/** The files that are asked for, and TensorBoard's. */
async function moveFiles(from: string, to: string, which: (name: string) => boolean): Promise<void> {
  for (const name of (await readdir(from)).filter(which)) await rename(path.join(from, name), path.join(to, name));
  const events = await readdir(path.join(from, EVENT_FOLDER)).catch(() => []);
  for (const name of events.filter((name) => EVENT_FILE.test(name))) {
    await mkdir(path.join(to, EVENT_FOLDER), { recursive: true });
    await rename(path.join(from, EVENT_FOLDER, name), path.join(to, EVENT_FOLDER, name));
  }
}

function belongsToRun(name: string): boolean {
  return RUN_FILES.includes(name) || CHECKPOINT_NAME.test(name);
}

async function sameFolder(a: string, b: string): Promise<boolean> {
  const [first, second] = await Promise.all([a, b].map((folder) => realpath(folder).catch(() => path.resolve(folder))));
  return first === second;
}
