// loadDataset on files, folders and a Hub on this machine: formats, names of splits, and errors that name the place.

import { copyFile, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { gzipSync } from "node:zlib";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Dataset } from "../../lib/dataset/dataset.js";
import { loadDataset } from "../../lib/dataset/load.js";
import { HubServer } from "../support/hub-server.js";
import { jsonRow } from "../support/json-row.js";

const FIXTURES = new URL("../fixtures/data/", import.meta.url).pathname;
const TINY = new URL("../../scripts/assets/tiny-qwen2/", import.meta.url).pathname;

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "grpo-data-"));
});

afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(folder, { recursive: true, force: true });
});

describe("files", () => {
  it("reads JSON lines, with blank lines, any line end, and U+2028 inside a string", async () => {
    const file = await write("rows.jsonl", '{"a":1,"b":"x\u2028y"}\r\n\n{"a":2,"c":[1,{"d":null}]}');
    const dataset = await loadDataset(file, { split: "train" });
    expect(dataset.columnNames).toEqual(["a", "b", "c"]);
    expect([...dataset]).toEqual([
      { a: 1, b: "x\u2028y", c: null },
      { a: 2, b: null, c: [1, { d: null }] },
    ]);
  });

  it("reads characters that a read buffer cuts in two", async () => {
    const text = "é".repeat(200_001);
    const file = await write("rows.jsonl", `${JSON.stringify({ text })}\n`);
    expect((await loadDataset(file, { split: "train" })).at(0)).toEqual({ text });
  });

  it("reads a JSON array, and JSON lines that are called .json", async () => {
    const array = await write("array.json", '\uFEFF [{"a":1},{"a":2}]');
    expect([...(await loadDataset(array, { split: "train" }))]).toEqual([{ a: 1 }, { a: 2 }]);
    const lines = await write("lines.json", '{"a":1}\n{"a":2}\n');
    expect([...(await loadDataset(lines, { split: "train" }))]).toEqual([{ a: 1 }, { a: 2 }]);
  });

  it.each(["snappy", "zstd", "gzip"])("reads parquet written with %s", async (codec) => {
    const expected = JSON.parse(await readFile(path.join(FIXTURES, "rows.json"), "utf8"));
    const dataset = await loadDataset(path.join(FIXTURES, `rows-${codec}.parquet`), { split: "train" });
    expect(dataset.columnNames).toEqual(["problem", "solution", "level", "messages"]);
    expect(dataset.toArray()).toEqual(expected);
    const part = await loadDataset(path.join(FIXTURES, `rows-${codec}.parquet`), { split: "train[25%:75%]" });
    expect(part.toArray()).toEqual(expected.slice(3, 9));
  });

  it("keeps whole numbers that a double cannot hold", async () => {
    const dataset = await loadDataset(path.join(FIXTURES, "integers.parquet"), { split: "train" });
    expect(dataset.column("n")).toEqual([1, -5, 2 ** 53 - 1, 2n ** 60n, null]);
  });
});

const jsonFiles = JSON.parse(await readFile(path.join(FIXTURES, "json-rows.json"), "utf8")) as Record<
  string,
  { content: string; rows: unknown[] | null }
>;

describe("JSON", () => {
  it.each(Object.keys(jsonFiles))(
    "reads what Python's datasets reads, or refuses it as well, whole and as a stream: %s",
    async (name) => {
      const { content, rows } = jsonFiles[name] ?? { content: "", rows: [] };
      const file = await write(name, Buffer.from(content, "latin1"));
      const read = async () => (await loadDataset(file, { split: "train" })).toArray();
      const streamed = async () => (await loadDataset(file, { split: "train", streaming: true })).toArray();
      for (const load of [read, streamed]) {
        if (rows === null) await expect(load()).rejects.toMatchObject({ code: "BAD_DATASET" });
        else expect((await load()).map(jsonRow)).toEqual(rows);
      }
    },
  );

  it.each(["rows.jsonl", "rows.csv", "rows.txt"])("names the line that is no UTF-8: %s", async (name) => {
    const file = await write(name, Buffer.from('{"a":"x"}\n{"a":"\xe9"}\n', "latin1"));
    await expect(loadDataset(file, { split: "train" })).rejects.toThrow(`${name}, line 2: not valid UTF-8`);
  });
});

