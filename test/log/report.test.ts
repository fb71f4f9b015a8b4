// The report in a real browser: what it shows, that search and pages work, and that 10,000 completions open fast.

import { appendFile, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { type Browser, chromium, type Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { writeReport } from "../../lib/report/report.js";
import { executablePath } from "./chromium.js";

const COMPLETIONS = 10_000;
const PER_STEP = 100;

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "grpo-report-"));
  await writeRun(folder);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function writeRun(outputDir: string): Promise<void> {
  const run = { type: "run", run_name: "a <b>run</b>", reward_functions: ["format", "accuracy"], config: { beta: 0 } };
  const steps = Array.from({ length: COMPLETIONS / PER_STEP }, (_, i) => ({
    type: "step",
    step: i + 1,
    reward: i / 100,
    reward_std: 0.1,
    "rewards/format/mean": 0.5,
    "rewards/format/std": 0.2,
    "rewards/accuracy/mean": null,
    entropy: 1 - i / 200,
    step_time: 2,
    "time/rollout": 1.5,
    "time/idle_share": 0.25,
    "completions/clipped_ratio": 0,
    tokens_per_second: 1_234_567 + i,
    "memory/peak": 2_500_000_000 + i * 1_000_000,
    "memory/resident": 750_000_000,
    own_metric: i,
  }));
  const evaluations = [
    { type: "eval", step: 50, do_sample: true, eval_reward: 0.7 },
    { type: "eval", step: 50, do_sample: false, eval_reward: 0.8 },
  ];
  await writeFile(
    path.join(outputDir, "metrics.jsonl"),
    [run, ...steps, ...evaluations].map((line) => `${JSON.stringify(line)}\n`).join(""),
  );
  const completions = Array.from({ length: COMPLETIONS }, (_, i) => ({
    step: Math.floor(i / PER_STEP) + 1,
    split: "train",
    row: Math.floor(i / 4),
    prompt: [{ role: "user", content: `What is ${i} + 1? ${"Think about it. ".repeat(20)}` }],
    completion: `</script><b>It is ${i + 1}</b> ${"because ".repeat(40)}`,
    index: i % PER_STEP,
    ids: [1, 2, 3],
    rewards: { format: 1, accuracy: null },
    reward: i / COMPLETIONS,
    advantage: 0.5,
    finish_reason: "eos",
  }));
  await writeFile(
    path.join(outputDir, "completions.jsonl"),
    completions.map((line) => `${JSON.stringify(line)}\n`).join(""),
  );
  // What a run that is going on has half written.
  await appendFile(path.join(outputDir, "completions.jsonl"), '{"step":101,"split":"tr');
}

/** What of a panel's chart the page says in text, by the panel's title. */
const legendOf = (page: Page, title: string) =>
  page
    .locator(".panel", { has: page.getByRole("heading", { name: title, exact: true }) })
    .locator(".u-series:visible .u-label")
    .allTextContents();

