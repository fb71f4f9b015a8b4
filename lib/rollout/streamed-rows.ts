// A stream as the trainer's rows. A run of maxSteps steps needs so many prompts and no more: they are read before the first step
// and kept, so that steps, resuming and evaluation work as with a table. They come in the order of the stream, which does not depend on
// how many are read, so that a run can be resumed with more steps or fewer. A stream that ends earlier is gone through again.

import { IterableDataset } from "../dataset/iterable-dataset.js";
import { GrpoError } from "../errors.js";
import type { RowSource } from "./prompts.js";

/**
 * An IterableDataset, by members that tell it from other rows: of the class itself the compiler would say, where rows have no prompt,
 * only that a private member is missing.
 */
export type StreamOfRows<Row extends object> = Pick<
  IterableDataset<Row>,
  "columnNames" | "shuffle" | typeof Symbol.asyncIterator
>;

/** Rows by index, or a stream of them. */
export type RowsOrStream<Row extends object> = RowSource<Row> | StreamOfRows<Row>;

export function isStream<Row extends object>(rows: RowsOrStream<Row>): rows is StreamOfRows<Row> {
  return rows instanceof IterableDataset;
}

export interface StreamOptions {
  readonly maxSteps: number;
  readonly shuffleDataset: boolean;
  readonly seed: number;
}

/** The stream in the order of its rows' use: from a shuffle buffer if they are to be shuffled, as in TRL. Throws BAD_OPTION without maxSteps. */
export function trainingStream<Row extends object>(
  stream: StreamOfRows<Row>,
  options: StreamOptions,
): StreamOfRows<Row> {
  if (options.maxSteps <= 0) {
    throw new GrpoError("BAD_OPTION", "trainDataset is a stream, and the number of its rows is unknown", {
      hint: "set maxSteps, or load the data set without streaming",
    });
  }
  return options.shuffleDataset ? stream.shuffle({ seed: options.seed }) : stream;
}

/** The rows of all steps, of which there are `needed`. */
export function trainingRows<Row extends object>(
  rows: RowsOrStream<Row>,
  options: StreamOptions,
  needed: () => number,
): RowSource<Row> {
  return isStream(rows) ? new StreamedRows(trainingStream(rows, options), needed()) : rows;
}

/** All rows of the stream. */
export function evaluationRows<Row extends object>(rows: RowsOrStream<Row>): RowSource<Row> {
  return isStream(rows) ? new StreamedRows(rows, Number.POSITIVE_INFINITY) : rows;
}

class StreamedRows<Row extends object> implements RowSource<Row> {
  readonly columnNames?: readonly string[];
  readonly #stream: StreamOfRows<Row>;
  readonly #needed: number;
  #rows: readonly Row[] = [];
  #ended = false;

  constructor(stream: StreamOfRows<Row>, needed: number) {
    this.#stream = stream;
    this.#needed = needed;
    if (stream.columnNames !== undefined) this.columnNames = stream.columnNames;
  }

  get length(): number {
    return this.#rows.length;
  }

  get stream(): { readonly ended: boolean } {
    return { ended: this.#ended };
  }

  at(index: number): Row | undefined {
    return this.#rows.at(index);
  }

  /** Reads the rows, once. */
  async load(signal?: AbortSignal): Promise<void> {
    if (this.#rows.length > 0) return;
    const rows: Row[] = [];
    let ended = true;
    for await (const row of this.#stream) {
      if (signal?.aborted) throw new GrpoError("CANCELLED", "stopped while reading rows");
      rows.push(row);
      if (rows.length < this.#needed) continue;
      ended = false;
      break;
    }
    this.#rows = rows;
    this.#ended = ended;
  }
}
