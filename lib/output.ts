// Where text for people goes: the streams of the process, or the cell of a notebook. Deno's kernel for Jupyter shows what goes through
// `console` and through messages of its own, and nothing of process.stdout, process.stderr and the warnings of the process.

import { randomUUID } from "node:crypto";
import { EventEmitter } from "node:events";

/** The part of process.stdout that is needed. */
export interface Output {
  write(text: string, done?: (error?: Error | null) => void): unknown;
  /** Shows a line in place of the last that it was given; "" takes it away. Where it is absent, the last line of a terminal is rewritten. */
  status?(text: string): void;
  readonly isTTY?: boolean;
  readonly columns?: number;
}

/** What is used of Deno.jupyter: https://docs.deno.com/api/deno/~/Deno.jupyter */
interface DenoJupyter {
  broadcast(type: "display_data" | "update_display_data", content: object): Promise<void>;
}

/** A stream of the process, or what stands for it in a notebook. */
export function standardOutput(stream: "stdout" | "stderr" = "stdout"): Output {
  const jupyter = denoJupyter();
  return jupyter ? new CellOutput(jupyter) : process[stream];
}

/** A warning that is not worth an error. */
export function warn(text: string): void {
  if (denoJupyter()) console.warn(`Warning: ${text}`);
  else process.emitWarning(text);
}

/** Whether this process is the kernel of a notebook (Deno's, or tslab), which lives on when a cell is interrupted. */
export function isNotebook(): boolean {
  return denoJupyter() !== undefined || "__tslab__" in globalThis;
}

function denoJupyter(): DenoJupyter | undefined {
  const { Deno } = globalThis as { readonly Deno?: { readonly jupyter?: DenoJupyter } };
  try {
    return Deno?.jupyter;
  } catch {
    // Elsewhere than in a notebook Deno throws.
    return undefined;
  }
}

class CellOutput implements Output {
  /** Messages go one after the other: Deno's kernel (2.9) shows nothing more of a cell once two were under way at a time. */
  static #last: Promise<void> = Promise.resolve();
  readonly #jupyter: DenoJupyter;
  #display: string | undefined;
  /** What the next message is to show; undefined: none is waiting. */
  #next: string | undefined;

  constructor(jupyter: DenoJupyter) {
    this.#jupyter = jupyter;
  }

  write(text: string): void {
    console.log(text.replace(/\n$/, ""));
  }

  status(text: string): void {
    const isWaiting = this.#next !== undefined;
    this.#next = text;
    // A notebook that is closed shows nothing, and takes nothing with it.
    if (!isWaiting) CellOutput.#last = CellOutput.#last.then(() => this.#show()).catch(() => {});
  }

  async #show(): Promise<void> {
    const text = this.#next ?? "";
    this.#next = undefined;
    if (text === "" && this.#display === undefined) return;
    const type = this.#display === undefined ? "display_data" : "update_display_data";
    const display = this.#display ?? randomUUID();
    // A later cell has a display of its own.
    this.#display = text === "" ? undefined : display;
    const content = { data: { "text/plain": text }, metadata: {}, transient: { display_id: display } };
    await this.#jupyter.broadcast(type, content);
  }
}

/** An output that may fail, as when the reader of a pipe ends or a terminal is closed: what it cannot take is dropped, and all that follows. */
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
    this.#unlessLost(() => {
      this.#output.write(text, (error) => {
        if (error) this.#lose();
      });
    });
  }

  /** Nothing where no line can be rewritten. */
  status(text: string): void {
    if (this.#output.status) this.#unlessLost(() => this.#output.status?.(text));
    else if (this.isTTY) this.write(`\r\x1b[2K${text}`);
  }

  #unlessLost(show: () => void): void {
    if (this.#lost) return;
    try {
      show();
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
