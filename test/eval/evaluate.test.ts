// An evaluation from end to end over a server that says what it is told to: which answers are asked for, what is kept, how it goes on
// after a kill, what is refused, and what is said of numbers that mean less than they seem to.

import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer, type IncomingMessage } from "node:http";
import { tmpdir } from "node:os";
import path from "node:path";
import { compareEvaluations, Dataset, type EvaluationOptions, evaluate, rewards } from "grpo";
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from "vitest";
import { type Script, startEndpoint } from "../endpoint/fake-generator.js";
import { useHub } from "../support/use-hub.js";

const current = useHub();
let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "grpo-eval-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const out = (name = "out") => path.join(folder, name);
const read = (name: string, file: string) => readFile(path.join(out(name), file), "utf8");
const FILES = ["eval.json", "completions.jsonl", "problems.jsonl", "report.html"];
const filesOf = (name: string) => Promise.all(FILES.map((file) => read(name, file)));
const linesOf = async (name = "out") =>
  (await read(name, "completions.jsonl"))
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));

/** The Hub's gsm8k, with rows made up. */
function addGsm8k(rows: number): void {
  const lines = Array.from({ length: rows }, (_, i) => ({
    question: `What is ${i} and 10?`,
    answer: `Add.\n#### ${i + 10}`,
  }));
  const text = lines.map((line) => JSON.stringify(line)).join("\n");
  const card =
    "---\nconfigs:\n- config_name: main\n  data_files:\n  - split: train\n    path: main/train.jsonl\n  - split: test\n    path: main/test.jsonl\n- config_name: socratic\n  data_files:\n  - split: test\n    path: socratic.jsonl\n---\n";
  const files = { "README.md": card, "main/train.jsonl": text, "main/test.jsonl": text, "socratic.jsonl": text };
  current.hub.add("openai/gsm8k", { type: "dataset", files });
}

/** The sum, or by chance of the seed another number; every fourth is cut off. */
const adds: Script = ({ seed = 0, sampling }, prompt) => {
  const i = Number(/What is (\d+)/.exec(prompt)?.[1]);
  const wrong = sampling.temperature > 0 && (seed >> 3) % 3 === 0 ? 1 : 0;
  return i % 4 === 3 ? `I add 10 to ${i} and then…` : `It is easy.\nANSWER: ${i + 10 + wrong}`;
};

async function run(say: Script, options: Partial<EvaluationOptions> = {}) {
  const { endpoint, generator } = await startEndpoint(say);
  const server = { baseURL: endpoint.baseURL, ...options.server };
  const result = await evaluate({ tasks: "gsm8k", outputDir: out(), ...options, server });
  return { result, requests: generator.requests, endpoint };
}

