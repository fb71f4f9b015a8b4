// What goes wrong with a request, as OpenAI's clients read it: a status, and { error: { message, type, code, param } }. Which statuses
// a client tries again is settled there: 408, 409, 429 and those from 500 on.

import { GrpoError, type GrpoErrorCode, reasonOf } from "../errors.js";

export interface ApiErrorBody {
  readonly error: {
    readonly message: string;
    readonly type: string;
    readonly code: string;
    readonly param: string | null;
  };
}

export interface ApiErrorOptions {
  /** The field of the request that it is about. */
  readonly param?: string;
  readonly cause?: unknown;
  /** Seconds after which trying again may help. */
  readonly retryAfter?: number;
}

/** A request that cannot be answered. `code` is stable, for programs. */
export class ApiError extends Error {
  override readonly name = "ApiError";
  readonly status: number;
  readonly code: string;
  readonly param: string | null;
  readonly retryAfter: number | undefined;

  constructor(status: number, code: string, message: string, options: ApiErrorOptions = {}) {
    super(message, options.cause === undefined ? {} : { cause: options.cause });
    this.status = status;
    this.code = code;
    this.param = options.param ?? null;
    this.retryAfter = options.retryAfter;
  }

  get body(): ApiErrorBody {
    const { message, code, param } = this;
    return { error: { message, type: typeOf(this.status), code, param } };
  }
}

/** OpenAI's names for kinds of errors. */
function typeOf(status: number): string {
  if (status === 401) return "authentication_error";
  if (status === 429) return "rate_limit_error";
  return status < 500 ? "invalid_request_error" : "server_error";
}

/** A field whose value cannot be used. */
export function badField(param: string, message: string): ApiError {
  return new ApiError(400, "invalid_value", `${param}: ${message}`, { param });
}

/** A field that other servers act on and this one does not; its value would change the answer. */
export function unsupportedField(param: string, why: string): ApiError {
  return new ApiError(400, "unsupported_parameter", `${param} is not supported: ${why}`, { param });
}

/** What a caller's input can cause; everything else is the server's fault. */
const CALLERS_FAULT: ReadonlySet<GrpoErrorCode> = new Set([
  "BAD_INPUT",
  "BAD_OPTION",
  "BAD_TEMPLATE",
  "UNKNOWN_OPTION",
]);
/** What passes. */
const UNAVAILABLE: ReadonlySet<GrpoErrorCode> = new Set(["CANCELLED", "DISPOSED", "OUT_OF_MEMORY"]);

/** Anything thrown, as an error that can be answered with. */
export function toApiError(thrown: unknown): ApiError {
  if (thrown instanceof ApiError) return thrown;
  if (!(thrown instanceof GrpoError)) return new ApiError(500, "internal_error", reasonOf(thrown), { cause: thrown });
  const code = thrown.code.toLowerCase();
  // The hint, which stands on a line of its own elsewhere.
  const message = thrown.message.replace("\n  → ", "; ");
  if (CALLERS_FAULT.has(thrown.code)) return new ApiError(400, code, message, { cause: thrown });
  return new ApiError(UNAVAILABLE.has(thrown.code) ? 503 : 500, code, message, { cause: thrown });
}
