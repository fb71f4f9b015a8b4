// Everything a run tells the world: console lines, metrics.jsonl (a run record, then one line a step) and
// completions.jsonl (every completion of every step). The trainer hands over facts; how they look is decided here.

import path from "node:path";
import { at } from "../at.js";
import { reasonOf } from "../errors.js";
import type { PolicyModel } from "../policy.js";
import { completionText } from "../rewards/per-sample.js";
import { completionIdsOf, finishReasonOf, type Group, type Sample, type ScoredRollout } from "../rollout/sample.js";
import type { GRPOConfig } from "../trainer/config.js";
import type { TrainingPlan } from "../trainer/plan.js";
import type { PromptSurvey } from "../trainer/prompts.js";
import type { Metrics } from "../trainer/step-metrics.js";
import { Console, type Output } from "./console.js";
import { clip, fixed, formatEvaluation, formatStepLine } from "./format.js";
import { JsonlFile } from "./jsonl.js";
import { type Logger, tensorBoardLogger } from "./logger.js";

/** One line of completions.jsonl, which has besides its `index` among those of its step and split. */
export interface CompletionRecord {
  readonly step: number;
  readonly split: "train" | "eval";
  /** Index of the row in the data set. */
  readonly row: number;
  readonly prompt: unknown;
  readonly completion: string;
  /** All tokens after the prompt; of several samples one after the other. */
  readonly ids: readonly number[];
  /** By reward function; null abstained. */
  readonly rewards: Readonly<Record<string, number | null>>;
  /** Weighted sum; null: every function abstained. */
  readonly reward: number | null;
  readonly advantage: number;
  readonly finish_reason: string;
  readonly extra?: Readonly<Record<string, unknown>>;
  /** Beside `ids`, 1: it counts in the loss, 0: it was given. Absent: every token counts. */
  readonly loss_mask?: readonly number[];
  /** The sequences that `ids` are the tokens of. Absent: one, in the context of the prompt. */
  readonly samples?: readonly SampleRecord[];
}

/** One sequence of a completion that is not simply the continuation of its prompt. */
export interface SampleRecord {
  /** The context. Absent: the prompt of the row. */
  readonly prompt_ids?: readonly number[];
  /** Number of its tokens among `ids`. */
  readonly tokens: number;
  readonly finish_reason: string;
}

const schemaVersion = 1;
/** Steps whose lines are held in memory at most, while a slow disk takes them. */
const mostStepsBehind = 16;

export interface RunLogOptions {
  /** Where console lines go; process.stdout by default. */
  readonly output?: Output | undefined;
  readonly loggers?: readonly Logger[] | undefined;
}

export class RunLog {
  readonly #console: Console | undefined;
  readonly #metrics: JsonlFile | undefined;
  readonly #completions: JsonlFile | undefined;
  readonly #names: readonly string[];
  #loggers: readonly Logger[];
  #pending: Promise<void> = Promise.resolve();
  #failure: { readonly error: unknown } | undefined;
  #stepsBehind = 0;

  constructor(config: GRPOConfig, rewardNames: readonly string[], options: RunLogOptions = {}) {
    this.#names = rewardNames;
    const own = config.logTo.includes("tensorboard") ? [tensorBoardLogger(config.outputDir)] : [];
    this.#loggers = [...own, ...(options.loggers ?? [])];
    if (config.logTo.includes("console")) this.#console = new Console(options.output);
    if (config.logTo.includes("jsonl")) {
      this.#metrics = new JsonlFile(path.join(config.outputDir, "metrics.jsonl"));
      this.#completions = new JsonlFile(path.join(config.outputDir, "completions.jsonl"));
    }
  }

  note(text: string): void {
    this.#console?.line(text);
  }

  status(text: string): void {
    this.#console?.status(text);
  }

