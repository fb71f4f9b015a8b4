// What a data set's card says of its files: parameters and features against Hugging Face datasets (scripts/golden/dataset_cards.py), and
// paths, which must stay within the data set.

import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { loadDataset } from "../../lib/dataset/load.js";
import { HubServer } from "../support/hub-server.js";
import { jsonRow } from "../support/json-row.js";

interface Case {
  readonly title: string;
  readonly files: Readonly<Record<string, string>>;
  readonly card: unknown;
  readonly dataFiles?: string;
  /** What Python reads; null where it raises. */
  readonly rows: readonly unknown[] | null;
}

const cases = JSON.parse(
  await readFile(new URL("../fixtures/data/cards.json", import.meta.url), "utf8"),
) as readonly Case[];
/** Python reads these, and what is said for each is refused here. */
const REFUSED: Readonly<Record<string, string>> = {
  "fewer names than columns": "2 values in a row for 1 columns",
  paragraphs: 'sample_by of README.md must be "line"',
};

let folder: string;
let outside: string;

beforeEach(async () => {
  const base = await mkdtemp(path.join(tmpdir(), "grpo-cards-"));
  folder = path.join(base, "data");
  outside = path.join(base, "private.jsonl");
  await mkdir(folder);
  await writeFile(outside, '{"secret":"s3cret"}\n');
});

afterEach(async () => {
  vi.unstubAllEnvs();
  vi.restoreAllMocks();
  await rm(path.dirname(folder), { recursive: true, force: true });
});

async function write(files: Readonly<Record<string, string>>, card: unknown): Promise<void> {
  for (const [name, text] of Object.entries(files)) {
    await mkdir(path.dirname(path.join(folder, name)), { recursive: true });
    await writeFile(path.join(folder, name), text);
  }
  await writeFile(path.join(folder, "README.md"), cardText(card));
}

/** JSON is YAML. */
function cardText(card: unknown): string {
  return `---\n${JSON.stringify(card)}\n---\n`;
}

describe("files are read as the card says", () => {
  it.each(cases)("$title", async ({ title, files, card, dataFiles, rows }) => {
    vi.spyOn(process, "emitWarning").mockImplementation(() => {});
    await write(files, card);
    const options = { split: "train", ...(dataFiles === undefined ? {} : { dataFiles }) } as const;
    const read = async () => (await loadDataset(folder, options)).toArray();
    const streamed = async () => (await loadDataset(folder, { ...options, streaming: true })).toArray();
    const refused = REFUSED[title];
    for (const load of [read, streamed]) {
      if (refused !== undefined) await expect(load()).rejects.toThrow(refused);
      else if (rows === null) await expect(load()).rejects.toMatchObject({ code: "BAD_DATASET" });
      else expect((await load()).map(jsonRow)).toEqual(rows);
    }
  });

  it("says so when the card has something that no builder knows", async () => {
    const warning = vi.spyOn(process, "emitWarning").mockImplementation(() => {});
    await write({ "a.csv": "a\n1\n" }, { configs: [{ config_name: "default", data_files: "a.csv", seperator: ";" }] });
    await loadDataset(folder);
    expect(warning).toHaveBeenCalledWith(expect.stringContaining('README.md has "seperator" for a configuration'));
  });

  it.each([
    [{ usecols: ["a"] }, "usecols of README.md must be null"],
    [{ encoding: "latin-1" }, 'encoding of README.md must be "utf-8"'],
    [{ sep: "ab" }, "sep of README.md must be one ASCII character"],
    [{ sep: null }, "sep of README.md must be one ASCII character, found null"],
    [{ header: [0, 1] }, 'header of README.md must be "infer", null or the number of a line'],
    [{ on_bad_lines: "skip" }, 'on_bad_lines of README.md must be "error"'],
    [{ quoting: 2 }, "quoting of README.md must be one of 0, 1, 3"],
    [{ skiprows: [1] }, "skiprows of README.md must be a number of lines"],
    [{ features: [{ name: "a", dtype: "image" }] }, "features of README.md must be numbers, texts and booleans in CSV"],
  ])("refuses by its name what is not known here: %j", async (parameter, message) => {
    await write(
      { "a.csv": "a,b\n1,2\n" },
      { configs: [{ config_name: "default", data_files: "a.csv", ...parameter }] },
    );
    await expect(loadDataset(folder)).rejects.toMatchObject({
      code: "BAD_DATASET",
      message: expect.stringContaining(message),
    });
  });

  it.each(["[", "{", "- ", "? ", "a:\n ", "- [", "[{a: "])(
    "refuses a card of endless levels, as of %j",
    async (level) => {
      await writeFile(path.join(folder, "a.jsonl"), '{"a":1}\n');
      const indented = Array.from({ length: 2000 }, (_, depth) => `${" ".repeat(depth)}a:`).join("\n");
      const front = level.includes("\n") ? indented : level.repeat(100_000);
      await writeFile(path.join(folder, "README.md"), `---\n${front}\n---\n`);
      await expect(loadDataset(folder)).rejects.toMatchObject({
        code: "BAD_DATASET",
        message: expect.stringContaining("README.md is nested more than"),
      });
    },
  );

  it("names file, column and value where a declared feature does not fit", async () => {
    const features = [{ name: "n", list: "int32" }];
    const card = { dataset_info: { features }, configs: [{ config_name: "default", data_files: "a.jsonl" }] };
    await write({ "a.jsonl": '{"n":[1]}\n{"n":[2.5]}\n' }, card);
    const dataset = await loadDataset(folder, { split: "train" });
    expect(() => dataset.at(0)).toThrow(
      'a.jsonl: column "n" of the features in README.md: expected a whole number, found 2.5',
    );
  });
});

