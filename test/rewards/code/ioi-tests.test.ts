// The tests of the IOI come from their data set on the Hub, a year at a time, where the rows bring none.

import { parquetWriteBuffer } from "hyparquet-writer";
import { afterEach, beforeEach, expect, it } from "vitest";
import { rewards } from "../../../lib/rewards/index.js";
import { block, type FakePiston, fakePiston, said } from "../../support/code-services.js";
import { useHub } from "../../support/use-hub.js";

const current = useHub();
let piston: FakePiston;

beforeEach(async () => {
  piston = await fakePiston();
});

afterEach(() => void piston.server.close());

const answer = (stdout: string): string => JSON.stringify({ run: { stdout, stderr: "", code: 0, signal: null } });

function parquet(columns: Readonly<Record<string, string[]>>): Buffer {
  const columnData = Object.entries(columns).map(([name, data]) => ({ name, data, type: "STRING" as const }));
  return Buffer.from(parquetWriteBuffer({ columnData }));
}

const row = (year: number, names: readonly string[]) => ({
  completions: said([block("int main() {}", "cpp")]),
  id: ["plants"],
  year: [year],
  test_names: [names],
  grader_files: [[]],
  time_limit: [1],
  memory_limit: [2 ** 28],
  score_precision: [2],
});

it("by year, problem and name", async () => {
  const of2020 = parquet({
    problem_id: ["plants", "tickets", "plants"],
    test_name: ["0-01", "0-01", "0-02"],
    test_input: [answer("1"), answer("0"), answer("0.5")],
    test_output: ["a", "b", "c"],
  });
  const configs = ["2020", "2021"].map(
    (year) => `- config_name: '${year}'\n  data_files:\n  - split: train\n    path: ${year}/train-*\n`,
  );
  const files = {
    "README.md": `---\nconfigs:\n${configs.join("")}---\n`,
    "2020/train-00000-of-00001.parquet": of2020,
  };
  current.hub.add("open-r1/ioi-test-cases", { type: "dataset", files });
  const ioi = rewards.ioiCode({ endpoints: [piston.url] });
  expect(await ioi(row(2020, ["0-01"]))).toEqual([1]);
  expect(await ioi(row(2020, ["0-02", "0-01"]))).toEqual([0.5]);
  const expected = piston.requests.map(({ files }) => files.find(({ name }) => name === "correct_output.txt")?.content);
  expect(expected).toEqual(["a", "c", "a"]);
  await expect(ioi(row(2020, ["9-99"]))).rejects.toThrow("no test 9-99 of the problem plants");
  await expect(ioi(row(2021, ["0-01"]))).rejects.toThrow("open-r1/ioi-test-cases has no file");
});
