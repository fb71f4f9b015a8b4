// Takes the README's picture: the report of a run, in the machine's Chromium. Every number in it comes from the run.
//
//   npm run quickstart && npx tsx scripts/docs-picture.ts quickstart-output

import { stat } from "node:fs/promises";
import { resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { writeReport } from "grpo";
import { chromium } from "playwright-core";

const [outputDir = "quickstart-output"] = process.argv.slice(2);
const picture = fileURLToPath(new URL("../docs/assets/report.png", import.meta.url));
const limit = 200_000; // bytes; it is in every clone

const page = await writeReport(resolve(outputDir));
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox"],
});
try {
  const tab = await browser.newPage({ viewport: { width: 1200, height: 1060 }, colorScheme: "light" });
  await tab.goto(pathToFileURL(page).href);
  await tab.locator("#completions tbody tr").first().waitFor();
  await tab.screenshot({ path: picture });
} finally {
  await browser.close();
}
const { size } = await stat(picture);
if (size > limit) throw new Error(`${picture} has ${size} bytes; at most ${limit} are wanted`);
console.log(`${picture}: ${size} bytes`);