const csvFiles = JSON.parse(await readFile(path.join(FIXTURES, "csv/rows.json"), "utf8")) as Record<string, unknown>;

describe("CSV", () => {
  it.each(Object.keys(csvFiles))("reads what Python's datasets reads, whole and as a stream: %s", async (name) => {
    const file = path.join(FIXTURES, "csv", name);
    const dataset = await loadDataset(file, { split: "train" });
    expect(dataset.toArray().map(jsonRow)).toEqual(csvFiles[name]);
    const stream = await loadDataset(file, { split: "train", streaming: true });
    expect((await stream.toArray()).map(jsonRow)).toEqual(csvFiles[name]);
  });

  it("gives columns the types that pandas gives them", async () => {
    const file = await write(
      "rows.csv",
      '\uFEFFid,score,ok,text,mixed,empty,big,id\r\n1,1.5,True,"a, ""b""\nc",1,,9007199254740993,x\r\n\r\n-2,NA,false,,x,nan,1,y',
    );
    const dataset = await loadDataset(file, { split: "train" });
    expect(dataset.columnNames).toEqual(["id", "score", "ok", "text", "mixed", "empty", "big", "id.1"]);
    expect(dataset.toArray()).toEqual([
      { id: 1, score: 1.5, ok: true, text: 'a, "b"\nc', mixed: "1", empty: null, big: 9007199254740993n, "id.1": "x" },
      { id: -2, score: null, ok: false, text: null, mixed: "x", empty: null, big: 1, "id.1": "y" },
    ]);
  });

  it("reads tabs, short rows and no rows", async () => {
    const tabs = await write("rows.tsv", "a\tb\n1\n2\t3\n");
    expect((await loadDataset(tabs, { split: "train" })).toArray()).toEqual([
      { a: 1, b: null },
      { a: 2, b: 3 },
    ]);
    const none = await loadDataset(await write("none.csv", "a,b\n"), { split: "train" });
    expect([none.columnNames, none.length]).toEqual([["a", "b"], 0]);
  });

  it("names the line of a row with too many values", async () => {
    const file = await write("bad.csv", "a,b\n1,2\n1,2,3\n");
    await expect(loadDataset(file)).rejects.toMatchObject({
      code: "BAD_DATASET",
      message: expect.stringContaining("bad.csv, line 3: 3 values in a row for 2 columns"),
    });
  });
});

describe("larger files", () => {
  it.each(["jsonl", "csv"])("finds every row of a file of many blocks again: %s", async (format) => {
    const text = (n: number) => "x".repeat(n % 97);
    const lines = Array.from({ length: 20_000 }, (_, n) =>
      format === "csv" ? `${n},"${text(n)}"` : JSON.stringify({ n, text: text(n) }),
    );
    const file = await write(`rows.${format}`, `${format === "csv" ? "n,text\n" : ""}${lines.join("\n")}\n`);
    const dataset = await loadDataset<{ n: number; text: string | null }>(file, { split: "train" });
    expect(dataset.length).toBe(20_000);
    for (const n of [19_999, 0, 7_123, 7_124, 12_000, 3]) {
      expect(dataset.at(n)).toEqual({ n, text: text(n) === "" && format === "csv" ? null : text(n) });
    }
    expect(dataset.column("n")).toEqual(Array.from({ length: 20_000 }, (_, n) => n));
    expect((await loadDataset(file, { split: "train[50%:]", columns: ["n"] })).at(1)).toEqual({ n: 10_001 });
  });

  it("says so when a file has changed since", async () => {
    const file = await write("rows.jsonl", '{"n":1}\n{"n":2}\n');
    const dataset = await loadDataset(file, { split: "train" });
    await write("rows.jsonl", '{"n":1}\n');
    expect(() => dataset.at(0)).toThrow("changed or removed meanwhile");
  });
});

