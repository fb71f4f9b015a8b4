// The results so far, one file: a run that is stopped goes on where it was. What this side measured is kept for one commit;
// what the others measured, until asked otherwise.

import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import type { BenchCase } from "./cases.js";
import type { MachineProbe } from "./own-side.js";

export type Side = "own" | "trl" | "llama";

export interface Entry {
  readonly key: string;
  readonly side: Side;
  /** A text: why there is no measurement. */
  readonly result: unknown;
  readonly at: string;
  /** The machine's load over the last minute before the run began: other work makes times worthless. */
  readonly load: number;
}

export interface Stored {
  readonly entries: Entry[];
  readonly probes: MachineProbe[];
}

export class ResultStore {
  readonly stored: Stored;
  readonly #file: string;

  constructor(file: string, fresh: boolean) {
    this.#file = file;
    const empty: Stored = { entries: [], probes: [] };
    this.stored = existsSync(file) && !fresh ? (JSON.parse(readFileSync(file, "utf8")) as Stored) : empty;
  }

  results(key: string): Entry[] {
    return this.stored.entries.filter((entry) => entry.key === key);
  }

  add(entry: Entry): void {
    this.stored.entries.push(entry);
    this.#write();
  }

  addProbe(probe: MachineProbe): void {
    this.stored.probes.push(probe);
    this.#write();
  }

  #write(): void {
    mkdirSync(path.dirname(this.#file), { recursive: true });
    writeFileSync(this.#file, JSON.stringify(this.stored, null, 1));
  }
}

/** A name for the content of the engine and the library, with "changed" where files differ from what is committed. */
export function version(): string {
  const git = (...args: string[]) => spawnSync("git", args, { encoding: "utf8" }).stdout?.trim() ?? "";
  const trees = ["native", "lib"].map((folder) => git("rev-parse", "--short", `HEAD:${folder}`)).join("+");
  return trees + (git("status", "--porcelain", "lib", "native") ? "-changed" : "");
}

/** Two cases that ask the same of a side share its results. */
export function keyOf(side: Side, bench: BenchCase, settings: object): string {
  const { name: _, peerDtypes: __, llama: ___, ...work } = bench;
  return JSON.stringify({ side, ...settings, ...work });
}