describe("a benchmark of the Hub through a server", () => {
  beforeEach(() => addGsm8k(8));

  it("is asked through the chat template, greedily and in samples of their own seeds, without stop strings", async () => {
    const { result, requests } = await run(adds);
    const [task] = result.tasks;
    expect(task).toMatchObject({
      task: "gsm8k",
      source: "openai/gsm8k",
      problems: 8,
      left_out: 0,
      max_new_tokens: 2048,
    });
    expect(task?.greedy?.metrics).toMatchObject({
      score: { value: 0.75 },
      format: { value: 0.75 },
      truncated: { value: 0.25 },
    });
    expect(Object.keys(task?.sampled?.metrics ?? {})).toEqual(
      "avg@4 pass@1 pass@2 pass@4 maj@4 format truncated tokens".split(" "),
    );
    expect(requests).toHaveLength(8 * 5);
    expect(requests.filter(({ sampling }) => sampling.temperature === 0)).toHaveLength(8);
    const sampled = requests.filter(({ sampling }) => sampling.temperature === 0.6);
    expect(sampled.every(({ sampling }) => sampling.topP === 0.95)).toBe(true);
    expect(new Set(sampled.map(({ seed }) => seed)).size).toBe(32);
    expect(requests.every(({ stopStrings, maxNewTokens }) => stopStrings.length === 0 && maxNewTokens === 2048)).toBe(
      true,
    );
  });

  it("keeps every completion with its grade and grader, and a line for each problem", async () => {
    await run(adds, { samples: 2 });
    const lines = await linesOf();
    expect(lines.map(({ do_sample, problem, sample }) => [do_sample, problem, sample])).toEqual([
      ...Array.from({ length: 8 }, (_, i) => [false, i, 0]),
      ...Array.from({ length: 16 }, (_, i) => [true, Math.floor(i / 2), i % 2]),
    ]);
    expect(lines[0]).toEqual({
      task: "gsm8k",
      do_sample: false,
      problem: 0,
      sample: 0,
      completion: "It is easy.\nANSWER: 10",
      finish_reason: "eos",
      tokens: lines[0].tokens,
      score: 1,
      answer: "10",
      vote: 0,
      format: true,
      grader: "math 1 (math_verify 0.9.0)",
    });
    expect(lines[3]).toMatchObject({ finish_reason: "length", format: false });
    const problems = (await read("out", "problems.jsonl"))
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(problems).toHaveLength(8);
    expect(problems[1]).toMatchObject({ task: "gsm8k", problem: 1, gold: "11", greedy: { score: 1, truncated: 0 } });
    expect(problems[1].prompt[0].content).toContain("What is 1 and 10?");
    expect(Object.keys(problems[1].sampled)).toContain("pass@2");
  });

  it.each([0, 3, 8])("killed after %i problems and gone on with, is what it would have been", async (kept) => {
    const { endpoint, requests } = await run(adds);
    const whole = await filesOf("out");
    const lines = (await read("out", "completions.jsonl")).split("\n");
    const { settings, schema_version } = JSON.parse(await read("out", "eval.json"));
    // As a kill leaves it: problems in any order, one half done, a line torn, no result yet.
    const left = [...lines.slice(0, kept).reverse(), ...lines.slice(8, 12), ...lines.slice(28, 30), '{"task":"gs'];
    for (const file of FILES) await rm(path.join(out(), file));
    await writeFile(path.join(out(), "eval.json"), JSON.stringify({ schema_version, settings }));
    await writeFile(path.join(out(), "completions.jsonl"), left.join("\n"));
    const asked = requests.length;
    await evaluate({ tasks: "gsm8k", outputDir: out(), server: { baseURL: endpoint.baseURL } });
    expect(await filesOf("out")).toEqual(whole);
    expect(requests.length - asked).toBe(8 * 5 - kept - 4);
  });

  it("stopped by its signal, goes on where it was", async () => {
    const { result } = await run(adds, { outputDir: out("whole") });
    const { endpoint, generator } = await startEndpoint(adds);
    const stop = new AbortController();
    const options = { tasks: "gsm8k", outputDir: out(), server: { baseURL: endpoint.baseURL, concurrency: 2 } };
    const stopAfter = ({ doSample, done }: { doSample: boolean; done: number }) =>
      doSample && done === 3 && stop.abort();
    const stopped = evaluate({ ...options, signal: stop.signal, onProgress: stopAfter });
    await expect(stopped).rejects.toMatchObject({ code: "CANCELLED" });
    const asked = generator.requests.length;
    expect(asked).toBeLessThan(40);
    expect(await evaluate(options)).toEqual(result);
    expect(generator.requests.length).toBeLessThan(asked + 40 - 8 - 3 * 4 + 1);
    expect(await filesOf("out")).toEqual(await filesOf("whole"));
  });

  it("asks nothing where all is done, and refuses a folder of other settings by their name", async () => {
    const { endpoint, requests, result } = await run(adds);
    const asked = requests.length;
    const options = { tasks: "gsm8k", outputDir: out(), server: { baseURL: endpoint.baseURL } };
    expect(await evaluate(options)).toEqual(result);
    expect(requests).toHaveLength(asked);
    await expect(evaluate({ ...options, temperature: 1 })).rejects.toThrow(
      /an evaluation with another temperature: 0.6, not 1/,
    );
    await expect(evaluate({ ...options, samples: 8 })).rejects.toThrow(/another tasks/);
  });

  it("leaves the completions of a training alone", async () => {
    await mkdir(out(), { recursive: true });
    await writeFile(path.join(out(), "completions.jsonl"), '{"step":1}\n');
    await expect(run(adds)).rejects.toThrow(/has a completions.jsonl of something else/);
    expect(await read("out", "completions.jsonl")).toBe('{"step":1}\n');
  });

  it("records who graded; what another version graded is graded again from the kept completions", async () => {
    const { endpoint, requests, result } = await run(adds);
    expect(result.tasks[0]?.grader).toBe("math 1 (math_verify 0.9.0)");
    const file = path.join(out(), "completions.jsonl");
    const graded = await readFile(file, "utf8");
    // An older reader that could read nothing.
    const older = graded.replaceAll('"score":1', '"score":0').replaceAll("math 1 (", "math 0 (");
    await writeFile(file, older);
    const asked = requests.length;
    const again = await evaluate({ tasks: "gsm8k", outputDir: out(), server: { baseURL: endpoint.baseURL } });
    expect(again).toEqual(result);
    expect(await readFile(file, "utf8")).toBe(graded);
    expect(requests).toHaveLength(asked);
  });

  it("is compared before and after, and not with another grader or other problems", async () => {
    await run((request, prompt) => (/What is [02] /.test(prompt) ? "ANSWER: 0" : adds(request, prompt)), {
      outputDir: out("before"),
    });
    await run(adds, { outputDir: out("after") });
    const { differences, differing } = await compareEvaluations(out("before"), out("after"));
    expect(differing).toEqual([]);
    expect(differences[0]).toMatchObject({
      task: "gsm8k",
      drawing: "greedy",
      metric: "score",
      before: 0.5,
      after: 0.75,
      difference: { value: 0.25 },
      p: 0.5,
      exact: true,
      better: 2,
      worse: 0,
    });
    await run(adds, { outputDir: out("fewer"), limit: 5 });
    await expect(compareEvaluations(out("before"), out("fewer"))).rejects.toThrow(
      "the two evaluations have another problems",
    );
    const file = path.join(out("after"), "eval.json");
    await writeFile(file, (await readFile(file, "utf8")).replaceAll("math 1 (", "math 2 ("));
    await expect(compareEvaluations(out("before"), out("after"))).rejects.toThrow(
      /another grader: math 1 .*, and math 2/,
    );
    await expect(compareEvaluations(out("before"), folder)).rejects.toThrow(/has no evaluation/);
  });

  it("says what makes its numbers mean less: truncation, answers out of form, pass@1 alone", async () => {
    const said: string[] = [];
    const { result } = await run(() => "It is a number, I believe…", {
      samples: 0,
      onNotice: (text) => said.push(text),
    });
    expect(result.notices).toEqual(said);
    expect(said).toEqual([
      "gsm8k: 100 % of the completions were cut by the limit of tokens (2048, or the model's context)",
      "gsm8k: only 0 % of the answers are in the form that the prompt asks for, or can be read; look at some before you believe the score",
      "gsm8k: pass@1 alone cannot tell a new ability from more weight on old ones; samples above 1 give pass@k",
    ]);
    const { result: fine } = await run((request, prompt) => adds(request, prompt.replace(/What is \d/, "What is 4")), {
      outputDir: out("fine"),
    });
    expect(fine.notices).toEqual([]);
  });

  it("refuses a stop string that right answers have, and says of others that they cut", async () => {
    await expect(run(adds, { stopStrings: ["####"] })).rejects.toThrow(
      'the stop string "####" would cut right answers; 8 of 8 solutions of gsm8k have it',
    );
    await expect(run(adds, { stopStrings: ["1"] })).rejects.toThrow(/stop string "1" would cut right answers/);
    const { result, requests } = await run(adds, { stopStrings: ["Question:"] });
    expect(requests[0]?.stopStrings).toEqual(["Question:"]);
    expect(result.notices).toContain('completions end at "Question:", also where they were not done');
  });

  it("asks in plain text where it is told to, and says so", async () => {
    const { result, requests } = await run(adds, { chatTemplate: false, samples: 2 });
    expect(result.notices).toContain("the chat template was not applied: the numbers are those of a base model");
    expect(result.settings.chat_template_applied).toBe(false);
    expect(requests).toHaveLength(24);
  });

  it("puts a system message before every question", async () => {
    const prompts: string[] = [];
    await run((request, prompt) => adds(request, String(prompts[prompts.push(prompt) - 1])), {
      systemPrompt: "Be brief.",
      samples: 0,
    });
    expect(prompts.every((prompt) => prompt.startsWith("<|im_start|>system\nBe brief."))).toBe(true);
  });
});

