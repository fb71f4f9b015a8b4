// Where programs run, and what becomes of rewards when a service fails.

import { writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import type { Server } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parquetWriteBuffer } from "hyparquet-writer";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { rewards } from "../../../lib/rewards/index.js";
import {
  block,
  cellValue,
  fakePiston,
  fakeRouter,
  hasPython,
  needs,
  type RouterRequest,
  said,
} from "../../support/code-services.js";

const servers: Server[] = [];

beforeEach(() => {
  for (const name of ["HF_ALLOW_CODE_EVAL", "E2B_API_KEY", "PISTON_ENDPOINTS", "CF_TESTS_FOLDER"])
    vi.stubEnv(name, undefined);
});

afterEach(() => {
  vi.unstubAllEnvs();
  for (const server of servers.splice(0)) server.close();
});

async function router(answer: (body: RouterRequest) => unknown): Promise<string> {
  const { server, url } = await fakeRouter(answer);
  servers.push(server);
  return url;
}

async function piston(...args: Parameters<typeof fakePiston>) {
  const fake = await fakePiston(...args);
  servers.push(fake.server);
  return fake;
}

const sum = "print(sum(map(int, input().split())))";
const info = {
  language: "python",
  test_cases: [
    { input: "1 2\n", output: "3\n" },
    { input: "4 5", output: "9" },
  ],
};
const solved = {
  completions: said([block(sum), block("print(3)"), block("raise ValueError"), "none"]),
  verification_info: [info, info, info, info],
};

describe("without a place to run", () => {
  it.each([
    ["code", () => rewards.code()],
    ["binaryCode", () => rewards.binaryCode({ provider: "local" })],
    ["code", () => rewards.code({ provider: "morph", e2bRouterUrl: "localhost:1" })],
    ["code", () => rewards.code({ provider: "e2b" })],
    ["cfCode", () => rewards.cfCode()],
  ])("%s says both ways", (name, make) => {
    expect(make).toThrow(`${name} executes what the model writes, and nothing says where`);
    expect(make).toThrow(/in a sandbox: .*; on this machine: set the environment variable HF_ALLOW_CODE_EVAL=1/);
  });

  it("ioiCode names Piston, with and without consent", () => {
    vi.stubEnv("HF_ALLOW_CODE_EVAL", "1");
    expect(() => rewards.ioiCode()).toThrow(/package cms_ioi.*PISTON_ENDPOINTS=http/);
  });

  it("consent does not overrule a provider, nor the key of one", () => {
    vi.stubEnv("HF_ALLOW_CODE_EVAL", "1");
    expect(() => rewards.code({ provider: "e2b" })).toThrow("nothing says where");
    vi.stubEnv("E2B_API_KEY", "e2b_x");
    expect(() => rewards.code()).toThrow("nothing says where");
  });

  it.each<[() => unknown, string]>([
    [() => rewards.code({ provider: "docker" as never }), "provider must be one of e2b, local, morph"],
    [() => rewards.code({ e2bRouterUrl: "x", numParallel: 0 }), "numParallel must be a whole number at least 1"],
    [() => rewards.cfCode({ scoringMode: "all" as never }), "scoringMode must be one of pass_fail"],
    [() => rewards.cfCode({ testsFolder: "/none" }), "no folder /none of generated tests"],
  ])("%s: %s", (make, message) => {
    expect(make).toThrow(message);
  });

  it("endpoints are addresses", () => {
    vi.stubEnv("PISTON_ENDPOINTS", "slurm");
    expect(() => rewards.ioiCode()).toThrow(/expected addresses between commas, found slurm/);
    vi.stubEnv("PISTON_ENDPOINTS", "http://localhost:1/api/v2, http://localhost:2/api/v2/");
    expect(rewards.cfCode().executesOn).toMatch(/^http:\/\/localhost:1\/api\/v2, http:\/\/localhost:2\/api\/v2;/);
  });
});

