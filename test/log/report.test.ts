// The report in a real browser: what it shows, that search and pages work, and that 10,000 completions open fast.

import { execFileSync } from "node:child_process";
import { appendFile, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { type Browser, chromium, type Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { writeReport } from "../../lib/report/report.js";

const COMPLETIONS = 10_000;
const PER_STEP = 100;

/** A Chromium of the machine, or undefined. */
function findChromium(): string | undefined {
  const names = [process.env.CHROMIUM, "chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
  for (const name of names) {
    if (!name) continue;
    try {
      return execFileSync("sh", ["-c", 'command -v "$0"', name], { encoding: "utf8" }).trim();
    } catch {
      // Not this one.
    }
  }
  return undefined;
}

const executablePath = findChromium();

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
    own_metric: i,
  }));
  const evaluation = { type: "eval", step: 50, eval_reward: 0.7 };
  await writeFile(
    path.join(outputDir, "metrics.jsonl"),
    [run, ...steps, evaluation].map((line) => `${JSON.stringify(line)}\n`).join(""),
  );
  const completions = Array.from({ length: COMPLETIONS }, (_, i) => ({
    step: Math.floor(i / PER_STEP) + 1,
    split: "train",
    row: i,
    prompt: [{ role: "user", content: `What is ${i} + 1? ${"Think about it. ".repeat(20)}` }],
    completion: `</script><b>It is ${i + 1}</b> ${"because ".repeat(40)}`,
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
    const began = performance.now();
    await page.goto(url);
    await page.waitForSelector("body[data-ready=true]");
    loadMilliseconds = performance.now() - began;
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
    expect(titles).toEqual(
      expect.arrayContaining(["Reward", "Reward: format", "Entropy", "Seconds of a step, by phase"]),
    );
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

it("says what is wrong with a folder that holds no run", async () => {
  await expect(writeReport(path.join(folder, "nothing"))).rejects.toMatchObject({ code: "BAD_INPUT" });
});
