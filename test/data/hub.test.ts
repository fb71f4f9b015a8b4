// loadDataset from a Hub on this machine: only what is needed is fetched, once, also over bad connections; other formats
// through the Hub's conversion to parquet; streams.

import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { gzipSync } from "node:zlib";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { ByteRange } from "../../lib/dataset/byte-source.js";
import { loadDataset } from "../../lib/dataset/load.js";
import { HubServer } from "../support/hub-server.js";
import { makeParquet, textOf } from "../support/large-parquet.js";

type Row = { id: number; text: string; level: string };

const TRAIN = "data/train-00000-of-00001.parquet";
// 40 row groups of about 100 kB.
const large = makeParquet({ groups: 40, rowsPerGroup: 50, textLength: 2000 });

let hub: HubServer;
let home: string;

beforeEach(async () => {
  hub = new HubServer();
  await hub.start();
  home = await mkdtemp(path.join(tmpdir(), "grpo-data-hub-"));
  vi.stubEnv("HF_ENDPOINT", hub.url);
  vi.stubEnv("HF_HOME", home);
  for (const name of ["HF_HUB_CACHE", "HF_TOKEN", "HF_HUB_OFFLINE"]) vi.stubEnv(name, "");
});

afterEach(async () => {
  vi.unstubAllEnvs();
  await hub.stop();
  await rm(home, { recursive: true, force: true });
});

/** Bytes of the large file in the cache: of ranges, and of the whole file. */
async function cached(): Promise<{ ranges: number; whole: boolean }> {
  const root = path.join(home, "hub/datasets--org--large");
  const files = await readdir(root, { recursive: true });
  const list = files.find((file) => file.endsWith(`${TRAIN}.json`));
  const { ranges } = list
    ? (JSON.parse(await readFile(path.join(root, list), "utf8")) as { ranges: ByteRange[] })
    : { ranges: [] };
  return {
    ranges: ranges.reduce((sum, { start, end }) => sum + end - start, 0),
    whole: files.some((file) => file.startsWith("snapshots") && file.endsWith(TRAIN)),
  };
}

describe("a part of a large file", () => {
  beforeEach(() => hub.add("org/large", { type: "dataset", files: { [TRAIN]: large }, large: [TRAIN] }));

  it("is fetched alone, kept, and read without the Hub", async () => {
    const [first, last] = await loadDataset<Row>("org/large", { split: ["train[:5%]", "train[-3:]"] });
    expect([first.length, last.length]).toEqual([100, 3]);
    expect(first.at(77)).toEqual({ id: 77, text: textOf(77, 2000), level: "Level 2" });
    expect(last.at(2)).toEqual({ id: 1999, text: textOf(1999, 2000), level: "Level 4" });
    const { ranges, whole } = await cached();
    expect(whole).toBe(false);
    // The footer is asked for with half a megabyte.
    expect(ranges).toBeLessThan(large.length / 4);

    const before = hub.fileRequests().length;
    await loadDataset<Row>("org/large", { split: "train[:3%]" });
    expect(hub.fileRequests().length).toBe(before);
    vi.stubEnv("HF_HUB_OFFLINE", "1");
    expect((await loadDataset<Row>("org/large", { split: "train[:5%]" })).at(99).id).toBe(99);
    await expect(loadDataset("org/large", { split: "train[50%:60%]" })).rejects.toThrow("only other rows of");
  });

  it("grows by what is new, and becomes the whole file when most of it is needed", async () => {
    await loadDataset("org/large", { split: "train[:5%]" });
    const { ranges } = await cached();
    const more = await loadDataset<Row>("org/large", { split: "train[10%:15%]" });
    expect(more.column("id")).toEqual(Array.from({ length: 100 }, (_, i) => 200 + i));
    const grown = (await cached()).ranges;
    expect(grown).toBeGreaterThan(ranges);
    expect(grown).toBeLessThan(ranges + large.length / 10);
    expect((await loadDataset<Row>("org/large", { split: "train[:80%]" })).at(-1).id).toBe(1599);
    expect((await cached()).whole).toBe(true);
  });

  it("is the columns that are asked for", async () => {
    const levels = await loadDataset<Row>("org/large", { split: "train[:25%]", columns: ["level"] });
    expect(levels.at(7)).toEqual({ level: "Level 2" });
    expect((await cached()).ranges).toBeLessThan(large.length / 5);
    await expect(loadDataset("org/large", { split: "train[:1%]", columns: ["levle"] })).rejects.toThrow(
      'did you mean "level"?',
    );
  });

  it("arrives over a connection that breaks", async () => {
    hub.breakAfter.set(TRAIN, [40, 1000, 5000, 30_000]);
    const first = await loadDataset<Row>("org/large", { split: "train[:5%]" });
    expect(first.at(99)).toEqual({ id: 99, text: textOf(99, 2000), level: "Level 4" });
    expect(hub.breakAfter.get(TRAIN)).toEqual([]);
    expect((await cached()).whole).toBe(false);
  });
});

