// Programs on this machine: what the limits stop, and the judge for Codeforces.

import { spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { isIsolated, pythonCommand, runProgram, withFolder } from "../../../lib/rewards/code/sandbox.js";
import { rewards } from "../../../lib/rewards/index.js";
import { block, hasCompiler, hasPython, needs, said } from "../../support/code-services.js";
import { address, listen } from "../../support/http.js";

let work = "";

beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), "grpo-local-"));
  mkdirSync(join(work, "tmp"));
  vi.stubEnv("TMPDIR", join(work, "tmp"));
  vi.stubEnv("HF_ALLOW_CODE_EVAL", "1");
});

afterAll(() => {
  vi.unstubAllEnvs();
  rmSync(work, { recursive: true });
});

const python = { timeout: 60_000 };
const withPython = needs(hasPython, "python3");

/** What a program prints; how it ended, if not well. */
async function run(
  code: string,
  options: { seconds?: number; stdin?: string; signal?: AbortSignal } = {},
): Promise<string> {
  return withFolder(async (folder) => {
    const [interpreter, ...flags] = pythonCommand("-c");
    const command = [interpreter, ...flags, code] as const;
    const outcome = await runProgram({ command, folder, seconds: 20, megabytes: 512, ...options });
    if (outcome.ended !== "exit") return outcome.ended;
    return outcome.code === 0
      ? Buffer.from(outcome.stdout).toString()
      : `exit ${outcome.code > 0 ? "failed" : "killed"}`;
  });
}

describe("a program", () => {
  it.skipIf(!hasPython)(`reads, writes and ends${withPython}`, python, async () => {
    expect(await run("print(input()[::-1])", { stdin: "äbc\n" })).toBe("cbä\n");
    expect(await run("raise SystemExit(3)")).toBe("exit failed");
    expect(await run("import os; os.abort()")).toBe("exit failed");
    expect(await run("print(1)", { stdin: "x".repeat(1_000_000) })).toBe("1\n");
  });

  it.skipIf(!hasPython)(`has an empty folder and none of the user's environment${withPython}`, python, async () => {
    vi.stubEnv("GRPO_TEST_SECRET", "s3cret");
    expect(await run("import os; print(os.listdir('.'), 's3cret' in str(os.environ))")).toBe("[] False\n");
    expect(await run("import os; print(os.environ['HOME'] == os.getcwd() == os.environ['TMPDIR'])")).toBe("True\n");
  });

  it.skipIf(!hasPython)(`is stopped by time and output${withPython}`, python, async () => {
    expect(await run("import time; time.sleep(60)", { seconds: 0.5 })).toBe("timeout");
    expect(await run("while True: print('x' * 10 ** 7)")).toBe("output");
  });

  it.skipIf(!hasPython)(`leaves nothing that runs on${withPython}`, python, async () => {
    // In a session of its own, with the output open.
    const daemon = "import os, time\nif os.fork() == 0:\n  os.setsid()\n  time.sleep(30)\nprint('parent')";
    const started = performance.now();
    expect(await run(daemon)).toBe("parent\n");
    expect(performance.now() - started).toBeLessThan(15_000);
  });

  it.skipIf(!hasPython)(`dies with the run${withPython}`, python, async () => {
    const stop = new AbortController();
    const running = run("import time; time.sleep(60)", { signal: stop.signal });
    setTimeout(() => stop.abort(new Error("stopped")), 300);
    await expect(running).rejects.toThrow("stopped");
    await expect(run("print(1)", { signal: stop.signal })).rejects.toThrow("stopped");
  });

  const memory = `gets no more memory than it may${process.platform === "linux" ? withPython : " (skipped: only Linux keeps this limit)"}`;
  it.skipIf(!hasPython || process.platform !== "linux")(memory, python, async () => {
    expect(await run("print(len(bytearray(10 ** 8)))")).toBe("100000000\n");
    expect(await run("bytearray(10 ** 9)")).toBe("exit failed");
  });

  const isolated = hasPython && isIsolated();
  const network = `has no network${isolated ? "" : " (skipped: this system has no unprivileged namespaces, or no python3)"}`;
  it.skipIf(!isolated)(network, python, async () => {
    const server = await listen((_, response) => void response.end("hello"));
    const request = `import urllib.request; print(urllib.request.urlopen("${address(server)}").read())`;
    expect(await run(request)).toBe("exit failed");
    server.close();
  });
});

