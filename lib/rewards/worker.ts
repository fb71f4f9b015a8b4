// Reward functions in processes of their own, for what is heavy or may crash, hang or eat memory. tinypool keeps the processes;
// one that does not answer in time, or whose run is stopped, is killed, and the next call gets another. Each failure is an
// ordinary failed call. Processes apart are no sandbox: they may do all that the user may.

import path from "node:path";
import { fileURLToPath } from "node:url";
import type { Tinypool } from "tinypool";
import { checkNumber, checkOptionNames, checkText } from "../checks.js";
import { loaderArguments } from "../modules.js";
import { entryFile } from "../package-files.js";
import type { RewardBatch, RewardFn } from "../types.js";
import { milliseconds, RewardError } from "./failure.js";
import { Semaphore } from "./semaphore.js";
import type { WorkerAnswer, WorkerTask } from "./worker-entry.js";
import { pack, unpack } from "./worker-message.js";

/** How many processes run the functions, and under which limits. */
export interface WorkerOptions {
  /** The function's name in its module. Default: the default export, or the only function. */
  readonly export?: string;
  /** Seconds that one call may take from its start; null: any time. Default 60. */
  readonly timeout?: number | null;
  /** Processes at once, one call each. Default 2. */
  readonly concurrency?: number;
  /** Megabytes of JavaScript's heap in each process. Default: Node's own limit. */
  readonly memoryLimitMb?: number;
}

/** A reward function that runs in a process of its own. */
export type WorkerReward<Row = unknown> = RewardFn<Row> & {
  /** Ends the processes; the next call starts them again. The trainer does this when a run ends. */
  close(): Promise<void>;
};

const processEntry = entryFile("rewards/worker-entry");
/** Seconds that a process may take to start and to import the function. */
const START_LIMIT = 60;
/** Milliseconds; longer than what lies between the rewards of two steps, as a rule. */
const IDLE_TIMEOUT = 60_000;

/** The function of a module (JavaScript, or TypeScript where Node or tsx reads it), run in worker processes. */
export function worker<Row = unknown>(file: string | URL, options: WorkerOptions = {}): WorkerReward<Row> {
  if (!(file instanceof URL)) checkText("rewards.worker", "file", file);
  checkOptionNames("rewards.worker", options, ["export", "timeout", "concurrency", "memoryLimitMb"]);
  const { export: exported, timeout = 60, concurrency = 2, memoryLimitMb } = options;
  checkNumber("rewards.worker", "concurrency", concurrency, { min: 1, integer: true });
  if (timeout !== null) checkNumber("rewards.worker", "timeout", timeout, { min: 0, open: true });
  if (memoryLimitMb !== undefined) checkNumber("rewards.worker", "memoryLimitMb", memoryLimitMb, { min: 16 });
  const absolute = path.resolve(file instanceof URL || file.startsWith("file:") ? fileURLToPath(file) : file);
  const name = exported === undefined || exported === "default" ? path.parse(absolute).name : exported;
  const processes = new WorkerProcesses({ file: absolute, exported, name }, { timeout, concurrency, memoryLimitMb });
  const call = (batch: RewardBatch<Row>) => processes.call(batch as unknown as RewardBatch);
  return Object.assign(Object.defineProperty(call, "name", { value: name }), { close: () => processes.close() });
}

type Target = Omit<WorkerTask, "batch">;

interface Limits {
  readonly timeout: number | null;
  readonly concurrency: number;
  readonly memoryLimitMb: number | undefined;
}

class WorkerProcesses {
  readonly #target: Target;
  readonly #limits: Limits;
  readonly #nodeArguments: string[];
  /** The pool never has more calls than processes: its queue would keep calls whose process has died. */
  readonly #slots: Semaphore;
  readonly #starting = new Set<AbortController>();
  #running = 0;
  #pool: Promise<Tinypool> | undefined;

