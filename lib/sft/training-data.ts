// A data set as the trainer uses it: tokenized, cut to length, packed. What that left out is counted, so that nothing is lost unseen: rows
// in which nothing counts, tokens beyond maxLength.

import { at } from "../at.js";
import { NumpyRandom } from "../dataset/numpy-random.js";
import { GrpoError } from "../errors.js";
import type { RowSource } from "../rollout/prompts.js";
import { isStream, type RowsOrStream, trainingStream } from "../rollout/streamed-rows.js";
import type { SFTConfig } from "./config.js";
import { type Example, PACKED_AT_A_TIME, pack, type TrainingRow } from "./packing.js";
import type { TextTokenizer } from "./text-tokenizer.js";
import { type RowNotes, type RowOptions, RowTokenizer, truncate } from "./tokenize-rows.js";

export interface TrainingData {
  readonly rows: readonly TrainingRow[];
  readonly facts: DataFacts;
  /** These are the first rows of a stream, in their order; `ended`: and all that it has. */
  readonly stream: { readonly ended: boolean } | undefined;
}

export interface DataFacts extends RowNotes {
  /** Rows of the data set that were read. */
  read: number;
  /** Rows without effect, as none of their tokens within maxLength counts. */
  masked: number;
  /** Rows longer than maxLength, and how many tokens that cost them. */
  cut: number;
  cutTokens: number;
  /** Of what is left: tokens, those that count in the loss, and the longest sequence. */
  tokens: number;
  counted: number;
  longest: number;
}

export interface DataOptions {
  /** Of the data set, for messages. */
  readonly name: "trainDataset" | "evalDataset";
  readonly args: SFTConfig;
  readonly packing: boolean;
  readonly formattingFunc?: RowOptions["formattingFunc"];
  /** Of a stream: how many rows a run takes. */
  readonly needed: number;
}

/** Throws BAD_DATASET for a row that cannot be used, and where nothing is left. */
export async function prepareData(
  source: RowsOrStream<object>,
  tokenizer: TextTokenizer,
  options: DataOptions,
  signal?: AbortSignal,
): Promise<TrainingData> {
  const { name, args, packing, needed } = options;
  const tokenize = new RowTokenizer(tokenizer, { ...args, formattingFunc: options.formattingFunc });
  const facts = emptyFacts();
  const streamed = isStream(source);
  const rows: TrainingRow[] = [];
  let examples: Example[] = [];
  const take = () => {
    for (const row of rowsOf(examples, args, packing, streamed)) rows.push(row);
    examples = [];
  };
  let ended = true;
  for await (const row of orderedRows(source, options, signal)) {
    if (facts.read % 256 === 0) await pause(signal);
    const example = fitted(tokenize.example(row, facts.read++), args, packing, facts);
    if (example !== undefined) examples.push(example);
    const enough = !packing && rows.length + examples.length >= needed;
    if (!streamed || (facts.read % PACKED_AT_A_TIME !== 0 && !enough)) continue;
    take();
    ended = rows.length < needed;
    if (!ended) break;
  }
  take();
  Object.assign(facts, tokenize.notes, totals(rows));
  if (facts.counted === 0) throw nothingLeft(name, facts);
  return { rows, facts, stream: streamed ? { ended } : undefined };
}

/** Those to train on may be shuffled. */
function orderedRows(source: RowsOrStream<object>, { name, args }: DataOptions, signal: AbortSignal | undefined) {
  if (!isStream(source)) return rowsIn(source, signal);
  return name === "trainDataset" ? trainingStream(source, args) : source;
}

async function* rowsIn(source: RowSource<object>, signal: AbortSignal | undefined): AsyncGenerator<object | undefined> {
  await source.load?.(signal);
  for (let index = 0; index < source.length; index++) yield source.at(index);
}

async function pause(signal: AbortSignal | undefined): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
  if (signal?.aborted) throw new GrpoError("CANCELLED", "stopped while tokenizing rows");
}

function emptyFacts(): DataFacts {
  const counts = { read: 0, masked: 0, cut: 0, cutTokens: 0, tokens: 0, counted: 0, longest: 0 };
  return { ...counts, differentPrompts: 0, doubled: 0 };
}

/**
 * A row within maxLength; undefined where nothing of it counts any more. As in TRL, rows that are packed are cut by the packing, and
 * stay whether anything counts or not.
 */
function fitted(example: Example, args: SFTConfig, packing: boolean, facts: DataFacts): Example | undefined {
  const { maxLength, truncationMode, packingStrategy } = args;
  const cuts = maxLength !== null && (!packing || packingStrategy === "bfd");
  const kept = cuts ? truncate(example, maxLength, packing ? "keep_start" : truncationMode) : example;
  const lost = example.ids.length - kept.ids.length;
  if (lost > 0) facts.cut++;
  facts.cutTokens += lost;
  const counts = kept.counts.includes(1);
  if (!counts) facts.masked++;
  return counts || packing || maxLength === null ? kept : undefined;
}

/** Shuffled before packing, so that what is packed together is not what stood together, and after it, as in TRL. */
function rowsOf(examples: Example[], args: SFTConfig, packing: boolean, streamed: boolean): readonly TrainingRow[] {
  const { maxLength, packingStrategy, seed } = args;
  const shuffled = <T extends object>(list: readonly T[]): readonly T[] => {
    if (!args.shuffleDataset || streamed) return list;
    return Array.from(new NumpyRandom(seed).permutation(list.length), (index) => at(list, index));
  };
  if (!packing || maxLength === null) return shuffled(examples.map((example) => [example]));
  return shuffled(pack(shuffled(examples), maxLength, packingStrategy));
}

function totals(rows: readonly TrainingRow[]): Pick<DataFacts, "tokens" | "counted" | "longest"> {
  let [tokens, counted, longest] = [0, 0, 0];
  for (const example of rows.flat()) {
    tokens += example.ids.length;
    counted += countedTokens(example);
    longest = Math.max(longest, example.ids.length);
  }
  return { tokens, counted, longest };
}

/** Those that count in the loss: nothing predicts the first. */
export function countedTokens({ counts }: Example): number {
  return counts.reduce((sum, mark) => sum + mark, 0) - (counts[0] ?? 0);
}

function nothingLeft(name: string, { read }: DataFacts): GrpoError {
  if (read === 0)
    return new GrpoError("BAD_DATASET", `${name} has no rows`, { hint: "look at its split and its filters" });
  return new GrpoError("BAD_DATASET", `in none of the ${read} rows of ${name} any token counts in the loss`, {
    hint: "raise maxLength, if their prompts fill it, and look at their labels or masks",
  });
}
