// The rows of a configuration: one data set, TRL's mixture (`datasets`) or open-r1's (`dataset_mixture`); for `grpo train` with prompts. Which rows a
// mixture takes, in which order, is as in the scripts that its keys come from.

import { at } from "../at.js";
import { show } from "../checks.js";
import { Dataset } from "../dataset/dataset.js";
import type { DataFilesOption } from "../dataset/dataset-card.js";
import type { IterableDataset } from "../dataset/iterable-dataset.js";
import { loadDataset } from "../dataset/load.js";
import { concatenateDatasets } from "../dataset/mixture.js";
import { GrpoError, nearestName } from "../errors.js";
import type { Message, Prompt } from "../types.js";
import type { CommonSettings, MixturePart, ScriptSettings } from "./keys.js";

export type PromptRow = { readonly prompt: Prompt };
export type PromptRows = Dataset<PromptRow> | IterableDataset<PromptRow>;

type Row = Record<string, unknown>;
type Rows = Dataset<Row> | IterableDataset<Row>;

export interface TrainData {
  readonly train: PromptRows;
  readonly test: PromptRows | undefined;
}

export interface RawData {
  readonly train: Rows;
  readonly test: Rows | undefined;
}

/** `evaluates`: the test split is needed, and read. */
export async function loadTrainData(script: ScriptSettings, evaluates: boolean, seed: number): Promise<TrainData> {
  const { train, test } = await loadRows(script, evaluates, seed);
  return { train: withPrompts(train, script), test: test && withPrompts(test, script) };
}

/** The rows as they are. */
export async function loadRows(script: CommonSettings, evaluates: boolean, seed: number): Promise<RawData> {
  const data = await readRows(script, evaluates, seed);
  if (!evaluates || data.test !== undefined) return data;
  throw new GrpoError("BAD_OPTION", "there are no rows to evaluate with", {
    hint: "give test_split_size, or leave eval_strategy and do_eval out",
  });
}

async function readRows(script: CommonSettings, evaluates: boolean, seed: number): Promise<RawData> {
  const { dataset_name: name, dataset_mixture: mixture, datasets = [] } = script;
  if (mixture) return openR1Mixture(mixture);
  if (datasets.length > 0) return trlMixture(datasets, script, seed);
  if (name === undefined) {
    throw new GrpoError("BAD_OPTION", "which data?", {
      hint: "give dataset_name: a folder, a file or a Hub id; or datasets, or dataset_mixture",
    });
  }
  const options = script.dataset_config === undefined ? {} : { name: script.dataset_config };
  const load = (split: string): Promise<Rows> =>
    script.dataset_streaming
      ? loadDataset<Row>(name, { ...options, split, streaming: true })
      : loadDataset<Row>(name, { ...options, split });
  const test = evaluates ? await load(script.dataset_test_split) : undefined;
  return { train: await load(script.dataset_train_split), test };
}

/** A share of each by chance, all shuffled together. */
async function openR1Mixture({
  datasets,
  seed,
  test_split_size: testSize,
}: NonNullable<CommonSettings["dataset_mixture"]>): Promise<RawData> {
  const parts: Dataset<Row>[] = [];
  for (const { id, config, split, columns, weight } of datasets) {
    const options = { ...(config ? { name: config } : {}), ...(columns ? { columns } : {}) };
    const rows = (await loadDataset<Row>(id, { ...options, split })).shuffle({ seed });
    parts.push(rows.take(Math.trunc(rows.length * weight)));
  }
  const combined = concatenateDatasets(parts).shuffle({ seed });
  return testSize ? combined.trainTestSplit({ testSize, seed }) : { train: combined, test: undefined };
}

