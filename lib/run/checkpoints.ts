// The checkpoints of one trainer: what goes into them, when they are on the disk, and what must agree before a run goes on from one.
// How they lie on disk is in checkpoint.ts.

import path from "node:path";
import type { TrainerState } from "../types.js";
import type { TrainerControl } from "./callbacks.js";
import {
  type Checkpoint,
  type CheckpointParts,
  checkpointPath,
  findCheckpoint,
  readCheckpoint,
  saveCheckpoint,
} from "./checkpoint.js";
import type { Trained } from "./loop-options.js";
import type { RunOptions } from "./options.js";
import type { Progress } from "./progress.js";
import type { Run } from "./run.js";
import { compareSettings, settingsOf } from "./settings.js";
import { type Settings, storeState } from "./state.js";

export interface CheckpointsOptions {
  readonly args: RunOptions;
  readonly trained: Trained;
  readonly state: TrainerState;
  readonly control: TrainerControl;
  /** False: another rank writes them. */
  readonly writes: boolean;
}

/** Around the writing of a checkpoint. */
export interface SaveMoments {
  /** What must be on the disk before it. */
  readonly ready: Promise<void>;
  readonly saved: (checkpoint: string) => Promise<void>;
}

export class Checkpoints {
  readonly #options: CheckpointsOptions;
  /** Whether what is saved is copied first, so that the run need not wait for the disk. */
  copies = true;
  #lastSaved = -1;
  #writing: Promise<void> = Promise.resolve();
  #failure: { readonly error: unknown } | undefined;

  constructor(options: CheckpointsOptions) {
    this.#options = options;
  }

  /** Folder of the step that is done. */
  get path(): string {
    return checkpointPath(this.#options.args.outputDir, this.#options.state.globalStep);
  }

  /** Whether the step that is done is saved, or being written. */
  get isSaved(): boolean {
    return this.#lastSaved === this.#options.state.globalStep;
  }

  /** A run begins, at a step that is saved already, with all that follows from it, or not. */
  begin(saved: boolean): void {
    this.#lastSaved = saved ? this.#options.state.globalStep : -1;
  }

  /** The folder to go on from, as train() names it. */
  find(from: string | true): Promise<string> {
    return findCheckpoint(from, this.#options.args.outputDir);
  }

  /** Takes back the run's own state and the model; the caller takes the rest from the result, and tells its notes. */
  async resume(folder: string, run: Run): Promise<Checkpoint & { readonly notes: readonly string[] }> {
    const { trained } = this.#options;
    const checkpoint = await readCheckpoint(folder);
    const { state } = checkpoint;
    const notes = compareSettings(checkpoint, this.settingsOf(run));
    await run.restore(checkpoint);
    await trained.model.loadCheckpoint(folder);
    const { best_model_checkpoint: best } = state;
    const bestFolder = best === null || path.isAbsolute(best) ? best : path.join(path.dirname(folder), best);
    return { folder, state: { ...state, best_model_checkpoint: bestFolder }, notes };
  }

  /** On which the numbers of a run depend. */
  settingsOf(run: Run): Settings {
    const { args, trained } = this.#options;
    return { ...settingsOf(args, trained.model), ...run.settings };
  }

  /**
   * Saves the step that is done: takes what the next step changes, and writes it while the run goes on, once `ready` is done and
   * followed by `saved`. Waits for the checkpoint before it. Returns the path; written() waits until it is there.
   */
  async save(run: Run, progress: Progress, moments: SaveMoments): Promise<string> {
    // It is awaited later, and may fail before.
    moments.ready.catch(() => {});
    await this.written();
    const { path: final, copies } = this;
    if (!this.#options.writes) {
      this.#lastSaved = this.#options.state.globalStep;
      return final;
    }
    const checkpoint = await this.#take(run, progress, copies);
    this.#lastSaved = this.#options.state.globalStep;
    const onDisk = moments.ready.then(() => saveCheckpoint(checkpoint));
    onDisk.catch(() => {
      this.#lastSaved = -1;
    });
    this.#writing = onDisk.then(moments.saved);
    this.#writing.catch((error: unknown) => {
      this.#failure = { error };
    });
    if (!copies) await this.written();
    return final;
  }

  /** Throws what kept a checkpoint from being written, once; does not wait. */
  check(): void {
    const failure = this.#failure;
    this.#failure = undefined;
    if (failure) throw failure.error;
  }

  /** Waits for the checkpoint that is being written; throws what kept it from being written. */
  async written(): Promise<void> {
    await this.#writing.catch(() => {});
    this.check();
  }

  async #take(run: Run, progress: Progress, copy: boolean): Promise<CheckpointParts> {
    const { args, trained, state, control } = this.#options;
    const { model, tokenizer } = trained;
    const { outputDir, saveTotalLimit: totalLimit } = args;
    const { keys, files } = run.own();
    const keep = state.bestModelCheckpoint;
    // Folders may move, and be named from elsewhere.
    const bestModelCheckpoint = keep && path.relative(outputDir, keep);
    const parts = { control, progress, settings: this.settingsOf(run), own: keys };
    const stored = storeState({ ...state, bestModelCheckpoint }, parts);
    const writeModel = await model.takeCheckpoint({ copy });
    return { outputDir, writeModel, tokenizer, state: stored, files, totalLimit, keep };
  }

  /** Takes back the model of the best evaluation; its folder, or undefined where the model is that one. */
  async loadBest(): Promise<string | undefined> {
    const { bestModelCheckpoint: folder } = this.#options.state;
    if (folder === null || path.resolve(folder) === path.resolve(this.path)) return undefined;
    await this.#options.trained.model.loadCheckpoint(folder);
    return folder;
  }
}
