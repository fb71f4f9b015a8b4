// The trackers that a run can report to, by the names that transformers gives them.

import { GrpoError, nearestName } from "../errors.js";
import { type Logger, tensorBoardLogger } from "./logger.js";
import { mlflowLogger } from "./mlflow.js";
import type { TrackerOptions } from "./tracker.js";
import { trackioLogger } from "./trackio.js";
import { wandbLogger } from "./wandb.js";

export const TRACKERS = ["tensorboard", "mlflow", "trackio", "wandb"] as const;
export type Tracker = (typeof TRACKERS)[number];
/** What transformers' reportTo takes. */
export type ReportTo = Tracker | "all" | "none";

/** Those that keep a file in outputDir about their run. */
export const TRACKERS_WITH_RUNS = ["mlflow", "trackio", "wandb"] as const satisfies readonly Tracker[];

const loggers: Readonly<Record<Tracker, (options: TrackerOptions) => Logger>> = {
  tensorboard: ({ folder }) => tensorBoardLogger(folder),
  mlflow: mlflowLogger,
  trackio: trackioLogger,
  wandb: wandbLogger,
};

/** Throws BAD_OPTION where the environment does not say what the tracker needs. */
export function trackerLogger(tracker: Tracker, options: TrackerOptions): Logger {
  return loggers[tracker](options);
}

export function isTracker(name: string): name is Tracker {
  return (TRACKERS as readonly string[]).includes(name);
}

/**
 * The trackers of transformers' reportTo: "all" are those that this machine is set up for, by a variable of theirs, and TensorBoard. Throws
 * BAD_OPTION for a name that is none.
 */
export function namedTrackers(names: readonly string[], where: string): readonly Tracker[] {
  const named = names.flatMap((name) => {
    if (name === "none") return [];
    if (name === "all") return TRACKERS.filter(isSetUp);
    if (isTracker(name)) return [name];
    const near = nearestName(name, [...TRACKERS, "none", "all"]);
    throw new GrpoError("BAD_OPTION", `${where}: reportTo has no tracker ${JSON.stringify(name)}`, {
      hint: near
        ? `did you mean ${near}?`
        : `use one of ${TRACKERS.join(", ")}, all or none, and give the trainer loggers for others`,
    });
  });
  return [...new Set(named)];
}

function isSetUp(tracker: Tracker): boolean {
  if (tracker === "tensorboard") return true;
  const { env } = process;
  if (tracker === "mlflow") return env.MLFLOW_TRACKING_URI !== undefined;
  return Object.keys(env).some((name) => name.startsWith(`${tracker.toUpperCase()}_`));
}