describe("gzip and text", () => {
  it("reads packed files, unpacked once", async () => {
    vi.stubEnv("GRPO_CACHE", path.join(folder, "cache"));
    const packed = gzipSync('{"n":1}\n');
    await write("train.jsonl.gz", Buffer.concat([packed, gzipSync('{"n":2}\n')]));
    expect((await loadDataset(folder, { split: "train" })).column("n")).toEqual([1, 2]);
    expect((await loadDataset(folder, { split: "train" })).column("n")).toEqual([1, 2]);
    expect(await readdir(path.join(folder, "cache/unpacked"))).toHaveLength(1);
    const broken = await write("broken.csv.gz", packed.subarray(0, packed.length - 4));
    await expect(loadDataset(broken)).rejects.toThrow("cannot be unpacked");
    expect(await readdir(path.join(folder, "cache/unpacked"))).toHaveLength(1);
    await expect(streamed(broken)).rejects.toThrow("cannot be unpacked");
  });

  it("knows packed files by their content, whatever they are called", async () => {
    vi.stubEnv("GRPO_CACHE", path.join(folder, "cache"));
    const lines = await write("lines.jsonl", gzipSync('{"n":1}\n'));
    const table = await write("table.csv", gzipSync("n\n1\n"));
    const rows = await write("rows.parquet", gzipSync(await readFile(path.join(FIXTURES, "integers.parquet"))));
    const plain = await write("plain.jsonl.gz", '{"n":1}\n');
    for (const file of [lines, table, rows, plain]) {
      expect((await loadDataset(file, { split: "train" })).at(0)).toEqual({ n: 1 });
      expect((await streamed(file))[0]).toEqual({ n: 1 });
    }
    const archive = await write("archive.jsonl", Buffer.from("504b030414000000", "hex"));
    await expect(loadDataset(archive)).rejects.toThrow("archive.jsonl is packed with zip");
    await expect(streamed(archive)).rejects.toThrow("archive.jsonl is packed with zip");
  });

  it("reads lines of text where there is nothing else", async () => {
    await write("notes.txt", "one\r\n\ntwo");
    expect((await loadDataset(folder, { split: "train" })).column("text")).toEqual(["one", "", "two"]);
    await write("rows.jsonl", '{"n":1}');
    expect((await loadDataset(folder, { split: "train" })).columnNames).toEqual(["n"]);
  });
});

