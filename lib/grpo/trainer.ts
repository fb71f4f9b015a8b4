// GRPOTrainer: samples completions, scores them, turns rewards into advantages, adds up the gradient and updates the adapter; every step
// is a function of (weights, rows, step, seed). How a run goes is in run/training-loop.ts, what a step does in train-step.ts; this file
// puts the parts together.

import { unlessAborted } from "../abort.js";
import type { RolloutFunction } from "../agents/rollout.js";
import { checkText } from "../checks.js";
import { ProcessRanks } from "../distributed/process-ranks.js";
import { GrpoError, reasonOf } from "../errors.js";
import type { CompletionRecord } from "../log/run-log.js";
import { RewardRuntime } from "../rewards/runtime.js";
import { PolicyVersions } from "../rollout/policy-versions.js";
import type { PromptTable } from "../rollout/prompts.js";
import type { Sampler } from "../rollout/sampler.js";
import { checkPushOptions, type TrainerPushOptions } from "../run/hub-push.js";
import type { RunView } from "../run/loop-options.js";
import type { TrainResult } from "../run/progress.js";
import type { TrainOptions } from "../run/run.js";
import { defaultOutputDir, TrainedModel } from "../run/trained-model.js";
import { TrainingLoop } from "../run/training-loop.js";
import type { ServerSampler } from "../servers/server-sampler.js";
import type { ProcessingClass } from "../tokenizer/processing-class.js";
import type { AnyRewardFn, TrainerState } from "../types.js";
import { checkEvaluateOptions, checkTrainerOptions } from "./arguments.js";
import { cardFacts } from "./card.js";
import { GRPOConfig } from "./config.js";
import { samplesOnServers } from "./config-fields.js";
import { Evaluator } from "./evaluation.js";
import { GRPORun } from "./grpo-run.js";
import { formatEvaluation, formatSamples, formatStepLine } from "./lines.js";
import { isRunMetric, stepCounts } from "./metric-names.js";
import { planTraining } from "./plan.js";
import { checkMemory } from "./preflight.js";
import { RewardNotes } from "./reward-notes.js";
import { RolloutUse } from "./rollout-use.js";
import {
  checkRewardColumns,
  checkSampler,
  connectServers,
  type EvaluateOptions,
  type Evaluation,
  type GRPOTrainerOptions,
  type PolicyModel,
  type Prompted,
  promptTable,
  resolveRewardFunctions,
  resolveRewardWeights,
  type TrainerRows,
  type TrainerSetup,
  trainerRows,
  usableRows,
} from "./setup.js";
import { ToolUse } from "./tool-use.js";

/** What is made once the model is there. */
interface Parts<Row extends object> {
  readonly setup: TrainerSetup<Row>;
  readonly prompts: PromptTable<Row>;
  readonly evaluator: Evaluator<Row>;
}

/**
 * Trains a model with GRPO: samples groups of completions, scores them, and raises the likelihood of the better
 * ones.
 */
export class GRPOTrainer<Row extends object> {
  readonly args: GRPOConfig;
  readonly #policy: TrainedModel<PolicyModel, ProcessingClass>;
  #sampler: Sampler | undefined;
  /** Servers that the config asks for: the trainer's own, which it leaves as they were. */
  #servers: ServerSampler | undefined;
  readonly #toolUse: ToolUse | undefined;
  readonly #rollouts: RolloutUse<Row> | undefined;
  readonly #rows: TrainerRows<Row>;
  readonly #functions: readonly AnyRewardFn[];
  readonly #rewards: RewardRuntime;
  readonly #notes = new RewardNotes((text) => this.#loop.note(text));
  readonly #rewardWeights: readonly number[];
  readonly #loop: TrainingLoop<GRPOConfig>;
  readonly #ranks: ProcessRanks;
  #parts: Parts<Row> | undefined;
  #run: GRPORun<Row> | undefined;
  /** The reference is fixed when training first begins. */
  #begun = false;

