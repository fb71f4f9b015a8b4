// MLflow, by the REST interface of its server (https://mlflow.org/docs/latest/rest-api.html), with the variables that transformers'
// integration and MLflow's client read.

import { GrpoError, reasonOf } from "../errors.js";
import { isJsonObject, type JsonObject } from "../json.js";
import { type Answer, Delivery, type DeliveryLimits, refusal, request } from "./delivery.js";
import type { Logger, Outcome } from "./logger.js";
import type { Metrics } from "./metrics.js";
import { configurationOf, keepTrackerRun, keptTrackerRun, numberOrName, type TrackerOptions } from "./tracker.js";

/** Of one log-batch request. */
const MOST_METRICS = 1000;
const MOST_PARAMS = 100;
/** Characters; the server cuts longer values without a word. */
const LONGEST_PARAM = 6000;
const STATUS: Readonly<Record<Outcome, string>> = { finished: "FINISHED", stopped: "KILLED", failed: "FAILED" };

/** Throws BAD_OPTION where MLFLOW_TRACKING_URI is not the address of a server. */
export function mlflowLogger(options: TrackerOptions, limits?: Partial<DeliveryLimits>): Logger {
  const run = new MlflowRun(options, limits);
  return {
    name: "mlflow",
    begin: (record, step) => run.begin(record, step),
    log: (step, metrics) => run.log(step, metrics),
    end: (outcome) => run.end(outcome),
  };
}

class MlflowRun {
  readonly #options: TrackerOptions;
  readonly #server: MlflowServer;
  readonly #delivery: Delivery;
  /** Set by the first job, which all others come after. */
  #id: string | undefined;
  #opened = false;
  #begun = false;

  constructor(options: TrackerOptions, limits?: Partial<DeliveryLimits>) {
    this.#options = options;
    this.#server = new MlflowServer();
    this.#delivery = new Delivery("mlflow", options.note, limits);
  }

