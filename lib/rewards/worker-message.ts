// What crosses between a run and the worker processes of rewards.worker: the bytes of node:v8, which has NaN, bigint and byte arrays, as
// a text, since messages of JSON are the only ones that tinypool can send in Bun and Deno as well.

import { deserialize, serialize } from "node:v8";

export function pack(value: unknown): string {
  return serialize(value).toString("base64");
}

export function unpack(text: string): unknown {
  return deserialize(Buffer.from(text, "base64"));
}
