// A rollout that is a program of any language: it is told by its environment where the policy is, reads the row from its input, and
// prints its reward.

import { type ChildProcess, spawn } from "node:child_process";
import { checkOptionNames, checkText, namesOf, show } from "../checks.js";
import { GrpoError } from "../errors.js";
import { toJson } from "../json.js";
import type { RolloutContext, RolloutFunction, RolloutResult } from "./rollout.js";
import { RolloutError } from "./rollout-error.js";

/** How the program of `command` is run. */
export interface CommandOptions {
  /** Where it runs. Default: the current folder. */
  readonly cwd?: string;
  /** Variables beside those of this process, and the policy's. Default: none. */
  readonly env?: Readonly<Record<string, string>>;
}

const COMMAND_OPTIONS = namesOf<CommandOptions>({ cwd: true, env: true });

/** Of an output that much is kept, from its end. */
const MAX_OUTPUT = 2 ** 20;
/** A program that is told to end has so long to do so. */
const GRACE_MS = 2_000;
const SHOWN = 400;

/**
 * A rollout that runs a program: a line for the shell, or the program and its arguments. It finds the policy by OPENAI_BASE_URL,
 * OPENAI_API_KEY and OPENAI_MODEL (and GRPO_UNTRAINED_MODEL, GRPO_ATTEMPT, GRPO_SEED), reads the row as JSON from its standard input, and the last line
 * that it prints is its reward, or a JSON object such as {"rewards": {"correct": 1}}. Nothing printed: no reward, where reward functions
 * score. An exit with another code than 0 is a failure. Throws BAD_OPTION.
 */
export function command(line: string | readonly string[], options: CommandOptions = {}): RolloutFunction<unknown> {
  checkOptionNames("command", options, COMMAND_OPTIONS);
  const words = typeof line === "string" ? [checkText("command", "line", line)] : line;
  if (!Array.isArray(words) || words.length === 0 || words.some((word) => typeof word !== "string")) {
    throw new GrpoError("BAD_OPTION", `command: expected a line, or a program and its arguments, found ${show(line)}`);
  }
  const [program, ...args] = words as [string, ...string[]];
  return async (context) => {
    const child = spawn(program, args, {
      shell: typeof line === "string",
      // A group of its own, so that what it starts ends with it.
      detached: process.platform !== "win32",
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
      env: { ...process.env, ...options.env, ...variablesOf(context) },
    });
    return resultOf(await outputOf(child, program, context));
  };
}

function variablesOf({ endpoint, attempt, seed }: RolloutContext): Record<string, string> {
  return {
    OPENAI_BASE_URL: endpoint.baseURL,
    OPENAI_API_KEY: endpoint.apiKey,
    OPENAI_MODEL: endpoint.model,
    GRPO_UNTRAINED_MODEL: endpoint.untrainedModel,
    GRPO_ATTEMPT: String(attempt),
    GRPO_SEED: String(seed),
    // They would send what happened here to a service, and wait for it.
    OPENAI_AGENTS_DISABLE_TRACING: process.env.OPENAI_AGENTS_DISABLE_TRACING ?? "1",
  };
}

/** What it printed. Rejects with how it failed. */
async function outputOf(child: ChildProcess, program: string, { row, signal }: RolloutContext): Promise<string> {
  const [stdout, stderr] = [new Tail(), new Tail()];
  child.stdout?.on("data", (part: Buffer) => stdout.add(part));
  child.stderr?.on("data", (part: Buffer) => stderr.add(part));
  // One that does not read its input may end before it is written.
  child.stdin?.on("error", () => {});
  child.stdin?.end(`${toJson(row)}\n`);
  const stop = () => endGroup(child);
  signal.addEventListener("abort", stop);
  if (signal.aborted) stop();
  try {
    return await new Promise<string>((resolve, reject) => {
      child.on("error", (cause) => reject(failed("exceptions", `${program} cannot be run: ${cause.message}`, cause)));
      child.on("close", (code, killedBy) => {
        if (code === 0) return resolve(stdout.text);
        const how = code === null ? `was ended by ${killedBy}` : `ended with code ${code}`;
        const said = stderr.text.trim().slice(-SHOWN);
        const kind = code === null ? "crashes" : "exceptions";
        reject(failed(kind, `${program} ${how}${said === "" ? "" : `: ${said}`}`));
      });
    });
  } finally {
    signal.removeEventListener("abort", stop);
  }
}

/** Asks the program and all that it started to end, and then ends them. */
function endGroup(child: ChildProcess): void {
  signalGroup(child, "SIGTERM");
  const timer = setTimeout(() => signalGroup(child, "SIGKILL"), GRACE_MS);
  child.once("close", () => {
    clearTimeout(timer);
    // Of what it started, some may have passed over the first signal.
    signalGroup(child, "SIGKILL");
  });
}

function signalGroup(child: ChildProcess, name: NodeJS.Signals): void {
  if (child.pid === undefined) return;
  try {
    if (process.platform === "win32") child.kill(name);
    else process.kill(-child.pid, name);
  } catch {
    // It has ended.
  }
}

function resultOf(output: string): RolloutResult | undefined {
  const line = output.trimEnd().split("\n").at(-1)?.trim() ?? "";
  if (line === "") return undefined;
  const value = parsed(line);
  if (typeof value === "number" || typeof value === "boolean" || value === null) return { reward: value };
  if (typeof value === "object" && !Array.isArray(value)) return value as RolloutResult;
  const found = show(line.slice(0, SHOWN));
  throw failed(
    "invalid",
    `expected a number or a JSON object in the last line that the program prints, found ${found}`,
  );
}

function parsed(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}

function failed(kind: RolloutError["kind"], message: string, cause?: unknown): RolloutError {
  const hint = "print the reward last, and everything else to the standard error";
  return new RolloutError(kind, message, kind === "invalid" ? { hint } : { cause });
}

/** The end of an output. */
class Tail {
  #parts: Buffer[] = [];
  #bytes = 0;

  add(part: Buffer): void {
    this.#parts.push(part);
    this.#bytes += part.length;
    if (this.#bytes < 2 * MAX_OUTPUT) return;
    this.#parts = [Buffer.concat(this.#parts).subarray(-MAX_OUTPUT)];
    this.#bytes = MAX_OUTPUT;
  }

  get text(): string {
    return Buffer.concat(this.#parts).toString("utf8");
  }
}