  /** The run record: what a reader of metrics.jsonl needs to know about the lines after it. */
  async begin(run: Readonly<Record<string, unknown>>, step: number): Promise<void> {
    // After what evaluations before the run have to say.
    await this.written(async () => {
      await this.#tell((logger) => logger.begin?.(run, step));
      await this.#metrics?.append([
        { schema_version: schemaVersion, type: "run", time: new Date().toISOString(), ...run },
      ]);
    });
  }

  /** Writes while the run goes on, which waits only where the disk is many steps behind. Throws what failed before. */
  async step(step: number, metrics: Readonly<Metrics>, completions: readonly CompletionRecord[]): Promise<void> {
    this.#check();
    this.#stepsBehind++;
    const written = this.#enqueue(async () => {
      await this.#completions?.append(numbered(completions));
      await this.#metrics?.append([{ type: "step", step, ...metrics }]);
    }).finally(() => this.#stepsBehind--);
    if (this.#stepsBehind > mostStepsBehind) await written;
  }

  /** When everything so far is in the files, and what must not run while they grow is done. Throws what failed. */
  async written(then: () => Promise<void> = async () => {}): Promise<void> {
    await this.#enqueue(then);
    this.#check();
  }

  /** The means of a logging window. */
  window(step: number, totalSteps: number, metrics: Readonly<Metrics>, secondsLeft: number | undefined): void {
    void this.#enqueue(() => this.#tell((logger) => logger.log(step, metrics)));
    if (!this.#console) return;
    const { width } = this.#console;
    const left = secondsLeft === undefined ? {} : { secondsLeft };
    this.#console.line(formatStepLine({ step, totalSteps, metrics, rewardNames: this.#names, width, ...left }));
  }

  evaluation(step: number, metrics: Readonly<Metrics>, completions: readonly CompletionRecord[]): void {
    void this.#enqueue(async () => {
      await this.#completions?.append(numbered(completions));
      await this.#metrics?.append([{ type: "eval", step, ...metrics }]);
      await this.#tell((logger) => logger.log(step, metrics));
    });
    this.#console?.line(formatEvaluation(step, metrics, this.#names, this.#console.width));
  }

  /** Sample completions, for logCompletions. */
  samples(records: readonly CompletionRecord[], limit: number): void {
    for (const record of records.slice(0, limit)) {
      const rewards = Object.entries(record.rewards).map(([name, value]) => `${name} ${fixed(value ?? Number.NaN, 2)}`);
      this.note(`  [${rewards.join("  ")}  advantage ${record.advantage.toFixed(2)}]`);
      this.note(`    ${clip(JSON.stringify(record.completion), (this.#console?.width ?? 120) - 4)}`);
    }
  }

  async close(): Promise<void> {
    await this.#pending;
    await this.#tell((logger) => logger.end?.());
    this.#console?.close();
  }

  /** Runs after everything that was asked for before; keeps the first failure for the next call that can throw it. */
  #enqueue(work: () => Promise<void>): Promise<void> {
    this.#pending = this.#pending.then(work).catch((error: unknown) => {
      this.#failure ??= { error };
    });
    return this.#pending;
  }

  #check(): void {
    const failure = this.#failure;
    this.#failure = undefined;
    if (failure) throw failure.error;
  }

  /** A service that is down must not end a run of days. */
  async #tell(call: (logger: Logger) => void | Promise<void>): Promise<void> {
    for (const logger of this.#loggers) {
      try {
        await call(logger);
      } catch (error) {
        this.#loggers = this.#loggers.filter((other) => other !== logger);
        this.note(`the logger "${logger.name}" failed and is left out from here on: ${reasonOf(error)}`);
      }
    }
  }
}

/** By the index 0 a reader tells that a resumed run writes a step again, even right after the first time. */
function numbered(records: readonly CompletionRecord[]): object[] {
  return records.map(({ step, split, ...record }, index) => ({ step, split, index, ...record }));
}

export function completionRecords(
  step: number,
  split: "train" | "eval",
  groups: readonly Group<ScoredRollout>[],
  names: readonly string[],
): CompletionRecord[] {
  const columns = [...new Set(groups.flatMap(({ rollouts }) => rollouts.flatMap(({ extras }) => Object.keys(extras))))];
  return groups.flatMap((group) =>
    group.rollouts.map((rollout) => ({
      step,
      split,
      row: group.row,
      prompt: group.prompt,
      completion: completionText(rollout.completion),
      ids: completionIdsOf(rollout),
      rewards: Object.fromEntries(names.map((name, k) => [name, at(rollout.rewards, k)])),
      reward: Number.isNaN(rollout.reward) ? null : rollout.reward,
      advantage: rollout.advantage,
      finish_reason: finishReasonOf(rollout),
      ...(columns.length > 0 ? { extra: Object.fromEntries(columns.map((name) => [name, rollout.extras[name]])) } : {}),
      ...lossMaskRecord(rollout),
      ...sampleRecords(group, rollout),
    })),
  );
}

