// The report of a run, or of several: one HTML file with its data, styles, script and charting library inside, so that it opens from disk
// and can be sent to someone. The page itself is in lib/report/page/, plain files that the browser runs as they are.

import { readFile, rename, writeFile } from "node:fs/promises";
import path from "node:path";
import { at } from "../at.js";
import { checkOptionNames, checkText, namesOf } from "../checks.js";
import { GrpoError } from "../errors.js";
import { packageRequire, packageRoot } from "../package-files.js";
import { type RunData, readRun } from "./read-run.js";

/** What goes into a report, and where it is written. */
export interface ReportOptions {
  /** Default: report.html in the output folder; of several runs comparison.html in the current folder. */
  readonly file?: string;
  /** The newest completions of each run to include. Default 20,000. */
  readonly completions?: number;
  /** Seconds after which the page loads itself again; default: never. */
  readonly reload?: number;
}

const REPORT_OPTIONS = namesOf<ReportOptions>({ file: true, completions: true, reload: true });
const pageFolder = path.join(packageRoot, "lib/report/page");

/**
 * Writes the report of a run, or of several in one page: their curves over each other, and what differs in their configuration.
 * Returns its path. Throws BAD_INPUT where there is no run.
 */
export async function writeReport(
  outputDirs: string | readonly string[],
  options: ReportOptions = {},
): Promise<string> {
  checkOptionNames("writeReport", options, REPORT_OPTIONS);
  const folders = Array.isArray(outputDirs) ? outputDirs : [outputDirs];
  for (const folder of folders) checkText("writeReport", "outputDir", folder);
  const [first] = folders;
  if (first === undefined)
    throw new GrpoError("BAD_INPUT", "writeReport: expected an output folder, found an empty list");
  const file = options.file ?? (folders.length === 1 ? path.join(first, "report.html") : "comparison.html");
  const data = await Promise.all(folders.map((folder) => readRun(folder, options.completions ?? 20_000)));
  const titles = titlesOf(folders, data);
  const [run, ...others] = data.map((run, i) => ({ ...run, title: titles[i] }));
  // The page holds the data of its run, whatever it is compared with, so that programs find it at one place.
  await writePage(file, "page.html", { ...run, others, reload: options.reload ?? 0 });
  return file;
}

/** Writes a page of lib/report/page/ with its data and every file that it links inside. */
export async function writePage(file: string, page: string, data: object): Promise<void> {
  const html = await renderPage(page, data);
  // A browser that loads it meanwhile must not see half of it.
  await writeFile(`${file}.tmp`, html);
  await rename(`${file}.tmp`, file);
}

/** What the runs are called: their names, else their folders' names, else the folders, where several would be called the same. */
function titlesOf(folders: readonly string[], data: readonly RunData[]): readonly string[] {
  const base = (folder: string) => path.basename(path.resolve(folder));
  const names = data.map(({ run }, i) => (typeof run.run_name === "string" ? run.run_name : base(at(folders, i))));
  const isOnce = (name: string) => names.indexOf(name) === names.lastIndexOf(name);
  return names.map((name, i) => (isOnce(name) ? name : `${name} (${at(folders, i)})`));
}

/** A page with every file that it links written into it. */
async function renderPage(file: string, data: object): Promise<string> {
  const page = await readFile(path.join(pageFolder, file), "utf8");
  const uplot = path.join(path.dirname(packageRequire.resolve("uplot/package.json")), "dist");
  const names = [...page.matchAll(/(?:href|src)="([\w.-]+)"/g)].map(([, name]) => name ?? "");
  const contents = new Map<string, string>();
  for (const name of names) {
    const linked = path.join(name.startsWith("uPlot.") ? uplot : pageFolder, name);
    contents.set(name, await readFile(linked, "utf8"));
  }
  // No "<" may end the script element from within a text.
  const json = JSON.stringify(data).replaceAll("<", "\\u003c");
  return page
    .replace(/<link rel="stylesheet" href="([\w.-]+)"[^>]*>/g, (_, name) => `<style>${contents.get(name)}</style>`)
    .replace(/<script src="([\w.-]+)"><\/script>/g, (_, name) => `<script>${contents.get(name)}</script>`)
    .replace(/(<script[^>]*id="data"[^>]*>)(<\/script>)/, (_, open, close) => `${open}${json}${close}`);
}
