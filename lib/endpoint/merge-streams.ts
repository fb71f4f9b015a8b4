// Several streams as one, in the order in which their events come.

import { EventQueue } from "../event-queue.js";

/** Each event with the index of its stream. An error of one ends all; leaving the loop leaves all streams. */
export async function* mergeStreams<Event>(
  streams: readonly AsyncIterable<Event>[],
): AsyncGenerator<readonly [number, Event], void, undefined> {
  const merged = new EventQueue<readonly [number, Event]>();
  const iterators = streams.map((stream) => stream[Symbol.asyncIterator]());
  const pump = async (iterator: AsyncIterator<Event>, index: number) => {
    for (let next = await iterator.next(); !next.done; next = await iterator.next()) merged.push([index, next.value]);
  };
  Promise.all(iterators.map(pump)).then(
    () => merged.end(),
    (error: unknown) => merged.fail(error),
  );
  try {
    yield* merged;
  } finally {
    // A stream that waits for its next event ends with the signal of its request; nobody waits for that here.
    for (const iterator of iterators) iterator.return?.()?.catch(() => {});
  }
}