  begin(record: Readonly<Record<string, unknown>>, step: number): void {
    // What an evaluation before the run has opened is this run's.
    if (step > 0 || this.#begun || !this.#opened) this.#open(step > 0);
    else this.#delivery.add((signal) => this.#post("runs/update", { status: "RUNNING" }, signal));
    this.#begun = true;
    this.#delivery.add(async (signal) => {
      if (this.#id === undefined) return;
      await keepTrackerRun(this.#options.outputDir, "mlflow", { server: this.#server.address, run_id: this.#id });
      await this.#logParams(configurationOf(record), signal);
    });
  }

  log(step: number, metrics: Readonly<Metrics>): void {
    if (!this.#opened) this.#open(false, configurationOf({ config: this.#options.config }));
    const timestamp = Date.now();
    const entries = Object.entries(metrics).map(([name, value]) => ({
      key: mlflowName(name),
      value: numberOrName(value),
      timestamp,
      step,
    }));
    for (let k = 0; k < entries.length; k += MOST_METRICS) {
      const batch = { metrics: entries.slice(k, k + MOST_METRICS) };
      this.#delivery.add((signal) => this.#post("runs/log-batch", batch, signal));
    }
  }

  async end(outcome: Outcome): Promise<void> {
    if (!this.#opened) return;
    const end_time = Date.now();
    this.#delivery.add((signal) => this.#post("runs/update", { status: STATUS[outcome], end_time }, signal));
    await this.#delivery.close();
  }

  /** `params`: of a run that begins without a record of them. */
  #open(again: boolean, params: JsonObject = {}): void {
    this.#opened = true;
    const start = Date.now();
    let id: string | undefined;
    this.#delivery.add(async (signal) => {
      const kept = again ? await keptTrackerRun(this.#options.outputDir, "mlflow") : undefined;
      id ??= await this.#find(kept, start, signal);
      this.#id = id;
      await this.#logParams(params, signal);
    });
  }

  /** Id of the run to go on in, or of a new one. */
  async #find(kept: JsonObject | undefined, start: number, signal: AbortSignal): Promise<string> {
    const own = kept?.server === this.#server.address ? kept.run_id : undefined;
    const given = process.env.MLFLOW_RUN_ID || own;
    if (typeof given === "string" && (await this.#server.reopen(given, signal))) return given;
    return this.#server.createRun(this.#options.runName, start, signal);
  }

  /** Those that the run has not: MLflow changes none, and refuses all of a request that would. */
  async #logParams(values: JsonObject, signal: AbortSignal): Promise<void> {
    if (this.#id === undefined || Object.keys(values).length === 0) return;
    const present = await this.#server.params(this.#id, signal);
    const params = mlflowParams(values).filter(({ key }) => !present.has(key));
    const tooLong = params.filter(({ value }) => value.length > LONGEST_PARAM);
    const names = tooLong.map(({ key }) => key).join(", ");
    if (names !== "")
      this.#options.note(`mlflow takes no parameter of more than ${LONGEST_PARAM} characters: ${names}`);
    const kept = params.filter((param) => !tooLong.includes(param));
    for (let k = 0; k < kept.length; k += MOST_PARAMS) {
      await this.#post("runs/log-batch", { params: kept.slice(k, k + MOST_PARAMS) }, signal);
    }
  }

  async #post(method: string, body: JsonObject, signal: AbortSignal): Promise<void> {
    // Where no run could be made, that was told.
    if (this.#id !== undefined) await this.#server.post(method, { run_id: this.#id, ...body }, signal);
  }
}

/** The server of MLFLOW_TRACKING_URI. */
class MlflowServer {
  readonly address: string;
  readonly #headers: Readonly<Record<string, string>>;

  constructor() {
    const { MLFLOW_TRACKING_URI: uri = "" } = process.env;
    if (!URL.canParse(uri) || !/^https?:/.test(uri)) {
      const found = uri === "" ? "the variable is not set" : `found ${JSON.stringify(uri)}`;
      throw new GrpoError("BAD_OPTION", `reportTo "mlflow" needs a server's address in MLFLOW_TRACKING_URI; ${found}`, {
        hint: "start one with `mlflow server` and set MLFLOW_TRACKING_URI=http://127.0.0.1:5000, or leave mlflow out of reportTo",
      });
    }
    this.address = uri.replace(/\/+$/, "");
    this.#headers = { "content-type": "application/json", ...authorization() };
  }

  /** Marks a run as going on; false where there is none of this id. */
  async reopen(runId: string, signal: AbortSignal): Promise<boolean> {
    const body = JSON.stringify({ run_id: runId, status: "RUNNING" });
    const answer = await this.#send("POST", "runs/update", signal, body);
    if (answer.ok) return true;
    if (errorCode(answer) === "RESOURCE_DOES_NOT_EXIST") return false;
    throw refusal(answer, "runs/update");
  }

  /** Id of a new run in the experiment that the variables name. */
  async createRun(name: string | null, startTime: number, signal: AbortSignal): Promise<string> {
    const answer = await this.post(
      "runs/create",
      {
        experiment_id: await this.#experiment(signal),
        start_time: startTime,
        tags: tags(),
        ...(name === null ? {} : { run_name: name }),
      },
      signal,
    );
    return textAt(answer, "run", "info", "run_id");
  }

  async #experiment(signal: AbortSignal): Promise<string> {
    const { MLFLOW_EXPERIMENT_NAME: name, MLFLOW_EXPERIMENT_ID: id = "0" } = process.env;
    if (!name) return id;
    const found = await this.#send(
      "GET",
      `experiments/get-by-name?experiment_name=${encodeURIComponent(name)}`,
      signal,
    );
    if (found.ok) return textAt(parsed(found), "experiment", "experiment_id");
    if (errorCode(found) !== "RESOURCE_DOES_NOT_EXIST") throw refusal(found, "experiments/get-by-name");
    return textAt(await this.post("experiments/create", { name }, signal), "experiment_id");
  }

