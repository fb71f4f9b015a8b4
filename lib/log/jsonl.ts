// Append-only JSON lines. Each append is one write that is on its way to the file when the promise resolves. A kill may tear the
// last line; the next append begins a new one. NaN, which JSON has not, is written as null, a bigint as text.

import { appendFile, mkdir, open } from "node:fs/promises";
import path from "node:path";
import { GrpoError, reasonOf } from "../errors.js";
import { toJson } from "../json.js";

export class JsonlFile {
  readonly path: string;
  #begun = false;

  constructor(file: string) {
    this.path = file;
  }

  async append(records: readonly object[]): Promise<void> {
    if (records.length === 0) return;
    try {
      await mkdir(path.dirname(this.path), { recursive: true });
      const end = this.#begun || (await endsWhole(this.path)) ? "" : "\n";
      await appendFile(this.path, end + records.map((record) => `${toJson(record)}\n`).join(""));
      this.#begun = true;
    } catch (cause) {
      throw new GrpoError("BAD_OPTION", `cannot write ${this.path}: ${reasonOf(cause)}`, {
        cause,
        hint: "check that outputDir is a folder you may write to and that the disk is not full",
      });
    }
  }
}

/** Whether a file's last line has its end; so has that of no file. */
async function endsWhole(name: string): Promise<boolean> {
  const file = await open(name, "r").catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "ENOENT") throw error;
  });
  if (!file) return true;
  try {
    const { size } = await file.stat();
    if (size === 0) return true;
    const { buffer } = await file.read(Buffer.alloc(1), 0, 1, size - 1);
    return buffer.toString() === "\n";
  } finally {
    await file.close();
  }
}
