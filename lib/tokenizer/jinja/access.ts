// Attributes, items and slices of values. Jinja lets both ways of writing find both: message.role is message["role"],
// and text["strip"] is text.strip.

import { TemplateTypeError } from "./errors.js";
import { methodOf } from "./methods.js";
import {
  Attributes,
  isFloat,
  itemsOf,
  numberOf,
  objectName,
  plainKey,
  repr,
  Tuple,
  Undefined,
  type Value,
} from "./values.js";

/** object.name */
export function attributeOf(object: Value, name: string): Value {
  if (object instanceof Undefined) return object.fail();
  const attribute = object instanceof Attributes ? object.get(name) : methodOf(object, name);
  if (attribute !== undefined) return attribute;
  const item = object instanceof Map ? object.get(name) : undefined;
  return item === undefined ? missing(object, name) : item;
}

/** object[key] */
export function itemOf(object: Value, key: Value): Value {
  if (object instanceof Undefined) return object.fail();
  if (object instanceof Map) {
    const item = object.get(plainKey(key));
    if (item !== undefined) return item;
  }
  const index = numberOf(key);
  if (index !== undefined && !isFloat(key)) {
    const items = typeof object === "string" ? Array.from(object) : itemsOf(object);
    const item = items?.[index < 0 ? items.length + index : index];
    return item === undefined ? missing(object, key) : item;
  }
  if (key instanceof Undefined) return new Undefined(`${objectName(object)} has no element Undefined`);
  if (typeof key !== "string") return missing(object, key);
  const attribute = object instanceof Attributes ? object.get(key) : methodOf(object, key);
  return attribute === undefined ? missing(object, key) : attribute;
}

function missing(object: Value, key: Value): Undefined {
  if (typeof key !== "string") return new Undefined(`${objectName(object)} has no element ${repr(key)}`);
  const name = object === null ? "None" : `'${objectName(object)}'`;
  return new Undefined(`${name} has no attribute '${key}'`);
}

/** object[start:stop:step] */
export function sliceOf(object: Value, start: Value, stop: Value, step: Value): Value {
  if (object instanceof Undefined) return object.fail();
  const items: readonly Value[] | undefined = typeof object === "string" ? Array.from(object) : itemsOf(object);
  if (items === undefined) return new Undefined(`${objectName(object)} has no element slice`);
  const by = bound(step) ?? 1;
  if (by === 0) throw new TemplateTypeError("slice step cannot be zero");
  const length = items.length;
  const clamp = (value: number, low: number, high: number) =>
    Math.min(Math.max(value < 0 ? value + length : value, low), high);
  const [low, high] = by > 0 ? [0, length] : [-1, length - 1];
  const [first, last] = [bound(start), bound(stop)];
  const from = first === undefined ? (by > 0 ? low : high) : clamp(first, low, high);
  const to = last === undefined ? (by > 0 ? high : low) : clamp(last, low, high);
  const taken: Value[] = [];
  for (let i = from; by > 0 ? i < to : i > to; i += by) taken.push(items[i] as Value);
  if (typeof object === "string") return taken.join("");
  return object instanceof Tuple ? new Tuple(taken) : taken;
}

function bound(value: Value): number | undefined {
  if (value === null) return undefined;
  if (value instanceof Undefined) return value.fail();
  const number = numberOf(value);
  if (number !== undefined && !isFloat(value)) return number;
  throw new TemplateTypeError("slice indices must be integers or None");
}
