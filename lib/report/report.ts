// The report of a run: one HTML file with its data, styles, script and charting library inside, so that it opens from disk
// and can be sent to someone. The page itself is in lib/report/page/, plain files that the browser runs as they are.

import { readFile, rename, writeFile } from "node:fs/promises";
import path from "node:path";
import { checkOptionNames, checkText, namesOf } from "../checks.js";
import { packageRequire, packageRoot } from "../package-files.js";
import { readRun } from "./read-run.js";

/** What goes into a report, and where it is written. */
export interface ReportOptions {
  /** Default: report.html in the output folder. */
  readonly file?: string;
  /** The newest completions to include. Default 20,000. */
  readonly completions?: number;
  /** Seconds after which the page loads itself again; default: never. */
  readonly reload?: number;
}

const REPORT_OPTIONS = namesOf<ReportOptions>({ file: true, completions: true, reload: true });
const pageFolder = path.join(packageRoot, "lib/report/page");

/** Writes the report and returns its path. Throws BAD_INPUT where there is no run. */
export async function writeReport(outputDir: string, options: ReportOptions = {}): Promise<string> {
  checkText("writeReport", "outputDir", outputDir);
  checkOptionNames("writeReport", options, REPORT_OPTIONS);
  const file = options.file ?? path.join(outputDir, "report.html");
  const data = await readRun(outputDir, options.completions ?? 20_000);
  const html = await renderReport({
    ...data,
    title: path.basename(path.resolve(outputDir)),
    reload: options.reload ?? 0,
  });
  // A browser that loads it meanwhile must not see half of it.
  await writeFile(`${file}.tmp`, html);
  await rename(`${file}.tmp`, file);
  return file;
}

/** page.html with every file that it links written into it. */
async function renderReport(data: object): Promise<string> {
  const page = await readFile(path.join(pageFolder, "page.html"), "utf8");
  const uplot = path.join(path.dirname(packageRequire.resolve("uplot/package.json")), "dist");
  const names = [...page.matchAll(/(?:href|src)="([\w.]+)"/g)].map(([, name]) => name ?? "");
  const contents = new Map<string, string>();
  for (const name of names) {
    const file = path.join(name.startsWith("uPlot.") ? uplot : pageFolder, name);
    contents.set(name, await readFile(file, "utf8"));
  }
  // No "<" may end the script element from within a text.
  const json = JSON.stringify(data).replaceAll("<", "\\u003c");
  return page
    .replace(/<link rel="stylesheet" href="([\w.]+)"[^>]*>/g, (_, name) => `<style>${contents.get(name)}</style>`)
    .replace(/<script src="([\w.]+)"><\/script>/g, (_, name) => `<script>${contents.get(name)}</script>`)
    .replace(/(<script[^>]*id="data"[^>]*>)(<\/script>)/, (_, open, close) => `${open}${json}${close}`);
}