/** One after another; with fractions as many rows as come out even without taking one twice. */
async function trlMixture(parts: readonly MixturePart[], script: CommonSettings, seed: number): Promise<RawData> {
  const { streaming, test_split_size: testSize } = script;
  const load = (part: MixturePart) => [part.path, { ...mixtureOptions(part), split: part.split }] as const;
  if (streaming) {
    if (testSize !== undefined || parts.some(({ fraction }) => fraction != null)) {
      throw new GrpoError(
        "BAD_OPTION",
        "a stream has no end from which test_split_size or a fraction could be computed",
      );
    }
    const streams: IterableDataset<Row>[] = [];
    for (const part of parts) {
      const [path, options] = load(part);
      streams.push(await loadDataset<Row>(path, { ...options, streaming }));
    }
    return { train: concatenateDatasets(streams), test: undefined };
  }
  const tables: Dataset<Row>[] = [];
  for (const part of parts) tables.push(await loadDataset<Row>(...load(part)));
  const combined = concatenateDatasets(inFractions(tables, parts));
  // TRL draws the test rows anew in every run; with the seed of the run, one that is resumed has the same.
  return testSize === undefined ? { train: combined, test: undefined } : combined.trainTestSplit({ testSize, seed });
}

function mixtureOptions({ name, data_files: dataFiles, columns }: MixturePart) {
  return {
    ...(name ? { name } : {}),
    ...(dataFiles ? { dataFiles: dataFiles as DataFilesOption } : {}),
    ...(columns ? { columns } : {}),
  };
}

function inFractions(tables: readonly Dataset<Row>[], parts: readonly MixturePart[]): readonly Dataset<Row>[] {
  const fractions = parts.map(({ fraction }) => fraction ?? undefined);
  if (fractions.every((fraction) => fraction === undefined)) return tables;
  const sum = fractions.reduce<number>((total, fraction) => total + (fraction ?? Number.NaN), 0);
  if (!(sum > 0)) {
    throw new GrpoError("BAD_OPTION", `datasets: found fractions ${show(parts.map((part) => part.fraction ?? null))}`, {
      hint: "give one to each data set or to none, not all of them 0",
    });
  }
  const weights = fractions.map((fraction = 0) => fraction / sum);
  const total = weights.reduce(
    (least, weight, i) => (weight > 0 ? Math.min(least, at(tables, i).length / weight) : least),
    Number.POSITIVE_INFINITY,
  );
  return tables.map((table, i) => table.take(roundToEven(at(weights, i) * total)));
}

/** Python's round(). */
function roundToEven(value: number): number {
  const tie = value % 1 === 0.5 && Math.floor(value) % 2 === 0;
  return tie ? Math.floor(value) : Math.round(value);
}

/** open-r1's conversations if one of its two keys asks for them, else the column "prompt" as it is. */
function withPrompts(rows: Rows, { system_prompt: system, dataset_prompt_column: column }: ScriptSettings): PromptRows {
  const asked = system !== undefined || column !== undefined;
  const source = column ?? "prompt";
  const names = rows.columnNames;
  if (names !== undefined && !names.includes(source)) throw noColumn(source, names);
  if (!asked) return rows as unknown as PromptRows;
  const first: Message[] = system === undefined ? [] : [{ role: "system", content: system }];
  const conversation = (row: Row, index: number): { prompt: Message[] } => {
    const content = row[source];
    if (typeof content === "string") return { prompt: [...first, { role: "user", content }] };
    throw new GrpoError("BAD_DATASET", `row ${index}: the column "${source}" has no text: ${show(content)}`, {
      hint: "leave dataset_prompt_column and system_prompt out if it holds conversations",
    });
  };
  // Nobody reads it, and in a parquet file it is often most of the bytes.
  const without = names?.includes("messages") && source !== "messages";
  const lean = without ? (rows as Dataset<Row>).removeColumns("messages") : rows;
  return (lean instanceof Dataset ? lean.map(conversation) : lean.map(conversation)) as unknown as PromptRows;
}

function noColumn(column: string, names: readonly string[]): GrpoError {
  const near = nearestName(column, names);
  return new GrpoError("BAD_DATASET", `there is no column "${column}"; the columns are: ${names.join(", ")}`, {
    hint: `say which one is the prompt: dataset_prompt_column: ${near ?? names[0] ?? "…"}`,
  });
}
