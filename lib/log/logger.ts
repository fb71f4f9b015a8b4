// Where metrics go beside the console and the run's own files: a tracker (trackers.ts), or an object of this shape, given to
// GRPOTrainer as `loggers`.

import path from "node:path";
import { type Metrics, tagged } from "./metrics.js";
import { EVENT_FOLDER, TensorBoardFile } from "./tensorboard.js";

/** How a run ended: by itself, because it was stopped (a signal, Ctrl-C), or by an error. */
export type Outcome = "finished" | "stopped" | "failed";

/** Every method may return a promise; the run waits for it. A logger that throws is reported once and left out from then on. */
export interface Logger {
  /** For messages. */
  readonly name: string;
  /** Before the first step: the run record of metrics.jsonl, and the step after which the run goes on. */
  begin?(run: Readonly<Record<string, unknown>>, step: number): void | Promise<void>;
  /** Every loggingSteps: the means since the last call. After an evaluation: its metrics, with the prefix eval_. */
  log(step: number, metrics: Readonly<Metrics>): void | Promise<void>;
  /**
   * After the last step, however the run ended; the run waits for it. Also after an evaluate() outside train(), which has no begin: it
   * belongs to the run before it, with that one's outcome, or to the one that may follow.
   */
  end?(outcome: Outcome): void | Promise<void>;
}

/** Event files in the folder runs of `folder`, which may change. */
export function tensorBoardLogger(folder: () => string): Logger {
  let latest: { readonly folder: string; readonly file: TensorBoardFile } | undefined;
  const file = () => {
    const now = folder();
    if (latest?.folder !== now) latest = { folder: now, file: new TensorBoardFile(path.join(now, EVENT_FOLDER)) };
    return latest.file;
  };
  return {
    name: "tensorboard",
    // A run that goes on keeps the point of the step it goes on after.
    begin: (_run, step) => file().begin(step === 0 ? 0 : step + 1),
    log: (step, metrics) => file().scalars(step, tagged(metrics)),
  };
}
