// Parquet against pyarrow, for every codec, encoding and type that it writes; rows in blocks of any size and in any order.

import { readdir, readFile } from "node:fs/promises";
import { parquetWriteBuffer } from "hyparquet-writer";
import { describe, expect, it } from "vitest";
import { type ByteSource, localSource } from "../../lib/dataset/byte-source.js";
import { openParquet } from "../../lib/dataset/parquet.js";
import type { RawRow, Table } from "../../lib/dataset/table.js";
import { jsonRow } from "../support/json-row.js";

const FOLDER = new URL("../fixtures/data/parquet/", import.meta.url).pathname;
const names = await readdir(FOLDER);
const files = names.filter((name) => name.endsWith(".parquet")).map((name) => name.replace(".parquet", ""));

/** Rows that differ from those of the table's other files lie beside the file. */
async function expectedRows(file: string): Promise<unknown[]> {
  const name = names.includes(`${file}.json`) ? file : file.split("-")[0];
  return JSON.parse(await readFile(`${FOLDER}${name}.json`, "utf8")) as unknown[];
}

function blocksOf(table: Table): number[] {
  return Array.from({ length: table.blockStarts.length - 1 }, (_, block) => block);
}

describe("parquet files of pyarrow", () => {
  it("are at least thirty", () => {
    expect(files.length).toBeGreaterThanOrEqual(30);
  });

  it.each(files)("%s", async (file) => {
    const expected = await expectedRows(file);
    const whole = await openParquet(localSource(`${FOLDER}${file}.parquet`));
    const read = (block: number): RawRow[] => whole.readBlock(block, whole.columnNames);
    expect(blocksOf(whole).flatMap(read).map(jsonRow)).toEqual(expected);
  });

  // One row a block: pages are entered in the middle, passed over, and gone back to.
  it.each(files)("%s, in small blocks from the last to the first", async (file) => {
    const expected = await expectedRows(file);
    const table = await openParquet(localSource(`${FOLDER}${file}.parquet`), { blockBytes: 100 });
    const blocks = blocksOf(table);
    expect(blocks.length).toBeGreaterThan(3);
    const step = Math.max(1, Math.floor(blocks.length / 12));
    for (const block of blocks.filter((k) => k % step === 0).reverse()) {
      const [start, end] = [table.blockStarts[block] ?? 0, table.blockStarts[block + 1] ?? 0];
      expect(table.readBlock(block, table.columnNames).map(jsonRow)).toEqual(expected.slice(start, end));
    }
    expect(blocks.flatMap((block) => table.readBlock(block, table.columnNames)).map(jsonRow)).toEqual(expected);
  });

  it("decodes no other columns than those asked for", async () => {
    const source = localSource(`${FOLDER}text-none-plain.parquet`);
    let bytes = 0;
    const table = await openParquet({
      ...source,
      read: (start, end) => {
        bytes += end - start;
        return source.read(start, end);
      },
    });
    const before = bytes;
    expect(table.readBlock(0, ["score"])[8]).toEqual({ score: 1 });
    expect(bytes - before).toBeLessThan(source.byteLength / 4);
  });
});

/** A file in memory. */
function written(columnData: Parameters<typeof parquetWriteBuffer>[0]["columnData"]): ByteSource {
  const bytes = new Uint8Array(parquetWriteBuffer({ columnData }));
  return { name: "rows.parquet", byteLength: bytes.length, read: (start, end) => bytes.slice(start, end) };
}

describe("columns", () => {
  it("of JSON are what the JSON says, as in Python's datasets", async () => {
    const data = [{ k: [1, 2.5, null], big: "x" }, [1, [2]], "text", 7, null, true];
    const table = await openParquet(written([{ name: "j", data, type: "JSON" }]));
    expect(table.readBlock(0, ["j"]).map(({ j }) => j)).toEqual(data);
  });

  it("of one name twice are refused, as in Python's datasets", async () => {
    const column = { name: "a", data: [1], type: "INT32" as const };
    await expect(openParquet(written([column, { ...column, name: "b" }, column]))).rejects.toMatchObject({
      code: "BAD_DATASET",
      message: expect.stringContaining('rows.parquet has two columns called "a"'),
    });
  });
});
