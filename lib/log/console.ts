// The console: plain lines in a file or pipe; on a terminal also one status line that is rewritten in place. A console that goes away,
// as when the reader of a pipe ends or a terminal is closed, takes nothing with it.

import { EventEmitter } from "node:events";
import { clip } from "./format.js";

/** The part of process.stdout that is needed. */
export interface Output {
  write(text: string, done?: (error?: Error | null) => void): unknown;
  readonly isTTY?: boolean;
  readonly columns?: number;
}

/** An output that may fail: what it cannot take is dropped, and all that follows. */
export class LossyOutput implements Output {
  readonly #output: Output;
  #lost = false;

  constructor(output: Output) {
    this.#output = output;
  }

  get isTTY(): boolean {
    return this.#output.isTTY === true;
  }

  get columns(): number | undefined {
    return this.#output.columns;
  }

  write(text: string): void {
    if (this.#lost) return;
    try {
      this.#output.write(text, (error) => {
        if (error) this.#lose();
      });
    } catch {
      this.#lose();
    }
  }

  #lose(): void {
    this.#lost = true;
    // A stream says it once more by an event, which ends the process where nobody listens. Who listens already may pass it on.
    const output: unknown = this.#output;
    if (output instanceof EventEmitter && !output.listeners("error").includes(ignore)) output.on("error", ignore);
  }
}

function ignore(): void {}

export class Console {
  readonly #output: LossyOutput;
  #statusShown = false;

  constructor(output: Output = process.stdout) {
    this.#output = new LossyOutput(output);
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
