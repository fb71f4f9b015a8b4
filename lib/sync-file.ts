// Files that must outlive a crash of the machine.

import { fsync } from "node:fs";
import type { FileHandle } from "node:fs/promises";
import { promisify } from "node:util";

const sync = promisify(fsync);

/** Resolves when the disk has what was written. `FileHandle.sync()` throws in programs that Yarn's Plug'n'Play runs. */
export function syncFile({ fd }: FileHandle): Promise<void> {
  return sync(fd);
}