describe("files by format", () => {
  it("takes paths and patterns, as load_dataset does", async () => {
    await write("a/1.jsonl", '{"n":1}');
    await write("a/2.jsonl", '{"n":2}');
    const pattern = path.join(folder, "a/*.jsonl");
    expect((await loadDataset("json", { dataFiles: pattern, split: "train" })).column("n")).toEqual([1, 2]);
    const splits = await loadDataset("json", {
      dataFiles: { train: path.join(folder, "a/1.jsonl"), test: [path.join(folder, "a/2.jsonl")] },
    });
    expect(Object.keys(splits)).toEqual(["train", "test"]);
    await expect(loadDataset("csv", { dataFiles: path.join(folder, "b.csv") })).rejects.toThrow("no such data file");
    await expect(loadDataset("parquet", { dataFiles: pattern })).rejects.toThrow("is not a parquet file: no PAR1 mark");
    await expect(loadDataset("json", { dataFiles: "https://host/a.jsonl?sig=x" })).rejects.toThrow(
      "takes paths, not addresses: https://host/a.jsonl\n",
    );
  });

  it("means the format that is named, whatever the files are called", async () => {
    const rows = async (format: string, name: string, content: string) => {
      const file = await write(name, content);
      const loaded = await loadDataset(format, { dataFiles: file, split: "train" });
      const stream = await loadDataset(format, { dataFiles: file, split: "train", streaming: true });
      expect(await stream.toArray()).toEqual(loaded.toArray());
      return loaded.toArray();
    };
    expect(await rows("csv", "table.log", "a,b\n1,2\n")).toEqual([{ a: 1, b: 2 }]);
    expect(await rows("csv", "table.jsonl", "a\n1\n")).toEqual([{ a: 1 }]);
    expect(await rows("csv", "table.tsv", "a\tb\n1\t2\n")).toEqual([{ "a\tb": "1\t2" }]);
    expect(await rows("json", "lines", '{"a":1}\n')).toEqual([{ a: 1 }]);
    expect(await rows("json", "lines.csv", '{"a":1}\n')).toEqual([{ a: 1 }]);
    expect(await rows("text", "notes.md", "one\ntwo")).toEqual([{ text: "one" }, { text: "two" }]);
    const parquet = path.join(folder, "integers");
    await copyFile(path.join(FIXTURES, "integers.parquet"), parquet);
    expect((await loadDataset("parquet", { dataFiles: parquet, split: "train" })).length).toBe(5);
  });

  it("leaves out hidden and special folders unless the pattern names them", async () => {
    for (const name of ["a/x", "a/b/x", "a/.h/x", "a/__p/x", "a/.h/.x"])
      await write(`${name}.jsonl`, `{"f":"${name}"}`);
    const found = async (pattern: string) => {
      const dataset = await loadDataset("json", { dataFiles: path.join(folder, pattern), split: "train" });
      return dataset.column("f");
    };
    expect(await found("**/*.jsonl")).toEqual(["a/b/x", "a/x"]);
    expect(await found("a/.h/*.jsonl")).toEqual(["a/.h/x"]);
    expect(await found("**/__*/*.jsonl")).toEqual(["a/__p/x"]);
    expect(await found("**/.*/.*.jsonl")).toEqual(["a/.h/.x"]);
  });
});

describe("folders", () => {
  it("finds splits by name and cuts them", async () => {
    const splits = await loadDataset(TINY);
    expect(Object.entries(splits).map(([name, { length }]) => [name, length])).toEqual([
      ["train", 2000],
      ["test", 200],
    ]);
    const [train, test] = await loadDataset<{ problem: string; solution: string }>(TINY, {
      split: ["train[:5%]", "test[-10:]+train[:1]"],
    });
    expect([train.length, test.length]).toEqual([100, 11]);
    expect(test.at(-1)).toEqual(train.at(0));
    expect(train).toBeInstanceOf(Dataset);
  });

  it("take all splits as one", async () => {
    const [all, test] = await loadDataset(TINY, { split: ["all", "test"] });
    expect(all.length).toBe(2200);
    expect(all.at(-1)).toEqual(test.at(-1));
    const stream = await loadDataset(TINY, { split: "all", streaming: true });
    expect(await stream.toArray()).toEqual(all.toArray());
    await expect(loadDataset(TINY, { split: "all[:5%]" })).rejects.toThrow('has no split "all"');
  });

  it.each([
    [
      "shards",
      ["data/train-00000-of-00002.jsonl", "data/train-00001-of-00002.jsonl", "data/extra-00000-of-00001.jsonl"],
      "train 2, extra 1",
    ],
    ["folders", ["test/a.jsonl", "train/b.jsonl", "train/c.jsonl"], "train 2, test 1"],
    [
      "keywords in names",
      ["my_train.jsonl", "dev-1.jsonl", "eval.jsonl", "training.jsonl"],
      "train 2, validation 1, test 1",
    ],
    ["no convention", ["b.jsonl", "a.jsonl"], "train 2"],
    [
      "metadata and hidden files",
      ["a.jsonl", "config.json", "dataset_infos.json", ".cache/b.jsonl", "x.txt"],
      "train 1",
    ],
  ])("knows %s", async (_, files, expected) => {
    for (const file of files) await write(file, `{"file":"${file}"}\n`);
    const splits = await loadDataset(folder);
    expect(
      Object.entries(splits)
        .map(([name, { length }]) => `${name} ${length}`)
        .join(", "),
    ).toBe(expected);
  });

  it("reads shards in order, and only the rows asked for", async () => {
    for (const shard of [0, 1, 2]) {
      const lines = Array.from({ length: 10 }, (__, i) => `{"n":${shard * 10 + i}}`);
      await write(`data/train-0000${shard}-of-00003.jsonl`, lines.join("\n"));
    }
    expect((await loadDataset(folder, { split: "train[8:22]" })).column("n")).toEqual(
      Array.from({ length: 14 }, (_, i) => i + 8),
    );
  });

  it("follows the configurations of the README", async () => {
    await write("main/train.jsonl", '{"n":1}\n{"n":2}');
    await write("main/part.jsonl", '{"n":3}');
    await write("socratic/all.jsonl", '{"n":4}');
    await write(
      "README.md",
      `---
license: mit
configs:
- config_name: main
  data_files:
  - split: train
    path:
    - main/train*
    - main/part.jsonl
- config_name: socratic
  data_dir: socratic
  data_files: "*.jsonl"
---
# A data set
`,
    );
    expect((await loadDataset(folder, { name: "main", split: "train" })).column("n")).toEqual([1, 2, 3]);
    expect((await loadDataset(folder, { name: "socratic", split: "train" })).column("n")).toEqual([4]);
    await expect(loadDataset(folder, { split: "train" })).rejects.toThrow(
      "has several configurations; they are: main, socratic",
    );
    await expect(loadDataset(folder, { name: "man" })).rejects.toThrow('did you mean { name: "main" }?');
  });

  it("takes the files that the caller names", async () => {
    await write("test.jsonl", '{"n":1}');
    await copyFile(path.join(FIXTURES, "integers.parquet"), path.join(folder, "test.parquet"));
    expect((await loadDataset(folder, { split: "test" })).length).toBe(5);
    await expect(loadDataset(folder, { dataFiles: { test: "test.*" } })).rejects.toThrow(
      'split "test" would mix files of two formats: test.jsonl, test.parquet',
    );
    expect((await loadDataset(folder, { dataFiles: "*.jsonl", split: "train" })).length).toBe(1);
    expect(Object.keys(await loadDataset(folder, { dataFiles: { held: ["test.parquet"] } }))).toEqual(["held"]);
    await expect(loadDataset(folder, { dataFiles: "*.csv" })).rejects.toMatchObject({ code: "FILE_NOT_FOUND" });
  });
});

