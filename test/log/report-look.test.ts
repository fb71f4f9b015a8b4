// How the report looks: colours that can be read, light and dark, and pages that fit a phone whatever names a run has.

import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { type Browser, chromium, type Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { writeReport } from "../../lib/report/report.js";
import { executablePath } from "./chromium.js";

/** Contrast of two colours as WCAG 2 has it: 1 to 21. */
function contrast(a: string, b: string): number {
  const [dark, light] = [luminance(a), luminance(b)].sort((x, y) => x - y) as [number, number];
  return (light + 0.05) / (dark + 0.05);
}

/** `hex`: #rrggbb. */
function luminance(hex: string): number {
  const linear = (start: number) => {
    const value = Number.parseInt(hex.slice(start, start + 2), 16) / 255;
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  };
  return 0.2126 * linear(1) + 0.7152 * linear(3) + 0.0722 * linear(5);
}

it.each(["light", "dark"])("has %s colours that WCAG calls readable: 4.5 for text, 3 for curves", async (scheme) => {
  const style = await readFile(new URL("../../lib/report/page/page.css", import.meta.url), "utf8");
  const roots = [...style.matchAll(/:root \{([^}]*)\}/g)].map(([, text]) => text ?? "");
  const colours = new Map(
    [...(roots[scheme === "light" ? 0 : 1] ?? "").matchAll(/--([\w-]+): (#\w{6});/g)].map(
      ([, name, hex]) => [name, hex ?? ""] as const,
    ),
  );
  const low = ["page", "surface"].flatMap((ground) =>
    [...colours]
      .filter(([name = ""]) => name === "text" || name === "muted" || name.startsWith("series-"))
      .map(([name = "", hex]) => ({ name, ground, ratio: contrast(hex, colours.get(ground) ?? "") }))
      .filter(({ name, ratio }) => !(ratio >= (name.startsWith("series-") ? 3 : 4.5))),
  );
  expect(colours.size).toBe(11);
  expect(low).toEqual([]);
});

interface Sides {
  readonly left: number;
  readonly right: number;
}

const LONG = "a_name_without_a_place_to_break_at_that_is_wider_than_a_phone_by_itself";

async function writeRun(outputDir: string, i: number): Promise<void> {
  const config = { beta: i / 10, outputDir: `/home/${LONG}/${i}`, systemPrompt: `${LONG} `.repeat(3 + i) };
  const steps = [1, 2, 3].map((step) => ({
    type: "step",
    step,
    reward: step * i,
    [`rewards/${LONG}/mean`]: step,
    [`own/${LONG}`]: step,
  }));
  const lines = [{ type: "run", run_name: `${LONG}-${i}`, reward_functions: [LONG], config }, ...steps];
  const evaluation = { type: "eval", step: 2, do_sample: false, eval_reward: i };
  const completion = { step: 2, split: "train", row: 0, index: 0, prompt: LONG, completion: "word ".repeat(300) };
  const record = { ...completion, rewards: { [LONG]: 1 }, reward: 1, advantage: 0.5, finish_reason: "length" };
  await mkdir(outputDir, { recursive: true });
  const text = [...lines, evaluation].map((line) => `${JSON.stringify(line)}\n`).join("");
  await writeFile(path.join(outputDir, "metrics.jsonl"), text);
  await writeFile(path.join(outputDir, "completions.jsonl"), `${JSON.stringify(record)}\n`);
}

describe.skipIf(executablePath === undefined)("the look of the report in Chromium", () => {
  let browser: Browser;
  let parent: string;
  let folders: string[];
  beforeAll(async () => {
    parent = await mkdtemp(path.join(tmpdir(), "grpo-look-"));
    folders = Array.from({ length: 7 }, (_, i) => path.join(parent, String(i)));
    await Promise.all(folders.map(writeRun));
    browser = await chromium.launch({ executablePath: executablePath ?? "", args: ["--no-sandbox"] });
  });
  afterAll(async () => {
    await browser?.close();
    await rm(parent, { recursive: true, force: true });
  });

  async function open(outputDirs: string | string[], width: number): Promise<Page> {
    const page = await browser.newPage({ viewport: { width, height: 844 } });
    const file = path.join(parent, `${width}.html`);
    await page.goto(pathToFileURL(await writeReport(outputDirs, { file })).href);
    await page.waitForSelector("body[data-ready=true]");
    return page;
  }

  it.each([
    [1, 390],
    [1, 1440],
    [7, 390],
    [7, 1440],
  ])("fits long names of %i runs into %i pixels: the page, and each box of it", async (count, width) => {
    const page = await open(folders.slice(0, count), width);
    await page.click("#configuration summary");
    await page.click("#more summary");
    await page.locator("#more-curves .panel").first().waitFor();
    for (const view of ["table", "groups"]) {
      await page.selectOption("#view", view);
      expect(await page.evaluate("document.documentElement.scrollWidth")).toBe(width);
      const wide = await page.evaluate(
        `[...document.querySelectorAll(".panel, .group, .card")]
          .filter((box) => box.scrollWidth > box.clientWidth).map((box) => box.textContent.slice(0, 80))`,
      );
      expect(wide).toEqual([]);
    }
    await page.close();
  });

  it("shows a whole completion within the screen, wherever the table is scrolled to", async () => {
    const page = await open(folders.slice(0, 2), 390);
    await page.locator("tr.row").first().click();
    for (const left of [0, 200]) {
      const [inner, outer] = (await page.evaluate(
        `(() => {
          document.getElementById("table").scrollLeft = ${left};
          return [".whole-text", "#table"].map((name) => {
            const { left, right } = document.querySelector(name).getBoundingClientRect();
            return { left, right };
          });
        })()`,
      )) as [Sides, Sides];
      expect(inner.left).toBeGreaterThanOrEqual(outer.left);
      expect(inner.right).toBeLessThanOrEqual(outer.right);
    }
    await page.close();
  });

  it("tells runs apart that have the same colour", async () => {
    const page = await open(folders, 1440);
    const looks = await page.evaluate(
      `[...document.querySelectorAll(".dot")].map(({ style }) => [style.borderColor, style.borderStyle].join(" "))`,
    );
    expect(new Set(looks as string[]).size).toBe(7);
    const drawn = await page.evaluate(
      "charts[0].chart.series.slice(1, 8).map(({ stroke, dash }) => [stroke(), dash].join())",
    );
    expect(new Set(drawn as string[]).size).toBe(7);
    expect(await page.textContent("h1")).toBe("Comparison of 7 runs");
    await page.close();
  });

  it("says so where nothing has been logged yet", async () => {
    const begun = path.join(parent, "begun");
    await mkdir(begun);
    await writeFile(path.join(begun, "metrics.jsonl"), `${JSON.stringify({ type: "run", run_name: "begun" })}\n`);
    const page = await open(begun, 390);
    expect(await page.textContent("#curves")).toBe("Nothing has been logged yet.");
    await page.close();
  });
});