describe.skipIf(executablePath === undefined)("the report in Chromium", () => {
  let browser: Browser;
  let page: Page;
  const problems: string[] = [];
  let loadMilliseconds = Number.POSITIVE_INFINITY;
  beforeAll(async () => {
    browser = await chromium.launch({ executablePath: executablePath ?? "", args: ["--no-sandbox"] });
    page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
    page.on("pageerror", (error) => problems.push(error.message));
    page.on("console", (message) => message.type() === "error" && problems.push(message.text()));
    page.on("request", (request) => request.url().startsWith("file:") || problems.push(request.url()));
    const url = pathToFileURL(await writeReport(folder)).href;
    // The fastest of three: what else runs on the machine only adds to it.
    for (let i = 0; i < 3; i++) {
      const began = performance.now();
      await page.goto(url);
      await page.waitForSelector("body[data-ready=true]");
      loadMilliseconds = Math.min(loadMilliseconds, performance.now() - began);
    }
  });
  afterAll(() => browser?.close());

  it("opens with 10,000 completions in under two seconds, without an error or a request", () => {
    expect(problems).toEqual([]);
    expect(loadMilliseconds).toBeLessThan(2000);
  });

  it("shows the run, and texts as texts", async () => {
    expect(await page.textContent("h1")).toBe("a <b>run</b>");
    expect(await page.textContent("#facts")).toContain("step 100");
    expect(await page.locator("#completions tbody b").count()).toBe(0);
  });

  it("draws a curve for each metric that was logged, and no panel for one that was not", async () => {
    const titles = await page.locator("#curves .panel h3").allTextContents();
    expect(titles).toEqual(expect.arrayContaining(["Reward", "Reward: format", "Entropy", "Seconds of a step"]));
    expect(titles).not.toContain("Reward: accuracy");
    expect(titles).not.toContain("Learning rate");
    await page.click("#more summary");
    await expect.poll(() => page.locator("#more-curves h3").allTextContents()).toEqual(["own_metric"]);
    // As text: the page has a DOM, this file has none.
    const drawn = await page.evaluate(
      `[...document.querySelectorAll("#curves canvas")].map((canvas) =>
        canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.some((value) => value > 0))`,
    );
    expect(drawn).toEqual(titles.map(() => true));
  });

  it("names both evaluations of a step and each line once, and not the edges of a band", async () => {
    expect(await legendOf(page, "Reward")).toEqual(["step", "reward", "evaluation (sampled)", "evaluation (greedy)"]);
    await page
      .locator("#curves .u-over")
      .first()
      .hover({ position: { x: 100, y: 50 } });
    expect(await page.locator("#curves .u-legend").first().textContent()).toMatch(/reward\d\.\d+ ± 0\.100/);
  });

  it("draws shares apart from seconds, from 0, and up to 1 where they are all 0", async () => {
    expect(await legendOf(page, "Seconds of a step")).toEqual(["step", "whole step", "rollout"]);
    expect(await legendOf(page, "Share of time without work for the engine")).toEqual(["step", "share"]);
    const ranges = await page.evaluate(
      `charts.filter(({ panel }) => panel.share).map(({ chart }) => [chart.scales.y.min, chart.scales.y.max])`,
    );
    expect(ranges).toEqual([
      [0, 1],
      [0, expect.closeTo(0.28, 1)],
    ]);
  });

  it("draws memory in gigabytes, from 0", async () => {
    const title = "Memory (GB)";
    expect(await legendOf(page, title)).toEqual(["step", "most so far", "after the step"]);
    const [min, max, first, last] = (await page.evaluate(
      `(() => {
        const { chart } = charts.find(({ panel }) => panel.title === "${title}");
        return [chart.scales.y.min, chart.scales.y.max, chart.data[2][0], chart.data[1].at(-1)];
      })()`,
    )) as number[];
    expect([min, first, last]).toEqual([0, 0.75, expect.closeTo(2.599, 6)]);
    expect(max).toBeGreaterThan(2.6);
  });

  it("gives an axis the room and the digits that its numbers need", async () => {
    const [texts, room] = (await page.evaluate(
      `(() => {
        const { chart } = charts.find(({ panel }) => panel.title === "Tokens per second");
        const { _values: texts, _size: room } = chart.axes[1];
        return [texts, room - Math.max(...texts.map((text) => chart.ctx.measureText(text).width / devicePixelRatio))];
      })()`,
    )) as [string[], number];
    expect(new Set(texts).size).toBe(texts.length);
    expect(room).toBeGreaterThan(10);
  });

  it("shows the configuration as a table, and no comparison of one run", async () => {
    await page.click("#configuration summary");
    expect(await page.locator("#config tr", { hasText: "beta" }).locator("td").allTextContents()).toEqual([
      "beta",
      "0",
    ]);
    expect(await page.locator("#differences").isVisible()).toBe(false);
  });

  it("shows the completions of a prompt side by side, the best first, as text", async () => {
    await page.selectOption("#view", "groups");
    await page.fill("#step", "7");
    expect(await page.textContent("#count")).toBe("100 of 10,000 completions in 25 groups");
    const group = page.locator(".group").first();
    const cards = await group.locator(".card").allTextContents();
    expect(cards).toHaveLength(4);
    expect(cards[0]).toContain("</script><b>It is 604</b>");
    expect(cards[0]).toContain("advantage 0.500");
    expect(await group.locator("h3").textContent()).toContain("4 completions");
    await page.fill("#step", "");
    await page.selectOption("#view", "table");
  });

  it.each([1280, 390])("fits a screen of %i pixels in width", async (width) => {
    await page.setViewportSize({ width, height: 900 });
    await expect.poll(() => page.evaluate("document.documentElement.scrollWidth")).toBe(width);
    await page.setViewportSize({ width: 1280, height: 900 });
  });

  it("finds completions by step and by text, orders them, and turns pages", async () => {
    const count = () => page.textContent("#count");
    expect(await count()).toBe("10,000 of 10,000 completions");
    expect(await page.locator("tr.row").count()).toBe(50);
    expect(await page.textContent("#page")).toBe("page 1 of 200");
    await page.click("#next");
    expect(await page.textContent("#page")).toBe("page 2 of 200");
    await page.fill("#step", "42");
    expect(await count()).toBe("100 of 10,000 completions");
    await page.fill("#step", "");
    await page.fill("#search", "IT IS 4321<");
    expect(await count()).toBe("1 of 10,000 completions");
    await page.click("tr.row");
    expect(await page.textContent("tr.whole")).toContain("What is 4320 + 1?");
    await page.fill("#search", "");
    await page.selectOption("#order", "reward down");
    expect(await page.locator("tr.row").first().textContent()).toContain("It is 10000");
  });
});

