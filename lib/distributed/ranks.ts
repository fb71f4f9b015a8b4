// The ranks of a run, as the run sees them: processes that train one model together, each on its part of every batch. Everything that
// depends on the whole batch is computed by every rank from what all of them have gathered, so that it is the same as on one.

/** A part of a list: indices from `from` on, before `to`. */
export interface Part {
  readonly from: number;
  readonly to: number;
}

export interface Ranks {
  readonly rank: number;
  /** 1: the process trains alone. */
  readonly size: number;
  /**
   * What each rank gives, by rank; structured-clone values. Every rank calls this in the same order, and waits for the others. Throws
   * RANK_FAILED, naming a rank that is gone or does not come in time.
   */
  gather<T>(value: T): Promise<readonly T[]>;
}

/** One process. */
export const ALONE: Ranks = {
  rank: 0,
  size: 1,
  gather: async (value) => [value],
};

/** The contiguous part of `count` items that is this rank's; parts differ by one item at most, and may be empty. */
export function partOf({ rank, size }: Pick<Ranks, "rank" | "size">, count: number): Part {
  return { from: Math.floor((count * rank) / size), to: Math.floor((count * (rank + 1)) / size) };
}

/** Whether this rank writes the files and the console of the run. */
export function leads({ rank }: Pick<Ranks, "rank">): boolean {
  return rank === 0;
}