  /** Names of the parameters that a run has. */
  async params(runId: string, signal: AbortSignal): Promise<ReadonlySet<unknown>> {
    const answer = await this.#send("GET", `runs/get?run_id=${encodeURIComponent(runId)}`, signal);
    if (!answer.ok) throw refusal(answer, "runs/get");
    const params = valueAt(parsed(answer), "run", "data", "params");
    return new Set(Array.isArray(params) ? params.map((param) => valueAt(param, "key")) : []);
  }

  async post(method: string, body: JsonObject, signal: AbortSignal): Promise<unknown> {
    const answer = await this.#send("POST", method, signal, JSON.stringify(body));
    if (!answer.ok) throw refusal(answer, method);
    return parsed(answer);
  }

  #send(method: string, what: string, signal: AbortSignal, body?: string): Promise<Answer> {
    const init = { method, headers: this.#headers, signal };
    return request(`${this.address}/api/2.0/mlflow/${what}`, body === undefined ? init : { ...init, body });
  }
}

function authorization(): Readonly<Record<string, string>> {
  const {
    MLFLOW_TRACKING_USERNAME: user,
    MLFLOW_TRACKING_PASSWORD: password,
    MLFLOW_TRACKING_TOKEN: token,
  } = process.env;
  if (user && password) return { authorization: `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}` };
  return token ? { authorization: `Bearer ${token}` } : {};
}

/** MLFLOW_TAGS: an object of tags as JSON. */
function tags(): readonly JsonObject[] {
  const { MLFLOW_TAGS: text } = process.env;
  if (!text) return [];
  try {
    const given: unknown = JSON.parse(text);
    if (isJsonObject(given)) return Object.entries(given).map(([key, value]) => ({ key, value: String(value) }));
  } catch (cause) {
    throw new GrpoError("BAD_OPTION", `MLFLOW_TAGS is not JSON: ${reasonOf(cause)}`, { cause });
  }
  throw new GrpoError("BAD_OPTION", "MLFLOW_TAGS must be a JSON object of tags");
}

/** As transformers names a metric: other characters than these are refused by MLflow. */
function mlflowName(name: string): string {
  return name.replace(/[^0-9A-Za-z_\-. :/]/g, "_");
}

function mlflowParams(values: JsonObject): { readonly key: string; readonly value: string }[] {
  const { MLFLOW_FLATTEN_PARAMS: flatten = "", MLFLOW_MAX_LOG_PARAMS: most = "" } = process.env;
  const flat = ["1", "TRUE", "YES", "ON"].includes(flatten.toUpperCase()) ? flattened(values) : Object.entries(values);
  const params = flat.map(([key, value]) => ({
    key: mlflowName(key),
    value: typeof value === "string" ? value : JSON.stringify(value),
  }));
  return /^\d+$/.test(most) ? params.slice(0, Number(most)) : params;
}

function flattened(values: JsonObject, prefix = ""): [string, unknown][] {
  return Object.entries(values).flatMap(([key, value]) =>
    isJsonObject(value) ? flattened(value, `${prefix}${key}.`) : [[`${prefix}${key}`, value] as [string, unknown]],
  );
}

function parsed(answer: Answer): unknown {
  try {
    return JSON.parse(answer.body);
  } catch (cause) {
    throw new GrpoError("BAD_INPUT", `an answer that is not JSON: ${answer.body.slice(0, 100)}`, { cause });
  }
}

function errorCode({ body }: Answer): unknown {
  try {
    return valueAt(JSON.parse(body), "error_code");
  } catch {
    return undefined;
  }
}

function valueAt(value: unknown, ...keys: readonly string[]): unknown {
  return keys.reduce((inner: unknown, key) => (isJsonObject(inner) ? inner[key] : undefined), value);
}

function textAt(answer: unknown, ...keys: readonly string[]): string {
  const value = valueAt(answer, ...keys);
  if (typeof value === "string") return value;
  throw new GrpoError("BAD_INPUT", `an answer without ${keys.join(".")}`);
}
