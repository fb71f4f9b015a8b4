// Streams of rows that can be read again and again, in shards (mostly one a file), after the examples iterables of Hugging Face
// datasets 5.2: which shards come in which order, and which rows, is as there for the same seed.

import { NumpyRandom } from "./numpy-random.js";

export type StoppingStrategy = "first_exhausted" | "all_exhausted" | "all_exhausted_without_replacement";

/**
 * Whether rows come in tables, as those of files, and datasets knows their columns before it reads them: a shuffle then takes rows by
 * chunks, and one by one otherwise. A mixture looks at the columns of its tables.
 */
export type Tables = "known" | "unknown" | "none";

export interface RowStream<Row> {
  readonly shards: number;
  readonly tables: Tables;
  /** Reads from the start. */
  rows(): AsyncIterable<Row>;
  /** Part `index` of `count`, in whole shards. */
  part(count: number, index: number): RowStream<Row>;
  /** The shards in another order; undefined where the order is fixed, because the first rows were taken or skipped. */
  reordered(seed: number): RowStream<Row> | undefined;
}

export type Shard<Row> = () => AsyncIterable<Row>;

/** One shard after another. */
export function shardStream<Row>(
  shards: readonly Shard<Row>[],
  { tables = "none" }: { readonly tables?: Tables } = {},
): RowStream<Row> {
  return {
    shards: shards.length,
    tables,
    async *rows() {
      for (const shard of shards) yield* shard();
    },
    part: (count, index) => shardStream(partOf(shards, count, index), { tables }),
    reordered: (seed) => shardStream(shuffled(shards, seed), { tables }),
  };
}

/** Rows through a function that looks at them one after another; they are no tables any more, unless `tables` says so. */
export function changedStream<Row, Next>(
  stream: RowStream<Row>,
  change: (rows: AsyncIterable<Row>) => AsyncIterable<Next>,
  { tables = "none" }: { readonly tables?: Tables } = {},
): RowStream<Next> {
  return {
    shards: stream.shards,
    tables,
    rows: () => change(stream.rows()),
    part: (count, index) => changedStream(stream.part(count, index), change, { tables }),
    reordered: (seed) => {
      const inner = stream.reordered(seed);
      return inner && changedStream(inner, change, { tables });
    },
  };
}

/** A changed stream where the change depends on which rows come first. */
export function fixedStream<Row>(
  stream: RowStream<Row>,
  change: (rows: AsyncIterable<Row>) => AsyncIterable<Row>,
): RowStream<Row> {
  const rows = () => change(stream.rows());
  return { ...shardStream([rows], stream), reordered: () => undefined };
}

export interface StreamShuffle {
  readonly seed: number;
  readonly bufferSize: number;
  /** From how many shards the buffer is filled in turn. */
  readonly inputShards: number;
}

/** Rows from a buffer that is filled from up to `inputShards` shards in turn, whose order is shuffled first. */
export function shuffledStream<Row>(stream: RowStream<Row>, options: StreamShuffle): RowStream<Row> {
  const mixed = stream.reordered(options.seed);
  return mixed ? bufferedStream(mixed, options) : bufferedStream(stream, { ...options, inputShards: 1 });
}

function bufferedStream<Row>(stream: RowStream<Row>, options: StreamShuffle): RowStream<Row> {
  const { seed, bufferSize, inputShards } = options;
  const size = stream.tables === "known" ? Math.max(1, Math.floor(bufferSize / inputShards)) : 1;
  const count = Math.min(stream.shards, inputShards);
  return {
    shards: stream.shards,
    tables: stream.tables,
    rows: () => {
      const parts = Array.from({ length: count }, (_, index) => stream.part(count, index));
      const chunks = parts.map((part) => changedStream(part, (rows) => inChunks(rows, size)));
      return drawn(interleaved(chunks, { strategy: "all_exhausted_without_replacement" }), seed, bufferSize);
    },
    part: (parts, index) => bufferedStream(stream.part(parts, index), options),
    reordered: (next) => {
      const inner = stream.reordered(next);
      return inner && bufferedStream(inner, options);
    },
  };
}

async function* inChunks<Row>(rows: AsyncIterable<Row>, size: number): AsyncGenerator<readonly Row[]> {
  let chunk: Row[] = [];
  for await (const row of rows) {
    chunk.push(row);
    if (chunk.length < size) continue;
    yield chunk;
    chunk = [];
  }
  if (chunk.length > 0) yield chunk;
}

/** A full buffer is shuffled; all rows but half a buffer are given out, and the rest are mixed with those that come next. */
async function* drawn<Row>(
  chunks: AsyncIterable<readonly Row[]>,
  seed: number,
  bufferSize: number,
): AsyncGenerator<Row> {
  const random = new NumpyRandom(seed);
  const kept = Math.floor(bufferSize / 2);
  let buffer: Row[] = [];
  for await (const chunk of chunks) {
    for (const row of chunk) buffer.push(row);
    if (buffer.length < bufferSize) continue;
    random.shuffle(buffer);
    yield* buffer.slice(0, buffer.length - kept);
    buffer = buffer.slice(buffer.length - kept);
  }
  random.shuffle(buffer);
  yield* buffer;
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
    tables: mixedTables(streams),
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

function mixedTables(streams: readonly { readonly tables: Tables }[]): Tables {
  return streams.every(({ tables }) => tables !== "none") ? "known" : "none";
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
    tables: mixedTables(streams),
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
