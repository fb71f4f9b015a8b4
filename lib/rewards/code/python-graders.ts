// Share of test cases that a Python program passes: run on this machine, or by one of open-r1's routers to E2B and Morph
// sandboxes, which get the same judgement as a script. A case passes where the program ends well and prints the expected lines.

import { writeFile } from "node:fs/promises";
import path from "node:path";
import { at } from "../../at.js";
import { checkNumber, checkOneOf } from "../../checks.js";
import { GrpoError } from "../../errors.js";
import { isJsonObject } from "../../json.js";
import { Semaphore } from "../semaphore.js";
import { parseFloatStrictly, strip } from "./python-text.js";
import {
  CONSENT_VARIABLE,
  describeSandbox,
  findPython,
  mayExecuteHere,
  type Outcome,
  pythonCommand,
  runProgram,
  withFolder,
} from "./sandbox.js";
import { patiently, postJson, type Retries, ServiceError } from "./service.js";

export interface TestCase {
  readonly input: string;
  readonly output: string;
}

export interface GraderJob {
  readonly code: string;
  readonly tests: readonly TestCase[];
}

export interface PythonGrader {
  /** Where programs run, for people. */
  readonly executesOn: string;
  grade(jobs: readonly GraderJob[], signal: AbortSignal | undefined): Promise<readonly Promise<number | null>[]>;
}

export const CODE_PROVIDERS = ["e2b", "local", "morph"] as const;
export type CodeProvider = (typeof CODE_PROVIDERS)[number];

export interface GraderOptions extends Retries {
  /** Default: e2b through its router; without a router, local where HF_ALLOW_CODE_EVAL=1 allows it. */
  readonly provider?: CodeProvider;
  /** Host and port of open-r1's scripts/e2b_router.py. */
  readonly e2bRouterUrl?: string;
  /** Host and port of open-r1's scripts/morph_router.py. */
  readonly morphRouterUrl?: string;
  /** Programs at once on this machine. Default 2. */
  readonly numParallel?: number;
}

export function pythonGrader(reward: string, options: GraderOptions): PythonGrader {
  const { provider, e2bRouterUrl, morphRouterUrl, numParallel = 2 } = options;
  if (provider !== undefined) checkOneOf(reward, "provider", provider, CODE_PROVIDERS);
  checkNumber(reward, "numParallel", numParallel, { integer: true, min: 1 });
  if (provider === "morph" && morphRouterUrl !== undefined) return routed(morphRouterUrl, morph, options);
  if (provider !== "local" && provider !== "morph" && e2bRouterUrl !== undefined) {
    return routed(e2bRouterUrl, e2b, options);
  }
  // Who has a key of the service means it.
  const local = provider === "local" || (provider === undefined && process.env.E2B_API_KEY === undefined);
  if (local && mayExecuteHere()) return localGrader(numParallel);
  throw new GrpoError("BAD_OPTION", `${reward} executes what the model writes, and nothing says where`, {
    hint:
      "in a sandbox: give e2bRouterUrl (e2b_router_url), or provider morph with morphRouterUrl (code_provider, morph_router_url); " +
      `on this machine: set the environment variable ${CONSENT_VARIABLE}=1, with provider local if E2B_API_KEY is set`,
  });
}

/** Seconds for one test. */
const TEST_SECONDS = 5;
/** Seconds for one program in all its tests: what open-r1 gives an E2B sandbox. */
const PROGRAM_SECONDS = 30;
const MEGABYTES = 1024;

function localGrader(numParallel: number): PythonGrader {
  findPython();
  const slots = new Semaphore(numParallel);
  return {
    executesOn: describeSandbox(),
    async grade(jobs, signal) {
      return jobs.map((job) => slots.run(() => gradeHere(job, signal)));
    },
  };
}

