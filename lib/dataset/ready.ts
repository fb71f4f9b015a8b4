// Mathematics data sets with the columns that training reads: `prompt`, and a `solution` that rewards.accuracy can judge by.

import { checkOptionNames } from "../checks.js";
import { GrpoError } from "../errors.js";
import type { HubOptions } from "../hub/hub.js";
import type { Message } from "../types.js";
import type { Dataset } from "./dataset.js";
import type { KnownDatasets } from "./known-datasets.js";
import { loadDataset } from "./load.js";

/** Which part is loaded, from where, and with which system message. */
export interface ReadyDatasetOptions extends HubOptions {
  /** Default "train". */
  readonly split?: string;
  /** Put before every question. */
  readonly systemPrompt?: string;
  /** A folder, a file or another Hub id with the same columns. */
  readonly source?: string;
}

/** A problem as a conversation, and the solution that rewards judge by. */
export interface MathRow {
  prompt: Message[];
  solution: string;
}

/** AI-MO/NuminaMath-TIR: competition problems with solutions. */
async function numinaMathTir(options: ReadyDatasetOptions = {}): Promise<Dataset<MathRow>> {
  const rows = await load("AI-MO/NuminaMath-TIR", options);
  return rows.map(({ problem }) => ({ prompt: conversation(problem, options) })).removeColumns("problem", "messages");
}

/** openai/gsm8k: grade-school problems. The solution is the number after "####", the text before it is `reasoning`. */
async function gsm8k(options: ReadyDatasetOptions = {}): Promise<Dataset<MathRow & { reasoning: string }>> {
  const rows = await load("openai/gsm8k", options, "main");
  return rows
    .map(({ question, answer }, index) => {
      const { reasoning, number } = splitAnswer(answer);
      if (number !== "") {
        return { prompt: conversation(question, options), solution: number.replaceAll(",", ""), reasoning };
      }
      throw new GrpoError("BAD_DATASET", `gsm8k: the answer of row ${index} has no "#### number"`);
    })
    .removeColumns("question", "answer");
}

/** The number is what stands behind the first "####" of the last line, or on it behind a line of nothing else. */
export function splitAnswer(answer: string): { readonly reasoning: string; readonly number: string } {
  const mark = "####";
  const text = answer.trimEnd();
  const line = 1 + Math.max(...["\n", "\r", "\u2028", "\u2029"].map((end) => text.lastIndexOf(end)));
  const before = text.slice(0, line).trimEnd();
  const at = before.endsWith(mark) ? before.length - mark.length : text.indexOf(mark, line);
  if (at < 0) return { reasoning: text, number: "" };
  return { reasoning: text.slice(0, at).trimEnd(), number: text.slice(at + mark.length).trim() };
}

/** DigitalLearningGmbH/MATH-lighteval: the MATH data set, solutions with a \boxed{…} answer. */
async function math(options: ReadyDatasetOptions = {}): Promise<Dataset<MathRow & { level: string; type: string }>> {
  const rows = await load("DigitalLearningGmbH/MATH-lighteval", options);
  return rows.map(({ problem }) => ({ prompt: conversation(problem, options) })).removeColumns("problem");
}

/**
 * Well-known data sets with the columns that training needs: `prompt` and `solution`.
 *
 * @namespace
 */
export const datasets = { numinaMathTir, gsm8k, math } as const;

function load<Id extends keyof KnownDatasets>(
  id: Id,
  options: ReadyDatasetOptions,
  name?: string,
): Promise<Dataset<KnownDatasets[Id]>> {
  checkOptionNames("datasets", options, ["split", "systemPrompt", "source", "revision", "token", "cacheDir"]);
  const { split = "train", systemPrompt: _, source, ...hub } = options;
  const configuration = name === undefined || source !== undefined ? {} : { name };
  return loadDataset<KnownDatasets[Id]>(source ?? id, { ...hub, ...configuration, split });
}

function conversation(question: string, { systemPrompt }: ReadyDatasetOptions): Message[] {
  const user = { role: "user", content: question };
  return systemPrompt === undefined ? [user] : [{ role: "system", content: systemPrompt }, user];
}
