// Callbacks: functions of the user's at the moments of a run, and the flags by which they steer it, as in transformers. Each
// moment waits for them, one after another in the order given.

import { unlessAborted } from "../abort.js";
import { badOption, isPromise, namesOf } from "../checks.js";
import { GrpoError, nearestName } from "../errors.js";
import type { Metrics } from "../log/metrics.js";
import type { TrainerState } from "../types.js";

/** What happens next. The run sets the flags by its plan; a callback may set any of them either way. */
export interface TrainerControl {
  /** The run ends after this step; train() then returns as usual. */
  shouldTrainingStop: boolean;
  /** The three that follow hold for the running step, and are all false when a step begins. */
  shouldLog: boolean;
  shouldEvaluate: boolean;
  shouldSave: boolean;
}

/** What a callback is told. */
export interface TrainerEvent<Args> {
  readonly state: TrainerState;
  /** The options of the trainer. */
  readonly args: Args;
  readonly control: TrainerControl;
  /** The step's metrics (onStepEnd), the window's (onLog), or eval_… (onEvaluate). */
  readonly metrics: Readonly<Metrics>;
  /** Path of the checkpoint (onSave). */
  readonly checkpoint?: string;
}

type Hook<Args> = (event: TrainerEvent<Args>) => void | Promise<void>;

/** Functions that a run calls at its moments, and waits for; once it is stopped, for some seconds only. */
export interface TrainerCallback<Args> {
  readonly onTrainBegin?: Hook<Args>;
  readonly onStepBegin?: Hook<Args>;
  /** The flags say what the plan has for this step; what they say afterwards is done. */
  readonly onStepEnd?: Hook<Args>;
  readonly onLog?: Hook<Args>;
  readonly onEvaluate?: Hook<Args>;
  /** A checkpoint is on the disk; later steps may be running. The event's state is that of the checkpoint. */
  readonly onSave?: Hook<Args>;
  readonly onTrainEnd?: Hook<Args>;
}

const HOOKS = namesOf<TrainerCallback<unknown>>({
  onTrainBegin: true,
  onStepBegin: true,
  onStepEnd: true,
  onLog: true,
  onEvaluate: true,
  onSave: true,
  onTrainEnd: true,
});

/** Throws BAD_OPTION for what is no callback, and for functions that no run would call. */
function checkCallback(callback: unknown, index: number): void {
  const where = `callbacks[${index}]`;
  if (typeof callback !== "object" || callback === null || isPromise(callback)) {
    const isNamed = typeof callback === "function" && callback.name !== "";
    const hint = isNamed ? `for a class write new ${callback.name}()` : "write { onLog({ metrics }) { … } }";
    throw badOption("trainer", where, "an object with hooks", callback, hint);
  }
  const names = methodNames(callback);
  const stray = names.find((name) => /^on[A-Z_]/.test(name) && !HOOKS.includes(name));
  if (stray !== undefined) {
    const near = nearestName(stray, HOOKS);
    const hint = near === undefined ? `use one of ${HOOKS.join(", ")}` : `did you mean ${near}?`;
    throw new GrpoError("BAD_OPTION", `trainer: ${where} has ${stray}, which no run calls`, { hint });
  }
  if (names.length === 0 || names.some((name) => HOOKS.includes(name))) return;
  const hint = `use one or more of ${HOOKS.join(", ")}`;
  throw new GrpoError("BAD_OPTION", `trainer: ${where} has no hook, found ${names.join(", ")}`, { hint });
}

/** Of an object's own functions and of those of its classes. */
function methodNames(object: object): string[] {
  const names: string[] = [];
  for (let at: unknown = object; at !== Object.prototype && typeof at === "object" && at !== null; ) {
    names.push(...Object.getOwnPropertyNames(at));
    at = Object.getPrototypeOf(at);
  }
  return names.filter((name) => name !== "constructor" && typeof Reflect.get(object, name) === "function");
}

export class Callbacks<Args> {
  readonly control: TrainerControl = {
    shouldTrainingStop: false,
    shouldLog: false,
    shouldEvaluate: false,
    shouldSave: false,
  };
  /** What ends the waiting for a callback, while a run goes on. */
  signal: AbortSignal | undefined;
  readonly #callbacks: readonly TrainerCallback<Args>[];
  readonly #about: { readonly state: TrainerState; readonly args: Args };

  constructor(
    callbacks: readonly TrainerCallback<Args>[],
    about: { readonly state: TrainerState; readonly args: Args },
  ) {
    callbacks.forEach(checkCallback);
    this.#callbacks = callbacks;
    this.#about = about;
  }

  async emit(
    hook: keyof TrainerCallback<Args>,
    metrics: Readonly<Metrics> = {},
    more: Pick<Partial<TrainerEvent<Args>>, "checkpoint" | "state"> = {},
  ): Promise<void> {
    // A copy: what a callback changes there must not reach logs that are still to be written.
    const event = { ...this.#about, control: this.control, metrics: { ...metrics }, ...more };
    for (const callback of this.#callbacks) {
      await unlessAborted(callback[hook]?.(event), this.signal, `a callback's ${hook}`);
    }
  }

  async beginStep(): Promise<void> {
    Object.assign(this.control, { shouldLog: false, shouldEvaluate: false, shouldSave: false });
    await this.emit("onStepBegin");
  }
}
