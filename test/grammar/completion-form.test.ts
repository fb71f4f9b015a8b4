// The form of a completion outside of the endpoint.

import { expect, it } from "vitest";
import { completionConstraint } from "../../lib/grammar/completion-form.js";
import { maskWords } from "../../lib/model/token-constraint.js";
import { allowedIds, END, tokenizer, VOCABULARY } from "./draw.js";

/** The texts of the tokens that may come after a text. */
function next(form: Parameters<typeof completionConstraint>[1], before = ""): string[] {
  const constraint = completionConstraint(tokenizer, form)();
  for (const id of tokenizer.encode(before)) constraint.accept(id);
  const mask = new Int32Array(maskWords(VOCABULARY));
  expect(constraint.fill(mask)).toBe(true);
  return allowedIds(mask).map((id) => (id === END ? "" : tokenizer.decode([id])));
}

it("allows what goes on with a form, and the end where the form is whole", () => {
  expect(next({ regex: "[0-2]x" }).sort()).toEqual(["0", "1", "2"]);
  expect(next({ jsonSchema: { const: 12 } }, "1")).toEqual(["2"]);
  expect(next({ choice: ["ab", "a"] }, "a").sort()).toEqual(["", "b"]);
  expect(next({ grammar: 'root ::= "x"' }, "x")).toEqual([""]);
});

it("makes one for each completion", () => {
  const make = completionConstraint(tokenizer, { regex: "ab" });
  const [first, second] = [make(), make()];
  for (const id of tokenizer.encode("ab")) first.accept(id);
  expect([first.isComplete, second.isComplete]).toEqual([true, false]);
  expect(() => second.accept(END)).toThrow("cannot come here");
});

it.each([
  ["none", {}, "found none"],
  ["two", { regex: "a", choice: ["a"] }, "regex and choice"],
  ["an unknown one", { pattern: "a" }, "pattern"],
  ["one of another type", { regex: /a/ }, "regex"],
  ["a list of another type", { choice: "a" }, "choice"],
  ["one that nothing fits", { jsonSchema: false }, "no text fits"],
])("refuses %s", (_, form, named) => {
  expect(() => completionConstraint(tokenizer, form as never)).toThrow(named);
});
