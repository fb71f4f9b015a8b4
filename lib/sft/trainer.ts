// SFTTrainer: supervised fine-tuning. How a run goes is in run/training-loop.ts, what a step does in sft-run.ts; this file puts the parts
// together.

import { readFileSync } from "node:fs";
import { checkSignal, checkText } from "../checks.js";
import { worldSize } from "../distributed/environment.js";
import { GrpoError, reasonOf } from "../errors.js";
import type { TrainingFacts } from "../hub/model-card.js";
import type { SupervisedLearner } from "../model/learner.js";
import { checkPushOptions, type TrainerPushOptions } from "../run/hub-push.js";
import type { RunView } from "../run/loop-options.js";
import type { TrainResult } from "../run/progress.js";
import type { TrainOptions } from "../run/run.js";
import { defaultOutputDir, TrainedModel } from "../run/trained-model.js";
import { TrainingLoop } from "../run/training-loop.js";
import type { TrainerState } from "../types.js";
import { stopTokenIsTrained } from "./assistant-turns.js";
import { SFTConfig } from "./config.js";
import { evaluate } from "./evaluation.js";
import { formatEvaluation, formatStepLine } from "./lines.js";
import { planTraining } from "./plan.js";
import { checkTrainerOptions, evaluatesInRun, type SFTEvaluation, type SFTTrainerOptions } from "./setup.js";
import { SftRun } from "./sft-run.js";
import type { TextTokenizer } from "./text-tokenizer.js";
import { prepareData, type TrainingData } from "./training-data.js";

/** Trains a model to say what the rows of a data set say. */
export class SFTTrainer<Row extends object> {
  readonly args: SFTConfig;
  readonly #options: SFTTrainerOptions<Row>;
  readonly #trained: TrainedModel<SupervisedLearner, TextTokenizer>;
  readonly #loop: TrainingLoop<SFTConfig>;
  /** Whether the tokenizer has been told what the config says of it. */
  #isSetUp = false;
  /** The data sets, once they are tokenized. */
  #train: Promise<TrainingData> | undefined;
  #eval: Promise<TrainingData> | undefined;
  #begun = false;

  /** Throws UNKNOWN_OPTION, BAD_OPTION or BAD_INPUT for what can be known before anything is loaded. */
  constructor(given: SFTTrainerOptions<Row>) {
    const options = checkTrainerOptions(given);
    const args = options.args ?? new SFTConfig(defaultOutputDir(options.model, "SFT"));
    if (worldSize() > 1) throw severalRanks();
    this.args = args;
    this.#options = options;
    evaluatesInRun(args, options.evalDataset !== undefined);
    this.#trained = new TrainedModel<SupervisedLearner, TextTokenizer>("SFTTrainer", options, args);
    this.#loop = new TrainingLoop({
      args,
      trained: this.#trained,
      open: () => this.load(),
      view: viewOf(args),
      callbacks: options.callbacks,
      loggers: options.loggers,
      output: options.output,
      resumeHint: options.resumeHint,
    });
    // Last, so that a model whose trainer was refused is as it was.
    this.#trained.adapt();
  }

  /** Who is trained. Throws BAD_INPUT before a model that was given by its id is loaded. */
  get model(): SupervisedLearner {
    return this.#trained.model;
  }

  /** The tokenizer. Throws BAD_INPUT before one that was not given is loaded. */
  get processingClass(): TextTokenizer {
    return this.#trained.tokenizer;
  }

  /** Where the run stands: steps, epochs, and the history of logged metrics. */
  get state(): TrainerState {
    return this.#loop.state;
  }

  /** Loads the model and the tokenizer where they were not given. What follows does so by itself. */
  async load(): Promise<void> {
    await this.#trained.load();
    if (!this.#isSetUp) setUpTokenizer(this.#trained.tokenizer, this.args);
    this.#isSetUp = true;
  }

  /** Trains to the end of the plan. However it ends, the last finished step is saved (unless saveStrategy is "no"). */
  train(options: TrainOptions = {}): Promise<TrainResult> {
    return this.#loop.train(options, (signal) => this.#planRun(signal));
  }

  /** The loss of evalDataset; weights do not change. Aborting the signal ends the call with the error CANCELLED. */
  async evaluate(options: { readonly signal?: AbortSignal } = {}): Promise<SFTEvaluation> {
    checkSignal("evaluate", options.signal);
    await this.load();
    const data = await this.#evalData(options.signal);
    return this.#loop.evaluate(() => this.#evaluate(data, options.signal));
  }

  /** The adapter or the model, and the tokenizer files. With the option pushToHub they also go to the Hub. */
  async saveModel(directory?: string | null): Promise<void> {
    const folder = checkText("saveModel", "directory", directory ?? this.args.outputDir);
    await this.load();
    await this.#loop.saveModel(folder);
  }

  /** Uploads model, tokenizer, metrics and a model card; returns the commit's address. */
  async pushToHub(options: TrainerPushOptions = {}): Promise<string> {
    checkPushOptions(options);
    await this.load();
    return this.#loop.pushToHub(options);
  }

  async #planRun(signal: AbortSignal): Promise<SftRun> {
    const { args } = this;
    const { model, tokenizer } = this.#trained;
    const data = await this.#trainData(signal);
    const evaluates = evaluatesInRun(args, this.#options.evalDataset !== undefined);
    const evalData = evaluates ? await this.#evalData(signal) : undefined;
    const notes = [...this.#trained.notes, ...stopTokenNotes(tokenizer, args)];
    if (!this.#begun) await model.beginTraining({ reference: false, mixed: false });
    this.#begun = true;
    const plan = planTraining(args, data.rows.length);
    return new SftRun({ model, args, data, evalData, plan, state: this.state, notes });
  }

  #trainData(signal: AbortSignal): Promise<TrainingData> {
    const { args } = this;
    this.#train ??= this.#prepare("trainDataset", args.packing, args.maxSteps * args.rowsPerStep, signal).catch(
      (error) => {
        this.#train = undefined;
        throw error;
      },
    );
    return this.#train;
  }

  #evalData(signal?: AbortSignal): Promise<TrainingData> {
    const packing = this.args.evalPacking ?? this.args.packing;
    this.#eval ??= this.#prepare("evalDataset", packing, Number.POSITIVE_INFINITY, signal).catch((error) => {
      this.#eval = undefined;
      throw error;
    });
    return this.#eval;
  }

  async #prepare(
    name: "trainDataset" | "evalDataset",
    packing: boolean,
    needed: number,
    signal: AbortSignal | undefined,
  ): Promise<TrainingData> {
    const { [name]: rows, formattingFunc } = this.#options;
    if (rows === undefined)
      throw new GrpoError("BAD_INPUT", "evaluate() needs rows", { hint: "give evalDataset to SFTTrainer" });
    const options = { name, args: this.args, packing, needed, ...(formattingFunc && { formattingFunc }) };
    return prepareData(rows, this.#trained.tokenizer, options, signal);
  }

  #evaluate(data: TrainingData, signal: AbortSignal | undefined): Promise<SFTEvaluation> {
    return evaluate(this.#trained.model, data, this.args, this.state.numInputTokensSeen, signal);
  }
}

