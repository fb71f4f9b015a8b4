// Append-only JSON lines. Each append is one write that is on its way to the file when the promise resolves, so a killed
// run loses at most the step it was in. NaN, which JSON has not, is written as null.

import { appendFile, mkdir } from "node:fs/promises";
import path from "node:path";
import { GrpoError, reasonOf } from "../errors.js";

export class JsonlFile {
  readonly path: string;

  constructor(file: string) {
    this.path = file;
  }

  async append(records: readonly object[]): Promise<void> {
    if (records.length === 0) return;
    try {
      await mkdir(path.dirname(this.path), { recursive: true });
      await appendFile(this.path, records.map((record) => `${JSON.stringify(record)}\n`).join(""));
    } catch (cause) {
      throw new GrpoError("BAD_OPTION", `cannot write ${this.path}: ${reasonOf(cause)}`, {
        cause,
        hint: "check that outputDir is a folder you may write to and that the disk is not full",
      });
    }
  }
}
