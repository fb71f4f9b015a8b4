// The training loop of any trainer: steps by a plan, and between them what is due: logs, evaluations, checkpoints, uploads. What a step
// and an evaluation are it asks of a Run (run.ts). This file is their order, and what happens when a run is cut short.

import { stayAlive } from "../abort.js";
import { at } from "../at.js";
import { ALONE, leads } from "../distributed/ranks.js";
import { GrpoError, reasonOf } from "../errors.js";
import type { Outcome } from "../log/logger.js";
import { MetricWindow } from "../log/metrics.js";
import { type CompletionRecord, RunLog } from "../log/run-log.js";
import { freshState, type TrainerState } from "../types.js";
import { BestModel } from "./best-model.js";
import { Callbacks } from "./callbacks.js";
import { type Checkpoint, removeLeftovers } from "./checkpoint.js";
import { Checkpoints } from "./checkpoints.js";
import { HubPush, type TrainerPushOptions } from "./hub-push.js";
import { type InterruptWatch, watchInterrupts } from "./interrupt.js";
import type { LoopOptions, LoopRanks } from "./loop-options.js";
import { claimModel } from "./model-claims.js";
import type { RunOptions } from "./options.js";
import { OutputFolder } from "./output-folder.js";
import { isDue } from "./plan.js";
import { withChanges } from "./preflight.js";
import { memoryMetrics } from "./process-memory.js";
import { type Progress, resultOf, secondsLeft, type TrainResult } from "./progress.js";
import {
  checkTrainOptions,
  type EvaluationOutcome,
  type Prepared,
  type Run,
  type StepOutcome,
  type TrainOptions,
} from "./run.js";
import { restoreState } from "./state.js";
import { Timeline } from "./timeline.js";

/** A run that is going on. */
interface Running {
  readonly run: Run;
  readonly progress: Progress;
  readonly signal: AbortSignal;
  /** Whether it goes on from a checkpoint. */
  readonly resumed: boolean;
  /** What would take less memory, each with how much. */
  readonly memoryChanges: readonly string[];
  /** Completions of the latest generation. */
  latest: readonly CompletionRecord[];
}

/** One process. */
const LONE: LoopRanks = {
  ...ALONE,
  agree: async () => {},
  fail: async () => {},
};

/** Options of a rank that does not write. */
const UNWRITTEN = { saveStrategy: "no", logTo: [], pushToHub: false } as const;

export class TrainingLoop<Args extends RunOptions> {
  /** Where the run stands: one object for the life of the trainer, which callbacks and reward functions see. */
  readonly state: TrainerState;
  readonly #options: LoopOptions<Args>;
  readonly #args: Args;
  readonly #folder: OutputFolder;
  readonly #log: RunLog;
  readonly #callbacks: Callbacks<Args>;
  readonly #best: BestModel;
  readonly #checkpoints: Checkpoints;
  readonly #hub: HubPush;
  readonly #ranks: LoopRanks;
  #training = false;
  /** Whether it has begun to train the model before. */
  #begun = false;