it.skipIf(!hasPython)(`without namespaces the other limits hold${withPython}`, python, async () => {
  const bin = join(work, "bin");
  mkdirSync(bin);
  symlinkSync("/bin/sh", join(bin, "sh"));
  const [interpreter] = pythonCommand("");
  vi.resetModules();
  const bare = await import("../../../lib/rewards/code/sandbox.js");
  const path = process.env.PATH;
  vi.stubEnv("PATH", bin);
  const ended = (code: string, seconds: number) =>
    bare.withFolder(async (folder) => {
      const command = [interpreter, "-c", code] as const;
      const outcome = await bare.runProgram({ command, folder, seconds, megabytes: 512 });
      return outcome.ended === "exit" ? Buffer.from(outcome.stdout).toString() : outcome.ended;
    });
  expect(bare.describeSandbox()).toBe("this machine, with limits, but with your rights to files and network");
  expect(await ended("print(input())", 20)).toBe("");
  expect(await ended("import os\nif os.fork(): print(1)\nwhile True: pass", 2)).toBe("timeout");
  // It has left the group that is killed; the call does not wait for it.
  const started = performance.now();
  const daemon = "import os, time\nif os.fork() == 0:\n  os.setsid()\n  time.sleep(20)\nprint('parent')";
  expect(await ended(daemon, 20)).toBe("parent\n");
  expect(performance.now() - started).toBeLessThan(15_000);
  vi.stubEnv("PATH", path);
});

describe("what a program does to its folder", () => {
  const grade = async (code: string, outputs: readonly string[] = ["1"]): Promise<unknown> => {
    const test_cases = outputs.map((output) => ({ input: "", output }));
    const reward = rewards.code({ provider: "local" });
    return reward({ completions: said([block(code, "python")]), verification_info: [{ test_cases }] });
  };
  const left = () => readdirSync(join(work, "tmp"));

  it.skipIf(!hasPython)(`is cleared away, however deep it goes${withPython}`, python, async () => {
    const nested = "import os\nfor _ in range(3000):\n  os.mkdir('folder')\n  os.chdir('folder')\nprint(1)";
    expect(await grade(nested)).toEqual([1]);
    expect(left()).toEqual([]);
  });

  it("is cleared away without the right to", async () => {
    const isRoot = process.getuid?.() === 0;
    chmodSync(work, 0o755);
    chmodSync(join(work, "tmp"), 0o777);
    // Root may do anything, so another account takes its place.
    if (isRoot) process.seteuid?.(65_534);
    try {
      const kept = await withFolder(async (folder) => {
        mkdirSync(join(folder, "a", "b"), { recursive: true });
        writeFileSync(join(folder, "a", "b", "c"), "");
        for (const closed of [join(folder, "a", "b"), join(folder, "a"), folder]) chmodSync(closed, 0);
        return "the reward";
      });
      expect(kept).toBe("the reward");
    } finally {
      if (isRoot) process.seteuid?.(0);
    }
    expect(left()).toEqual([]);
  });

  it("is told where it cannot be cleared away, and no reason to fail", async () => {
    vi.stubEnv("PATH", "");
    const warned = vi.spyOn(process, "emitWarning").mockImplementation(() => {});
    let deep = "";
    try {
      // Without a shell nothing removes a path that is too long.
      expect(
        await withFolder(async (folder) => {
          deep = folder;
          nest(folder, 1200);
          return 0.5;
        }),
      ).toBe(0.5);
      expect(warned).toHaveBeenCalledWith(expect.stringContaining(`${deep} of a program could not be removed`));
    } finally {
      vi.unstubAllEnvs();
      warned.mockRestore();
      vi.stubEnv("TMPDIR", join(work, "tmp"));
      vi.stubEnv("HF_ALLOW_CODE_EVAL", "1");
      spawnSync("rm", ["-rf", deep]);
    }
  });

  it.skipIf(!hasPython)(`does not reach its next test${withPython}`, python, async () => {
    for (const last of [
      "os.chmod('.', 0)",
      "shutil.rmtree(os.getcwd())",
      "os.rename(os.getcwd(), os.getcwd() + '-')",
    ]) {
      expect(await grade(`import os, shutil\nprint(1)\n${last}`, ["1", "1", "2"]), last).toEqual([2 / 3]);
    }
    for (const moved of left()) rmSync(join(work, "tmp", moved), { recursive: true });
  });

  it.skipIf(!hasPython)(`has no output but a file of it${withPython}`, python, async () => {
    const made = [
      "os.mkfifo('output.txt')",
      "os.symlink('/dev/zero', 'output.txt')",
      "os.mkdir('output.txt')",
      "os.truncate(os.open('output.txt', os.O_CREAT | os.O_RDWR), 2 ** 27)",
    ];
    for (const make of made) {
      const [reward] = await rewards.cfCode({ endpoints: [], scoringMode: "partial" })({
        completions: said([block(`import os\n${make}`, "python")]),
        id: ["1/A"],
        language: ["python"],
        time_limit: [10],
        memory_limit: [512],
        input_mode: ["file"],
        official_tests: [[{ input: "", output: "1" }]],
      });
      expect(reward, make).toBe(0);
    }
  });
});