it("refuses rows whose right answer is missing, which nothing could equal", async () => {
  const source = path.join(folder, "rows.jsonl");
  const rows = [
    { question: "How many?", answer: "#### 1", problem: "?" },
    { question: "And now?", answer: "No idea." },
  ];
  await writeFile(source, rows.map((row) => JSON.stringify(row)).join("\n"));
  await expect(run(adds, { tasks: { benchmark: "gsm8k", source } })).rejects.toThrow(
    'gsm8k, problem 1: expected "#### number" in the answer, found "No idea."',
  );
  await expect(run(adds, { tasks: { benchmark: "math_500", source } })).rejects.toThrow(
    /math_500, problem \d: expected a text in the column/,
  );
});

it("takes the rows of a benchmark from a file, and leaves out instructions that cannot be checked", async () => {
  const rows = [
    { prompt: "Write in lower case.", instruction_id_list: ["change_case:english_lowercase"], kwargs: [{}] },
    { prompt: "Write in French.", instruction_id_list: ["language:response_language"], kwargs: [{ language: "fr" }] },
  ];
  const source = path.join(folder, "ifeval.jsonl");
  await writeFile(source, rows.map((row) => JSON.stringify(row)).join("\n"));
  const { result } = await run(() => "all of it is", { tasks: { benchmark: "ifeval", source } });
  expect(result.tasks[0]).toMatchObject({ problems: 1, left_out: 1, source, max_new_tokens: 1280 });
  expect(result.tasks[0]?.greedy?.metrics).toMatchObject({ score: { value: 1 }, prompt_loose: { value: 1 } });
  expect(result.notices).toContain("ifeval: 1 rows have instructions that cannot be checked here, and were left out");
});

