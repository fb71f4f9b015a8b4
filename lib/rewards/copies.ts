// What a reward function is given is its own: whatever it changes there reaches no other function, and neither the data set, the
// logs nor the next evaluation. Copies are made when they are first read, so that a large column costs nothing where it is not.

/**
 * A deep copy of lists, plain objects, maps, sets, dates and bytes. Texts, which nothing can change, are shared; so are functions
 * and objects of other classes, which may hold what cannot be copied.
 */
export function copyOf<T>(value: T): T {
  return copied(value, new Map()) as T;
}

/** `copies` has those that were made or begun: a value that contains itself is one too. */
function copied(value: unknown, copies: Map<object, object>): unknown {
  if (typeof value !== "object" || value === null) return value;
  const known = copies.get(value);
  if (known) return known;
  const begin = <C extends object>(copy: C): C => {
    copies.set(value, copy);
    return copy;
  };
  if (Array.isArray(value)) {
    const copy = begin(new Array<unknown>(value.length));
    for (let i = 0; i < value.length; i++) copy[i] = copied(value[i], copies);
    return copy;
  }
  if (value instanceof Map) {
    const copy = begin(new Map<unknown, unknown>());
    for (const [key, item] of value) copy.set(copied(key, copies), copied(item, copies));
    return copy;
  }
  if (value instanceof Set) {
    const copy = begin(new Set<unknown>());
    for (const item of value) copy.add(copied(item, copies));
    return copy;
  }
  if (value instanceof Date) return begin(new Date(value));
  if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) return begin(copyOfBytes(value));
  if (!isPlain(value)) return value;
  const copy = begin(Object.create(Object.getPrototypeOf(value)) as Record<string, unknown>);
  for (const [key, item] of Object.entries(value)) set(copy, key, copied(item, copies));
  return copy;
}

/** A view on a part of a buffer takes that part only; the slice() of node's Buffer would not copy. */
function copyOfBytes(value: ArrayBuffer | ArrayBufferView): object {
  const typed = ArrayBuffer.isView(value) && !(value instanceof DataView);
  return typed ? Uint8Array.prototype.slice.call(value) : structuredClone(value);
}

/** An object without a class of its own, also one from another realm. */
function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}

/** An assignment to __proto__ would not make a property; one to any other name is faster than a definition. */
function set(object: Record<string, unknown>, name: string, value: unknown): void {
  if (name === "__proto__") define(object, name, value);
  else object[name] = value;
}

function define(object: object, name: string, value: unknown): void {
  Object.defineProperty(object, name, { value, writable: true, enumerable: true, configurable: true });
}

/** An object whose values are made when they are first read. */
export function lazyObject(makers: Readonly<Record<string, () => unknown>>): object {
  const object = {};
  for (const [name, make] of Object.entries(makers)) {
    Object.defineProperty(object, name, {
      get: () => {
        const value = make();
        define(object, name, value);
        return value;
      },
      set: (value: unknown) => define(object, name, value),
      enumerable: true,
      configurable: true,
    });
  }
  return object;
}