describe("the Hub", () => {
  it("fetches the files of the splits asked for, and no other", async () => {
    const hub = new HubServer();
    await hub.start();
    try {
      vi.stubEnv("HF_ENDPOINT", hub.url);
      vi.stubEnv("HF_HOME", folder);
      for (const name of ["HF_HUB_CACHE", "HF_TOKEN", "HF_HUB_OFFLINE"]) vi.stubEnv(name, "");
      const train = "data/train-00000-of-00001.parquet";
      const test = "data/test-00000-of-00001.parquet";
      hub.add("AI/math", {
        type: "dataset",
        files: {
          [train]: await readFile(path.join(FIXTURES, "rows-snappy.parquet")),
          [test]: await readFile(path.join(FIXTURES, "rows-zstd.parquet")),
          "README.md":
            "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: data/train-*\n  - split: test\n    path: data/test-*\n---\n",
        },
        large: [train, test],
      });
      const dataset = await loadDataset("AI/math", { split: "train[:25%]" });
      expect(dataset.length).toBe(3);
      expect(hub.fileRequests().join("\n")).toContain(train);
      expect(hub.fileRequests().join("\n")).not.toContain(test);
      vi.stubEnv("HF_HUB_OFFLINE", "1");
      expect((await loadDataset("AI/math", { split: "train" })).length).toBe(12);
      await expect(loadDataset("AI/math", { split: "test" })).rejects.toThrow('split "test"');
      await expect(loadDataset("AI/other", { split: "train" })).rejects.toMatchObject({ code: "HUB_ERROR" });
    } finally {
      await hub.stop();
    }
  });
});