async function gradeHere({ code, tests }: GraderJob, signal: AbortSignal | undefined): Promise<number> {
  if (tests.length === 0) return 0;
  // No program prints nothing.
  if (code === "") return tests.filter((test) => sameLines("", test.output)).length / tests.length;
  const deadline = performance.now() + PROGRAM_SECONDS * 1000;
  let passed = 0;
  for (const { input, output } of tests) {
    const seconds = Math.min(TEST_SECONDS, (deadline - performance.now()) / 1000);
    if (seconds <= 0) return 0;
    const outcome = await runHere(code, input, seconds, signal);
    // As in open-r1, where the judgement itself fails with it.
    if (outcome.ended !== "exit") return 0;
    const printed = decode(outcome.stdout);
    if (printed === undefined) return 0;
    if (outcome.code === 0 && sameLines(printed, output)) passed++;
  }
  return passed / tests.length;
}

/** In a folder of its own for every test: what a program does to its folder must not be in the way of the next one. */
function runHere(code: string, stdin: string, seconds: number, signal: AbortSignal | undefined): Promise<Outcome> {
  return withFolder(async (folder) => {
    const file = path.join(folder, "main.py");
    await writeFile(file, code);
    return runProgram({ command: pythonCommand(file), folder, stdin, seconds, megabytes: MEGABYTES, signal });
  });
}

/** undefined: not UTF-8. */
function decode(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes).replace(/\r\n?/g, "\n");
  } catch {
    return undefined;
  }
}

/** Line by line without outer space, as far as both go: that of the two which is longer may say what it wants. */
function sameLines(printed: string, expected: string): boolean {
  const lines = expected.split("\n");
  return strip(printed)
    .split("\n")
    .every((line, i) => i >= lines.length || strip(line) === strip(at(lines, i)));
}

/** The program that a sandbox runs: a cell whose last value is the share of tests that pass. */
const script = (code: string, tests: string): string => `import json, subprocess

def grade(code, tests):
    passed = 0
    for test in tests:
        try:
            run = subprocess.run(["python3", "-c", code], input=test["input"], text=True, capture_output=True, timeout=${TEST_SECONDS})
        except (subprocess.TimeoutExpired, UnicodeDecodeError):
            return 0.0
        lines = zip(run.stdout.strip().split("\\n"), test["output"].split("\\n"))
        if run.returncode == 0 and all(a.strip() == b.strip() for a, b in lines):
            passed += 1
    return passed / len(tests) if tests else 0.0

grade(${code}, json.loads(${tests}))
`;

/** What differs between the two routers. */
interface Router {
  readonly seconds: { readonly timeout: number; readonly request_timeout: number };
  /** The reward in an entry of the answer. */
  read(result: unknown): number | null;
}

const e2b: Router = {
  seconds: { timeout: 30, request_timeout: 28 },
  read(result) {
    const execution = isJsonObject(result) && isJsonObject(result.execution) ? result.execution : {};
    const results: readonly unknown[] = Array.isArray(execution.results) ? execution.results : [];
    const main = results.filter(isJsonObject).find((entry) => entry.is_main_result === true);
    return typeof main?.text === "string" ? (parseFloatStrictly(main.text) ?? null) : null;
  },
};

const morph: Router = {
  seconds: { timeout: 90, request_timeout: 96 },
  read: (result) =>
    isJsonObject(result) && typeof result.text === "string" ? (parseFloatStrictly(result.text) ?? 0) : 0,
};

/** One request takes all programs of a call; the router runs so many at once as it was started with. */
const ROUTER_SECONDS = 3600;

function routed(address: string, { seconds, read }: Router, retries: Retries): PythonGrader {
  const base = (/^https?:\/\//.test(address) ? address : `http://${address}`).replace(/\/+$/, "");
  return {
    executesOn: `the sandboxes of ${base}`,
    async grade(jobs, signal) {
      const scripts = jobs.map(({ code, tests }) => {
        const cases = JSON.stringify(tests.map(({ input, output }) => ({ input, output })));
        return script(JSON.stringify(code), JSON.stringify(cases));
      });
      const body = { scripts, languages: scripts.map(() => "python"), ...seconds };
      const answer = await patiently(
        () => postJson(`${base}/execute_batch`, body, ROUTER_SECONDS, signal),
        signal,
        retries,
      );
      if (!Array.isArray(answer) || answer.length !== jobs.length) {
        throw new ServiceError(`${base}: expected ${jobs.length} results`, false);
      }
      return answer.map(async (result) => read(result));
    },
  };
}