/** Folders in folders, deeper than a path may be long. */
function nest(folder: string, depth: number): void {
  const start = process.cwd();
  process.chdir(folder);
  for (let i = 0; i < depth; i++) {
    mkdirSync("folder");
    process.chdir("folder");
  }
  process.chdir(start);
}

describe("cfCode on this machine", () => {
  const test = (input: string, output: string) => ({ input, output });
  const row = (language: string, code: string, more: object = {}) => ({
    completions: said([block(code, language)]),
    id: ["1/A"],
    language: [language],
    time_limit: [10],
    memory_limit: [512],
    input_mode: ["stdio"],
    official_tests: [[test("1 2\r\n", "3\r\n"), test("20 22\n", "42")]],
    ...more,
  });
  const score = async (batch: ReturnType<typeof row>): Promise<number | null> => {
    const [reward = null] = await rewards.cfCode({ endpoints: [], scoringMode: "partial" })(batch);
    return reward;
  };
  const sum = "print(sum(map(int, input().split())))";

  it.skipIf(!hasPython)(`judges Python${withPython}`, python, async () => {
    expect(await score(row("python", sum))).toBe(1);
    expect(await score(row("python", "print(3)"))).toBe(0.5);
    expect(await score(row("python", "print(3); raise SystemExit(1)"))).toBe(0);
    expect(await score(row("python", "while True: pass", { time_limit: [0.5] }))).toBe(0);
    expect(await score({ ...row("python", sum), completions: said(["no program"]) })).toBe(-1);
  });

  it.skipIf(!hasPython)(
    `compares without regard to space, empty lines, and the case of yes${withPython}`,
    python,
    async () => {
      const answers = { official_tests: [[test("", "Yes\n1 2\n3\n")]] };
      expect(await score(row("python", "print('\\nYES 1\\n\\n  2  3 ')", answers))).toBe(1);
      expect(await score(row("python", "print('YESS 1 2 3')", answers))).toBe(0);
    },
  );

  it.skipIf(!hasPython)(`reads and writes files where the problem does${withPython}`, python, async () => {
    const copy =
      "a = open('input.txt').read().split()\nprint(sum(map(int, a)), file=open('output.txt', 'w'))\nprint('x')";
    expect(await score(row("python", copy, { input_mode: ["file"] }))).toBe(1);
    expect(await score(row("python", "print(3)", { input_mode: ["file"] }))).toBe(0);
  });

  it.skipIf(!hasPython)(`asks the problem's checker${withPython}`, python, async () => {
    const checker =
      "import sys\na, b, c = (open(f).read().split() for f in sys.argv[1:])\nprint(100 if set(a) == set(c) else 0)";
    const sorted = "print(*reversed(input().split()))";
    expect(await score(row("python", sorted, { generated_checker: [checker] }))).toBe(1);
    expect(await score(row("python", sorted, { generated_checker: ["raise SystemExit(1)"] }))).toBe(0);
    expect(await score(row("python", sorted))).toBe(0);
  });

  const cpp = hasPython && hasCompiler;
  it.skipIf(!cpp)(`judges C++${needs(cpp, "python3 and g++")}`, python, async () => {
    const main = "#include <iostream>\nint main() { int a, b; std::cin >> a >> b; std::cout << a + b << std::endl; }";
    expect(await score(row("cpp", main))).toBe(1);
    expect(await score(row("cpp", "int main() { return 1; }"))).toBe(0);
    expect(await score(row("cpp", "int main() {"))).toBe(-0.1);
    expect(await score(row("cpp", "#include <cstdlib>\nint main() { abort(); }"))).toBe(0);
  });
});

it("no folder of a program is left", () => {
  expect(readdirSync(join(work, "tmp"))).toEqual([]);
});