describe("a path of the card that leads out of the data set", () => {
  const cards = (file: string): readonly (readonly [string, unknown])[] => [
    ["a pattern", { data_files: file }],
    ["a list", { data_files: ["a.jsonl", file] }],
    ["a split", { data_files: [{ split: "train", path: file }] }],
    ["a split of several", { data_files: [{ split: "train", path: ["a.jsonl", `x/../${file}`] }] }],
    ["a folder", { data_dir: "..", data_files: "private.jsonl" }],
    ["a folder and a pattern", { data_dir: "x", data_files: `../${file}` }],
    ["an absolute path", { data_files: outside }],
    ["an absolute path of a folder", { data_dir: path.dirname(outside), data_files: "private.jsonl" }],
    ["a pattern with wildcards", { data_files: "../*.jsonl" }],
    ["an address of a file", { data_files: `file://${outside}` }],
    ["an address", { data_files: "https://host/private.jsonl" }],
  ];

  it.each([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10])("is refused, read whole or as a stream: %i", async (index) => {
    const [, config] = cards("../private.jsonl")[index] ?? [];
    await write(
      { "a.jsonl": '{"n":1}\n', "x/b.jsonl": '{"n":2}\n' },
      {
        configs: [{ config_name: "default", ...(config as object) }],
      },
    );
    for (const streaming of [false, true]) {
      await expect(loadDataset(folder, { streaming })).rejects.toMatchObject({
        code: "BAD_DATASET",
        message: expect.stringContaining("which is not within the data set's folder"),
      });
    }
  });

  it("is refused from the Hub, online and from the cache", async () => {
    const hub = new HubServer();
    await hub.start();
    try {
      vi.stubEnv("HF_ENDPOINT", hub.url);
      vi.stubEnv("HF_HOME", path.dirname(folder));
      for (const name of ["HF_HUB_CACHE", "HF_TOKEN", "HF_HUB_OFFLINE"]) vi.stubEnv(name, "");
      // From snapshots/COMMIT of the cache up to the folder with the file.
      const up = `${"../".repeat(4)}private.jsonl`;
      const card = { configs: [{ config_name: "default", data_files: ["a.jsonl", up] }] };
      hub.add("ada/data", { type: "dataset", files: { "a.jsonl": '{"n":1}\n', "README.md": cardText(card) } });
      for (const offline of ["", "1"]) {
        vi.stubEnv("HF_HUB_OFFLINE", offline);
        for (const streaming of [false, true]) {
          await expect(loadDataset("ada/data", { streaming })).rejects.toThrow("not within the data set's folder");
        }
      }
      vi.stubEnv("HF_HUB_OFFLINE", "");
      await expect(loadDataset("ada/data", { dataFiles: up, streaming: true })).rejects.toThrow(
        'dataFiles of "ada/data" are paths in the repository',
      );
    } finally {
      await hub.stop();
    }
  });

  it("may be the caller's own, and a link that lies in the folder is a file of it", async () => {
    await write({ "a.jsonl": '{"n":1}\n' }, {});
    expect((await loadDataset(folder, { dataFiles: outside, split: "train" })).length).toBe(1);
    await symlink(outside, path.join(folder, "b.jsonl"));
    expect((await loadDataset(folder, { split: "train" })).length).toBe(2);
  });
});