describe("rows with a reward", () => {
  const rows = [1, 2, 3].map((i) => ({ prompt: [{ role: "user", content: `Say ${i}` }], solution: `$${i}$` }));
  const says: Script = (_, prompt) =>
    prompt.includes("Say 3") ? "three" : `It is $\\boxed{${/Say (\d)/.exec(prompt)?.[1]}}$.`;

  it("are graded by it, and the others are told beside it", async () => {
    const task = { name: "own", dataset: Dataset.from(rows), rewardFuncs: [rewards.accuracy, rewards.thinkFormat] };
    const { result } = await run(says, { tasks: task });
    const [own] = result.tasks;
    expect(own?.grader).toBe("accuracy, thinkFormat 1");
    expect(own?.greedy?.metrics).toMatchObject({
      score: { value: 2 / 3 },
      format: { value: 2 / 3 },
      "rewards/thinkFormat": { value: 0 },
    });
    expect(own?.sampled?.metrics["maj@4"]?.value).toBeCloseTo(2 / 3);
    const [first, , third] = await linesOf();
    expect([first.answer, third.answer, third.vote]).toEqual(['[1, "1"]', null, null]);
  });

  it("let rewards go that hold something", async () => {
    let closed = 0;
    const fn = Object.assign(
      rewards.perSample(() => 1, "held"),
      { close: () => closed++ },
    );
    await run(says, { tasks: { name: "own", dataset: rows, rewardFuncs: fn }, samples: 0 });
    expect(closed).toBe(1);
  });

  it("do not count where the reward abstains, which is said", async () => {
    const abstains = rewards.perSample(({ text }) => (text === "three" ? null : 1), "some");
    const { result } = await run(says, { tasks: { name: "own", dataset: rows, rewardFuncs: abstains } });
    expect(result.tasks[0]?.greedy).toMatchObject({ unscored: 1, metrics: { score: { value: 1 } } });
    expect(result.notices).toContain("own: 1 problems have completions without a score, and do not count");
  });

  it("need their columns, and ids where a reward reads some", async () => {
    const bare = rows.map(({ prompt }) => ({ prompt }));
    await expect(run(says, { tasks: { name: "own", dataset: bare, rewardFuncs: rewards.accuracy } })).rejects.toThrow(
      'needs the column "solution"',
    );
    const long = rewards.perSample(({ completionIds }) => completionIds.length, "long");
    await expect(run(says, { tasks: { name: "own", dataset: rows, rewardFuncs: long } })).rejects.toThrow(
      "a server gives no token ids",
    );
  });

  it("may be texts, which are completed as they are", async () => {
    const texts = [{ prompt: "Say 1:" }, { prompt: "Say 2:" }];
    const prompts: string[] = [];
    const fn = rewards.perSample(({ text }) => text.includes("boxed"), "boxed");
    const { result } = await run((request, prompt) => says(request, String(prompts[prompts.push(prompt) - 1])), {
      tasks: { name: "own", dataset: texts, rewardFuncs: fn },
      samples: 0,
    });
    expect(prompts.sort()).toEqual(["Say 1:", "Say 2:"]);
    expect(result.tasks[0]?.greedy?.metrics.score?.value).toBe(1);
  });
});

