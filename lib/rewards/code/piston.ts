// Piston's HTTP API (github.com/engineer-man/piston) with the packages of open-r1, which judge solutions: several workers, each
// with so many requests at once, named by the environment variables that open-r1 has for them.

import { GrpoError } from "../../errors.js";
import { isJsonObject, type JsonObject } from "../../json.js";
import { patiently, postJson, type Retries, ServiceError } from "./service.js";

export interface PistonOptions extends Retries {
  /** Such as http://localhost:2000/api/v2. Default: those of PISTON_ENDPOINTS, between commas. */
  readonly endpoints?: readonly string[];
}

export interface PistonFile {
  readonly name: string;
  readonly content: string;
}

export interface PistonJob {
  readonly language: string;
  readonly files: readonly PistonFile[];
  readonly run_timeout: number;
  readonly run_memory_limit?: number;
}

/** A stage of a job: what it wrote, and how it ended. */
export interface PistonStage {
  readonly stdout: string;
  readonly stderr: string;
  readonly code: number | null;
  readonly signal: string | null;
}

export interface PistonResult {
  readonly compile?: PistonStage;
  readonly run?: PistonStage;
}

/** The packages compile for a minute at most. */
const COMPILE_SECONDS = 60;

export class Piston {
  readonly endpoints: readonly string[];
  readonly #retries: Retries;
  /** One entry per request that may be under way. */
  readonly #free: string[];
  readonly #waiting: ((endpoint: string) => void)[] = [];

  constructor({ endpoints = pistonEndpoints(), ...retries }: PistonOptions = {}) {
    this.endpoints = endpoints.map((endpoint) => endpoint.replace(/\/+$/, ""));
    this.#retries = retries;
    const each = Number(process.env.PISTON_MAX_REQUESTS_PER_ENDPOINT ?? "1");
    if (!Number.isInteger(each) || each < 1) {
      throw new GrpoError("BAD_OPTION", `PISTON_MAX_REQUESTS_PER_ENDPOINT: expected a number, found ${each}`);
    }
    this.#free = Array.from({ length: each }, () => this.endpoints).flat();
  }

  execute(job: PistonJob, signal?: AbortSignal): Promise<PistonResult> {
    return patiently(() => this.#executeOnce(job, signal), signal, this.#retries);
  }

  async #executeOnce(job: PistonJob, signal: AbortSignal | undefined): Promise<PistonResult> {
    const endpoint = this.#free.shift() ?? (await new Promise<string>((resolve) => this.#waiting.push(resolve)));
    try {
      const seconds = job.run_timeout / 1000 + COMPILE_SECONDS;
      return readResult(await postJson(`${endpoint}/execute`, { ...job, version: "*" }, seconds, signal), endpoint);
    } finally {
      const next = this.#waiting.shift();
      if (next) next(endpoint);
      else this.#free.push(endpoint);
    }
  }
}

/** The workers that PISTON_ENDPOINTS names, or none. */
export function pistonEndpoints(): string[] {
  const named = (process.env.PISTON_ENDPOINTS ?? "").split(",").map((endpoint) => endpoint.trim());
  const wrong = named.find((endpoint) => endpoint !== "" && !/^https?:\/\//.test(endpoint));
  if (wrong !== undefined) {
    throw new GrpoError("BAD_OPTION", `PISTON_ENDPOINTS: expected addresses between commas, found ${wrong}`, {
      hint: "name each worker: PISTON_ENDPOINTS=http://localhost:2000/api/v2,http://localhost:2001/api/v2",
    });
  }
  return named.filter((endpoint) => endpoint !== "");
}

function readResult(answer: unknown, endpoint: string): PistonResult {
  if (!isJsonObject(answer)) throw new ServiceError(`${endpoint}: expected an object`, true);
  if (answer.message !== undefined) throw new ServiceError(`${endpoint}: ${String(answer.message)}`, false);
  const [compile, run] = [readStage(answer.compile), readStage(answer.run)];
  if (run?.stderr.includes("Resource temporarily unavailable")) {
    throw new ServiceError(`${endpoint} is overloaded: ${run.stderr.slice(0, 200)}`, true);
  }
  return { ...(compile ? { compile } : {}), ...(run ? { run } : {}) };
}

function readStage(stage: unknown): PistonStage | undefined {
  if (!isJsonObject(stage)) return undefined;
  const text = (key: keyof JsonObject): string => (typeof stage[key] === "string" ? stage[key] : "");
  return {
    stdout: text("stdout"),
    stderr: text("stderr"),
    code: typeof stage.code === "number" ? stage.code : null,
    signal: typeof stage.signal === "string" ? stage.signal : null,
  };
}
