// The page of an evaluation in a real browser, of one model and of two side by side.

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { type Browser, chromium, type Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { writeEvaluationReport } from "../../lib/eval/report.js";
import { evaluate } from "../../lib/index.js";
import { fakeEndpoint, type Script } from "../endpoint/fake-generator.js";
import { executablePath } from "../log/chromium.js";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "grpo-eval-page-"));
  const rows = Array.from({ length: 60 }, (_, i) => ({
    question: `What is ${i} <b>plus</b> 10?`,
    answer: `#### ${i + 10}`,
  }));
  await writeFile(path.join(folder, "test.jsonl"), rows.map((row) => JSON.stringify(row)).join("\n"));
  const knows =
    (most: number): Script =>
    (_, prompt) => {
      const i = Number(/What is (\d+)/.exec(prompt)?.[1]);
      return i < most ? `</script><b>So</b>\nANSWER: ${i + 10}` : "I cannot tell…";
    };
  await evaluated("before", knows(20));
  await evaluated("after", knows(45));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function evaluated(name: string, say: Script): Promise<void> {
  const { endpoint } = await fakeEndpoint(say);
  const task = { benchmark: "gsm8k", source: path.join(folder, "test.jsonl") };
  await evaluate({
    tasks: task,
    samples: 2,
    outputDir: path.join(folder, name),
    server: { baseURL: endpoint.baseURL },
  });
  await endpoint.close();
}

describe.skipIf(executablePath === undefined)("the page in Chromium", () => {
  let browser: Browser;
  let page: Page;
  const problems: string[] = [];
  const open = async (file: string) => {
    await page.goto(pathToFileURL(file).href);
    await page.waitForSelector("body[data-ready=true]");
  };
  beforeAll(async () => {
    browser = await chromium.launch({ executablePath: executablePath ?? "", args: ["--no-sandbox"] });
    page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
    page.on("pageerror", (error) => problems.push(error.message));
    page.on("console", (message) => message.type() === "error" && problems.push(message.text()));
    page.on("request", (request) => request.url().startsWith("file:") || problems.push(request.url()));
  });
  afterAll(() => browser?.close());

  it("shows the numbers with their intervals, the notices, and a problem with what was said to it", async () => {
    await open(path.join(folder, "before", "report.html"));
    expect(await page.textContent("h1")).toBe("tiny");
    expect(await page.textContent("#notices")).toContain("66.7 % of the completions were cut");
    const score = await page.locator("#numbers tr", { hasText: "score" }).textContent();
    expect(score).toMatch(/^greedyscore33\.3 % \[\d+\.\d %, \d+\.\d %\]$/);
    expect(await page.locator("#problems tbody tr.row").count()).toBe(50);
    await page.selectOption("#which", { label: "with a truncated completion" });
    expect(await page.textContent("#count")).toBe("40 problems");
    await page.selectOption("#which", { label: "all problems" });
    await page.fill("#search", "What is 7 ");
    await page.locator("#problems tbody tr.row").click();
    expect(await page.locator("#problems tr.whole .card").count()).toBe(3);
    expect(await page.locator("#problems tr.whole").textContent()).toContain("</script><b>So</b>");
    expect(await page.locator("#problems tbody b").count()).toBe(0);
    expect(problems).toEqual([]);
  });

  it("shows two models side by side, with the difference and its p-value", async () => {
    const file = path.join(folder, "both.html");
    await writeEvaluationReport([path.join(folder, "before"), path.join(folder, "after")], { file });
    await open(file);
    expect(await page.textContent("h1")).toBe("Before and after");
    expect(await page.textContent("#facts")).toContain("tiny (before)");
    const score = page.locator("#numbers tr", { hasText: "score" });
    expect(await score.textContent()).toMatch(/33\.3 %.*75\.0 %.*\+41\.7 % \[.*\]< 0\.00125 \/ 0$/);
    await page.selectOption("#which", { label: "better" });
    expect(await page.textContent("#count")).toBe("25 problems");
    await page.locator("#problems tbody tr.row").first().click();
    expect(await page.locator("#problems tr.whole strong").allTextContents()).toEqual([
      "tiny (before)",
      "tiny (after)",
    ]);
    expect(problems).toEqual([]);
  });
});