describe("other formats than can be read here", () => {
  it("are read from the Hub's conversion to parquet", async () => {
    const file = makeParquet({ groups: 1, rowsPerGroup: 6, textLength: 5 });
    hub.add("ada/images", {
      type: "dataset",
      files: { "data/train-00000-of-00001.arrow": "", "requirements.txt": "", "README.md": "# A data set\n" },
      branches: ["refs/convert/parquet"],
    });
    await commit("ada/images", "refs/convert/parquet", {
      "main/train/0000.parquet": file,
      "main/train/0001.parquet": file,
      "main/partial-test/0000.parquet": file,
      "small/train/0000.parquet": file,
    });
    const warning = vi.spyOn(process, "emitWarning").mockImplementation(() => {});
    const splits = await loadDataset<Row>("ada/images", { name: "main" });
    expect(Object.entries(splits).map(([split, { length }]) => [split, length])).toEqual([
      ["train", 12],
      ["test", 6],
    ]);
    expect(warning).toHaveBeenCalledWith(expect.stringContaining('only the first part of "test"'));
    await expect(loadDataset("ada/images", { split: "train" })).rejects.toThrow(
      "has several configurations; they are: main, small",
    );
    await expect(loadDataset("ada/images", { name: "smal" })).rejects.toThrow('did you mean { name: "small" }?');
    warning.mockRestore();
  });

  it("are named where there is no conversion", async () => {
    hub.add("ada/images", { type: "dataset", files: { "data.zip": "PK" } });
    await expect(loadDataset("ada/images")).rejects.toThrow("it has (data.zip)");
  });
});

describe("a stream", () => {
  it("of parquet asks for row groups as they are needed and keeps none", async () => {
    hub.add("org/large", { type: "dataset", files: { [TRAIN]: large }, large: [TRAIN] });
    const stream = await loadDataset<Row>("org/large", { split: "train", streaming: true, columns: ["id"] });
    expect(String(stream)).toBe('IterableDataset({ features: ["id"], numShards: 1 })');
    expect(await stream.skip(48).take(5).toArray()).toEqual([48, 49, 50, 51, 52].map((id) => ({ id })));
    expect(await readdir(path.join(home, "hub"), { recursive: true })).not.toContainEqual(
      expect.stringContaining("parquet"),
    );
    expect((await stream.skip(290).take(20).toArray()).at(-1)).toEqual({ id: 309 });
  });

  it("of packed lines and of CSV", async () => {
    const lines = Array.from({ length: 3000 }, (_, n) => JSON.stringify({ n, text: "x".repeat(100) })).join("\n");
    hub.add("org/lines", { type: "dataset", files: { "train.jsonl.gz": gzipSync(lines), "test.csv": "a,b\n1,x\n" } });
    hub.breakAfter.set("train.jsonl.gz", [70, 1000]);
    const file = { split: "train", streaming: true } as const;
    const stream = await loadDataset<{ n: number }>("org/lines", { ...file, dataFiles: "train.jsonl.gz" });
    expect((await stream.toArray()).map(({ n }) => n)).toEqual(Array.from({ length: 3000 }, (_, n) => n));
    const test = await loadDataset("org/lines", { ...file, dataFiles: "test.csv" });
    expect(await test.toArray()).toEqual([{ a: 1, b: "x" }]);
  });
});

async function commit(id: string, branch: string, files: Readonly<Record<string, Buffer>>): Promise<void> {
  const lines = [
    { key: "header", value: { summary: "convert" } },
    ...Object.entries(files).map(([file, content]) => ({
      key: "file",
      value: { path: file, content: content.toString("base64"), encoding: "base64" },
    })),
  ];
  const response = await fetch(`${hub.url}/api/datasets/${id}/commit/${encodeURIComponent(branch)}`, {
    method: "POST",
    headers: { authorization: `Bearer ${hub.token}`, "content-type": "application/x-ndjson" },
    body: lines.map((line) => JSON.stringify(line)).join("\n"),
  });
  expect(response.status).toBe(200);
}
