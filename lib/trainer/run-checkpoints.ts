// The checkpoints of one trainer: what goes into them and what must agree before a run goes on from one. How they lie on disk is
// in checkpoint.ts.

import path from "node:path";
import { GrpoError } from "../errors.js";
import {
  type CheckpointOptions,
  checkpointPath,
  checkSameOrder,
  findCheckpoint,
  readCheckpoint,
  type SavedRun,
  type SavedState,
  saveCheckpoint,
} from "./checkpoint.js";
import type { GRPOConfig } from "./config.js";
import { nativeOptimizer } from "./optimizer.js";
import { carriedInto, type TrainingPlan } from "./plan.js";
import type { Carryover } from "./train-step.js";
import type { TrainerSetup } from "./trainer-setup.js";
import { type MutableState, type RunState, storeState } from "./trainer-state.js";

/** What of a run is stored beside the state that callbacks see. */
export interface RunToSave extends Pick<RunState, "window" | "lossSum" | "badSteps"> {
  readonly plan: TrainingPlan;
  readonly steps: { readonly carryover: Carryover & { readonly entropy: SavedState["entropy"] } };
}

/** Around the writing of a checkpoint. */
export interface SaveMoments {
  /** What must be on the disk before it. */
  readonly ready: Promise<void>;
  readonly saved: (checkpoint: string) => Promise<void>;
}

export class RunCheckpoints {
  readonly #args: GRPOConfig;
  readonly #setup: Pick<TrainerSetup<never>, "model" | "processingClass">;
  readonly #state: MutableState;
  readonly #control: RunState["control"];
  /** Whether what is saved is copied first, so that the run need not wait for the disk. */
  copies = true;
  #lastSaved = -1;
  #writing: Promise<void> = Promise.resolve();
  #failure: { readonly error: unknown } | undefined;

  constructor(
    args: GRPOConfig,
    setup: Pick<TrainerSetup<never>, "model" | "processingClass">,
    { state, control }: { readonly state: MutableState; readonly control: RunState["control"] },
  ) {
    this.#args = args;
    this.#setup = setup;
    this.#state = state;
    this.#control = control;
  }

  /** Of the step that is done. */
  get path(): string {
    return checkpointPath(this.#args.outputDir, this.#state.globalStep);
  }

  /** Whether the step that is done is saved, or being written. */
  get isSaved(): boolean {
    return this.#lastSaved === this.#state.globalStep;
  }

  /** A run begins, at a step that is saved already, with all that follows from it, or not. */
  begin(saved: boolean): void {
    this.#lastSaved = saved ? this.#state.globalStep : -1;
  }

  /** Takes back the model; the caller takes the rest from the result. */
  async resume(from: string | true, plan: TrainingPlan): Promise<SavedRun> {
    const folder = await findCheckpoint(from, this.#args.outputDir);
    const saved = await readCheckpoint(folder);
    checkSameOrder(folder, saved.state.order, this.#order(plan));
    if (carriedInto(plan, saved.state.global_step) !== saved.generation?.index) {
      const next = saved.state.global_step + 1;
      throw new GrpoError("BAD_CHECKPOINT", `${folder} lacks the completions that step ${next} needs`, {
        hint: "resume from another checkpoint",
      });
    }
    await this.#setup.model.loadCheckpoint(folder);
    const { best_model_checkpoint: best } = saved.state;
    const bestFolder = best === null || path.isAbsolute(best) ? best : path.join(path.dirname(folder), best);
    return { ...saved, state: { ...saved.state, best_model_checkpoint: bestFolder } };
  }

  /**
   * Saves the step that is done: takes what the next step changes, and writes it while the run goes on, once `ready` is done and
   * followed by `saved`. Waits for the checkpoint before it. Returns the path; written() waits until it is there.
   */
  async save(run: RunToSave, moments: SaveMoments): Promise<string> {
    // It is awaited later, and may fail before.
    moments.ready.catch(() => {});
    await this.written();
    const { path: final, copies } = this;
    const checkpoint = await this.#take(run, copies);
    this.#lastSaved = this.#state.globalStep;
    this.#writing = (async () => {
      await moments.ready;
      await saveCheckpoint(checkpoint);
      await moments.saved(final);
    })();
    this.#writing.catch((error: unknown) => {
      this.#failure = { error };
      this.#lastSaved = -1;
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

  async #take({ plan, steps, window, lossSum, badSteps }: RunToSave, copy: boolean): Promise<CheckpointOptions> {
    const { model, processingClass: tokenizer } = this.#setup;
    const { outputDir, saveTotalLimit: totalLimit } = this.#args;
    const { generation, entropy, promptsTaken } = steps.carryover;
    const keep = this.#state.bestModelCheckpoint;
    // Folders may move, and be named from elsewhere.
    const bestModelCheckpoint = keep && path.relative(outputDir, keep);
    const state = storeState(
      { ...this.#state, bestModelCheckpoint },
      {
        control: this.#control,
        window,
        lossSum,
        badSteps,
        order: this.#order(plan),
        entropy,
        promptsTaken,
      },
    );
    const writeModel = await model.takeCheckpoint({ copy });
    return { outputDir, writeModel, tokenizer, state, generation, totalLimit, keep };
  }

  /** Takes back the model of the best evaluation; its folder, or undefined where the model is that one. */
  async loadBest(): Promise<string | undefined> {
    const { bestModelCheckpoint: folder } = this.#state;
    if (folder === null || path.resolve(folder) === path.resolve(this.path)) return undefined;
    await this.#setup.model.loadCheckpoint(folder);
    return folder;
  }

  #order(plan: TrainingPlan): SavedState["order"] {
    const { seed, numGenerations, shuffleDataset, dynamicSampling } = this.#args;
    return {
      seed,
      rows: plan.rows,
      prompts_per_generation: plan.promptsPerGeneration,
      slices_per_generation: plan.slicesPerGeneration,
      slices_per_step: plan.slicesPerStep,
      num_iterations: plan.iterations,
      num_generations: numGenerations,
      shuffle_dataset: shuffleDataset,
      dynamic_sampling: dynamicSampling,
      optimizer: nativeOptimizer(this.#args),
    };
  }
}
