// Every failure a user can meet is a GrpoError: a stable code for programs, and for people what was expected, what was
// found, and what to do next.

export type GrpoErrorCode =
  | "LIBTORCH_NOT_FOUND"
  | "LIBTORCH_UNSUPPORTED"
  | "LIBTORCH_LOAD_FAILED"
  | "NATIVE_NOT_BUILT"
  | "UNSUPPORTED_PLATFORM"
  | "SETUP_FAILED"
  | "DOWNLOAD_FAILED"
  | "DISK_FULL"
  | "FILE_NOT_FOUND"
  | "BAD_CHECKPOINT"
  | "BAD_CONFIG"
  | "BAD_TOKENIZER"
  | "BAD_TEMPLATE"
  | "BAD_ADAPTER"
  | "BAD_DATASET"
  | "BAD_INPUT"
  | "UNSUPPORTED_ARCHITECTURE"
  | "UNKNOWN_OPTION"
  | "BAD_OPTION"
  | "DEVICE_UNAVAILABLE"
  | "OUT_OF_MEMORY"
  | "HUB_ERROR"
  | "REWARD_FAILED"
  | "BAD_REWARD"
  | "NON_FINITE"
  | "CANCELLED"
  | "DISPOSED"
  | "INTERNAL";

export class GrpoError extends Error {
  override readonly name = "GrpoError";
  /** Stable identifier; never changes between releases. */
  readonly code: GrpoErrorCode;
  /** The next thing to do, or undefined if the message already says it. */
  readonly hint: string | undefined;

  constructor(code: GrpoErrorCode, message: string, options: { hint?: string; cause?: unknown } = {}) {
    super(options.hint ? `${message}\n  → ${options.hint}` : message, { cause: options.cause });
    this.code = code;
    this.hint = options.hint;
  }
}

/** The text of anything thrown, for use inside another message. */
export function reasonOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}

/** The known name closest to `name` by edit distance, when it is close enough to be a likely typo. */
export function nearestName(name: string, known: readonly string[]): string | undefined {
  let best: string | undefined;
  let bestDistance = Math.max(2, Math.floor(name.length / 3)) + 1;
  for (const candidate of known) {
    const distance = editDistance(name.toLowerCase(), candidate.toLowerCase());
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
      const substitution = (previous[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      current.push(Math.min(substitution, (previous[j] ?? 0) + 1, (current[j - 1] ?? 0) + 1));
    }
    previous = current;
  }
  return previous[b.length] ?? 0;
}
