// GRPOTrainer: the training loop. A step samples completions, scores them, turns rewards into advantages, adds up the
// gradient and updates the adapter; everything in it is a function of (weights, rows, step, seed). The parts live in
// rollout.ts, advantages.ts, checkpoint.ts and log/; this file is their order, and what happens when a run is cut short.

import { GrpoError, reasonOf } from "../errors.js";
import { type CompletionRecord, describePlan, RunLog } from "../log/run-log.js";
import { RewardRuntime } from "../rewards/runtime.js";
import type { Prompt, TrainerState } from "../types.js";
import { BestModel } from "./best-model.js";
import {
  checkpointPath,
  checkSameOrder,
  findCheckpoint,
  readCheckpoint,
  removeLeftovers,
  type SavedRun,
  type SavedState,
  saveCheckpoint,
} from "./checkpoint.js";
import { GRPOConfig } from "./config.js";
import { Evaluator } from "./evaluation.js";
import { HubPush, type TrainerPushOptions } from "./hub-push.js";
import { type InterruptWatch, watchInterrupts } from "./interrupt.js";
import { carriedInto, epochAfter, partsOfStep, planTraining, type TrainingPlan } from "./plan.js";
import { PromptSampler } from "./prompt-sampler.js";
import type { PromptTable } from "./prompts.js";
import type { RolloutRequest } from "./rollout.js";
import { type Metrics, MetricWindow } from "./step-metrics.js";
import { TrainSteps } from "./train-step.js";
import {
  type EvaluateOptions,
  type Evaluation,
  type GRPOTrainerOptions,
  promptTable,
  resolveRewardFunctions,
  resolveRewardWeights,
  rewardColumns,
  rolloutSource,
  samplingOptions,
  type TrainerCallback,
  type TrainerSetup,
  type TrainOptions,
  type TrainResult,
  usableRows,
  withRowSources,
} from "./trainer-setup.js";
import { freshState, type MutableState, restoreState, storeState } from "./trainer-state.js";

