// The page of an evaluation, or of two side by side, before and after: lib/report/page/eval.html with the data inside.

import path from "node:path";
import { at } from "../at.js";
import { GrpoError } from "../errors.js";
import { writePage } from "../report/report.js";
import { compare, type Evaluated, openEvaluation } from "./compare.js";
import type { CompletionLine } from "./records.js";

/** Characters of a completion that the page shows, of its beginning and its end together; completions.jsonl has all. */
const SHOWN = 8000;

/** Where the page is written. */
export interface EvaluationReportOptions {
  /** Default: report.html in the folder, of two folders in the second. */
  readonly file?: string;
}

/**
 * Writes the page of the evaluation in a folder, or of two: before, and after. Returns its path. Throws BAD_INPUT where there is no
 * evaluation, or where two cannot be compared.
 */
export async function writeEvaluationReport(
  folders: readonly [string] | readonly [string, string],
  options: EvaluationReportOptions = {},
): Promise<string> {
  const runs = await Promise.all(folders.map(openEvaluation));
  const [before, after] = runs;
  if (before === undefined) throw new GrpoError("BAD_INPUT", "expected the folder of an evaluation, found none");
  const file = options.file ?? path.join(at<string>(folders, folders.length - 1), "report.html");
  const shown = runs.map((run, i) => toPage(run, titleOf(runs, folders, i)));
  const comparison = after === undefined ? null : compare(before, after);
  await writePage(file, "eval.html", { ...shown[0], others: shown.slice(1), comparison });
  return file;
}

/** The model's name; of two of one name the folder's. */
function titleOf(runs: readonly Evaluated[], folders: readonly string[], i: number): string {
  const name = ({ result }: Evaluated) => String(result.settings.model);
  const own = name(at(runs, i));
  const folder = path.basename(path.resolve(at(folders, i)));
  return runs.filter((run) => name(run) === own).length > 1 ? `${own} (${folder})` : own;
}

function toPage({ result, problems, completions }: Evaluated, title: string): object {
  return { title, result, problems, completions: completions.map(shorten) };
}

/** Without the ids, which are the largest part and nothing to read. */
function shorten({ ids: _, completion, ...line }: CompletionLine): object {
  if (completion.length <= SHOWN) return { ...line, completion };
  const half = SHOWN / 2;
  const left = completion.length - SHOWN;
  return { ...line, completion: `${completion.slice(0, half)}\n… ${left} characters …\n${completion.slice(-half)}` };
}
