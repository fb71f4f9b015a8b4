// What the Responses API keeps for its clients: they name earlier answers by `previous_response_id`, and parts of them by item
// references in place of their text. Bounded: what was used longest ago goes first.

import type { JsonObject } from "../json.js";
import { LruCache } from "../lru-cache.js";

const LIMIT_BYTES = 64 * 2 ** 20;

export interface StoredResponse {
  /** As it was answered. */
  readonly response: JsonObject;
  /** The conversation up to and including it, references resolved: what a next request continues. */
  readonly items: readonly JsonObject[];
}

export class ResponseStore {
  readonly #responses = new LruCache<string, StoredResponse>(LIMIT_BYTES);
  readonly #items = new LruCache<string, JsonObject>(LIMIT_BYTES);

  put(id: string, stored: StoredResponse, output: readonly JsonObject[]): void {
    this.#responses.set(id, stored, JSON.stringify(stored).length);
    for (const item of output) this.#items.set(String(item.id), item, JSON.stringify(item).length);
  }

  response(id: string): StoredResponse | undefined {
    return this.#responses.get(id);
  }

  item(id: string): JsonObject | undefined {
    return this.#items.get(id);
  }

  delete(id: string): boolean {
    const known = this.#responses.get(id) !== undefined;
    this.#responses.delete(id);
    return known;
  }
}