/** What one call of train() works with. */
interface Run {
  readonly plan: TrainingPlan;
  readonly steps: TrainSteps<unknown>;
  readonly signal: AbortSignal;
  readonly window: MetricWindow;
  readonly started: number;
  readonly firstStep: number;
  lossSum: number;
  badSteps: number;
  lastSaved: number;
  stopped: boolean;
}

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
    });
    rewardColumns(trainDataset, this.args.removeUnusedColumns);
    this.#trainPrompts = promptTable(trainDataset, options.processingClass, options.model, this.args);
    this.#evaluator = new Evaluator(this.#options, this.args, this.#rewards, this.#weights);
    this.#best = new BestModel(this.args);
    this.#log = new RunLog(this.args, this.#rewards.names, { output: options.output, loggers: options.loggers });
    this.#state = freshState(this.args.maxSteps);
    this.#hub = new HubPush({
      ...{ args: this.args, state: this.#state, rewardNames: this.#rewards.names },
      note: (text) => this.#log.note(text),
    });
  }

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
      await this.#log.close();
      watch.dispose();
      watch.passOn();
    }
  }

  async #train({ resumeFromCheckpoint }: TrainOptions, watch: InterruptWatch): Promise<TrainResult> {
    const run = await this.#prepare(resumeFromCheckpoint ?? false, watch.signal);
    await this.#emit("onTrainBegin", run, {});
    try {
      if (this.args.evalOnStart && run.firstStep === 0) await this.#evaluateInRun(run);
      while (this.#state.globalStep < run.plan.totalSteps && !run.stopped) await this.#trainOneStep(run);
      if (run.plan.saveEvery > 0) await this.#save(run);
      if (this.args.loadBestModelAtEnd) await this.#loadBest();
    } catch (error) {
      throw await this.#cutShort(run, error);
    }
    const result = this.#summary(run);
    await this.#emit("onTrainEnd", run, result.metrics);
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
    if (!this.#begun) await model.beginTraining({ reference: args.beta > 0, mixed: args.syncRefModel });
    this.#begun = true;
    const saved = resume === false ? undefined : await this.#resume(resume, plan);
    Object.assign(this.#state, saved ? restoreState(saved.state, plan.totalSteps) : freshState(plan.totalSteps));
    const firstStep = this.#state.globalStep;
    const sampler = new PromptSampler({
      rows: rows.length,
      promptsPerGeneration: plan.promptsPerGeneration,
      shuffle: args.shuffleDataset,
      seed: args.seed,
    });
    const survey = await this.#trainPrompts.survey(rowsAhead(sampler, rows, firstStep, plan), signal);
    const tooLong = trainDataset.length - rows.length;
    await this.#hub.begin();
    const facts = { config: args, plan, model, survey, tooLong, startStep: firstStep };
    for (const line of describePlan(facts)) this.#log.note(line);
    await this.#log.begin(this.#runRecord(plan, firstStep), firstStep);
    const setup = {
      ...{ args, plan, sampler, rows, signal, trainerState: this.#state, rewardWeights: this.#weights },
      ...{ source: rolloutSource(this.#options, args, this.#rewards, this.#trainPrompts, trainDataset) },
      sampling: samplingOptions(args, this.#options.processingClass),
    };
    const steps = new TrainSteps(setup, { generation: saved?.generation, entropy: saved?.state.entropy });
    return {
      ...{ plan, steps, signal, firstStep, started: performance.now(), window: new MetricWindow() },
      ...{ lossSum: 0, badSteps: saved?.state.bad_steps ?? 0, lastSaved: saved ? firstStep : -1, stopped: false },
    };
  }

  async #resume(resume: string | true, plan: TrainingPlan): Promise<SavedRun> {
    const folder = await findCheckpoint(resume, this.args.outputDir);
    const saved = await readCheckpoint(folder);
    checkSameOrder(folder, saved.state.order, this.#order(plan));
    const needed = carriedInto(plan, saved.state.global_step);
    if (needed !== saved.generation?.index) {
      throw new GrpoError(
        "BAD_CHECKPOINT",
        `${folder} lacks the completions that step ${saved.state.global_step + 1} needs`,
        {
          hint: "resume from another checkpoint",
        },
      );
    }
    await this.#options.model.loadCheckpoint(folder);
    return saved;
  }

  async #trainOneStep(run: Run): Promise<void> {
    const step = this.#state.globalStep;
    const outcome = await run.steps.run(step, this.#progress(run, performance.now()));
    run.badSteps = outcome.applied ? 0 : run.badSteps + 1;
    if (outcome.applied) run.lossSum += outcome.metrics.loss ?? 0;
    this.#state.globalStep = step + 1;
    this.#state.epoch = epochAfter(run.plan, step + 1);
    this.#state.numInputTokensSeen += outcome.tokens;
    const { epoch, numInputTokensSeen: num_tokens } = this.#state;
    await this.#finishStep(run, { ...outcome.metrics, bad_steps: run.badSteps, epoch, num_tokens }, outcome.records);
  }

  /** Logs, evaluates and saves what is due after a step. */
  async #finishStep(run: Run, metrics: Metrics, records: readonly CompletionRecord[]): Promise<void> {
    const { plan, window } = run;
    const step = this.#state.globalStep;
    window.add(metrics);
    await this.#log.step(step, metrics, records);
    await this.#emit("onStepEnd", run, metrics);
    const last = step === plan.totalSteps || run.stopped;
    if (step % plan.logEvery === 0 || last || (step === 1 && this.args.loggingFirstStep)) {
      const means = { step, ...window.take() };
      this.#state.logHistory.push(means);
      await this.#log.window(step, plan.totalSteps, means, last ? undefined : this.#secondsLeft(run));
      if (this.args.logCompletions) this.#log.samples(records, this.args.numCompletionsToPrint ?? records.length);
      await this.#emit("onLog", run, means);
    }
    if (run.badSteps >= this.args.maxBadSteps) throw await this.#nonFinite(run);
    if (plan.evalEvery > 0 && step % plan.evalEvery === 0) await this.#evaluateInRun(run);
    if (plan.saveEvery > 0 && (step % plan.saveEvery === 0 || last)) await this.#save(run);
  }

  async #loadBest(): Promise<void> {
    const { bestModelCheckpoint: folder, bestMetric, globalStep } = this.#state;
    if (folder === null || folder === checkpointPath(this.args.outputDir, globalStep)) return;
    await this.#options.model.loadCheckpoint(folder);
    this.#log.note(`took back the best model, of ${folder} (${bestMetric})`);
  }

  async #nonFinite(run: Run): Promise<GrpoError> {
    const folder = run.plan.saveEvery > 0 ? await this.#save(run) : undefined;
    const where = folder ? `the last good state is in ${folder}` : "the model holds the last good state";
    return new GrpoError(
      "NON_FINITE",
      `loss or gradient was not finite in ${run.badSteps} steps in a row, up to step ${this.#state.globalStep}`,
      { hint: `${where}; lower learningRate, or load the model in float32` },
    );
  }

  /** Samples evalDataset and scores it; weights do not change. Greedy with doSample: false. */
  async evaluate(options: EvaluateOptions = {}): Promise<Evaluation> {
    const evaluation = await this.#evaluator.run(options, this.#state);
    await this.#log.evaluation(this.#state.globalStep, evaluation.metrics, evaluation.completions);
    return evaluation;
  }

  async #evaluateInRun(run: Run): Promise<void> {
    const { metrics } = await this.evaluate({ signal: run.signal });
    this.#state.logHistory.push({ step: this.#state.globalStep, ...metrics });
    const { best, stop } = this.#best.take(metrics, this.#state);
    if (best && this.args.loadBestModelAtEnd) {
      this.#state.bestModelCheckpoint = checkpointPath(this.args.outputDir, this.#state.globalStep);
      await this.#save(run);
    }
    if (stop) {
      this.#log.note(`stopping early: ${this.#state.evaluationsWithoutGain} evaluations without a gain`);
      run.stopped = true;
    }
    await this.#emit("onEvaluate", run, metrics);
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

  /** Saves the current step unless it is saved already; the path of its checkpoint. */
  async #save(run: Run): Promise<string> {
    const step = this.#state.globalStep;
    if (run.lastSaved === step) return checkpointPath(this.args.outputDir, step);
    const { model, processingClass: tokenizer } = this.#options;
    const { outputDir, saveTotalLimit: totalLimit } = this.args;
    const { generation, entropy } = run.steps.carried;
    const state = storeState(this.#state, { badSteps: run.badSteps, order: this.#order(run.plan), entropy });
    const checkpoint = await saveCheckpoint({
      outputDir,
      model,
      tokenizer,
      state,
      generation,
      totalLimit,
      keep: this.#state.bestModelCheckpoint,
    });
    run.lastSaved = step;
    await this.#hub.afterSave(checkpoint);
    await this.#emit("onSave", run, {}, checkpoint);
    return checkpoint;
  }

  /** Saves what can be saved after an error or a stop, and says how to go on. Returns the error to throw. */
  async #cutShort(run: Run, error: unknown): Promise<unknown> {
    const step = this.#state.globalStep;
    const cancelled = run.signal.aborted;
    let saved = "";
    // What was cut short may have left a part of its gradient, which a later step must not find.
    await this.#options.model.zeroGrad().catch(() => {});
    if (step > 0 && run.plan.saveEvery > 0) {
      try {
        saved = `step ${step} is saved; go on with train({ resumeFromCheckpoint: "${await this.#save(run)}" })`;
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

  #summary(run: Run): TrainResult {
    const seconds = (performance.now() - run.started) / 1000;
    const steps = this.#state.globalStep - run.firstStep;
    return {
      globalStep: this.#state.globalStep,
      metrics: {
        train_runtime: seconds,
        train_loss: steps > 0 ? run.lossSum / steps : 0,
        train_samples_per_second: (steps * run.plan.completionsPerStep) / seconds,
        train_steps_per_second: steps / seconds,
      },
    };
  }

  #progress(run: Run, began: number): NonNullable<RolloutRequest["onProgress"]> {
    const { totalSteps, completionsPerGeneration } = run.plan;
    return ({ completions, tokens }) => {
      const speed = Math.round(tokens / ((performance.now() - began) / 1000));
      const head = `step ${this.#state.globalStep + 1}/${totalSteps}`;
      this.#log.status(`${head}  sampled ${completions} of ${completionsPerGeneration} completions  ${speed} tok/s`);
    };
  }

  #secondsLeft(run: Run): number {
    const done = this.#state.globalStep - run.firstStep;
    const perStep = (performance.now() - run.started) / 1000 / done;
    return perStep * (run.plan.totalSteps - this.#state.globalStep);
  }

  async #emit(hook: keyof TrainerCallback, run: Run, metrics: Readonly<Metrics>, checkpoint?: string): Promise<void> {
    const stop = (): void => {
      run.stopped = true;
    };
    for (const callback of this.#options.callbacks ?? []) {
      await callback[hook]?.({
        state: this.#state,
        args: this.args,
        metrics,
        stop,
        ...(checkpoint ? { checkpoint } : {}),
      });
    }
  }

  #order(plan: TrainingPlan): SavedState["order"] {
    return {
      seed: this.args.seed,
      rows: plan.rows,
      prompts_per_generation: plan.promptsPerGeneration,
      slices_per_generation: plan.slicesPerGeneration,
      slices_per_step: plan.slicesPerStep,
      num_iterations: plan.iterations,
      num_generations: this.args.numGenerations,
      shuffle_dataset: this.args.shuffleDataset,
    };
  }

  #runRecord(plan: TrainingPlan, firstStep: number): Record<string, unknown> {
    const { device, dtype } = this.#options.model;
    return {
      run_name: this.args.runName,
      resumed_after_step: firstStep,
      config: this.args,
      reward_functions: this.#rewards.names,
      reward_weights: this.#weights,
      plan,
      model: { device, dtype, ...this.#options.model.trainableParameters() },
    };
  }
}

/** Rows of all steps still to come, each once. */
function rowsAhead(
  sampler: PromptSampler,
  rows: readonly number[],
  firstStep: number,
  plan: TrainingPlan,
): Set<number> {
  const ahead = new Set<number>();
  for (let step = firstStep; step < plan.totalSteps && ahead.size < rows.length; step++) {
    for (const { generation } of partsOfStep(plan, step)) {
      for (const index of sampler.rowsOf(generation)) ahead.add(rows[index] ?? 0);
    }
  }
  return ahead;
}
