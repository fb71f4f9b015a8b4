// Compares what this project reads from parquet files with what pyarrow reads:
//
//   npx tsx scripts/check-parquet.ts --python python3 FILE...
//
// The Python needs pyarrow. Prints the files that differ (exit status 1 if there are any), and those that pyarrow
// refuses.

import { execFileSync } from "node:child_process";
import { isDeepStrictEqual, parseArgs } from "node:util";
import { localSource } from "../lib/dataset/byte-source.js";
import { openParquet } from "../lib/dataset/parquet.js";
import { GrpoError } from "../lib/errors.js";
import { jsonRow } from "../test/support/json-row.js";

const { values, positionals: files } = parseArgs({
  options: { python: { type: "string", default: "python3" } },
  allowPositionals: true,
});
const script = new URL("golden/parquet_rows.py", import.meta.url).pathname;
const answer = execFileSync(values.python, [script, ...files], { maxBuffer: 2 ** 30, encoding: "utf8" });
let different = 0;
let refused = 0;
for (const line of answer.trim().split("\n")) {
  const expected = JSON.parse(line) as { file: string; rows?: unknown[]; error?: string };
  const found = await read(expected.file);
  if (expected.error !== undefined) {
    refused++;
    console.log(
      `${expected.file}\n  pyarrow: ${expected.error}\n  here: ${found.error ?? `${found.rows?.length} rows`}`,
    );
    continue;
  }
  const differs = firstDifference(expected.rows ?? [], found.rows ?? []);
  if (found.error === undefined && differs === undefined) continue;
  different++;
  console.log(expected.file);
  if (found.error !== undefined) console.log(`  here: ${found.error}`);
  if (differs !== undefined) console.log(`  ${differs}`);
}
const compared = files.length - refused;
console.log(`${compared - different} of ${compared} files are equal; pyarrow refuses ${refused} more`);
process.exitCode = different === 0 ? 0 : 1;

async function read(file: string): Promise<{ rows?: unknown[]; error?: string }> {
  try {
    const table = await openParquet(localSource(file));
    const blocks = Array.from({ length: table.blockStarts.length - 1 }, (_, block) => block);
    return { rows: blocks.flatMap((block) => table.readBlock(block, table.columnNames)).map(jsonRow) };
  } catch (thrown) {
    if (thrown instanceof GrpoError) return { error: thrown.message };
    throw thrown;
  }
}

function firstDifference(expected: readonly unknown[], found: readonly unknown[]): string | undefined {
  if (expected.length !== found.length) return `pyarrow has ${expected.length} rows, here ${found.length}`;
  const row = expected.findIndex((value, i) => !isDeepStrictEqual(value, found[i]));
  const show = (value: unknown) => JSON.stringify(value)?.slice(0, 600);
  return row < 0 ? undefined : `row ${row}: ${show(expected[row])} and here ${show(found[row])}`;
}