  constructor(options: LoopOptions<Args>) {
    const { args, trained, view, completionsRepo = null } = options;
    const { ranks = LONE } = options;
    this.#ranks = ranks;
    // Rank 0 alone writes; the others go through the same moves without a trace.
    const writes = leads(ranks);
    const shown = writes ? args : { ...args, ...UNWRITTEN };
    const { outputDir, logTo, runName, project } = shown;
    this.#options = options;
    this.#args = args;
    this.state = freshState(args.maxSteps);
    this.#folder = new OutputFolder(shown);
    const { output } = options;
    const loggers = writes ? options.loggers : [];
    this.#log = new RunLog({ outputDir, logTo, runName, project, config: { ...args }, output, loggers });
    this.#callbacks = new Callbacks(options.callbacks ?? [], { state: this.state, args });
    const { control } = this.#callbacks;
    this.#best = new BestModel(args, view.bestMetric);
    this.#checkpoints = new Checkpoints({ args, trained, state: this.state, control, writes });
    this.#hub = new HubPush({
      args: shown,
      completionsRepo: writes ? completionsRepo : null,
      card: () => view.card(this.state),
      note: (text) => this.note(text),
    });
    if (this.#folder.problem !== undefined) this.note(this.#folder.problem);
  }

  /** A line on the console. */
  note(text: string): void {
    this.#log.note(text);
  }

  /** The line on a terminal that is rewritten in place. */
  status(text: string): void {
    this.#log.status(text);
  }

  /**
   * Trains to the end of the plan that `plan` makes. However it ends, the last finished step is saved (unless saveStrategy is "no").
   * Rejects with BAD_OPTION where outputDir cannot be written to, BAD_INPUT where it or the model is another's, CANCELLED, NON_FINITE, or
   * what a step, a callback or a disk threw.
   */
  async train(options: TrainOptions, plan: (signal: AbortSignal) => Promise<Run>): Promise<TrainResult> {
    checkTrainOptions(options);
    const { resumeFromCheckpoint, signal } = options;
    if (this.#training) throw new GrpoError("BAD_INPUT", "train() is already running on this trainer");
    this.#folder.checkWritable();
    this.#training = true;
    let giveBack = () => {};
    let outcome: Outcome = "finished";
    const watch = watchInterrupts(signal, (endsAtSecond) =>
      this.note(`stopping after the running computation${endsAtSecond ? "; press Ctrl-C again to end at once" : ""}`),
    );
    this.#callbacks.signal = watch.signal;
    try {
      await this.#options.open?.();
      giveBack = claimModel(this.#options.trained.model, this, { again: this.#begun });
      const unlock = await this.#folder.lock();
      try {
        return await this.#train(resumeFromCheckpoint ?? false, plan, watch);
      } finally {
        await this.#hub.finish();
        await unlock();
      }
    } catch (error) {
      outcome = error instanceof GrpoError && error.code === "CANCELLED" ? "stopped" : "failed";
      await this.#ranks.fail(error);
      throw error;
    } finally {
      this.#training = false;
      await this.#options.close?.(watch.signal);
      await this.#log.close(outcome);
      giveBack();
      watch.dispose();
      watch.passOn();
    }
  }

  async #train(
    resume: string | boolean,
    plan: (signal: AbortSignal) => Promise<Run>,
    { signal }: InterruptWatch,
  ): Promise<TrainResult> {
    const folder = resume === false ? undefined : await this.#checkpoints.find(resume);
    await this.#folder.checkFree(folder);
    const planned = await plan(signal);
    this.#begun = true;
    const running = await this.#prepare(folder, planned, signal);
    const { run, progress } = running;
    await this.#callbacks.emit("onTrainBegin");
    try {
      if (running.resumed) await this.#doWhatIsDue(running);
      else if (this.#args.evalOnStart) await this.#evaluateAtStart(running);
      while (this.state.globalStep < run.plan.totalSteps && (await this.#goesOn(signal))) {
        await this.#trainOneStep(running);
      }
      await this.#log.written();
      if (run.plan.saveEvery > 0) await this.#save(running);
      await this.#checkpoints.written();
      // What rank 0 has written is there for all from here on.
      await this.#ranks.gather(undefined);
      if (this.#args.loadBestModelAtEnd) await this.#loadBest();
    } catch (error) {
      throw await this.#cutShort(running, error);
    }
    const result = resultOf(progress, this.state, run.samplesPerStep);
    await this.#callbacks.emit("onTrainEnd", result.metrics);
    return result;
  }

  /** Everything that can be known or can fail before the first step. `folder`: of the checkpoint that the run goes on from. */
  async #prepare(folder: string | undefined, run: Run, signal: AbortSignal): Promise<Running> {
    const { plan } = run;
    const { trained, view } = this.#options;
    await this.#ranks.agree({ ...this.#checkpoints.settingsOf(run), ...plan, checkpoint: folder ?? "none" });
    if (leads(this.#ranks)) await removeLeftovers(this.#args.outputDir);
    const checkpoint = folder === undefined ? undefined : await this.#checkpoints.resume(folder, run);
    const saved = checkpoint?.state;
    Object.assign(this.state, saved ? restoreState(saved, plan.totalSteps) : freshState(plan.totalSteps));
    this.#beginControl(checkpoint, run);
    const prepared = await run.prepare(signal);
    this.#checkpoints.copies = prepared.copyCheckpoints;
    await this.#hub.begin();
    const moved = await this.#folder.moveEarlierRun(folder);
    if (moved !== undefined) this.note(`folder   an earlier run was moved to ${moved}`);
    await this.#folder.beginRun(folder);
    this.#log.writeTo(this.#folder.path);
    for (const line of [...prepared.lines, ...(checkpoint?.notes ?? [])]) this.note(line);
    const firstStep = this.state.globalStep;
    await this.#log.begin(this.#record(run, prepared), firstStep, signal);
    const progress = {
      window: new MetricWindow({ counts: view.counts, values: saved?.log_window }),
      timeline: new Timeline(() => trained.model.busySeconds),
      started: performance.now(),
      firstStep,
      lossSum: 0,
      badSteps: saved?.bad_steps ?? 0,
    };
    const { memoryChanges } = prepared;
    return { run, progress, signal, resumed: saved !== undefined, memoryChanges, latest: [] };
  }

  /** The line of metrics.jsonl that those of the steps follow. */
  #record({ plan }: Run, { record }: Prepared): Readonly<Record<string, unknown>> {
    const { model } = this.#options.trained;
    return {
      run_name: this.#args.runName,
      resumed_after_step: this.state.globalStep,
      config: this.#args,
      ...record,
      plan,
      model: { device: model.device, dtype: model.dtype, ...model.trainableParameters() },
    };
  }

  /** What the run has still to do after the step that it goes on from, and whether it goes on at all. */
  #beginControl(checkpoint: Checkpoint | undefined, { plan }: Run): void {
    const left = checkpoint?.state.control;
    const shouldEvaluate = (left?.should_evaluate ?? false) && this.#args.evalStrategy !== "no";
    const due = left !== undefined && (left.should_log || shouldEvaluate);
    const stopped = left !== undefined && this.#best.outOfPatience(this.state);
    const { control } = this.#callbacks;
    control.shouldTrainingStop = stopped;
    control.shouldLog = left?.should_log ?? false;
    control.shouldEvaluate = shouldEvaluate;
    control.shouldSave = due && isDue(plan, plan.saveEvery, this.state.globalStep);
    this.#checkpoints.begin(left !== undefined && !due);
    if (!stopped) return;
    const without = `${this.state.evaluationsWithoutGain} evaluations without a gain`;
    this.note(`note     the run had stopped early: ${without}; raise earlyStoppingPatience to continue`);
  }

  async #trainOneStep(running: Running): Promise<void> {
    const { run, progress, signal } = running;
    this.#checkpoints.check();
    await this.#callbacks.beginStep();
    const outcome = await run.step(this.state.globalStep, signal).catch((thrown: unknown) => {
      throw withChanges(thrown, running.memoryChanges);
    });
    const timeline = progress.timeline.lap(outcome.accountedSeconds);
    progress.badSteps = outcome.applied ? 0 : progress.badSteps + 1;
    if (outcome.applied) progress.lossSum += outcome.loss;
    this.state.globalStep += 1;
    this.state.epoch = outcome.epoch;
    this.state.numInputTokensSeen += outcome.tokens;
    const { epoch, numInputTokensSeen: num_tokens } = this.state;
    const memory = await memoryMetrics(this.#options.trained.model);
    const metrics = { ...outcome.metrics, ...timeline, ...memory, bad_steps: progress.badSteps, epoch, num_tokens };
    await this.#finishStep(running, { ...outcome, metrics });
  }

  /** Whether there is a further step: all ranks take it, or none does. Throws CANCELLED where one was stopped. */
  async #goesOn(signal: AbortSignal): Promise<boolean> {
    const { control } = this.#callbacks;
    const all = await this.#ranks.gather({ stop: control.shouldTrainingStop, aborted: signal.aborted });
    control.shouldTrainingStop = at(all, 0).stop;
    if (control.shouldTrainingStop) return false;
    const stopped = all.findIndex(({ aborted }) => aborted);
    if (stopped < 0) return true;
    const by = all.length > 1 ? ` by rank ${stopped}` : "";
    throw new GrpoError("CANCELLED", `stopped between two steps${by}`);
  }

  /** Logs, evaluates and saves what is due after a step, or what callbacks make of it. */
  async #finishStep(running: Running, { metrics, records }: StepOutcome): Promise<void> {
    const { plan } = running.run;
    const { control } = this.#callbacks;
    const step = this.state.globalStep;
    running.progress.window.add(metrics);
    running.latest = records.at(-1) ?? running.latest;
    // What fails from here on finds in a checkpoint what was still to be done.
    control.shouldLog ||= isDue(plan, plan.logEvery, step) || (step === 1 && this.#args.loggingFirstStep);
    control.shouldEvaluate ||= isDue(plan, plan.evalEvery, step);
    control.shouldSave ||= isDue(plan, plan.saveEvery, step);
    await this.#log.step(step, metrics, records.flat());
    await this.#callbacks.emit("onStepEnd", metrics);
    await this.#shareControl();
    control.shouldLog ||= control.shouldTrainingStop;
    if (control.shouldLog) await this.#logWindow(running);
    if (running.progress.badSteps >= this.#args.maxBadSteps) throw await this.#nonFinite(running);
    await this.#doWhatIsDue(running);
  }

  /** What is still to be done after a step, also after that which a resumed run goes on from. */
  async #doWhatIsDue(running: Running): Promise<void> {
    const { control } = this.#callbacks;
    if (control.shouldLog) await this.#logWindow(running);
    if (control.shouldEvaluate) await this.#evaluateInRun(running);
    if (control.shouldSave) await this.#save(running);
  }

  /** What callbacks of rank 0 ask for is done by all. */
  async #shareControl(): Promise<void> {
    const { control } = this.#callbacks;
    const [first] = await this.#ranks.gather({ ...control });
    if (this.#ranks.size > 1) Object.assign(control, first);
  }

  async #logWindow({ run: { plan }, progress, latest: records }: Running): Promise<void> {
    const { globalStep: step } = this.state;
    const { totalSteps } = plan;
    const { control } = this.#callbacks;
    const means = { step, ...progress.window.take() };
    const last = step === totalSteps || control.shouldTrainingStop;
    this.state.logHistory.push(means);
    control.shouldLog = false;
    const left = last ? undefined : secondsLeft(progress, this.state, plan);
    this.#log.window(step, means, (width) =>
      this.#options.view.windowLines({ step, totalSteps, metrics: means, records, secondsLeft: left, width }),
    );
    await this.#callbacks.emit("onLog", means);
  }

  async #loadBest(): Promise<void> {
    const folder = await this.#checkpoints.loadBest();
    if (folder !== undefined) this.note(`loaded the best model, from ${folder} (${this.state.bestMetric})`);
  }

  async #nonFinite(running: Running): Promise<GrpoError> {
    const folder = this.#args.saveStrategy !== "no" ? await this.#save(running) : undefined;
    await this.#checkpoints.written();
    const where = folder ? `the last good state is in ${folder}` : "the model holds the last good state";
    return new GrpoError(
      "NON_FINITE",
      `loss or gradient was not finite in ${running.progress.badSteps} steps in a row, up to step ${this.state.globalStep}`,
      { hint: `${where}; lower learningRate, or load the model in float32` },
    );
  }

  /** Logs an evaluation, in a run or outside of one. */
  async evaluate<Outcome extends EvaluationOutcome>(evaluation: () => Promise<Outcome>): Promise<Outcome> {
    this.#folder.checkWritable();
    const { view } = this.#options;
    const { globalStep: step } = this.state;
    const letGo = stayAlive();
    try {
      const outcome = await evaluation();
      const { metrics, completions } = outcome;
      if (!this.#training) this.#log.writeTo(await this.#folder.evaluations());
      this.#log.evaluation(step, outcome, (width) =>
        view.evaluationLines({ step, metrics, records: completions, width }),
      );
      if (!this.#training) {
        await this.#log.close();
        await this.#log.written();
      }
      return outcome;
    } finally {
      if (!this.#training) await this.#options.close?.();
      letGo();
    }
  }

  /** As in transformers, an untrained model is no candidate for the best. */
  async #evaluateAtStart({ run, signal }: Running): Promise<void> {
    const { metrics } = await this.evaluate(() => run.evaluate(signal));
    this.state.logHistory.push({ step: 0, ...metrics });
    await this.#callbacks.emit("onEvaluate", metrics);
  }

  async #evaluateInRun(running: Running): Promise<void> {
    const { run, signal } = running;
    const { metrics } = await this.evaluate(() => run.evaluate(signal));
    const { best, stop } = this.#best.take(metrics, this.state);
    this.state.logHistory.push({ step: this.state.globalStep, ...metrics });
    this.#callbacks.control.shouldEvaluate = false;
    const { loadBestModelAtEnd, saveStrategy } = this.#args;
    if (best && (loadBestModelAtEnd || saveStrategy === "best")) {
      this.state.bestModelCheckpoint = this.#checkpoints.path;
      await this.#save(running);
    }
    if (stop) {
      this.note(`stopping early: ${this.state.evaluationsWithoutGain} evaluations without a gain`);
      this.#callbacks.control.shouldTrainingStop = true;
    }
    await this.#callbacks.emit("onEvaluate", metrics);
  }

  /** The model and the tokenizer files. With the option pushToHub they also go to the Hub. */
  async saveModel(directory: string = this.#args.outputDir): Promise<void> {
    const { model, tokenizer } = this.#options.trained;
    if (!leads(this.#ranks)) return;
    await model.savePretrained(directory);
    await tokenizer.savePretrained(directory);
    if (this.#args.pushToHub) await this.pushToHub({ commitMessage: "Model save" });
  }

  /** Uploads model, tokenizer, metrics and a model card; returns the commit's address, which is empty on a rank that does not write. */
  async pushToHub(options: TrainerPushOptions = {}): Promise<string> {
    if (!leads(this.#ranks)) return "";
    const { model, tokenizer } = this.#options.trained;
    return this.#hub.push({ commitMessage: "End of training", ...options }, async (folder) => {
      await model.savePretrained(folder);
      await tokenizer.savePretrained(folder);
    });
  }

  /** Saves the current step unless it is saved already; the path of its checkpoint, which is being written. */
  async #save({ run, progress }: Running): Promise<string> {
    if (this.#checkpoints.isSaved) return this.#checkpoints.path;
    const state = { ...this.state, logHistory: [...this.state.logHistory] };
    return this.#checkpoints.save(run, progress, {
      // What a run that goes on from here does not write again.
      ready: this.#log.written(),
      saved: async (checkpoint) => {
        // Files of the run are copied for it, which must not grow meanwhile.
        await this.#log.written(() => this.#hub.afterSave(checkpoint, state));
        await this.#callbacks.emit("onSave", {}, { checkpoint, state });
      },
    });
  }

  /** Saves what can be saved after an error or a stop, and says how to go on. Returns the error to throw. */
  async #cutShort(running: Running, error: unknown): Promise<unknown> {
    const step = this.state.globalStep;
    // What was cut short may have left a part of its gradient, which a later step must not find.
    await this.#options.trained.model.zeroGrad().catch(() => {});
    // What kept an earlier checkpoint from being written may be what is thrown.
    await this.#checkpoints.written().catch(() => {});
    const saved = await this.#saveAfterCut(running);
    const isStopped = running.signal.aborted || (error instanceof GrpoError && error.code === "CANCELLED");
    if (!isStopped) {
      if (saved) this.note(saved);
      return error;
    }
    const hint = saved ?? "nothing was saved";
    this.note(`stopped after step ${step}; ${hint}`);
    return new GrpoError("CANCELLED", `training stopped after step ${step} of ${running.run.plan.totalSteps}`, {
      hint,
      cause: error,
    });
  }

  /** What became of saving the last finished step; undefined where nothing is to be saved. */
  async #saveAfterCut(running: Running): Promise<string | undefined> {
    const { globalStep: step } = this.state;
    if (this.#args.saveStrategy === "no" || (step === 0 && !this.#checkpoints.isSaved)) return undefined;
    try {
      await this.#save(running);
      await this.#checkpoints.written();
    } catch (failure) {
      if (!this.#checkpoints.isSaved) return `saving step ${step} failed too: ${reasonOf(failure)}`;
      this.note(`after step ${step} was saved: ${reasonOf(failure)}`);
    }
    const { path: checkpoint } = this.#checkpoints;
    const own = this.#options.resumeHint?.(checkpoint);
    return `step ${step} is saved; continue with ${own ?? `train({ resumeFromCheckpoint: "${checkpoint}" })`}`;
  }
}
