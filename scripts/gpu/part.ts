// A part of the check on a machine with a GPU, as the process that runs it and the one that waits for it see it: what it finds
// is printed line by line, so that a part which crashes or takes too long has lost nothing that it had found.

import type { Device } from "grpo";
import type { Check } from "../bench/parity.js";

export interface GpuSetting {
  readonly device: Device;
  /** The bundled model in place of the large shapes, and few steps: tries the check itself. */
  readonly quick: boolean;
  readonly threads: number;
  /** With transformers, and PEFT and TRL where they are to be measured too. */
  readonly python: string;
}

/** What a part tells as it goes. */
export interface Report {
  check(check: Check): void;
  /** A measurement, by its name. */
  number(name: string, value: unknown): void;
}

export interface Part {
  readonly name: string;
  /** Seconds after which it is ended. */
  readonly limit: number;
  /** Without it the others have nothing to do. */
  readonly needed?: boolean;
  run(setting: GpuSetting, report: Report): Promise<void>;
}

/** What a part found, and how it ended. */
export interface PartResult {
  readonly name: string;
  readonly ok: boolean;
  readonly ended: "done" | "failed" | "out of time" | "left out";
  readonly seconds: number;
  /** Why it failed or was left out: the end of what it printed. */
  readonly reason?: string;
  readonly checks: readonly Check[];
  readonly numbers: Readonly<Record<string, unknown>>;
}

const MARK = "gpu-check: ";

/** In the process of a part. */
export const printed: Report = {
  check: (check) => console.log(MARK + JSON.stringify({ check })),
  number: (name, value) => console.log(MARK + JSON.stringify({ number: { name, value } })),
};

type Finding = { check?: Check; number?: { name: string; value: unknown } };

/** In the process that waits: the findings among the lines of a part, and the other lines. */
export function findings(text: string): { checks: Check[]; numbers: Record<string, unknown>; rest: string } {
  const found = { checks: [] as Check[], numbers: {} as Record<string, unknown>, rest: "" };
  for (const line of text.split("\n")) {
    if (!line.startsWith(MARK)) {
      found.rest += `${line}\n`;
      continue;
    }
    const { check, number } = JSON.parse(line.slice(MARK.length)) as Finding;
    if (check) found.checks.push(check);
    if (number) found.numbers[number.name] = number.value;
  }
  return found;
}
