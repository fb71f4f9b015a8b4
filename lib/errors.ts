// Every failure a user can meet is a GrpoError: a stable code for programs, and for people what was expected, what was
// found, and what to do next.

/** What went wrong, for programs; docs/troubleshooting.md has an entry for each. */
export type GrpoErrorCode =
  /** No libtorch in any of the places that are looked at. */
  | "LIBTORCH_NOT_FOUND"
  /** A libtorch of a version that the engine is not built for. */
  | "LIBTORCH_UNSUPPORTED"
  /** The system's loader refuses libtorch or the engine. */
  | "LIBTORCH_LOAD_FAILED"
  /** The engine is not there for this libtorch. */
  | "NATIVE_NOT_BUILT"
  /** No libtorch runs on this system. */
  | "UNSUPPORTED_PLATFORM"
  /** `grpo setup` could not do its work. */
  | "SETUP_FAILED"
  /** A download of `grpo setup` failed for good. */
  | "DOWNLOAD_FAILED"
  /** Not enough space for what would be written. */
  | "DISK_FULL"
  /** A path that does not exist, or cannot be read or written. */
  | "FILE_NOT_FOUND"
  /** Weights or a trainer's checkpoint that are not whole or do not fit. */
  | "BAD_CHECKPOINT"
  /** A value in config.json or a YAML configuration that cannot be meant. */
  | "BAD_CONFIG"
  /** tokenizer.json is missing, damaged or not supported. */
  | "BAD_TOKENIZER"
  /** A chat template that is missing, broken, or refuses the conversation. */
  | "BAD_TEMPLATE"
  /** An adapter that does not fit the model or this version. */
  | "BAD_ADAPTER"
  /** Data that cannot be read, or lacks a split, a column or rows. */
  | "BAD_DATASET"
  /** An argument of a call that cannot be used. */
  | "BAD_INPUT"
  /** A model type, or a switch of one, that is not supported. */
  | "UNSUPPORTED_ARCHITECTURE"
  /** A name that no option has. */
  | "UNKNOWN_OPTION"
  /** A value or a combination of options that is not possible. */
  | "BAD_OPTION"
  /** The device that was asked for is not there. */
  | "DEVICE_UNAVAILABLE"
  /** An allocation failed. */
  | "OUT_OF_MEMORY"
  /** The Hub refused or could not be reached. */
  | "HUB_ERROR"
  /** An inference server could not be reached, refused, or samples from something else than the policy. */
  | "SERVER_ERROR"
  /** A reward function threw or took too long. */
  | "REWARD_FAILED"
  /** A reward function returned something that is no reward. */
  | "BAD_REWARD"
  /** An environment could not be reset. */
  | "ENVIRONMENT_FAILED"
  /** A rollout of one's own threw, took too long, or returned no reward that can be read. */
  | "ROLLOUT_FAILED"
  /** Loss or gradient was not finite too many times in a row. */
  | "NON_FINITE"
  /** Another rank of the run has failed, is gone, or did not come in time. */
  | "RANK_FAILED"
  /** Stopped by a signal or Ctrl-C. */
  | "CANCELLED"
  /** A model was used after dispose(). */
  | "DISPOSED"
  /** A bug, or an error of libtorch without a code of its own. */
  | "INTERNAL";

/** Every failure that a user can meet. `message` says what was expected and what was found, and ends with the hint. */
export class GrpoError extends Error {
  override readonly name = "GrpoError";
  /** Stable identifier; never changes between releases. */
  readonly code: GrpoErrorCode;
  /** The next thing to do, or undefined if the message already says it. */
  readonly hint: string | undefined;

  constructor(code: GrpoErrorCode, message: string, options: { hint?: string; cause?: unknown } = {}) {
    // An absent cause would be printed as one.
    const cause = options.cause === undefined ? {} : { cause: options.cause };
    super(options.hint ? `${message}\n  → ${options.hint}` : message, cause);
    this.code = code;
    this.hint = options.hint;
  }
}

/** The text of anything thrown, for use inside another message. */
export function reasonOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}

/** Whether two names differ in capitals and underscores only: resume_from_checkpoint and resumeFromCheckpoint. */
export function isSameName(a: string, b: string): boolean {
  return plain(a) === plain(b);
}

function plain(name: string): string {
  return name.replaceAll("_", "").toLowerCase();
}

/** The known name closest to `name` by edit distance, when it is close enough to be a likely typo. */
export function nearestName(name: string, known: readonly string[]): string | undefined {
  let best: string | undefined;
  let bestDistance = Math.max(2, Math.floor(plain(name).length / 3)) + 1;
  for (const candidate of known) {
    const distance = editDistance(plain(name), plain(candidate));
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const current = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitution = (previous[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1);
      current.push(Math.min(substitution, (previous[j] as number) + 1, (current[j - 1] as number) + 1));
    }
    previous = current;
  }
  return previous[b.length] as number;
}
