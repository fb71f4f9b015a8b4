// The split grammar, with boundaries as Hugging Face datasets computes them (ReadInstruction.to_absolute).

import { describe, expect, it } from "vitest";
import { parseSplit, sliceBounds } from "../../lib/dataset/split.js";

function bounds(expression: string, numRows: number): [number, number][] {
  return parseSplit(expression).map((slice) => {
    const { start, end } = sliceBounds(slice, numRows);
    return [start, end];
  });
}

describe("split expressions", () => {
  it.each([
    ["train[:5%]", 72441, [[0, 3622]]],
    ["train", 72441, [[0, 72441]]],
    ["train[10%:20%]", 7473, [[747, 1495]]],
    ["train[33%:66%]", 101, [[33, 67]]],
    ["train[-15%:-5%]", 30, [[26, 28]]],
    ["train[:-5%]", 99, [[0, 94]]],
    ["train[-100:]", 7473, [[7373, 7473]]],
    ["train[-100:]", 30, [[0, 30]]],
    ["train[:100]", 30, [[0, 30]]],
    ["train[:1_000]", 7473, [[0, 1000]]],
    ["train[-5:-2]", 10, [[5, 8]]],
    ["train[3:]", 10, [[3, 10]]],
    ["train[:20%](pct1_dropremainder)", 150, [[0, 20]]],
    [
      "train[:50%] + test[1:3]",
      11,
      [
        [0, 6],
        [1, 3],
      ],
    ],
  ])("%s of %i rows", (expression, numRows, expected) => {
    expect(bounds(expression, numRows)).toEqual(expected);
  });

  it("rounds a half to the even row, as Python does", () => {
    expect(bounds("train[:5%]", 10)).toEqual([[0, 0]]);
    expect(bounds("train[:15%]", 10)).toEqual([[0, 2]]);
    expect(bounds("train[:25%]", 10)).toEqual([[0, 2]]);
  });

  it("gives no rows for a range that is upside down", () => {
    expect(bounds("train[10:5]", 30)).toEqual([[10, 10]]);
  });

  it("keeps the names of the splits", () => {
    expect(parseSplit("train+test[:5]+val.clean").map(({ split }) => split)).toEqual(["train", "test", "val.clean"]);
  });

  it.each(["", "train[", "train[5%]", "train[:5.5%]", "tr-ain", "train[:x]", "train++test", "train[:101%]"])(
    "refuses %j",
    (expression) => {
      expect(() => parseSplit(expression)).toThrow(expect.objectContaining({ code: "BAD_OPTION" }));
    },
  );

  it("refuses a rounding that does not exist or does not apply", () => {
    expect(() => parseSplit("train[:5%](up)")).toThrow("closest or pct1_dropremainder");
    expect(() => parseSplit("train[:5](closest)")).toThrow("with percentages");
    expect(() => bounds("train[:5%](pct1_dropremainder)", 99)).toThrow("at least 100 rows");
  });
});
