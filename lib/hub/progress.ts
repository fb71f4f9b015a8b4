// The progress of a download: one line on a terminal or in a notebook, rewritten at most five times a second; nothing into files and pipes.

import { LossyOutput, standardOutput } from "../output.js";

export interface Progress {
  add(bytes: number): void;
  /** One more file is there. */
  done(): void;
  end(): void;
}

/** `name` is what is fetched, `files` how much of it. */
export function startProgress(name: string, files: readonly { readonly size: number }[]): Progress {
  const total = files.reduce((sum, file) => sum + file.size, 0);
  const started = performance.now();
  const output = new LossyOutput(standardOutput("stderr"));
  let bytes = 0;
  let finished = 0;
  let shownAt = 0;
  const show = (force: boolean) => {
    const now = performance.now();
    if (!force && now - shownAt < 200) return;
    shownAt = now;
    const rate = bytes / Math.max(1, now - started) / 1000;
    const done = `${finished}/${files.length} files, ${megabytes(bytes)} of ${megabytes(total)} MB`;
    output.status(`${name}: ${done}, ${rate.toFixed(1)} MB/s`);
  };
  return {
    add(count) {
      bytes += count;
      show(false);
    },
    done() {
      finished++;
      show(true);
    },
    end() {
      if (output.isTTY) output.write("\n");
    },
  };
}

function megabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0);
}