/** What the config says of the tokenizer, which is saved with it. */
function setUpTokenizer(tokenizer: TextTokenizer, { eosToken, chatTemplatePath }: SFTConfig): void {
  if (eosToken !== null) tokenizer.eosToken = eosToken;
  if (chatTemplatePath === null) return;
  if (!/\.(jinja|j2)$/.test(chatTemplatePath)) {
    throw new GrpoError("BAD_OPTION", `SFTConfig: chatTemplatePath must be a .jinja file, found ${chatTemplatePath}`, {
      hint: "to take the template of another model, set tokenizer.chatTemplate and give the tokenizer as processingClass",
    });
  }
  try {
    tokenizer.chatTemplate = readFileSync(chatTemplatePath, "utf8");
  } catch (cause) {
    if (cause instanceof GrpoError) throw cause;
    throw new GrpoError("FILE_NOT_FOUND", `chatTemplatePath: cannot read ${chatTemplatePath}: ${reasonOf(cause)}`, {
      cause,
    });
  }
}

function stopTokenNotes(tokenizer: TextTokenizer, { assistantOnlyLoss }: SFTConfig): string[] {
  if (!assistantOnlyLoss || stopTokenIsTrained(tokenizer)) return [];
  return [
    "the chat template does not mark the token that ends an assistant's turn, so the model may not learn to stop; put it inside {% generation %} … {% endgeneration %}",
  ];
}

function viewOf(args: SFTConfig): RunView {
  return {
    bestMetric: "loss",
    windowLines: (window) => [formatStepLine(window)],
    evaluationLines: ({ step, metrics, width }) => [formatEvaluation(step, metrics, width)],
    card: (state) => cardFacts(args, state),
  };
}

/** What the model card says of the run. */
function cardFacts(args: SFTConfig, state: TrainerState): Omit<TrainingFacts, "dataset"> {
  const latest = (name: string) => state.logHistory.findLast((entry) => entry[name] !== undefined)?.[name];
  const numbers = { "training loss": latest("loss"), "evaluation loss": latest("eval_loss") };
  const known = Object.entries(numbers).filter((entry): entry is [string, number] => entry[1] !== undefined);
  return {
    method: "SFT",
    rewardNames: [],
    curve: [],
    settings: {
      steps: state.globalStep,
      "rows per step": args.rowsPerStep,
      "learning rate": args.learningRate,
      loss: args.lossType,
      "longest row": args.maxLength ?? "any",
      packing: args.packing ? args.packingStrategy : "none",
      seed: args.seed,
      ...Object.fromEntries(known.map(([name, value]) => [name, Number(value.toFixed(4))])),
    },
  };
}

/** Each rank would train a model of its own, and all would write into one folder. */
function severalRanks(): GrpoError {
  return new GrpoError(
    "BAD_OPTION",
    `SFTTrainer trains in one process, and the environment names ${worldSize()} ranks`,
    {
      hint: "start one process; GRPOTrainer trains on several ranks",
    },
  );
}
