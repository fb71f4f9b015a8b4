// Who judges a solution to a problem of Codeforces: Piston with open-r1's package for it, or this machine with the same rules, which
// are those of that package: the compiler's options, the time limit, which output counts as the same.

import { writeFile } from "node:fs/promises";
import path from "node:path";
import { checkNumber } from "../../checks.js";
import { GrpoError } from "../../errors.js";
import { Semaphore } from "../semaphore.js";
import type { CodeforcesProblem } from "./codeforces-problem.js";
import { Piston, type PistonFile, type PistonOptions } from "./piston.js";
import type { TestCase } from "./python-graders.js";
import { strip } from "./python-text.js";
import {
  CONSENT_VARIABLE,
  describeSandbox,
  findPython,
  mayExecuteHere,
  pythonCommand,
  readWritten,
  runProgram,
  withFolder,
} from "./sandbox.js";

export interface Submission {
  readonly code: string;
  readonly language: "python" | "cpp";
}

export type Verdict = "passed" | "failed" | "not compiled";
export type RunTest = (problem: CodeforcesProblem, test: TestCase) => Promise<Verdict>;

export interface CodeforcesJudge {
  /** Where programs run, for people. */
  readonly executesOn: string;
  /** Prepares a submission, lends what runs its tests, and clears it away. */
  submit<T>(submission: Submission, signal: AbortSignal | undefined, use: (run: RunTest) => Promise<T>): Promise<T>;
}

export interface JudgeOptions extends PistonOptions {
  /** Programs at once on this machine; Piston has its own limits. Default 2. */
  readonly numParallel?: number;
}

export function codeforcesJudge({ numParallel = 2, ...options }: JudgeOptions): CodeforcesJudge {
  checkNumber("cfCode", "numParallel", numParallel, { integer: true, min: 1 });
  const piston = new Piston(options);
  if (piston.endpoints.length > 0) return pistonJudge(piston);
  if (mayExecuteHere()) return localJudge(numParallel);
  throw new GrpoError("BAD_OPTION", "cfCode executes what the model writes, and nothing says where", {
    hint:
      "in a sandbox: start Piston with open-r1's package codeforces, and set PISTON_ENDPOINTS=http://localhost:2000/api/v2; " +
      `on this machine: set the environment variable ${CONSENT_VARIABLE}=1`,
  });
}

/** The package keeps the time limit itself; the service only if that should fail. */
const SPARE_SECONDS = 10;

function pistonJudge(piston: Piston): CodeforcesJudge {
  return {
    executesOn: piston.endpoints.join(", "),
    submit({ code, language }, signal, use) {
      return use(async (problem, test) => {
        const { compile, run } = await piston.execute(
          {
            language: language === "python" ? "cf_python3" : "c++17",
            files: [{ name: `main.${language}`, content: code }, ...judgeFiles(problem, test)],
            run_timeout: (problem.time_limit + SPARE_SECONDS) * 1000,
          },
          signal,
        );
        if (compile && compile.code !== 0) return "not compiled";
        return run?.code === 0 && strip(run.stdout) === "1" ? "passed" : "failed";
      });
    },
  };
}

function judgeFiles(problem: CodeforcesProblem, { input, output }: TestCase): PistonFile[] {
  const { generated_checker: checker, time_limit: time, memory_limit: memory, input_mode: mode } = problem;
  return [
    ...(checker ? [{ name: "checker.py", content: checker }] : []),
    { name: "input.txt", content: input },
    { name: "correct_output.txt", content: output },
    { name: "grader_config", content: `TIME_LIMIT=${time}\nMEMORY_LIMIT=${memory}\nINPUT_MODE=${mode}` },
  ];
}

const COMPILER = { seconds: 60, megabytes: 4096 };
const CHECKER = { seconds: 10, megabytes: 1024 };

function localJudge(numParallel: number): CodeforcesJudge {
  findPython();
  const slots = new Semaphore(numParallel);
  return {
    executesOn: describeSandbox(),
    submit(submission, signal, use) {
      return withFolder(async (folder) => {
        const command = await slots.run(() => prepare(submission, folder, signal));
        return use(async (problem, test) => {
          if (command === undefined) return "not compiled";
          return slots.run(() => withFolder((empty) => runTest(command, problem, test, empty, signal)));
        });
      });
    },
  };
}