describe.skipIf(executablePath === undefined)("the report of several runs in Chromium", () => {
  let browser: Browser;
  let page: Page;
  let parent: string;
  beforeAll(async () => {
    parent = await mkdtemp(path.join(tmpdir(), "grpo-reports-"));
    const folders = ["first/out", "second/out"].map((name) => path.join(parent, name));
    for (const [i, outputDir] of folders.entries()) {
      const config = { beta: 0, learningRate: [0.001, 0.0005][i], runName: "<img src=x onerror=alert(1)>" };
      const lines = [
        { type: "run", run_name: null, reward_functions: [`reward ${i}`], config },
        ...[1, 2, 3].map((step) => ({ type: "step", step: step + i, reward: step * (i + 1), [`own ${i}`]: step })),
        { type: "eval", step: 2, do_sample: false, eval_reward: i },
      ];
      await mkdir(outputDir, { recursive: true });
      const text = lines.map((line) => `${JSON.stringify(line)}\n`).join("");
      await writeFile(path.join(outputDir, "metrics.jsonl"), text);
      const completion = {
        step: 2,
        split: "train",
        index: 0,
        row: 0,
        prompt: "<i>?",
        completion: `of ${i}`,
        reward: i,
      };
      await writeFile(path.join(outputDir, "completions.jsonl"), `${JSON.stringify(completion)}\n`);
    }
    browser = await chromium.launch({ executablePath: executablePath ?? "", args: ["--no-sandbox"] });
    page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
    await page.goto(pathToFileURL(await writeReport(folders, { file: path.join(parent, "both.html") })).href);
    await page.waitForSelector("body[data-ready=true]");
  });
  afterAll(async () => {
    await browser?.close();
    await rm(parent, { recursive: true, force: true });
  });
  const names = () => ["first/out", "second/out"].map((name) => `out (${path.join(parent, name)})`);

  it("has a curve of each run in one panel, over all steps, with their evaluations", async () => {
    const [first, second] = names();
    expect(await legendOf(page, "Reward")).toEqual([
      "step",
      first,
      second,
      `${first}: evaluation (greedy)`,
      `${second}: evaluation (greedy)`,
    ]);
    expect(await page.evaluate("charts[0].chart.data.slice(0, 3)")).toEqual([
      [1, 2, 3, 4],
      [1, 2, 3, null],
      [null, 2, 4, 6],
    ]);
  });

  it("lists the settings that differ, and only these", async () => {
    const settings = await page.locator("#differing tbody td:first-child").allTextContents();
    expect(settings).toEqual(["learningRate", "reward_functions"]);
    const values = await page.locator("#differing tbody tr").first().locator("td.value").allTextContents();
    expect(values).toEqual(["0.001", "0.0005"]);
  });

  it("has the completions of all runs, or of one, and texts as texts", async () => {
    expect(await page.locator("tr.row").count()).toBe(2);
    await page.selectOption("#run", "1");
    expect(await page.locator("tr.row").allTextContents()).toEqual([expect.stringContaining("of 1")]);
    expect(await page.locator("img, i").count()).toBe(0);
  });
});

it("holds the data of its run where programs find it, and that of the others beside it", async () => {
  for (const others of [[], [folder]]) {
    const html = await readFile(
      await writeReport([folder, ...others], { file: path.join(folder, "data.html") }),
      "utf8",
    );
    const data = JSON.parse(/<script[^>]*type="application\/json"[^>]*>(.*?)<\/script>/s.exec(html)?.[1] ?? "");
    expect(data.steps).toHaveLength(COMPLETIONS / PER_STEP);
    expect(data.completionCount).toBe(COMPLETIONS);
    expect(data.others).toHaveLength(others.length);
  }
});

it("has the conversations of rollouts, and of their tools the names", async () => {
  const outputDir = path.join(folder, "rollouts");
  await mkdir(outputDir);
  const tools = [{ type: "function", function: { name: "weather", parameters: {} } }];
  const messages = [
    { role: "user", content: "Is it sunny?" },
    { role: "assistant", content: "", tool_calls: [{ id: "1", function: { name: "weather", arguments: "{}" } }] },
    { role: "tool", tool_call_id: "1", content: "yes" },
    { role: "assistant", content: "It is <b>sunny</b>." },
  ];
  const turns = [0.5, null].map((reward, turn) => ({ turn, tokens: [2 * turn, 2 * turn + 1], reward, advantage: 1 }));
  const sample = { prompt_ids: [1, 2], tokens: 3, finish_reason: "eos", turns, messages, sampled: [1, 3], tools };
  const line = { step: 1, split: "train", index: 0, row: 0, prompt: "Is it sunny?", completion: "It is <b>sunny</b>." };
  await writeFile(path.join(outputDir, "metrics.jsonl"), `${JSON.stringify({ type: "run" })}\n`);
  await writeFile(
    path.join(outputDir, "completions.jsonl"),
    `${JSON.stringify({ ...line, ids: [5, 6, 7], loss_mask: [1, 0, 1], samples: [sample, { ...sample, branch_of: 0 }] })}\n`,
  );
  const html = await readFile(await writeReport(outputDir), "utf8");
  const [, text = ""] = /<script[^>]*id="data"[^>]*>(.*?)<\/script>/s.exec(html) ?? [];
  const { prompt_ids: _, ...shown } = { ...sample, tools: ["weather"] };
  expect(JSON.parse(text).completions[0].samples).toEqual([shown, { ...shown, branch_of: 0 }]);
});

it("says what is wrong with a folder that holds no run", async () => {
  await expect(writeReport(path.join(folder, "nothing"))).rejects.toMatchObject({ code: "BAD_INPUT" });
});
