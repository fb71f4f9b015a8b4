import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { withJsonKeys } from "../../lib/json.js";

describe("withJsonKeys", () => {
  it("keeps the spelling of numbers and the order of keys, and sets what it is told", () => {
    const text = '{\n  "cap": 3.0,\n  "dtype": "float32",\n  "rope": {"dtype": 1e6, "a": [1.0, 2]}\n}\n';
    const changed =
      '{\n  "cap": 3.0,\n  "dtype": "bfloat16",\n  "rope": {"dtype": 1e6, "a": [1.0, 2]},\n  "tied": false\n}\n';
    expect(withJsonKeys(text, { dtype: "bfloat16", tied: false })).toBe(changed);
    expect(withJsonKeys("{}", { a: [1] })).toBe('{ "a": [1]}\n');
    expect(withJsonKeys('{"a": "b, \\"c\\": {", "c" : 1.50 }', { c: null })).toBe(
      '{"a": "b, \\"c\\": {", "c" : null }',
    );
  });

  it("gives what assigning the keys to the parsed object gives", () => {
    const object = fc.dictionary(fc.string(), fc.jsonValue());
    const spacing = fc.constantFrom(undefined, 2, "\t");
    fc.assert(
      fc.property(object, object, spacing, (before, values, indent) => {
        const text = withJsonKeys(JSON.stringify(before, null, indent), values);
        expect(JSON.parse(text)).toEqual(JSON.parse(JSON.stringify({ ...before, ...values })));
      }),
    );
  });
});
