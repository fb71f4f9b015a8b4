import { expect, test } from "vitest";
import { at } from "../../lib/at.js";

test("at gives the element, whatever it is", () => {
  expect(at([5, 0], 1)).toBe(0);
  expect(at([null, 1], 0)).toBeNull();
  expect(at(new Float32Array([0.5]), 0)).toBe(0.5);
});

test.each([
  ["past the end", [1, 2], 2],
  ["before the beginning", [1, 2], -1],
  ["between two elements", [1, 2], 0.5],
  ["in a hole", [undefined, 2], 0],
])("at refuses an index %s, naming index and length", (_name, list, index) => {
  const found = `there is no element ${index} in a list of 2`;
  expect(() => at(list, index)).toThrow(expect.objectContaining({ code: "INTERNAL", message: found }));
});