  /** Throws UNKNOWN_OPTION, BAD_OPTION, BAD_INPUT or BAD_DATASET for what can be known before anything is loaded. */
  constructor(given: GRPOTrainerOptions<Row> & { readonly rollout: RolloutFunction<Row> });
  constructor(given: GRPOTrainerOptions<Prompted<Row>>);
  constructor(given: GRPOTrainerOptions<Row>) {
    const options = checkTrainerOptions<Row>(given);
    // Which columns its reward functions read is checked by the type of the argument, and matters no more.
    const args = (options.args ?? new GRPOConfig(defaultOutputDir(options.model, "GRPO"))) as GRPOConfig;
    this.args = args;
    this.#ranks = new ProcessRanks(args.ddpTimeout);
    this.#policy = new TrainedModel<PolicyModel, ProcessingClass>("GRPOTrainer", options, args);
    checkSampler(options.sampler, args);
    if (this.#ranks.size > 1) checkRanks(args);
    this.#sampler = options.sampler;
    this.#rows = trainerRows(options, args);
    this.#toolUse = ToolUse.of(options, args);
    this.#rollouts = RolloutUse.of(options, args, this.#notes);
    if (this.#toolUse && this.#rollouts) throw toolsTwice();
    const further = [...(this.#toolUse?.rewards ?? []), ...(this.#rollouts?.rewards ?? [])];
    const functions = resolveRewardFunctions(options.rewardFuncs, args, further);
    this.#functions = functions;
    this.#rewardWeights = resolveRewardWeights(args, functions.length - further.length, further.length);
    this.#rewards = new RewardRuntime({
      functions,
      concurrency: args.rewardConcurrency,
      timeout: args.rewardTimeout,
      onError: args.onRewardError,
      reserved: (metric) => isRunMetric(metric, this.#rewards.names),
      onFailure: (name, kind, error) => this.#notes.failed(name, kind, error, args.onRewardError),
    });
    checkRewardColumns(functions, this.#rows, args.removeUnusedColumns);
    if (this.#policy.isLoaded && !samplesOnServers(args)) this.#parts = this.#makeParts();
    this.#loop = new TrainingLoop({
      args,
      ranks: this.#ranks,
      trained: this.#policy,
      open: () => this.#open(),
      view: viewOf(args, this.#rewards.names),
      callbacks: options.callbacks,
      loggers: options.loggers,
      output: options.output,
      resumeHint: options.resumeHint,
      completionsRepo: args.logCompletionsHubRepo,
      close: (signal) => this.#close(signal),
    });
    // Last, so that a model whose trainer was refused is as it was.
    this.#policy.adapt();
  }

  /** Who is trained. Throws BAD_INPUT before a model that was given by its id is loaded. */
  get model(): PolicyModel {
    return this.#policy.model;
  }

  /** The tokenizer. Throws BAD_INPUT before one that was not given is loaded. */
  get processingClass(): ProcessingClass {
    return this.#policy.tokenizer;
  }

  /** Where the run stands: steps, epochs, and the history of logged metrics. */
  get state(): TrainerState {
    return this.#loop.state;
  }

  /** Loads the model and the tokenizer where they were not given. What follows does so by itself. */
  async load(): Promise<void> {
    await this.#open();
  }

  /** Trains to the end of the plan. However it ends, the last finished step is saved (unless saveStrategy is "no"). */
  train(options: TrainOptions = {}): Promise<TrainResult> {
    return this.#loop.train(options, (signal) => this.#planRun(signal));
  }

  /** Samples evalDataset and scores it; weights do not change. Greedy with doSample: false. */
  async evaluate(options: EvaluateOptions = {}): Promise<Evaluation> {
    checkEvaluateOptions(options);
    const { evaluator, setup } = await this.#open(options.signal);
    setup.versions.changed();
    return this.#loop.evaluate(() => evaluator.run(options, this.state));
  }

  /** The adapter and the tokenizer files. With the option pushToHub they also go to the Hub. */
  async saveModel(directory?: string | null): Promise<void> {
    const folder = checkText("saveModel", "directory", directory ?? this.args.outputDir);
    await this.#open();
    await this.#loop.saveModel(folder);
  }

  /** Uploads model, tokenizer, metrics and a model card; returns the commit's address. */
  async pushToHub(options: TrainerPushOptions = {}): Promise<string> {
    checkPushOptions(options);
    await this.#open();
    return this.#loop.pushToHub(options);
  }

  async #open(signal?: AbortSignal): Promise<Parts<Row>> {
    await this.#policy.load();
    await this.#ranks.join(this.#policy.model);
    if (samplesOnServers(this.args)) await this.#connect(signal);
    this.#parts ??= this.#makeParts();
    return this.#parts;
  }

  async #connect(signal: AbortSignal | undefined): Promise<void> {
    if (this.#servers !== undefined) return;
    this.#servers = await connectServers(this.args, signal);
    this.#sampler = this.#servers;
    for (const { kind, version, url, model } of this.#servers.servers) {
      this.#loop.note(`server   ${[kind, version].filter(Boolean).join(" ")} at ${url} with ${model}`);
    }
  }

  #makeParts(): Parts<Row> {
    const { args } = this;
    const { model, tokenizer } = this.#policy;
    const drawn = this.#sampler ?? model;
    const tools = this.#toolUse?.sampler(drawn, tokenizer);
    const sampler = tools ?? this.#rollouts?.sampler(drawn, tokenizer, this.#rewards.names) ?? drawn;
    const setup = {
      ...this.#rows,
      learner: model,
      sampler,
      versions: new PolicyVersions(model),
      processingClass: tokenizer,
      toolUse: this.#toolUse,
      makesPrompts: this.#rollouts !== undefined,
      ranks: this.#ranks,
    };
    const evaluator = new Evaluator(setup, args, this.#rewards, this.#rewardWeights, this.#notes);
    return { setup, prompts: promptTable(setup.trainDataset, setup, args), evaluator };
  }

  /** Rows and plan; what cannot fit even with prompts of one token is refused before anything is allocated. */
  async #planRun(signal: AbortSignal): Promise<GRPORun<Row>> {
    const { args } = this;
    const { setup, prompts, evaluator } = await this.#open(signal);
    const { learner, trainDataset } = setup;
    await unlessAborted(trainDataset.load?.(signal), signal, "trainDataset");
    checkRewardColumns(this.#functions, this.#rows, args.removeUnusedColumns);
    const rows = await usableRows(prompts, trainDataset.length, args, signal);
    const dropped = trainDataset.length - rows.length;
    const plan = planTraining(args, rows.length, dropped > 0 ? prompts.whyDropped(dropped) : undefined);
    for (const note of this.#policy.notes) this.#loop.note(`note     ${note}`);
    await checkMemory(learner, { args, plan, longestPrompt: 1, evalPrompts: 0 });
    if (!this.#begun) await learner.beginTraining({ reference: args.beta > 0, mixed: args.syncRefModel });
    this.#begun = true;
    await this.#ranks.shareValues();
    this.#run = new GRPORun({
      setup,
      args,
      rewards: this.#rewards,
      rewardWeights: this.#rewardWeights,
      notes: this.#notes,
      prompts,
      evaluator,
      plan,
      rows,
      state: this.state,
      status: (text) => this.#loop.status(text),
    });
    return this.#run;
  }

  async #close(signal?: AbortSignal): Promise<void> {
    await this.#run?.close();
    this.#run = undefined;
    await this.#rollouts?.close();
    await this.#servers
      ?.dispose()
      .catch((error: unknown) => this.#loop.note(`leaving the servers: ${reasonOf(error)}`));
    await unlessAborted(this.#rewards.close(), signal, "a reward function's close").catch((error: unknown) => {
      this.#loop.note(`closing the rewards: ${reasonOf(error)}`);
    });
  }
}

/** What several ranks cannot do yet. */
function checkRanks(args: GRPOConfig): void {
  if (samplesOnServers(args)) {
    throw new GrpoError(
      "BAD_OPTION",
      "GRPOTrainer: useVllm asks for servers, and several ranks cannot share them yet",
      {
        hint: "let every rank sample by itself: leave useVllm out",
      },
    );
  }
  if (args.maxStaleness > 0) {
    throw new GrpoError("BAD_OPTION", "GRPOTrainer: maxStaleness samples ahead, and ranks exchange samples in turns", {
      hint: "set maxStaleness to 0, or start one process",
    });
  }
}

function toolsTwice(): GrpoError {
  return new GrpoError(
    "BAD_OPTION",
    "GRPOTrainer: a rollout calls its own tools, and tools or environmentFactory are given too",
    {
      hint: "keep one of them",
    },
  );
}

function viewOf(args: GRPOConfig, rewardNames: readonly string[]): RunView {
  // Of an evaluation, which may have many more, at most as many as of a generation.
  const most = args.numCompletionsToPrint ?? args.completionsPerGeneration;
  const samples = (records: readonly CompletionRecord[], width: number) =>
    args.logCompletions ? formatSamples(records.slice(0, most), width) : [];
  return {
    bestMetric: "reward",
    counts: stepCounts,
    windowLines: ({ records, ...window }) => [
      formatStepLine({ ...window, rewardNames }),
      ...samples(records, window.width),
    ],
    evaluationLines: ({ step, metrics, records, width }) => [
      formatEvaluation(step, metrics, rewardNames, width),
      ...samples(records, width),
    ],
    card: (state) => cardFacts(args, state, rewardNames),
  };
}
