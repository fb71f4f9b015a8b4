// Which files belong to which split: what Hugging Face datasets says of the same folders (scripts/golden/data_files.py).

import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { gzipSync } from "node:zlib";
import { expect, it } from "vitest";
import type { DataFilesOption } from "../../lib/dataset/dataset-card.js";
import { loadDataset } from "../../lib/dataset/load.js";
import { GrpoError } from "../../lib/errors.js";

interface Case {
  readonly title: string;
  readonly files: readonly string[];
  readonly readme?: string;
  readonly name?: string;
  readonly dataFiles?: DataFilesOption;
  /** What Python answers: files by split and their format, or an error. */
  readonly splits?: Readonly<Record<string, readonly string[]>>;
  readonly module?: string;
}

const cases = JSON.parse(
  await readFile(new URL("../fixtures/data/data-files.json", import.meta.url), "utf8"),
) as readonly Case[];
const READ_HERE = ["json", "csv", "text", "parquet"];
/** Python takes these, and fails or reads notes as rows when it comes to reading. */
const REFUSED = ["the caller's patterns in several formats"];
/** Python takes .md and .toml for tasks of agents, and then reads them as rows, or no row at all. They are notes here. */
const WITH_NOTES: Readonly<Record<string, Case["splits"]>> = {
  "files without data among those matched": { train: ["data/x.jsonl"] },
  "more notes than rows": { train: ["x.jsonl"] },
  "an instruction beside rows": { train: ["x.jsonl"] },
};

it.each(cases)("$title", async ({ title, files, readme, name, dataFiles, ...answer }) => {
  const notes = WITH_NOTES[title];
  const { splits, module } = notes === undefined ? answer : { splits: notes, module: "json" };
  const folder = await mkdtemp(path.join(tmpdir(), "grpo-files-"));
  try {
    for (const file of files) await write(folder, file, contentOf(file));
    if (readme !== undefined) await write(folder, "README.md", `---\n${readme}---\n`);
    const options = { ...(name === undefined ? {} : { name }), ...(dataFiles === undefined ? {} : { dataFiles }) };
    const found = await loadDataset(folder, options).catch((thrown: unknown) => thrown);
    if (splits === undefined || !READ_HERE.includes(module ?? "") || REFUSED.includes(title)) {
      expect(found).toBeInstanceOf(GrpoError);
    } else {
      if (found instanceof Error) throw found;
      const rows = Object.entries(found as Awaited<ReturnType<typeof loadDataset>>);
      expect(rows.map(([split, dataset]) => [split, dataset.toArray().map((row) => Object.values(row)[0])])).toEqual(
        Object.entries(splits),
      );
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

/** One row with the file's name. */
function contentOf(file: string): string | Buffer {
  if (file.endsWith(".gz")) return gzipSync(`{"file":"${file}"}\n`);
  if (/\.jsonl?$/.test(file)) return `{"file":"${file}"}\n`;
  return file.endsWith(".csv") ? `file\n${file}\n` : file;
}

async function write(folder: string, file: string, content: string | Buffer): Promise<void> {
  await mkdir(path.dirname(path.join(folder, file)), { recursive: true });
  await writeFile(path.join(folder, file), content);
}
