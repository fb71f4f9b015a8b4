// What may be drawn next, decided token by token by something beside the model, such as a grammar: a mask that joins each draw.

/** One completion under a constraint. It is asked for a mask before each draw, and told what was drawn. */
export interface TokenConstraint {
  /**
   * Writes which ids may come next: bit i % 32 of word i >> 5 is 1 where id i may, in ceil(vocabulary / 32) words. At least one may.
   * False: the mask was not touched, and everything may.
   */
  fill(mask: Int32Array): boolean;
  /** An id that the mask allowed was drawn. Ids that end a completion are told as well. */
  accept(id: number): void;
  /** Whether the completion may end here: then, and only then, the mask allows the ids that end one. */
  readonly isComplete: boolean;
}

/** Words of a mask. */
export function maskWords(vocabSize: number): number {
  return Math.ceil(vocabSize / 32);
}