type Command = readonly [program: string, ...args: string[]];

/** What starts the program; undefined if it does not compile. */
async function prepare(
  { code, language }: Submission,
  folder: string,
  signal: AbortSignal | undefined,
): Promise<Command | undefined> {
  const file = path.join(folder, language === "python" ? "main.py" : "main.cpp");
  await writeFile(file, code);
  if (language === "python") return pythonCommand(file);
  const program = path.join(folder, "a.out");
  const command = ["g++", "-DONLINE_JUDGE", "-O2", "-std=c++17", "-pipe", "-s", "-o", program, file] as const;
  const outcome = await runProgram({ command, folder, signal, ...COMPILER });
  // The shell's number for a command that is not there.
  if (outcome.ended === "exit" && outcome.code === 127) {
    throw new GrpoError("FILE_NOT_FOUND", "C++ programs are to run on this machine, and there is no g++", {
      hint: "install g++, or set PISTON_ENDPOINTS: docs/code-rewards.md",
    });
  }
  return outcome.ended === "exit" && outcome.code === 0 ? [program] : undefined;
}

async function runTest(
  command: Command,
  problem: CodeforcesProblem,
  test: TestCase,
  folder: string,
  signal: AbortSignal | undefined,
): Promise<Verdict> {
  const input = test.input.replaceAll("\r\n", "\n");
  const byFiles = problem.input_mode === "file";
  if (byFiles) await writeFile(path.join(folder, "input.txt"), input);
  const limits = { seconds: problem.time_limit, megabytes: problem.memory_limit };
  const outcome = await runProgram({ command, folder, signal, ...limits, ...(byFiles ? {} : { stdin: input }) });
  if (outcome.ended !== "exit" || outcome.code !== 0) return "failed";
  const written = byFiles ? await readWritten(path.join(folder, "output.txt")) : outcome.stdout;
  // Bytes of UTF-8 are compared as bytes, whatever the program wrote.
  const expected = Buffer.from(withoutEmptyLines(test.output.replaceAll("\r\n", "\n"))).toString("latin1");
  const found = withoutEmptyLines(Buffer.from(written).toString("latin1"));
  const checker = problem.generated_checker;
  const right = checker ? await check(checker, { input, expected, found }, signal) : same(expected, found);
  return right ? "passed" : "failed";
}

interface Judged {
  readonly input: string;
  readonly expected: string;
  readonly found: string;
}

async function check(checker: string, judged: Judged, signal: AbortSignal | undefined): Promise<boolean> {
  return withFolder(async (folder) => {
    const at = (name: string): string => path.join(folder, name);
    await writeFile(at("checker.py"), checker);
    await writeFile(at("input.txt"), judged.input);
    await writeFile(at("correct_output.txt"), judged.expected, "latin1");
    await writeFile(at("output.txt"), judged.found, "latin1");
    const files = ["input.txt", "correct_output.txt", "output.txt"].map(at);
    const command: Command = [...pythonCommand(at("checker.py")), ...files];
    const outcome = await runProgram({ command, folder, signal, ...CHECKER });
    if (outcome.ended !== "exit" || outcome.code !== 0) return false;
    return ["1", "100"].includes(Buffer.from(outcome.stdout).toString("latin1").replace(/\s/g, ""));
  });
}

/** Every line ends; none is empty. */
function withoutEmptyLines(text: string): string {
  const lines = text.split("\n").filter((line) => line !== "");
  return lines.map((line) => `${line}\n`).join("");
}

/** Whether two outputs are equal but for space, and for the case of yes and no. */
function same(expected: string, found: string): boolean {
  const plain = (text: string): string =>
    text
      .replace(/\b(?:yes|no)\b/gi, (word) => word.toUpperCase())
      .replace(/[ \t\n\v\f\r]+/g, " ")
      .trim();
  return plain(expected) === plain(found);
}
