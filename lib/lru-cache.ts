// A cache that forgets what was used longest ago once the sizes of its entries add up to more than its limit. Sizes are
// estimates given by whoever adds an entry; the newest entry stays even when it is larger than the limit.

export class LruCache<Key, Value> {
  readonly #limit: number;
  // A Map iterates in the order of insertion: the first entry is the one that was used longest ago.
  readonly #entries = new Map<Key, { readonly value: Value; readonly bytes: number }>();
  #bytes = 0;

  constructor(limitBytes: number) {
    this.#limit = limitBytes;
  }

  get(key: Key): Value | undefined {
    const entry = this.#entries.get(key);
    if (entry === undefined) return undefined;
    this.#entries.delete(key);
    this.#entries.set(key, entry);
    return entry.value;
  }

  set(key: Key, value: Value, bytes: number): void {
    this.delete(key);
    this.#entries.set(key, { value, bytes });
    this.#bytes += bytes;
    for (const oldest of this.#entries.keys()) {
      if (this.#bytes <= this.#limit || this.#entries.size === 1) break;
      this.delete(oldest);
    }
  }

  delete(key: Key): void {
    this.#bytes -= this.#entries.get(key)?.bytes ?? 0;
    this.#entries.delete(key);
  }
}

/** About how many bytes of memory a plain value takes. */
export function sizeOf(value: unknown): number {
  if (typeof value === "string") return 24 + 2 * value.length;
  if (typeof value !== "object" || value === null) return 8;
  if (ArrayBuffer.isView(value)) return 64 + value.byteLength;
  let bytes = 48;
  for (const inner of Array.isArray(value) ? value : Object.values(value)) bytes += sizeOf(inner);
  return bytes;
}
