// GRPOTrainer: the training loop. A step samples completions, scores them, turns rewards into advantages, adds up the
// gradient and updates the adapter; everything in it is a function of (weights, rows, step, seed). The parts live in
// train-step.ts, run-checkpoints.ts, callbacks.ts and log/; this file is their order, and what happens when a run is cut short.

import { GrpoError, reasonOf } from "../errors.js";
import { type CompletionRecord, describePlan, RunLog } from "../log/run-log.js";
import { noteFirstFailures } from "../rewards/failure.js";
import { RewardRuntime } from "../rewards/runtime.js";
import type { RolloutRequest } from "../rollout/collect.js";
import type { Prompt, TrainerState } from "../types.js";
import { BestModel } from "./best-model.js";
import { Callbacks, type TrainerControl } from "./callbacks.js";
import { removeLeftovers, type SavedState } from "./checkpoint.js";
import { GRPOConfig } from "./config.js";
import { Evaluator } from "./evaluation.js";
import { HubPush, type TrainerPushOptions } from "./hub-push.js";
import { type InterruptWatch, watchInterrupts } from "./interrupt.js";
import { epochAfter, isDue, planTraining, type TrainingPlan } from "./plan.js";
import { checkMemory } from "./preflight.js";
import { PromptSampler, rowsAhead } from "./prompt-sampler.js";
import type { PromptTable } from "./prompts.js";
import { type Run, resultOf, runRecord, secondsLeft } from "./run.js";
import { RunCheckpoints } from "./run-checkpoints.js";
import { type Metrics, MetricWindow } from "./step-metrics.js";
import { Timeline } from "./timeline.js";
import { TrainSteps } from "./train-step.js";
import {
  type EvaluateOptions,
  type Evaluation,
  evaluatesInRun,
  type GRPOTrainerOptions,
  promptTable,
  resolveRewardFunctions,
  resolveRewardWeights,
  rewardColumns,
  rolloutSource,
  samplingOptions,
  type TrainerSetup,
  type TrainOptions,
  type TrainResult,
  usableRows,
  withRowSources,
} from "./trainer-setup.js";
import { freshState, type MutableState, restoreState } from "./trainer-state.js";

/**
 * Trains a model with GRPO: samples groups of completions, scores them, and raises the likelihood of the better
 * ones.
 */
export class GRPOTrainer<Row extends { readonly prompt: Prompt }> {
  readonly args: GRPOConfig;
  readonly #options: TrainerSetup<Row>;
  readonly #weights: readonly number[];
  /** The reference is fixed when training first begins. */
  #begun = false;
  readonly #rewards: RewardRuntime;
  readonly #trainPrompts: PromptTable<Row>;
  readonly #log: RunLog;
  readonly #state: MutableState;
  readonly #hub: HubPush;
  readonly #evaluator: Evaluator<Row>;
  readonly #best: BestModel;
  readonly #callbacks: Callbacks;
  readonly #checkpoints: RunCheckpoints;
  #training = false;

