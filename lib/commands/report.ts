// `grpo report`: a page about a run, or several, finished or going on; or about an evaluation, or two.

import { existsSync } from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { GrpoError } from "../errors.js";
import { writeEvaluationReport } from "../eval/report.js";
import { writeReport } from "../report/report.js";
import type { Command } from "./command.js";

const WATCH_SECONDS = 10;

export const reportCommand: Command = {
  usage:
    "<outputDir> [<outputDir> …] [--output report.html] [--completions 20000] [--watch]\n\n" +
    "Writes one HTML file with the curves, completions and configuration of a run. Several runs are compared in one page, " +
    "comparison.html unless --output says otherwise. --watch writes it again every " +
    `${WATCH_SECONDS} s while the run is active; the open page updates itself. Of the folders of one or two evaluations (grpo eval) it writes their page.`,

  async run(args) {
    const { values, positionals } = parseArgs({
      args: [...args],
      allowPositionals: true,
      options: { output: { type: "string" }, completions: { type: "string" }, watch: { type: "boolean" } },
    });
    if (positionals.length === 0) {
      throw new GrpoError("BAD_OPTION", "expected an output folder", { hint: "grpo report <outputDir>" });
    }
    const completions = Number(values.completions ?? 20_000);
    if (!Number.isSafeInteger(completions) || completions < 0) {
      throw new GrpoError("BAD_OPTION", `--completions must be a whole number, found ${values.completions}`);
    }
    const options = { completions, ...(values.output === undefined ? {} : { file: values.output }) };
    const [first, second] = positionals;
    if (first !== undefined && existsSync(path.join(first, "eval.json"))) {
      const folders = second === undefined ? ([first] as const) : ([first, second] as const);
      console.log(await writeEvaluationReport(folders, values.output === undefined ? {} : { file: values.output }));
      return 0;
    }
    console.log(await writeReport(positionals, { ...options, ...(values.watch ? { reload: WATCH_SECONDS } : {}) }));
    while (values.watch) {
      await sleep(WATCH_SECONDS * 1000);
      await writeReport(positionals, { ...options, reload: WATCH_SECONDS });
    }
    return 0;
  },
};
