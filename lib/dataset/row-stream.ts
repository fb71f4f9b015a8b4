// Streams of rows that can be read again and again, in shards (mostly one a file), after the examples iterables of Hugging Face
// datasets: which shards come in which order, and which rows, is as there for the same seed.

import { at } from "../at.js";
import { NumpyRandom } from "./numpy-random.js";

export type StoppingStrategy = "first_exhausted" | "all_exhausted" | "all_exhausted_without_replacement";

export interface RowStream<Row> {
  readonly shards: number;
  /** Reads from the start. */
  rows(): AsyncIterable<Row>;
  /** Part `index` of `count`, in whole shards. */
  part(count: number, index: number): RowStream<Row>;
  /** The shards in another order; undefined where the order is fixed, because the first rows were taken or skipped. */
  reordered(seed: number): RowStream<Row> | undefined;
}

export type Shard<Row> = () => AsyncIterable<Row>;

/** One shard after another. */
export function shardStream<Row>(shards: readonly Shard<Row>[]): RowStream<Row> {
  return {
    shards: shards.length,
    async *rows() {
      for (const shard of shards) yield* shard();
    },
    part: (count, index) => shardStream(partOf(shards, count, index)),
    reordered: (seed) => shardStream(shuffled(shards, seed)),
  };
}

/** Rows through a function that looks at them one after another. */
export function changedStream<Row, Next>(
  stream: RowStream<Row>,
  change: (rows: AsyncIterable<Row>) => AsyncIterable<Next>,
): RowStream<Next> {
  return {
    shards: stream.shards,
    rows: () => change(stream.rows()),
    part: (count, index) => changedStream(stream.part(count, index), change),
    reordered: (seed) => {
      const inner = stream.reordered(seed);
      return inner && changedStream(inner, change);
    },
  };
}

/** A changed stream where the change depends on which rows come first. */
export function fixedStream<Row>(
  stream: RowStream<Row>,
  change: (rows: AsyncIterable<Row>) => AsyncIterable<Row>,
): RowStream<Row> {
  const rows = () => change(stream.rows());
  return { ...shardStream([rows]), reordered: () => undefined };
}

/** Draws each row from a buffer that is filled from up to `inputShards` shards in turn, whose order is shuffled first. */
export function shuffledStream<Row>(
  stream: RowStream<Row>,
  options: { readonly seed: number; readonly bufferSize: number; readonly inputShards: number },
): RowStream<Row> {
  const { seed, bufferSize } = options;
  const mixed = stream.reordered(seed);
  const count = mixed === undefined ? 1 : Math.min(mixed.shards, options.inputShards);
  const source = mixed ?? stream;
  const interleaved =
    count > 1
      ? interleavedStream(
          Array.from({ length: count }, (_, index) => source.part(count, index)),
          { strategy: "all_exhausted_without_replacement" },
        )
      : source;
  return changedStream(interleaved, (rows) => drawn(rows, seed, bufferSize));
}

async function* drawn<Row>(rows: AsyncIterable<Row>, seed: number, bufferSize: number): AsyncGenerator<Row> {
  const random = new NumpyRandom(seed);
  const next = inThousands(() => random.integer(bufferSize));
  const buffer: Row[] = [];
  for await (const row of rows) {
    if (buffer.length < bufferSize) buffer.push(row);
    else {
      const place = next();
      yield buffer[place] as Row;
      buffer[place] = row;
    }
  }
  random.shuffle(buffer);
  yield* buffer;
}

/** Python draws a thousand numbers ahead, which decides what the draws after them are. */
function inThousands(draw: () => number): () => number {
  let drawn: number[] = [];
  let used = 0;
  return () => {
    if (used === drawn.length) [drawn, used] = [Array.from({ length: 1000 }, draw), 0];
    return at(drawn, used++);
  };
}

export interface Mixture {
  readonly strategy: StoppingStrategy;
  /** The chance of each stream to give the next row; without them the streams take turns. */
  readonly probabilities?: readonly number[] | undefined;
  readonly seed?: number | undefined;
}

export function interleavedStream<Row>(streams: readonly RowStream<Row>[], mixture: Mixture): RowStream<Row> {
  return {
    shards: Math.min(...streams.map((stream) => stream.shards)),
    rows: () => interleaved(streams, mixture),
    part: (count, index) =>
      interleavedStream(
        streams.map((stream) => stream.part(count, index)),
        mixture,
      ),
    reordered: (seed) => {
      const inner = streams.map((stream) => stream.reordered(seed));
      if (!inner.every((stream) => stream !== undefined)) return undefined;
      return interleavedStream(inner, mixture.probabilities ? { ...mixture, seed } : mixture);
    },
  };
}

/** Which source comes next, without end. */
export function* sourceOrder(sources: number, { probabilities, seed }: Omit<Mixture, "strategy">): Generator<number> {
  const random = probabilities && new NumpyRandom(seed ?? 0);
  for (let i = 0; ; i++) yield random ? random.choice(probabilities ?? []) : i % sources;
}

async function* interleaved<Row>(streams: readonly RowStream<Row>[], mixture: Mixture): AsyncGenerator<Row> {
  const { strategy } = mixture;
  const iterators = streams.map((stream) => stream.rows()[Symbol.asyncIterator]());
  // One row is read ahead of each: a source is exhausted with its last row, not with the attempt to read on.
  const ahead: (IteratorResult<Row> | undefined)[] = streams.map(() => undefined);
  const exhausted = streams.map(() => false);
  try {
    for (const i of sourceOrder(streams.length, mixture)) {
      if (strategy === "first_exhausted" ? exhausted.some(Boolean) : exhausted.every(Boolean)) return;
      if (exhausted[i] && strategy === "all_exhausted_without_replacement") continue;
      const row = ahead[i] ?? (await iterators[i]?.next());
      ahead[i] = await iterators[i]?.next();
      if (ahead[i]?.done) {
        exhausted[i] = true;
        if (strategy !== "all_exhausted_without_replacement") {
          iterators[i] = (streams[i] as RowStream<Row>).rows()[Symbol.asyncIterator]();
          ahead[i] = undefined;
        }
      }
      if (row !== undefined && !row.done) yield row.value;
    }
  } finally {
    for (const iterator of iterators) await iterator.return?.();
  }
}

/** One stream after another; a shuffle mixes the shards of all. */
export function chainedStream<Row>(streams: readonly RowStream<Row>[]): RowStream<Row> {
  const single = () =>
    streams.flatMap((stream) => Array.from({ length: stream.shards }, (_, i) => stream.part(stream.shards, i)));
  return {
    shards: streams.reduce((sum, stream) => sum + stream.shards, 0),
    async *rows() {
      for (const stream of streams) yield* stream.rows();
    },
    part: (count, index) => chainedStream(partOf(single(), count, index)),
    reordered: (seed) => chainedStream(shuffled(single(), seed)),
  };
}

function partOf<T>(items: readonly T[], count: number, index: number): T[] {
  const size = Math.floor(items.length / count);
  const larger = items.length % count;
  const start = size * index + Math.min(index, larger);
  return items.slice(start, start + size + (index < larger ? 1 : 0));
}

function shuffled<T>(items: readonly T[], seed: number): T[] {
  const copy = [...items];
  new NumpyRandom(seed).shuffle(copy);
  return copy;
}