  constructor(options: GRPOTrainerOptions<Row>) {
    this.args = options.args ?? new GRPOConfig();
    this.#options = withRowSources(options, this.args);
    const { trainDataset } = this.#options;
    const functions = resolveRewardFunctions(options.rewardFuncs, this.args);
    this.#weights = resolveRewardWeights(this.args, functions.length);
    this.#rewards = new RewardRuntime({
      functions,
      concurrency: this.args.rewardConcurrency,
      timeout: this.args.rewardTimeout,
      onError: this.args.onRewardError,
      onFailure: noteFirstFailures((text) => this.#log.note(text), this.args.onRewardError),
    });
    rewardColumns(trainDataset, this.args.removeUnusedColumns);
    this.#trainPrompts = promptTable(trainDataset, options.processingClass, options.model, this.args);
    this.#evaluator = new Evaluator(this.#options, this.args, this.#rewards, this.#weights);
    this.#best = new BestModel(this.args);
    this.#log = new RunLog(this.args, this.#rewards.names, { output: options.output, loggers: options.loggers });
    this.#state = freshState(this.args.maxSteps);
    this.#callbacks = new Callbacks(options.callbacks ?? [], { state: this.#state, args: this.args });
    const { control } = this.#callbacks;
    this.#checkpoints = new RunCheckpoints(this.args, this.#options, { state: this.#state, control });
    this.#hub = new HubPush({
      args: this.args,
      state: this.#state,
      rewardNames: this.#rewards.names,
      note: (text) => this.#log.note(text),
    });
  }

  /** Where the run stands: steps, epochs, and the history of logged metrics. */
  get state(): TrainerState {
    return this.#state;
  }

  /** Trains to the end of the plan. However it ends, the last finished step is saved (unless saveStrategy is "no"). */
  async train(options: TrainOptions = {}): Promise<TrainResult> {
    if (this.#training) throw new GrpoError("BAD_INPUT", "train() is already running on this trainer");
    this.#training = true;
    const watch = watchInterrupts(options.signal, () =>
      this.#log.note("stopping after the running computation; press Ctrl-C again to end at once"),
    );
    try {
      return await this.#train(options, watch);
    } finally {
      await this.#hub.finish();
      this.#training = false;
      await this.#closeRewards();
      await this.#log.close();
      watch.dispose();
      watch.passOn();
    }
  }

  async #train({ resumeFromCheckpoint }: TrainOptions, watch: InterruptWatch): Promise<TrainResult> {
    const run = await this.#prepare(resumeFromCheckpoint ?? false, watch.signal);
    const { control } = this.#callbacks;
    await this.#callbacks.emit("onTrainBegin");
    try {
      if (run.resumed) await this.#makeUp(run);
      else if (this.args.evalOnStart) await this.#evaluateAtStart(run);
      while (this.#state.globalStep < run.plan.totalSteps && !control.shouldTrainingStop) await this.#trainOneStep(run);
      await this.#log.written();
      if (run.plan.saveEvery > 0) await this.#save(run);
      await this.#checkpoints.written();
      if (this.args.loadBestModelAtEnd) await this.#loadBest();
    } catch (error) {
      throw await this.#cutShort(run, error);
    }
    const result = resultOf(run, this.#state);
    await this.#callbacks.emit("onTrainEnd", result.metrics);
    return result;
  }

  /** Plan, resume, prompts: everything that can be known or can fail before the first step. */
  async #prepare(resume: string | boolean, signal: AbortSignal): Promise<Run> {
    const { args } = this;
    const { model, trainDataset } = this.#options;
    await trainDataset.load?.(signal);
    const rows = await usableRows(this.#trainPrompts, trainDataset.length, args, signal);
    const plan = planTraining(args, rows.length);
    await removeLeftovers(args.outputDir);
    // What cannot fit even with prompts of one token is refused before anything is allocated.
    await this.#preflight(plan, 1);
    if (!this.#begun) await model.beginTraining({ reference: args.beta > 0, mixed: args.syncRefModel });
    this.#begun = true;
    const saved = resume === false ? undefined : await this.#checkpoints.resume(resume, plan);
    Object.assign(this.#state, saved ? restoreState(saved.state, plan.totalSteps) : freshState(plan.totalSteps));
    this.#beginControl(saved?.state.control, plan);
    const firstStep = this.#state.globalStep;
    const sampler = new PromptSampler({
      rows: rows.length,
      promptsPerGeneration: plan.promptsPerGeneration,
      shuffle: args.shuffleDataset,
      seed: args.seed,
    });
    const promptsTaken = saved?.state.prompts_taken ?? 0;
    const ahead = args.dynamicSampling ? rows : rowsAhead(sampler, rows, promptsTaken, plan);
    const survey = await this.#trainPrompts.survey(ahead, signal);
    const tooLong = trainDataset.length - rows.length;
    const evaluation = evaluatesInRun(args) ? await this.#prepareEvaluation(signal) : undefined;
    await this.#hub.begin();
    const longest = Math.max(survey.longest, evaluation?.longest ?? 0);
    const memory = await this.#preflight(plan, longest, evaluation?.rows.length);
    const facts = { config: args, plan, model, survey, tooLong, memory, startStep: firstStep };
    for (const line of describePlan(facts)) this.#log.note(line);
    const rewards = { rewardNames: this.#rewards.names, rewardWeights: this.#weights };
    await this.#log.begin(runRecord({ args, plan, model, firstStep, ...rewards }), firstStep);
    const setup = {
      args,
      plan,
      sampler,
      rows,
      signal,
      trainerState: this.#state,
      rewardWeights: this.#weights,
      source: rolloutSource(this.#options, args, this.#rewards, this.#trainPrompts, trainDataset),
      sampling: samplingOptions(args, this.#options.processingClass),
    };
    const steps = new TrainSteps(setup, {
      generation: saved?.generation,
      entropy: saved?.state.entropy,
      promptsTaken,
    });
    return {
      plan,
      steps,
      signal,
      firstStep,
      resumed: saved !== undefined,
      started: performance.now(),
      window: new MetricWindow(saved?.state.log_window),
      timeline: new Timeline(() => model.busySeconds),
      lossSum: saved?.state.loss_sum ?? 0,
      badSteps: saved?.state.bad_steps ?? 0,
    };
  }

  /** What the run has still to do after the step that it goes on from, and whether it goes on at all. */
  #beginControl(left: SavedState["control"] | undefined, plan: TrainingPlan): void {
    const { globalStep: step } = this.#state;
    const shouldEvaluate = (left?.should_evaluate ?? false) && this.args.evalStrategy !== "no";
    const due = left !== undefined && (left.should_log || shouldEvaluate);
    const stopped = left !== undefined && this.#best.outOfPatience(this.#state);
    Object.assign(this.#callbacks.control, {
      shouldTrainingStop: stopped,
      shouldLog: left?.should_log ?? false,
      shouldEvaluate,
      shouldSave: due && isDue(plan, plan.saveEvery, step),
    } satisfies TrainerControl);
    this.#checkpoints.begin(left !== undefined && !due);
    if (!stopped) return;
    const without = `${this.#state.evaluationsWithoutGain} evaluations without a gain`;
    this.#log.note(`note     the run had stopped early: ${without}; raise earlyStoppingPatience to go on`);
  }

  #prepareEvaluation(signal: AbortSignal): ReturnType<Evaluator<Row>["prepare"]> {
    if (this.args.evalStrategy !== "no") this.#best.check(this.args, this.#rewards.names);
    return this.#evaluator.prepare({ signal });
  }

  async #preflight(plan: TrainingPlan, longestPrompt: number, evalPrompts = 0): Promise<string[]> {
    const facts = { args: this.args, plan, longestPrompt, evalPrompts };
    const { lines, copies } = await checkMemory(this.#options.model, facts);
    this.#checkpoints.copies = copies;
    return lines;
  }

  async #trainOneStep(run: Run): Promise<void> {
    if (run.signal.aborted) throw new GrpoError("CANCELLED", "stopped between two steps");
    this.#checkpoints.check();
    await this.#callbacks.beginStep();
    const step = this.#state.globalStep;
    const outcome = await run.steps.run(step, this.#progress(run, performance.now()));
    const timeline = run.timeline.lap(outcome.metrics);
    run.badSteps = outcome.applied ? 0 : run.badSteps + 1;
    if (outcome.applied) run.lossSum += outcome.metrics.loss ?? 0;
    this.#state.globalStep = step + 1;
    this.#state.epoch = epochAfter(run.plan, step + 1);
    this.#state.numInputTokensSeen += outcome.tokens;
    const { epoch, numInputTokensSeen: num_tokens } = this.#state;
    await this.#finishStep(
      run,
      { ...outcome.metrics, ...timeline, bad_steps: run.badSteps, epoch, num_tokens },
      outcome.records,
    );
  }

  /** Logs, evaluates and saves what is due after a step, or what callbacks make of it. */
  async #finishStep(run: Run, metrics: Metrics, records: readonly CompletionRecord[]): Promise<void> {
    const { plan, window } = run;
    const { control } = this.#callbacks;
    const step = this.#state.globalStep;
    window.add(metrics);
    // What fails from here on finds in a checkpoint what was still to be done.
    control.shouldLog ||= isDue(plan, plan.logEvery, step) || (step === 1 && this.args.loggingFirstStep);
    control.shouldEvaluate ||= isDue(plan, plan.evalEvery, step);
    control.shouldSave ||= isDue(plan, plan.saveEvery, step);
    await this.#log.step(step, metrics, records);
    await this.#callbacks.emit("onStepEnd", metrics);
    control.shouldLog ||= control.shouldTrainingStop;
    if (control.shouldLog) await this.#logWindow(run, records);
    if (run.badSteps >= this.args.maxBadSteps) throw await this.#nonFinite(run);
    if (control.shouldEvaluate) await this.#evaluateInRun(run);
    if (control.shouldSave) await this.#save(run);
  }

  /** What was left undone after the step that a resumed run goes on from. */
  async #makeUp(run: Run): Promise<void> {
    const { control } = this.#callbacks;
    if (control.shouldLog) await this.#logWindow(run, []);
    if (control.shouldEvaluate) await this.#evaluateInRun(run);
    if (control.shouldSave) await this.#save(run);
  }

  async #logWindow(run: Run, records: readonly CompletionRecord[]): Promise<void> {
    const { globalStep: step } = this.#state;
    const { totalSteps } = run.plan;
    const means = { step, ...run.window.take() };
    const last = step === totalSteps || this.#callbacks.control.shouldTrainingStop;
    this.#state.logHistory.push(means);
    this.#callbacks.control.shouldLog = false;
    this.#log.window(step, totalSteps, means, last ? undefined : secondsLeft(run, this.#state));
    if (this.args.logCompletions) this.#log.samples(records, this.args.numCompletionsToPrint ?? records.length);
    await this.#callbacks.emit("onLog", means);
  }

  async #loadBest(): Promise<void> {
    const folder = await this.#checkpoints.loadBest();
    if (folder !== undefined) this.#log.note(`took back the best model, of ${folder} (${this.#state.bestMetric})`);
  }

  async #nonFinite(run: Run): Promise<GrpoError> {
    const folder = this.args.saveStrategy !== "no" ? await this.#save(run) : undefined;
    await this.#checkpoints.written();
    const where = folder ? `the last good state is in ${folder}` : "the model holds the last good state";
    return new GrpoError(
      "NON_FINITE",
      `loss or gradient was not finite in ${run.badSteps} steps in a row, up to step ${this.#state.globalStep}`,
      { hint: `${where}; lower learningRate, or load the model in float32` },
    );
  }

  /** Samples evalDataset and scores it; weights do not change. Greedy with doSample: false. */
  async evaluate(options: EvaluateOptions = {}): Promise<Evaluation> {
    try {
      const evaluation = await this.#evaluator.run(options, this.#state);
      this.#log.evaluation(this.#state.globalStep, evaluation.metrics, evaluation.completions);
      if (!this.#training) await this.#log.written();
      return evaluation;
    } finally {
      if (!this.#training) await this.#closeRewards();
    }
  }

  /** As in transformers, an untrained model is no candidate for the best. */
  async #evaluateAtStart(run: Run): Promise<void> {
    const { metrics } = await this.evaluate({ signal: run.signal });
    this.#state.logHistory.push({ step: 0, ...metrics });
    await this.#callbacks.emit("onEvaluate", metrics);
  }

  async #evaluateInRun(run: Run): Promise<void> {
    const { metrics } = await this.evaluate({ signal: run.signal });
    const { best, stop } = this.#best.take(metrics, this.#state);
    this.#state.logHistory.push({ step: this.#state.globalStep, ...metrics });
    this.#callbacks.control.shouldEvaluate = false;
    const { loadBestModelAtEnd, saveStrategy } = this.args;
    if (best && (loadBestModelAtEnd || saveStrategy === "best")) {
      this.#state.bestModelCheckpoint = this.#checkpoints.path;
      await this.#save(run);
    }
    if (stop) {
      this.#log.note(`stopping early: ${this.#state.evaluationsWithoutGain} evaluations without a gain`);
      this.#callbacks.control.shouldTrainingStop = true;
    }
    await this.#callbacks.emit("onEvaluate", metrics);
  }

  /** The adapter and the tokenizer files. With the option pushToHub they also go to the Hub. */
  async saveModel(directory: string = this.args.outputDir): Promise<void> {
    await this.#options.model.savePretrained(directory);
    await this.#options.processingClass.savePretrained(directory);
    if (this.args.pushToHub) await this.pushToHub({ commitMessage: "Model save" });
  }

  /** Uploads model, tokenizer, metrics and a model card; returns the commit's address. */
  async pushToHub(options: TrainerPushOptions = {}): Promise<string> {
    const { model, processingClass } = this.#options;
    return this.#hub.push({ commitMessage: "End of training", ...options }, async (folder) => {
      await model.savePretrained(folder);
      await processingClass.savePretrained(folder);
    });
  }

  /** Saves the current step unless it is saved already; the path of its checkpoint, which is being written. */
  async #save(run: Run): Promise<string> {
    if (this.#checkpoints.isSaved) return this.#checkpoints.path;
    const state = { ...this.#state, logHistory: [...this.#state.logHistory] };
    return this.#checkpoints.save(run, {
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
  async #cutShort(run: Run, error: unknown): Promise<unknown> {
    const step = this.#state.globalStep;
    const cancelled = run.signal.aborted;
    let saved = "";
    // What was cut short may have left a part of its gradient, which a later step must not find.
    await this.#options.model.zeroGrad().catch(() => {});
    // What kept an earlier checkpoint from being written may be what is thrown.
    await this.#checkpoints.written().catch(() => {});
    if (this.args.saveStrategy !== "no" && (step > 0 || this.#checkpoints.isSaved)) {
      try {
        const checkpoint = await this.#save(run);
        await this.#checkpoints.written();
        const own = this.#options.resumeHint?.(checkpoint);
        saved = `step ${step} is saved; go on with ${own ?? `train({ resumeFromCheckpoint: "${checkpoint}" })`}`;
      } catch (failure) {
        saved = `saving step ${step} failed too: ${reasonOf(failure)}`;
      }
    }
    if (!cancelled) {
      if (saved) this.#log.note(saved);
      return error;
    }
    const hint = saved || "nothing was saved";
    this.#log.note(`stopped after step ${step}; ${hint}`);
    return new GrpoError("CANCELLED", `training stopped after step ${step} of ${run.plan.totalSteps}`, {
      hint,
      cause: error,
    });
  }

  async #closeRewards(): Promise<void> {
    await this.#rewards.close().catch((error: unknown) => this.#log.note(`closing the rewards: ${reasonOf(error)}`));
  }

  #progress({ plan }: Run, began: number): NonNullable<RolloutRequest["onProgress"]> {
    return ({ completions, tokens }) => {
      const speed = Math.round(tokens / ((performance.now() - began) / 1000));
      const sampled = `sampled ${completions} of ${plan.completionsPerGeneration} completions  ${speed} tok/s`;
      this.#log.status(`step ${this.#state.globalStep + 1}/${plan.totalSteps}  ${sampled}`);
    };
  }
}
