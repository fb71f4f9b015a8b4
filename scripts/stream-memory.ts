// How much memory a data set takes that is larger than memory: reads a parquet file of the given size as a stream, then some rows
// of it in any order, and prints the highest resident memory. The file is small on the disk: its footer names the same row
// groups again and again.
//
//   npx tsx scripts/stream-memory.ts --gigabytes 5

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { loadDataset } from "grpo";
import { makeParquet, repeatGroups } from "../test/support/large-parquet.js";

const { values: flags } = parseArgs({ options: { gigabytes: { type: "string", default: "5" } } });
const groups = 4;
const rowsPerGroup = 2000;
const textLength = 2000;
const once = makeParquet({ groups, rowsPerGroup, textLength });
const times = Math.ceil((Number(flags.gigabytes) * 1e9) / (groups * rowsPerGroup * textLength));
const folder = await mkdtemp(path.join(tmpdir(), "grpo-stream-"));
try {
  const file = path.join(folder, "train.parquet");
  await writeFile(file, repeatGroups(once, times));
  type Row = { id: number; text: string; level: string };
  const started = performance.now();
  let rows = 0;
  let characters = 0;
  for await (const row of await loadDataset<Row>(file, { split: "train", streaming: true })) {
    rows++;
    characters += row.text.length;
  }
  const seconds = (performance.now() - started) / 1000;
  const table = (await loadDataset<Row>(file, { split: "train" })).map(({ text }) => ({ length: text.length }));
  const some = table.shuffle({ seed: 42 }).take(50).column("length");
  if (table.length !== rows || some.some((length) => length !== textLength)) throw new Error("rows are missing");
  // maxRSS is in kibibytes on every platform.
  const peakMB = Math.round((process.resourceUsage().maxRSS * 1024) / 1e6);
  console.log(JSON.stringify({ rows, textGB: characters / 1e9, seconds: Math.round(seconds), peakMB }));
} finally {
  await rm(folder, { recursive: true, force: true });
}
