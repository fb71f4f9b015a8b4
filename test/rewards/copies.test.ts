// Copies of values as they come from data sets and from users' own rows.

import { expect, test } from "vitest";
import { copyOf, lazyObject } from "../../lib/rewards/copies.js";

test("a copy is equal at every depth and shares nothing that can be changed", () => {
  const value = {
    list: [1, [2, { deep: "x" }]],
    when: new Date(7),
    bytes: new Uint8Array([1, 2, 3]).subarray(1),
    floats: new Float32Array([0.5]),
    buffer: Buffer.from("ab"),
    map: new Map([["k", { v: [1] }]]),
    set: new Set([1]),
    bare: Object.assign(Object.create(null) as object, { a: 1 }),
    big: 2n ** 70n,
    nothing: [null, undefined, Number.NaN],
  };
  const copy = copyOf(value);
  expect(copy).toEqual(value);
  expect(Buffer.isBuffer(copy.buffer)).toBe(true);
  expect(copy.bytes.buffer.byteLength).toBe(2);
  copy.list.push(3);
  (copy.list[1] as unknown[]).length = 0;
  copy.when.setTime(8);
  for (const bytes of [copy.bytes, copy.floats, copy.buffer]) bytes.fill(9);
  copy.map.get("k")?.v.push(2);
  copy.set.clear();
  expect(value.list).toEqual([1, [2, { deep: "x" }]]);
  expect(value.when.getTime()).toBe(7);
  expect([...value.bytes, ...value.floats, ...value.buffer]).toEqual([2, 3, 0.5, 97, 98]);
  expect(value.map.get("k")).toEqual({ v: [1] });
  expect(value.set.size).toBe(1);
});

test("a value that contains itself, or one part twice, is copied as it is", () => {
  const ring: { self?: unknown; parts: unknown[] } = { parts: [] };
  ring.self = ring;
  const part = { n: 1 };
  ring.parts.push(part, part);
  const copy = copyOf(ring);
  expect(copy.self).toBe(copy);
  expect(copy.parts[0]).toBe(copy.parts[1]);
  expect(copy.parts[0]).not.toBe(part);
});

test("a property called __proto__ stays a property", () => {
  const copy = copyOf(JSON.parse('{"__proto__": {"polluted": true}, "a": 1}') as Record<string, unknown>);
  expect(Object.keys(copy)).toEqual(["__proto__", "a"]);
  expect(copy.polluted).toBeUndefined();
});

test("functions and objects of classes of their own are shared", () => {
  class Judge {
    readonly #secret = 1;
    get secret() {
      return this.#secret;
    }
  }
  const value = { judge: new Judge(), fn: () => 1 };
  const copy = copyOf(value);
  expect(copy.judge).toBe(value.judge);
  expect(copy.judge.secret).toBe(1);
  expect(copy.fn).toBe(value.fn);
});

test("a lazy object makes a value once, when it is read, and can be assigned to", () => {
  let made = 0;
  const object = lazyObject({ a: () => ++made, b: () => ++made }) as Record<string, number>;
  expect(Object.keys(object)).toEqual(["a", "b"]);
  expect(made).toBe(0);
  expect([object.b, object.b]).toEqual([1, 1]);
  object.a = 7;
  expect({ ...object }).toEqual({ a: 7, b: 1 });
  expect(made).toBe(1);
});
