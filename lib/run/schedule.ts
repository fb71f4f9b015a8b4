// Learning-rate schedules under transformers' names, with its formulas (optimization.py, get_scheduler). With step s (0 is the
// first), w warm-up steps of T, and progress p = (s − w) / (T − w); warm-up is s / w unless said otherwise.

import { badOption, checkNumber, checkOneOf, checkOptionNames } from "../checks.js";
import { GrpoError } from "../errors.js";

export const SCHEDULES = [
  "linear",
  "cosine",
  "cosine_with_restarts",
  "polynomial",
  "constant",
  "constant_with_warmup",
  "inverse_sqrt",
  "cosine_with_min_lr",
  "cosine_warmup_with_min_lr",
  "warmup_stable_decay",
] as const;

export type ScheduleName = (typeof SCHEDULES)[number];

export interface ScheduleInput {
  readonly name: ScheduleName;
  readonly learningRate: number;
  readonly warmupSteps: number;
  readonly totalSteps: number;
  /** lrSchedulerKwargs: transformers' names, snake_case or camelCase. */
  readonly options: Readonly<Record<string, unknown>>;
  /** What messages call the options. */
  readonly where?: string;
}

/** Learning rate of each step. */
export type Schedule = (step: number) => number;

/** Throws UNKNOWN_OPTION or BAD_OPTION for options that the schedule does not have or cannot use. */
export function learningRateSchedule(input: ScheduleInput): Schedule {
  const { learningRate, warmupSteps: warmup } = input;
  const after = factories[input.name](input, new ScheduleOptions(input));
  if (input.name === "constant") return () => learningRate;
  if (ownWarmup.has(input.name)) return (step) => learningRate * after(step);
  return (step) => learningRate * (step < warmup ? step / Math.max(1, warmup) : after(step));
}

const ownWarmup: ReadonlySet<ScheduleName> = new Set(["cosine_warmup_with_min_lr", "warmup_stable_decay"]);

type Factory = (input: ScheduleInput, options: ScheduleOptions) => (step: number) => number;

const wave = (cycles: number, progress: number) => 0.5 * (1 + Math.cos(Math.PI * cycles * 2 * progress));

function progressOf({ warmupSteps, totalSteps }: ScheduleInput): (step: number) => number {
  return (step) => (step - warmupSteps) / Math.max(1, totalSteps - warmupSteps);
}

const factories: Readonly<Record<ScheduleName, Factory>> = {
  /** 1 − p. */
  linear: (input, options) => {
    options.none();
    return (step) => Math.max(0, (input.totalSteps - step) / Math.max(1, input.totalSteps - input.warmupSteps));
  },
  /** (1 + cos(2 π cycles p)) / 2. */
  cosine: (input, options) => {
    const cycles = options.number("num_cycles", 0.5);
    options.none();
    const progress = progressOf(input);
    return (step) => Math.max(0, wave(cycles, progress(step)));
  },
  /** As many half waves, each from 1 to 0. */
  cosine_with_restarts: (input, options) => {
    const cycles = options.number("num_cycles", 1);
    options.none();
    const progress = progressOf(input);
    return (step) => (progress(step) >= 1 ? 0 : Math.max(0, wave(0.5, (cycles * progress(step)) % 1)));
  },
  /** (lr − end) (1 − p)^power + end. */
  polynomial: ({ learningRate, warmupSteps, totalSteps }, options) => {
    const end = options.number("lr_end", 1e-7);
    const power = options.number("power", 1);
    options.none();
    if (!(learningRate > end)) {
      throw options.bad("lr_end", `below learningRate ${learningRate}`, end);
    }
    return (step) => {
      if (step > totalSteps) return end / learningRate;
      const left = 1 - (step - warmupSteps) / (totalSteps - warmupSteps);
      return ((learningRate - end) * left ** power + end) / learningRate;
    };
  },
  /** 1, without warm-up. */
  constant: (_, options) => {
    options.none();
    return () => 1;
  },
  constant_with_warmup: (_, options) => {
    options.none();
    return () => 1;
  },
  /** 1 / √((s + scale − w) / scale). */
  inverse_sqrt: ({ warmupSteps }, options) => {
    const scale = options.number("timescale", warmupSteps || 10_000);
    options.none();
    return (step) => 1 / Math.sqrt((step + scale - warmupSteps) / scale);
  },
  /** A cosine that ends at min_lr, or at min_lr_rate · lr. */
  cosine_with_min_lr: (input, options) => {
    const lowest = options.lowestRate();
    const cycles = options.number("num_cycles", 0.5);
    options.none();
    const progress = progressOf(input);
    return (step) => Math.max(0, wave(cycles, progress(step)) * (1 - lowest) + lowest);
  },
  /** The same with a warm-up that begins above 0. */
  cosine_warmup_with_min_lr: (input, options) => {
    const { warmupSteps: warmup, totalSteps } = input;
    const lowest = options.lowestRate();
    const cycles = options.number("num_cycles", 0.5);
    const first = options.number("warmup_lr_rate", Number.NaN);
    options.none();
    return (step) => {
      if (step < warmup) {
        return Number.isNaN(first)
          ? (step + 1) / Math.max(1, warmup)
          : first + ((1 - first) * step) / Math.max(1, warmup - 1);
      }
      const progress = (step - warmup + 1) / Math.max(1, totalSteps - warmup);
      return Math.max(0, wave(cycles, progress) * (1 - lowest) + lowest);
    };
  },
  /** Warm-up, a plateau at 1, and num_decay_steps down to min_lr_ratio. */
  warmup_stable_decay: ({ warmupSteps, totalSteps }, options) => {
    const decay = options.number("num_decay_steps");
    const stable = options.number("num_stable_steps", totalSteps - warmupSteps - decay);
    const rise = options.oneOf("warmup_type", "linear");
    const fall = options.oneOf("decay_type", "cosine");
    const lowest = options.number("min_lr_ratio", 0);
    const cycles = options.number("num_cycles", 0.5);
    options.none();
    const between = (factor: number) => Math.max(0, factor * (1 - lowest) + lowest);
    return (step) => {
      if (step < warmupSteps) return between(1 - falling(rise, 0.5, step / Math.max(1, warmupSteps), true));
      if (step < warmupSteps + stable) return 1;
      const progress = (step - warmupSteps - stable) / Math.max(1, decay);
      return step < warmupSteps + stable + decay ? between(falling(fall, cycles, progress, false)) : lowest;
    };
  },
};