function lossMaskRecord({ samples }: ScoredRollout): Pick<CompletionRecord, "loss_mask"> {
  if (samples.every(({ lossMask }) => lossMask === undefined)) return {};
  const masks = samples.map(({ lossMask, completionIds }) => lossMask ?? new Uint8Array(completionIds.length).fill(1));
  return { loss_mask: masks.flatMap((mask) => [...mask]) };
}

function sampleRecords(group: Group<ScoredRollout>, { samples }: ScoredRollout): Pick<CompletionRecord, "samples"> {
  const ofPrompt = ({ promptIds }: Sample) =>
    promptIds.length === group.promptIds.length && promptIds.every((id, i) => id === group.promptIds[i]);
  if (samples.length === 1 && samples.every(ofPrompt)) return {};
  return {
    samples: samples.map((sample) => ({
      ...(ofPrompt(sample) ? {} : { prompt_ids: sample.promptIds }),
      tokens: sample.completionIds.length,
      finish_reason: sample.finishReason,
    })),
  };
}

export interface PlanFacts {
  readonly config: GRPOConfig;
  readonly plan: TrainingPlan;
  readonly model: PolicyModel;
  readonly survey: PromptSurvey;
  /** Rows whose prompt was too long and that were left out. */
  readonly tooLong: number;
  readonly startStep: number;
  /** About memory, as the preflight words it. */
  readonly memory: readonly string[];
}

/** What the run will do, in words, before it does it. */
export function describePlan({ config, plan, model, survey, tooLong, startStep, memory }: PlanFacts): string[] {
  const { trainable, all } = model.trainableParameters();
  const perEpoch =
    plan.droppedRows > 0 ? `; ${plan.droppedRows} rows of each epoch fill no generation and are left out` : "";
  const cut = config.promptOverflow === "truncate" && survey.overlong > 0 ? `; ${survey.overlong} cut to fit` : "";
  const left = tooLong > 0 ? `; ${tooLong} rows dropped as too long` : "";
  const loss = `${config.lossType}, beta ${config.beta}, learning rate ${config.learningRate} ${config.lrSchedulerType}`;
  return [
    `model    ${model.device} ${model.dtype}, ${trainable.toLocaleString("en")} of ${all.toLocaleString("en")} parameters trained`,
    ...describeSteps(config, plan),
    `epoch    ${describeEpoch(plan)}${perEpoch}`,
    `run      ${plan.totalSteps} steps${startStep > 0 ? `, going on after step ${startStep}` : ""}; ${loss}`,
    `prompts  ${survey.rows} rendered, longest ${survey.longest} tokens${cut}${left}; completions up to ${config.maxCompletionLength}`,
    ...memory,
    ...config.notes.map((note) => `note     ${note}`),
    ...(config.bf16 && model.dtype !== "bfloat16"
      ? [`note     bf16 has no effect: the model's type is ${model.dtype}`]
      : []),
  ];
}

/** One line where each step samples its own completions, two where they are shared or reused. */
function describeSteps(config: GRPOConfig, plan: TrainingPlan): string[] {
  const { promptsPerGeneration: prompts, completionsPerGeneration: completions, completionsPerStep, iterations } = plan;
  const product = `${prompts} prompts × ${config.numGenerations} completions = ${completions} completions`;
  if (completions === completionsPerStep && iterations === 1) return [`step     ${product}`];
  const passes = iterations > 1 ? `, trained on ${iterations} times` : "";
  return [`sampling ${product}${passes}`, `step     ${completionsPerStep} completions`];
}

function describeEpoch({
  rows,
  promptsPerGeneration,
  slicesPerEpoch,
  slicesPerGeneration,
  iterations,
  ...plan
}: TrainingPlan): string {
  const generations = slicesPerEpoch / slicesPerGeneration / iterations;
  const steps = `${plan.stepsPerEpoch} steps`;
  return `${rows} rows / ${promptsPerGeneration} = ${generations === plan.stepsPerEpoch ? steps : `${generations} generations, ${steps}`}`;
}
