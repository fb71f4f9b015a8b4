// The console: plain lines in a file or pipe; on a terminal and in a notebook also one status line that is rewritten in place.

import { LossyOutput, type Output, standardOutput } from "../output.js";
import { clip } from "./format.js";

export class Console {
  readonly #output: LossyOutput;
  #statusShown = false;

  constructor(output: Output = standardOutput()) {
    this.#output = new LossyOutput(output);
  }

  /** Columns for one line: the terminal's, within 80 and 120. */
  get width(): number {
    return Math.min(120, Math.max(80, this.#output.columns ?? 120));
  }

  line(text: string): void {
    // On a terminal it is where the line goes.
    if (this.#output.isTTY) this.#clearStatus();
    this.#output.write(`${text}\n`);
  }

  /** Replaces the status line; nothing where none can be rewritten. */
  status(text: string): void {
    this.#output.status(clip(text, (this.#output.columns ?? 80) - 1));
    this.#statusShown = true;
  }

  close(): void {
    this.#clearStatus();
  }

  #clearStatus(): void {
    if (this.#statusShown) this.#output.status("");
    this.#statusShown = false;
  }
}
