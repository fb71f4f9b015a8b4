// The body of a request, as JSON, within limits: of one body, and of all bodies that are being read at a time, so that a thousand
// clients cannot fill the memory together.

import type { IncomingMessage } from "node:http";
import { reasonOf } from "../errors.js";
import { isJsonObject, type JsonObject } from "../json.js";
import { ApiError } from "./api-error.js";

export class BodyReader {
  readonly #maxBytes: number;
  readonly #maxPending: number;
  #pending = 0;

  /** Bytes of one body, and of all that are being read. */
  constructor(maxBytes: number, maxPending: number) {
    this.#maxBytes = maxBytes;
    this.#maxPending = maxPending;
  }

  /** The object that the body is; {} where there is none. Throws 400, 413, 415 or 429. */
  async read(request: IncomingMessage): Promise<JsonObject> {
    checkHeaders(request);
    if (Number(request.headers["content-length"] ?? 0) > this.#maxBytes) throw this.#tooLarge();
    const parts: Buffer[] = [];
    let bytes = 0;
    try {
      // Destroying the request would take the connection with it, and the answer.
      const incoming: AsyncIterable<Buffer> = request.iterator({ destroyOnReturn: false });
      for await (const part of incoming) {
        bytes += part.length;
        this.#pending += part.length;
        if (bytes > this.#maxBytes) throw this.#tooLarge();
        if (this.#pending > this.#maxPending) throw busy();
        parts.push(part);
      }
      return parse(Buffer.concat(parts));
    } finally {
      this.#pending -= bytes;
    }
  }

  #tooLarge(): ApiError {
    return new ApiError(413, "body_too_large", `a request may have ${this.#maxBytes} bytes`);
  }
}

function busy(): ApiError {
  return new ApiError(429, "too_many_bytes", "too many bytes of requests are being read; try again", { retryAfter: 1 });
}

/**
 * JSON is asked for by its name because a page in a browser can post anything else to an address on this machine without asking.
 */
function checkHeaders({ headers }: IncomingMessage): void {
  const type = headers["content-type"];
  if (type === undefined || !/^application\/(?:[\w.+-]+\+)?json\b/i.test(type)) {
    throw new ApiError(415, "unsupported_media_type", "expected the header content-type: application/json");
  }
  const encoding = headers["content-encoding"];
  if (encoding !== undefined && encoding !== "identity") {
    throw new ApiError(415, "unsupported_encoding", `expected a body that is not compressed, found ${encoding}`);
  }
}

function parse(bytes: Buffer): JsonObject {
  if (bytes.length === 0) return {};
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString("utf8"));
  } catch (cause) {
    throw new ApiError(400, "invalid_json", `the body is no JSON: ${reasonOf(cause)}`, { cause });
  }
  checkDepth(value, MOST_LEVELS);
  if (isJsonObject(value)) return value;
  throw new ApiError(400, "invalid_json", "expected a JSON object as the body");
}

/** Chat templates and schemas walk through what they are given by calling themselves. */
const MOST_LEVELS = 100;

function checkDepth(value: unknown, levels: number): void {
  if (typeof value !== "object" || value === null) return;
  if (levels === 0)
    throw new ApiError(400, "invalid_json", `expected at most ${MOST_LEVELS} levels of lists and objects`);
  for (const part of Object.values(value)) checkDepth(part, levels - 1);
}