type Shape = "linear" | "cosine" | "1-sqrt";

/** From 1 at progress 0 to 0 at 1. "1-sqrt" is steep at the end of a warm-up and at the beginning of a decay. */
function falling(shape: Shape, cycles: number, progress: number, rising: boolean): number {
  if (shape === "linear") return 1 - progress;
  if (shape === "cosine") return wave(cycles, progress);
  return rising ? Math.sqrt(1 - progress) : 1 - Math.sqrt(progress);
}

/** lrSchedulerKwargs, taken one by one; what is left over belongs to no schedule of that name. */
class ScheduleOptions {
  readonly #where: string;
  readonly #given: Readonly<Record<string, unknown>>;
  readonly #known: string[] = [];
  readonly #learningRate: number;

  constructor({ options, learningRate, where = "lrSchedulerKwargs" }: ScheduleInput) {
    this.#where = where;
    const snake = (name: string) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
    this.#given = Object.fromEntries(Object.entries(options).map(([name, value]) => [snake(name), value]));
    this.#learningRate = learningRate;
  }

  bad(name: string, expected: string, found: unknown): GrpoError {
    return badOption(this.#where, name, expected, found);
  }

  number(name: string, fallback?: number): number {
    this.#known.push(name);
    const value = this.#given[name];
    if (value === undefined || value === null) {
      if (fallback !== undefined) return fallback;
      throw new GrpoError("BAD_OPTION", `${this.#where}: ${name} is needed`, {
        hint: `add lrSchedulerKwargs: { ${name}: … }`,
      });
    }
    return checkNumber(this.#where, name, value, {});
  }

  oneOf(name: string, fallback: Shape): Shape {
    this.#known.push(name);
    return checkOneOf(this.#where, name, this.#given[name] ?? fallback, ["linear", "cosine", "1-sqrt"]);
  }

  /** min_lr as a share of the learning rate, or min_lr_rate: one of them must be given. */
  lowestRate(): number {
    const rate = this.number("min_lr_rate", Number.NaN);
    const absolute = this.number("min_lr", Number.NaN);
    if (Number.isNaN(rate) === Number.isNaN(absolute)) {
      throw new GrpoError("BAD_OPTION", `${this.#where}: give either min_lr or min_lr_rate`, {
        hint: "min_lr_rate 0.1 ends at a tenth of learningRate",
      });
    }
    return Number.isNaN(rate) ? absolute / this.#learningRate : rate;
  }

  /** After all of them. */
  none(): void {
    checkOptionNames(this.#where, this.#given, this.#known);
  }
}