describe("the routers", () => {
  const name = `run what decides${needs(hasPython, "python3")}`;
  it.skipIf(!hasPython)(name, { timeout: 60_000 }, async () => {
    const seen: RouterRequest[] = [];
    const url = await router((body) => {
      seen.push(body);
      const results = (script: string) => [{ text: "a chart" }, { text: cellValue(script), is_main_result: true }];
      return body.scripts.map((script) => ({
        execution: { results: results(script), error: null },
        exception_str: null,
      }));
    });
    const code = rewards.code({ e2bRouterUrl: url.replace("http://", "") });
    expect(code.executesOn).toBe(`the sandboxes of ${url}`);
    expect(await code(solved)).toEqual([1, 0.5, 0, 0]);
    expect(seen).toMatchObject([{ languages: new Array(4).fill("python"), timeout: 30, request_timeout: 28 }]);

    const odd = { test_cases: [{ input: '"\\\u2028é😀\n', output: 'é"\\' }] };
    const echo = said([block('import sys\nt = sys.stdin.read().strip()\nprint(t[3] + t[0] + t[1] + "\\n")')]);
    expect(await code({ completions: echo, verification_info: [odd] })).toEqual([1]);
  });

  it("a sandbox without a result abstains at E2B and counts 0 at Morph, as in open-r1", async () => {
    const url = await router(({ scripts }) =>
      scripts.map((_, i) => ({ text: ["1.0", "x", null, "0.25\n"][i], execution: i === 3 ? { results: [] } : null })),
    );
    expect(await rewards.code({ e2bRouterUrl: url })(solved)).toEqual([null, null, null, null]);
    const morph = rewards.binaryCode({ provider: "morph", morphRouterUrl: url });
    expect(await morph(solved)).toEqual([1, 0, 0, 0]);
  });

  it("an answer that is none ends the call", async () => {
    const url = await router(() => []);
    await expect(rewards.code({ e2bRouterUrl: url })(solved)).rejects.toThrow("expected 4 results");
    const nobody = rewards.code({ e2bRouterUrl: "127.0.0.1:1", attempts: 2, firstPause: 1 });
    await expect(nobody(solved)).rejects.toThrow(/127\.0\.0\.1:1\/execute_batch: .*ECONNREFUSED|bad port/);
  });

  it("rows without tests, or in several languages where one is asked for, are errors", async () => {
    const code = rewards.code({ e2bRouterUrl: "127.0.0.1:1", enforceSameLanguage: true });
    const [completion = []] = solved.completions;
    const row = { completions: [completion], verification_info: [{}] } as unknown as typeof solved;
    await expect(code(row)).rejects.toThrow("verification_info has no test cases");
    const two = { completions: [completion, completion], verification_info: [info, { ...info, language: "cpp" }] };
    await expect(code(two)).rejects.toThrow("several languages: python, cpp");
  });
});

const passes = JSON.stringify({ run: { stdout: "1\n", stderr: "", code: 0, signal: null } });
const problems = (n: number, input = passes) => ({
  completions: said(new Array<string>(n).fill(block("print(1)"))),
  id: new Array<string>(n).fill("7/B"),
  language: new Array<string>(n).fill("python"),
  time_limit: new Array<number>(n).fill(1),
  memory_limit: new Array<number>(n).fill(64),
  input_mode: new Array<string>(n).fill("stdio"),
  official_tests: new Array<{ input: string; output: string }[]>(n).fill([{ input, output: "1" }]),
});

