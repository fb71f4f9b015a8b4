// GRPOTrainer: samples completions, scores them, turns rewards into advantages, adds up the gradient and updates the adapter; every step
// is a function of (weights, rows, step, seed). How a run goes is in run/training-loop.ts, what a step does in train-step.ts; this file
// puts the parts together.

import { unlessAborted } from "../abort.js";
import { reasonOf } from "../errors.js";
import { noteFirstFailures } from "../rewards/failure.js";
import { RewardRuntime } from "../rewards/runtime.js";
import type { PromptTable } from "../rollout/prompts.js";
import type { TrainerPushOptions } from "../run/hub-push.js";
import type { RunView } from "../run/loop-options.js";
import type { TrainResult } from "../run/progress.js";
import type { TrainOptions } from "../run/run.js";
import { TrainingLoop } from "../run/training-loop.js";
import type { Prompt, TrainerState } from "../types.js";
import { cardFacts } from "./card.js";
import { GRPOConfig } from "./config.js";
import { Evaluator } from "./evaluation.js";
import { GRPORun } from "./grpo-run.js";
import { formatEvaluation, formatSamples, formatStepLine } from "./lines.js";
import { failureCounts } from "./metrics.js";
import { planTraining } from "./plan.js";
import { checkMemory } from "./preflight.js";
import {
  type EvaluateOptions,
  type Evaluation,
  type GRPOTrainerOptions,
  promptTable,
  resolveRewardFunctions,
  resolveRewardWeights,
  rewardColumns,
  type TrainerSetup,
  trainerSetup,
  usableRows,
} from "./setup.js";

/**
 * Trains a model with GRPO: samples groups of completions, scores them, and raises the likelihood of the better
 * ones.
 */
export class GRPOTrainer<Row extends { readonly prompt: Prompt }> {
  readonly args: GRPOConfig;
  readonly #setup: TrainerSetup<Row>;
  readonly #rewards: RewardRuntime;
  readonly #rewardWeights: readonly number[];
  readonly #prompts: PromptTable<Row>;
  readonly #evaluator: Evaluator<Row>;
  readonly #loop: TrainingLoop<GRPOConfig>;
  /** The reference is fixed when training first begins. */
  #begun = false;

  constructor(options: GRPOTrainerOptions<Row>) {
    const args = options.args ?? new GRPOConfig();
    this.args = args;
    this.#setup = trainerSetup(options, args);
    const functions = resolveRewardFunctions(options.rewardFuncs, args);
    this.#rewardWeights = resolveRewardWeights(args, functions.length);
    this.#rewards = new RewardRuntime({
      functions,
      concurrency: args.rewardConcurrency,
      timeout: args.rewardTimeout,
      onError: args.onRewardError,
      onFailure: noteFirstFailures((text) => this.#loop.note(text), args.onRewardError),
    });
    rewardColumns(this.#setup.trainDataset, args.removeUnusedColumns);
    this.#prompts = promptTable(this.#setup.trainDataset, this.#setup, args);
    this.#evaluator = new Evaluator(this.#setup, args, this.#rewards, this.#rewardWeights);
    this.#loop = new TrainingLoop({
      args,
      model: options.model,
      tokenizer: options.processingClass,
      view: viewOf(args, this.#rewards.names),
      callbacks: options.callbacks,
      loggers: options.loggers,
      output: options.output,
      resumeHint: options.resumeHint,
      completionsRepo: args.logCompletionsHubRepo,
      close: () => this.#closeRewards(),
    });
  }

  /** Where the run stands: steps, epochs, and the history of logged metrics. */
  get state(): TrainerState {
    return this.#loop.state;
  }

  /** Trains to the end of the plan. However it ends, the last finished step is saved (unless saveStrategy is "no"). */
  train(options: TrainOptions = {}): Promise<TrainResult> {
    return this.#loop.train(options, (signal) => this.#planRun(signal));
  }

  /** Samples evalDataset and scores it; weights do not change. Greedy with doSample: false. */
  evaluate(options: EvaluateOptions = {}): Promise<Evaluation> {
    return this.#loop.evaluate(() => this.#evaluator.run(options, this.state));
  }

  /** The adapter and the tokenizer files. With the option pushToHub they also go to the Hub. */
  saveModel(directory: string = this.args.outputDir): Promise<void> {
    return this.#loop.saveModel(directory);
  }

  /** Uploads model, tokenizer, metrics and a model card; returns the commit's address. */
  pushToHub(options: TrainerPushOptions = {}): Promise<string> {
    return this.#loop.pushToHub(options);
  }

  /** Rows and plan; what cannot fit even with prompts of one token is refused before anything is allocated. */
  async #planRun(signal: AbortSignal): Promise<GRPORun<Row>> {
    const { args } = this;
    const { learner, trainDataset } = this.#setup;
    await unlessAborted(trainDataset.load?.(signal), signal, "the data set");
    const rows = await usableRows(this.#prompts, trainDataset.length, args, signal);
    const plan = planTraining(args, rows.length);
    await checkMemory(learner, { args, plan, longestPrompt: 1, evalPrompts: 0 });
    if (!this.#begun) await learner.beginTraining({ reference: args.beta > 0, mixed: args.syncRefModel });
    this.#begun = true;
    return new GRPORun({
      setup: this.#setup,
      args,
      rewards: this.#rewards,
      rewardWeights: this.#rewardWeights,
      prompts: this.#prompts,
      evaluator: this.#evaluator,
      plan,
      rows,
      state: this.state,
      status: (text) => this.#loop.status(text),
    });
  }

  async #closeRewards(): Promise<void> {
    await this.#rewards.close().catch((error: unknown) => this.#loop.note(`closing the rewards: ${reasonOf(error)}`));
  }
}

function viewOf(args: GRPOConfig, rewardNames: readonly string[]): RunView {
  return {
    bestMetric: "reward",
    counts: failureCounts,
    windowLines: ({ records, ...window }) => [
      formatStepLine({ ...window, rewardNames }),
      ...(args.logCompletions
        ? formatSamples(records.slice(0, args.numCompletionsToPrint ?? records.length), window.width)
        : []),
    ],
    evaluationLines: (step, metrics, width) => [formatEvaluation(step, metrics, rewardNames, width)],
    card: (state) => cardFacts(args, state, rewardNames),
  };
}
