// Who is trained, as trainers see it. A run of any kind needs a Trainable: weights that it saves, takes back and counts.

/** Whatever writes its files into a folder: a model, a tokenizer. */
export interface Savable {
  savePretrained(directory: string): Promise<void>;
}

/** Writes what it holds into a folder; once only. */
export type CheckpointWriter = (directory: string) => Promise<void>;

/** Weights with an optimizer: what a run asks of a model, whatever its loss is. */
export interface Trainable extends Savable {
  readonly device: string;
  readonly dtype: string;
  /** Seconds in which the engine had something to do, so far. */
  readonly busySeconds: number;
  /** Counts of parameters. */
  trainableParameters(): { readonly trainable: number; readonly all: number };
  /** Forgets the gradient. */
  zeroGrad(): Promise<void>;
  /** The adapter in PEFT's format, or the model. */
  savePretrained(directory: string): Promise<void>;
  /**
   * What is trained and the optimizer's state, as they are now; the result writes them into a folder. With `copy` the model may
   * go on meanwhile; without it nothing is copied, and it must not change before they are written.
   */
  takeCheckpoint(options: { readonly copy: boolean }): Promise<CheckpointWriter>;
  /** Takes both back; later steps are those of a run that never stopped. */
  loadCheckpoint(directory: string): Promise<void>;
}
