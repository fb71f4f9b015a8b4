// A second trainer, as small as one can be: it fits a line to points by least squares. Nothing of GRPO is imported; steps, schedules,
// logs, evaluations, checkpoints and uploads come from lib/run.

import { mkdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { shuffledIndices } from "../../lib/dataset/random.js";
import { fixed } from "../../lib/log/format.js";
import type { CheckpointWriter, Savable, Trainable } from "../../lib/model/learner.js";
import type { TrainerCallback } from "../../lib/run/callbacks.js";
import { checkRunOptions } from "../../lib/run/check-options.js";
import type { Checkpoint } from "../../lib/run/checkpoint.js";
import { type RunOptions, runFields } from "../../lib/run/options.js";
import { planSteps } from "../../lib/run/plan.js";
import type { TrainResult } from "../../lib/run/progress.js";
import { readOptions } from "../../lib/run/read-options.js";
import type { EvaluationOutcome, OwnState, Prepared, Run, StepOutcome, TrainOptions } from "../../lib/run/run.js";
import { learningRateSchedule } from "../../lib/run/schedule.js";
import { TrainingLoop } from "../../lib/run/training-loop.js";
import type { TrainerState } from "../../lib/types.js";
import { fieldTypes, lazySchema } from "../../lib/zod.js";

/** y = slope · x + offset, with momentum. */
export class Line implements Trainable {
  readonly device = "cpu";
  readonly dtype = "float64";
  readonly busySeconds = 0;
  weights: [slope: number, offset: number] = [0, 0];
  momentum: [number, number] = [0, 0];
  gradient: [number, number] = [0, 0];

  at(x: number): number {
    return this.weights[0] * x + this.weights[1];
  }

  /** Mean squared error of some points; adds its gradient. */
  backward(points: readonly Point[]): number {
    for (const { x, y } of points) {
      const error = (2 * (this.at(x) - y)) / points.length;
      this.gradient[0] += error * x;
      this.gradient[1] += error;
    }
    return lossOf(this, points);
  }

  update(learningRate: number): void {
    for (const i of [0, 1] as const) {
      this.momentum[i] = 0.9 * this.momentum[i] + this.gradient[i];
      this.weights[i] -= learningRate * this.momentum[i];
    }
    this.gradient = [0, 0];
  }

  trainableParameters() {
    return { trainable: 2, all: 2 };
  }

  async zeroGrad(): Promise<void> {
    this.gradient = [0, 0];
  }

  async savePretrained(directory: string): Promise<void> {
    await write(directory, this.weights);
  }

  async takeCheckpoint(): Promise<CheckpointWriter> {
    const weights = [...this.weights];
    const stored = JSON.stringify([weights, this.momentum]);
    return async (directory) => {
      await write(directory, weights);
      await writeFile(path.join(directory, "optimizer.json"), stored);
    };
  }

  async loadCheckpoint(directory: string): Promise<void> {
    [this.weights, this.momentum] = JSON.parse(await readFile(path.join(directory, "optimizer.json"), "utf8"));
  }
}

async function write(directory: string, weights: readonly number[]): Promise<void> {
  await mkdir(directory, { recursive: true });
  await writeFile(path.join(directory, "adapter_config.json"), '{"base_model_name_or_path":"org/line"}');
  await writeFile(path.join(directory, "line.json"), JSON.stringify(weights));
}

export interface Point {
  readonly x: number;
  readonly y: number;
}

function lossOf(line: Line, points: readonly Point[]): number {
  return points.reduce((sum, { x, y }) => sum + (line.at(x) - y) ** 2, 0) / points.length;
}

const schema = lazySchema((z) => z.strictObject(runFields(fieldTypes(z))));
const nothingForeign = {
  unsupportedDefaults: {},
  withoutEffect: {},
  renamedOptions: {},
  unsupportedValues: {},
};

export function toyOptions(options: Partial<RunOptions>): RunOptions {
  const { fields } = readOptions({ config: "ToyConfig", schema: schema(), foreign: nothingForeign }, options);
  checkRunOptions("ToyConfig", fields);
  return fields;
}

export interface ToyParts {
  readonly line: Line;
  readonly args: RunOptions;
  readonly points: readonly Point[];
  readonly callbacks?: readonly TrainerCallback<RunOptions>[];
  readonly print?: (text: string) => void;
}

export class ToyTrainer {
  readonly loop: TrainingLoop<RunOptions>;
  readonly #parts: ToyParts;

  constructor(parts: ToyParts) {
    const { args, line, callbacks, print = () => {} } = parts;
    const tokenizer: Savable = { savePretrained: async () => {} };
    this.#parts = parts;
    this.loop = new TrainingLoop({
      args,
      trained: { model: line, tokenizer },
      callbacks,
      output: { write: print },
      view: {
        bestMetric: "loss",
        windowLines: ({ step, metrics }) => [`step ${step} loss ${fixed(metrics.loss, 4)}`],
        evaluationLines: ({ step, metrics }) => [`evaluation ${step} loss ${fixed(metrics.eval_loss, 4)}`],
        card: () => ({ method: "SFT", rewardNames: [], curve: [], settings: { points: parts.points.length } }),
      },
    });
  }

  get state(): TrainerState {
    return this.loop.state;
  }

  train(options: TrainOptions = {}): Promise<TrainResult> {
    return this.loop.train(options, async () => new ToyRun(this.#parts));
  }
}

const batchSize = 4;

class ToyRun implements Run {
  readonly plan;
  readonly samplesPerStep = batchSize;
  readonly settings;
  readonly #parts: ToyParts;
  readonly #stepsPerEpoch: number;
  readonly #learningRateAt: (step: number) => number;
  /** A running mean of the losses; the learning rate depends on it, so that a resumed run must have it. */
  #meanLoss = 1;
  #losses: number[] = [];

  constructor(parts: ToyParts) {
    const { args, points } = parts;
    this.#parts = parts;
    this.#stepsPerEpoch = points.length / batchSize;
    this.plan = planSteps(args, this.#stepsPerEpoch);
    this.settings = { rows: points.length };
    this.#learningRateAt = learningRateSchedule({
      ...this.plan,
      name: args.lrSchedulerType,
      learningRate: args.learningRate,
      options: args.lrSchedulerKwargs ?? {},
    });
  }

  async restore({ folder, state }: Checkpoint): Promise<void> {
    this.#meanLoss = Number(state.mean_loss);
    this.#losses = JSON.parse(await readFile(path.join(folder, "losses.json"), "utf8"));
  }

  async prepare(): Promise<Prepared> {
    const lines = [`a line through ${this.#parts.points.length} points`];
    return { lines, record: { points: this.#parts.points.length }, copyCheckpoints: true, memoryChanges: [] };
  }

  async step(step: number): Promise<StepOutcome> {
    const { line, points, args } = this.#parts;
    const epoch = Math.floor(step / this.#stepsPerEpoch);
    const order = shuffledIndices(points.length, args.seed + epoch);
    const first = (step % this.#stepsPerEpoch) * batchSize;
    const loss = line.backward(order.slice(first, first + batchSize).flatMap((i) => points[i] ?? []));
    const applied = Number.isFinite(loss);
    if (applied) line.update(this.#learningRateAt(step) / (1 + this.#meanLoss));
    else await line.zeroGrad();
    this.#meanLoss = 0.9 * this.#meanLoss + 0.1 * loss;
    this.#losses.push(loss);
    return {
      loss,
      metrics: { loss, learning_rate: this.#learningRateAt(step) },
      records: [],
      tokens: batchSize,
      epoch: (step + 1) / this.#stepsPerEpoch,
      accountedSeconds: 0,
      applied,
    };
  }

  async evaluate(): Promise<EvaluationOutcome> {
    return { metrics: { eval_loss: lossOf(this.#parts.line, this.#parts.points) }, completions: [] };
  }

  own(): OwnState {
    const losses = [...this.#losses];
    return { keys: { mean_loss: this.#meanLoss }, files: { "losses.json": () => JSON.stringify(losses) } };
  }
}
