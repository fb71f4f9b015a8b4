// What went wrong between this process and an inference server, and whether asking again can help.

import { GrpoError } from "../errors.js";

/** Why a request came to nothing. */
export type FaultKind =
  /** No connection, or one that broke before the answer was whole. */
  | "unreachable"
  /** No whole answer in time. */
  | "slow"
  /** The server failed, or is not ready yet. */
  | "failed"
  /** What was asked for is not there: an adapter that the server has lost. */
  | "absent"
  /** The request cannot be answered by any server that was started so. */
  | "refused"
  /** An answer that is not what was asked for. */
  | "malformed";

/** Another server, or the same one later, may give what these did not. */
const PASSING: ReadonlySet<FaultKind> = new Set(["unreachable", "slow", "failed", "absent", "malformed"]);

export class ServerFault extends GrpoError {
  readonly kind: FaultKind;

  constructor(kind: FaultKind, message: string, options: { readonly hint?: string; readonly cause?: unknown } = {}) {
    super("SERVER_ERROR", message, options);
    this.kind = kind;
  }
}

/** Whether to ask elsewhere, or again. */
export function isPassing(thrown: unknown): thrown is ServerFault {
  return thrown instanceof ServerFault && PASSING.has(thrown.kind);
}