describe("errors", () => {
  it("names file and line of a row that cannot be read", async () => {
    const broken = await write("broken.jsonl", '{"a":1}\n\n{"a":\n{"a":3}\n');
    await expect(loadDataset(broken)).rejects.toMatchObject({
      code: "BAD_DATASET",
      message: expect.stringContaining(`${broken}, line 3: not valid JSON`),
    });
    const list = await write("list.jsonl", '{"a":1}\n[1,2]\n');
    await expect(loadDataset(list)).rejects.toThrow(`${list}, line 2: expected an object of columns, found [1,2]`);
    const array = await write("array.json", '[{"a":1},2]');
    await expect(loadDataset(array)).rejects.toThrow(`${array}, item 1: expected an object`);
  });

  it("says what is wrong with a parquet file", async () => {
    const text = await write("a.parquet", "not parquet at all");
    await expect(loadDataset(text)).rejects.toThrow("no PAR1 mark");
    const pointer = await write("b.parquet", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n");
    await expect(loadDataset(pointer)).rejects.toThrow("git lfs pull");
    const whole = await readFile(path.join(FIXTURES, "rows-snappy.parquet"));
    const cut = await write("c.parquet", whole.subarray(0, whole.length - 100));
    await expect(loadDataset(cut)).rejects.toMatchObject({
      code: "BAD_DATASET",
      message: expect.stringContaining(cut),
    });
    const damaged = Buffer.from(whole);
    damaged.fill(0xff, 4, 400);
    const bad = await write("d.parquet", damaged);
    const dataset = await loadDataset(bad, { split: "train" });
    expect(() => dataset.at(0)).toThrow(expect.objectContaining({ code: "BAD_DATASET" }));
    expect(() => dataset.at(0)).toThrow(bad);
  });

  it.each([
    ["data/missing.jsonl", {}, "FILE_NOT_FOUND", "no such data file: data/missing.jsonl"],
    ["./missing", {}, "FILE_NOT_FOUND", "no such folder: ./missing"],
    ["gsm 8k", {}, "BAD_INPUT", "neither a folder here nor the id of a dataset"],
    [TINY, { split: "validation" }, "BAD_DATASET", 'has no split "validation"; it has: train, test'],
    [TINY, { split: "trian" }, "BAD_DATASET", 'did you mean "train"?'],
    [TINY, { split: "train[:x]" }, "BAD_OPTION", "is not a split"],
    [TINY, { splits: "train" }, "UNKNOWN_OPTION", "did you mean split?"],
    [TINY, { name: "main" }, "BAD_OPTION", 'no configuration "main"'],
    [`${TINY}train.jsonl`, { name: "main" }, "BAD_OPTION", "name belongs to folders"],
    [`${FIXTURES}rows.json`, { split: "test" }, "BAD_DATASET", 'has no split "test"; it has: train'],
  ])("%s with %j", async (source, options, code, message) => {
    await expect(loadDataset(source, options as object)).rejects.toMatchObject({
      code,
      message: expect.stringContaining(message),
    });
  });

  it("says what to do about formats that it cannot read", async () => {
    const archive = await write("rows.zip", "PK");
    await expect(loadDataset(archive)).rejects.toMatchObject({
      code: "BAD_DATASET",
      message: expect.stringContaining("pack single files with gzip"),
    });
    await expect(loadDataset(folder)).rejects.toThrow("it has (rows.zip)");
  });

  it("refuses shards whose columns differ", async () => {
    await mkdir(path.join(folder, "data"));
    await copyFile(path.join(FIXTURES, "integers.parquet"), path.join(folder, "data/train-00000-of-00002.parquet"));
    await copyFile(path.join(FIXTURES, "rows-snappy.parquet"), path.join(folder, "data/train-00001-of-00002.parquet"));
    await expect(loadDataset(folder, { split: "train" })).rejects.toThrow("have different columns");
  });
});

async function write(name: string, content: string | Buffer): Promise<string> {
  const file = path.join(folder, name);
  await mkdir(path.dirname(file), { recursive: true });
  await writeFile(file, content);
  return file;
}

async function streamed(file: string): Promise<unknown[]> {
  return (await loadDataset(file, { split: "train", streaming: true })).toArray();
}