describe("Piston", () => {
  it("is asked again after failures that pass", async () => {
    const { url, failures, requests } = await piston();
    failures.push(500, 503, 429);
    expect(await rewards.cfCode({ endpoints: [url], firstPause: 1 })(problems(1))).toEqual([1.1]);
    expect(requests).toHaveLength(4);
  });

  it("a program that it cannot run has no reward; a call of only such fails", async () => {
    const { url, failures } = await piston();
    const cf = rewards.cfCode({ endpoints: [url], firstPause: 1 });
    failures.push(400);
    const metrics: [string, number][] = [];
    const logMetric = (name: string, value: number): void => void metrics.push([name, value]);
    expect(await cf({ ...problems(2), logMetric })).toEqual([null, 1.1]);
    expect(metrics).toEqual([["programs_not_executed", 0.5]]);
    failures.push(400);
    const silent = { ...problems(2), completions: said([block("print(1)"), "no program"]) };
    await expect(cf(silent)).rejects.toThrow(/answered 400: .*no/);
    failures.push(...new Array<number>(6).fill(500));
    await expect(cf(problems(1))).rejects.toThrow("answered 500");
  });

  it("an overloaded worker is asked again, and one without the package is not", async () => {
    const overloaded = { run: { stdout: "", stderr: "fork: Resource temporarily unavailable", code: 1, signal: null } };
    let asked = 0;
    const { url } = await piston(() => (asked++ < 2 ? overloaded : JSON.parse(passes)));
    expect(await rewards.cfCode({ endpoints: [url], firstPause: 1 })(problems(1))).toEqual([1.1]);
    const without = await piston(() => ({ message: "c++17-* runtime is unknown" }));
    await expect(rewards.cfCode({ endpoints: [without.url] })(problems(1))).rejects.toThrow("runtime is unknown");
    expect(without.requests).toHaveLength(1);
  });

  it("takes as many requests at once as the environment says, over all workers", async () => {
    let [now, most] = [0, 0];
    const slow = async () => {
      most = Math.max(most, ++now);
      await new Promise((done) => setTimeout(done, 20));
      now--;
      return JSON.parse(passes) as unknown;
    };
    const workers = [await piston(), await piston()];
    const fetching = vi.spyOn(globalThis, "fetch").mockImplementation(async () => Response.json(await slow()));
    const endpoints = workers.map(({ url }) => url);
    expect(await rewards.cfCode({ endpoints, testBatchSize: -1 })(problems(6))).toEqual(new Array(6).fill(1.1));
    expect(most).toBe(2);
    vi.stubEnv("PISTON_MAX_REQUESTS_PER_ENDPOINT", "2");
    await rewards.cfCode({ endpoints })(problems(6));
    expect(most).toBe(4);
    fetching.mockRestore();
  });

  it("lets go when the run is stopped", async () => {
    const { url, failures } = await piston();
    failures.push(...new Array<number>(5).fill(500));
    const stop = new AbortController();
    const call = rewards.cfCode({ endpoints: [url], firstPause: 60_000 })({ ...problems(1), signal: stop.signal });
    setTimeout(() => stop.abort(new Error("enough")), 50);
    await expect(call).rejects.toThrow("aborted");
  });

  it("gets the generated tests of the folder too", async () => {
    const folder = await mkdtemp(join(tmpdir(), "grpo-cf-"));
    const column = (name: string, data: string[]) => ({ name, data, type: "STRING" as const });
    const file = parquetWriteBuffer({
      columnData: [
        column("problem_id", ["7/B", "7/A", "7/B"]),
        column("input", [passes, passes, passes.replace("1\\n", "0\\n")]),
        column("output", ["a", "b", "c"]),
      ],
    });
    writeFileSync(join(folder, "test_cases_0007.parquet"), Buffer.from(file));
    vi.stubEnv("CF_TESTS_FOLDER", folder);
    const { url, requests } = await piston();
    const cf = rewards.cfCode({ endpoints: [url], scoringMode: "partial" });
    expect(cf.executesOn).toBe(url);
    expect(await cf(problems(1))).toEqual([2 / 3]);
    const outputs = requests.map(({ files }) => files.find(({ name }) => name === "correct_output.txt")?.content);
    expect(outputs).toEqual(["1", "a", "c"]);
    const other = { ...problems(1), id: ["8/B"] };
    expect(await cf(other)).toEqual([1]);
    await rm(folder, { recursive: true });
  });

  it("rows without a column that is needed are an error", async () => {
    const { time_limit: _, ...rest } = problems(1);
    const cf = rewards.cfCode({ endpoints: ["http://127.0.0.1:1"] });
    await expect(cf(rest as ReturnType<typeof problems>)).rejects.toThrow("cfCode needs the column time_limit");
  });
});