  constructor(target: Target, limits: Limits) {
    this.#target = target;
    this.#limits = limits;
    this.#slots = new Semaphore(limits.concurrency);
    const loader = [processEntry, target.file].map(loaderArguments).find((args) => args.length > 0) ?? [];
    const { memoryLimitMb } = limits;
    this.#nodeArguments = [
      ...loader,
      ...(memoryLimitMb === undefined ? [] : [`--max-old-space-size=${memoryLimitMb}`]),
    ];
  }

  call(batch: RewardBatch): Promise<(number | null)[]> {
    return this.#slots.run(async () => {
      batch.signal.throwIfAborted();
      this.#running++;
      try {
        return take(await this.#answer(batch), batch, this.#target.name);
      } finally {
        this.#running--;
      }
    });
  }

  async close(): Promise<void> {
    const pool = this.#pool;
    this.#pool = undefined;
    await (await pool)?.destroy();
  }

  /** Environments stay behind: what they hold cannot cross. */
  async #answer({
    logMetric: _,
    logExtra: __,
    environments: ___,
    signal,
    ...rest
  }: RewardBatch): Promise<WorkerAnswer> {
    // The history grows with the run and would cross with every call.
    const batch = { ...rest, trainerState: { ...rest.trainerState, logHistory: [] } };
    const task = pack({ ...this.#target, batch } satisfies WorkerTask);
    const stop = new AbortController();
    const end = (message: string) => stop.abort(this.#failed("timeouts", message));
    let timer = setTimeout(() => end(`did not start within ${START_LIMIT} s`), START_LIMIT * 1000);
    const { timeout } = this.#limits;
    const started = () => {
      this.#starting.delete(stop);
      clearTimeout(timer);
      if (timeout !== null) timer = setTimeout(() => end(`took longer than ${timeout} s`), milliseconds(timeout));
    };
    this.#starting.add(stop);
    try {
      const options = { signal: AbortSignal.any([signal, stop.signal]), channel: { postMessage: started } };
      return unpack(await (await this.#open()).run(task, options)) as WorkerAnswer;
    } catch (cause) {
      signal.throwIfAborted();
      stop.signal.throwIfAborted();
      throw this.#failed("crashes", "ended before it answered: it crashed, exited, or ran out of memory", cause);
    } finally {
      this.#starting.delete(stop);
      clearTimeout(timer);
    }
  }

  #open(): Promise<Tinypool> {
    this.#pool ??= this.#startPool();
    return this.#pool;
  }

  async #startPool(): Promise<Tinypool> {
    const { Tinypool } = await import("tinypool");
    const pool = new Tinypool({
      runtime: "child_process",
      // The pool's own messages hold what only Node leaves out of the other kind in silence; Bun and Deno refuse them.
      serialization: "json",
      filename: processEntry,
      name: "callReward",
      minThreads: 0,
      maxThreads: this.#limits.concurrency,
      idleTimeout: IDLE_TIMEOUT,
      // The pool's default is an empty environment.
      env: { ...process.env } as Record<string, string>,
      execArgv: this.#nodeArguments,
    });
    // A process that ended without a call. If it was still starting, a call has waited for it and would wait forever.
    pool.on("error", () => {
      const orphans = [...this.#starting].slice(0, Math.max(0, this.#running - pool.threads.length));
      for (const stop of orphans) stop.abort(this.#failed("crashes", "ended while it was starting"));
    });
    return pool;
  }

  #failed(kind: "timeouts" | "crashes", what: string, cause?: unknown): RewardError {
    return new RewardError(kind, `the worker process of reward function "${this.#target.name}" ${what}`, { cause });
  }
}

/** The rewards of an answer; what the function logged is logged here. */
function take(answer: WorkerAnswer, batch: RewardBatch, name: string): (number | null)[] {
  if ("failure" in answer) {
    const { failure, message } = answer;
    throw new RewardError(failure, failure === "invalid" ? message : `reward function "${name}" threw: ${message}`);
  }
  for (const [metric, value] of answer.metrics) batch.logMetric(metric, value);
  for (const [column, values] of answer.extras) batch.logExtra(column, values);
  return answer.rewards;
}
