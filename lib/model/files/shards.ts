// The weights of a whole model as files: model.safetensors, or shards with an index, cut as transformers cuts them. One
// tensor at a time is in memory, however large the shard.

import { readdir, rm } from "node:fs/promises";
import path from "node:path";
import { show } from "../../checks.js";
import { GrpoError } from "../../errors.js";
import type { NativeTensorInfo } from "../../native/native.js";
import { type FileContent, WEIGHTS, WEIGHTS_INDEX } from "./model-files.js";
import { tensorBytes } from "./safetensors.js";

/** A size in bytes, or with a decimal unit as in "5GB". */
export type ShardSize = number | string;

export const DEFAULT_SHARD_SIZE = "50GB";

const UNITS: Readonly<Record<string, number>> = { KB: 1e3, MB: 1e6, GB: 1e9, TB: 1e12 };

/** Throws BAD_OPTION. */
export function shardBytes(where: string, size: ShardSize): number {
  const match = typeof size === "string" ? /^(\d+(?:\.\d+)?)\s*([KMGT]B)$/.exec(size.toUpperCase()) : null;
  const bytes = match ? Math.floor(Number(match[1]) * (UNITS[match[2] ?? ""] ?? Number.NaN)) : Number(size);
  if (Number.isSafeInteger(bytes) && bytes > 0) return bytes;
  throw new GrpoError("BAD_OPTION", `${where}: maxShardSize must be a size such as "5GB", found ${show(size)}`);
}

/** Tensors in order, cut where the next would exceed the size; one that exceeds it by itself is a shard of its own. */
export function splitIntoShards<T extends NativeTensorInfo>(tensors: readonly T[], maxBytes: number): readonly T[][] {
  const shards: T[][] = [];
  let current: T[] = [];
  let size = 0;
  for (const tensor of tensors) {
    const bytes = tensorBytes(tensor);
    if (bytes > maxBytes) {
      shards.push([tensor]);
      continue;
    }
    if (size + bytes > maxBytes) {
      shards.push(current);
      current = [];
      size = 0;
    }
    current.push(tensor);
    size += bytes;
  }
  if (current.length > 0) shards.push(current);
  return shards;
}

/** The files of a model's weights; `write` makes the content of one. */
export function weightFiles(
  tensors: readonly NativeTensorInfo[],
  maxBytes: number,
  write: (tensors: readonly NativeTensorInfo[]) => FileContent,
): Record<string, FileContent> {
  const shards = splitIntoShards(tensors, maxBytes);
  if (shards.length === 1) return { [WEIGHTS]: write(tensors) };
  const number = (n: number) => String(n).padStart(5, "0");
  const files: Record<string, FileContent> = {};
  const weightMap: [string, string][] = [];
  shards.forEach((shard, i) => {
    const name = `model-${number(i + 1)}-of-${number(shards.length)}.safetensors`;
    files[name] = write(shard);
    weightMap.push(...shard.map((tensor): [string, string] => [tensor.name, name]));
  });
  weightMap.sort(([a], [b]) => (a < b ? -1 : 1));
  const total = (of: (tensor: NativeTensorInfo) => number) => tensors.reduce((sum, tensor) => sum + of(tensor), 0);
  const metadata = {
    total_parameters: total(({ shape }) => shape.reduce((product, n) => product * n, 1)),
    total_size: total(tensorBytes),
  };
  const index = { metadata, weight_map: Object.fromEntries(weightMap) };
  files[WEIGHTS_INDEX] = `${JSON.stringify(index, null, 2)}\n`;
  return files;
}

/** Removes weights that an earlier save left in the folder: whoever loads it must not meet those in place of the new ones. */
export async function removeOtherWeights(folder: string, written: readonly string[]): Promise<void> {
  for (const name of await readdir(folder)) {
    const isWeights = name === WEIGHTS || name === WEIGHTS_INDEX || /^model-\d{5}-of-\d{5}\.safetensors$/.test(name);
    if (isWeights && !written.includes(name)) await rm(path.join(folder, name));
  }
}