describe("a server", () => {
  /** Answers by a function; undefined breaks the connection. */
  async function serve(
    answer: (url: string, body: Record<string, unknown>) => { status: number; body: unknown } | undefined,
  ) {
    const server = createServer(async (request, response) => {
      const found = answer(request.url ?? "", await bodyOf(request));
      if (found === undefined) return void request.socket.destroy();
      response.writeHead(found.status, { "content-type": "application/json", "retry-after": "0" });
      response.end(JSON.stringify(found.body));
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    onTestFinished(() => {
      server.closeAllConnections();
      server.close();
    });
    const address = server.address();
    return `http://127.0.0.1:${typeof address === "object" ? address?.port : 0}/v1`;
  }

  async function bodyOf(request: IncomingMessage): Promise<Record<string, unknown>> {
    let text = "";
    for await (const part of request) text += part;
    return text === "" ? {} : JSON.parse(text);
  }

  const task = {
    name: "own",
    dataset: [{ prompt: [{ role: "user", content: "Hi" }] }],
    rewardFuncs: rewards.perSample(() => 1, "one"),
  };
  const models = { status: 200, body: { data: [{ id: "m", max_model_len: 512 }] } };
  const answered = (message: object, finish_reason = "stop") => ({
    status: 200,
    body: { choices: [{ message, finish_reason }] },
  });

  it("is asked again after what passes, with its model, and without a limit that its context cannot hold", async () => {
    let asked = 0;
    const bodies: Record<string, unknown>[] = [];
    const baseURL = await serve((url, body) => {
      if (url.endsWith("/models")) return models;
      asked++;
      bodies.push(body);
      if (asked === 1) return { status: 429, body: { error: { message: "busy" } } };
      if (asked === 2) return undefined;
      if (asked === 3) return { status: 503, body: {} };
      return answered({ content: "8", reasoning_content: "5 + 3" });
    });
    await evaluate({ tasks: task, outputDir: out(), samples: 0, server: { baseURL } });
    expect(asked).toBe(4);
    expect(bodies[3]).toEqual({ model: "m", messages: task.dataset[0]?.prompt, temperature: 0 });
    const [line] = await linesOf();
    expect(line).toMatchObject({ completion: "<think>\n5 + 3\n</think>\n\n8", final: "8", tokens: null });
  });

  it("that refuses, is not there or has no such model ends the evaluation by a message", async () => {
    const refuses = await serve((url) =>
      url.endsWith("/models") ? models : { status: 400, body: { error: { message: "maximum context length is 8" } } },
    );
    const options = { tasks: task, outputDir: out(), samples: 0 };
    await expect(evaluate({ ...options, server: { baseURL: refuses } })).rejects.toThrow(
      /answered 400: maximum context length is 8\n {2}→ lower maxNewTokens/,
    );
    await expect(evaluate({ ...options, server: { baseURL: refuses, model: "n" } })).rejects.toThrow(
      'has no model "n"; found m',
    );
    const unlisted = await serve((url) =>
      url.endsWith("/models") ? { status: 404, body: {} } : answered({ content: "Hi" }),
    );
    const named = { ...options, outputDir: out("named"), server: { baseURL: unlisted, model: "n" } };
    expect((await evaluate(named)).settings.model).toBe("n");
    await expect(
      evaluate({ ...options, server: { baseURL: "http://127.0.0.1:9/v1", attempts: 1 } }),
    ).rejects.toMatchObject({
      code: "SERVER_ERROR",
    });
  });
});

it.each([
  [
    { tasks: "gsm9k", server: { baseURL: "http://127.0.0.1:9" } },
    /there is no benchmark "gsm9k"\n.*did you mean gsm8k/,
  ],
  [{ tasks: [], server: { baseURL: "http://127.0.0.1:9" } }, /tasks must be at least one task/],
  [{ tasks: "gsm8k" }, /expected a model or a server, found neither/],
  [{ tasks: "gsm8k", server: { baseURL: "x" }, greedy: false, samples: 0 }, /nothing would be asked/],
  [{ tasks: "gsm8k", server: { baseURL: "x" }, temperature: 0 }, /temperature must be a number above 0/],
  [{ tasks: "gsm8k", server: { baseURL: "x" }, sample: 1 }, /unknown option sample/],
])("refuses %j", async (options, message) => {
  await expect(evaluate(options as unknown as EvaluationOptions)).rejects.toThrow(message);
});
