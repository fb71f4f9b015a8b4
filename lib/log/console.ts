// The console: plain lines in a file or pipe; on a terminal also one status line that is rewritten in place.

import { clip } from "./format.js";

/** The part of process.stdout that is needed. */
export interface Output {
  write(text: string): unknown;
  readonly isTTY?: boolean;
  readonly columns?: number;
}

export class Console {
  readonly #output: Output;
  #statusShown = false;

  constructor(output: Output = process.stdout) {
    this.#output = output;
  }

  /** Columns for one line: the terminal's, within 80 and 120. */
  get width(): number {
    return Math.min(120, Math.max(80, this.#output.columns ?? 120));
  }

  line(text: string): void {
    this.#clearStatus();
    this.#output.write(`${text}\n`);
  }

  /** Replaces the status line; nothing where there is no terminal. */
  status(text: string): void {
    if (!this.#output.isTTY) return;
    this.#output.write(`\r\x1b[2K${clip(text, (this.#output.columns ?? 80) - 1)}`);
    this.#statusShown = true;
  }

  close(): void {
    this.#clearStatus();
  }

  #clearStatus(): void {
    if (this.#statusShown) this.#output.write("\r\x1b[2K");
    this.#statusShown = false;
  }
}
