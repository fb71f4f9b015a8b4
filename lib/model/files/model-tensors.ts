// The tensors of a model: the name and shape of everything that its files must hold, and the strict match of files with them.
// Every stored tensor is used or listed here as ignorable, or the files are refused.

import { closeSync, openSync, readSync } from "node:fs";
import { at } from "../../at.js";
import { GrpoError } from "../../errors.js";
import type { NativeModelConfig, NativeTensorRef, NativeTensorTable } from "../../native/native.js";
import { elementCount, embeddingLayer, outputLayer, tensorsByModule } from "../families/module-table.js";

/** Name and shape of every tensor of the model, with the names of the Hugging Face checkpoint. */
export function expectedTensors(config: NativeModelConfig): Map<string, readonly number[]> {
  const owners = tensorsByModule(config);
  if (config.tieWordEmbeddings) owners.delete(outputLayer(config).module);
  return new Map(
    [...owners].flatMap(([module, tensors]) =>
      [...tensors].map(([kind, shape]): [string, readonly number[]] => [`${module}.${kind}`, shape]),
    ),
  );
}

export function parameterCount(config: NativeModelConfig): number {
  return [...expectedTensors(config).values()].reduce((sum, shape) => sum + elementCount(shape), 0);
}

/** Known ignorable: buffers that old versions of transformers saved, and that are recomputed. */
const IGNORABLE = /(^|\.)rotary_emb\.inv_freq$/;
const WEIGHT_DTYPES: readonly string[] = ["F32", "BF16", "F16", "F64"];

/** The part of the stored tensors that the model reads, after every name, shape and dtype has been checked. */
export function matchTensors(table: NativeTensorTable, config: NativeModelConfig): NativeTensorTable {
  const expected = expectedTensors(config);
  const stored = namedAsHere(table.tensors, new Set([...expected.keys(), `${outputLayer(config).module}.weight`]));
  if (stored.size < table.tensors.length) throw badCheckpoint(`${table.files[0]}: a tensor is there under two names`);
  const where = table.files.length === 1 ? String(table.files[0]) : `${table.files.length} weight files`;
  if (config.tieWordEmbeddings) useOnlyEmbedding(where, stored, table.files, config);
  const missing = [...expected].filter(([name]) => !stored.has(name));
  if (missing.length > 0) {
    const [name, shape] = at(missing, 0);
    const more = missing.length > 1 ? ` and ${missing.length - 1} more` : "";
    throw badCheckpoint(`${where}: tensor ${name} of shape ${shapeText(shape)}${more} missing`);
  }
  const tensors: NativeTensorRef[] = [];
  for (const tensor of stored.values()) {
    const shape = expected.get(tensor.name);
    if (shape === undefined && IGNORABLE.test(tensor.name)) continue;
    const file = at(table.files, tensor.file);
    if (shape === undefined) throw badCheckpoint(`${file}: tensor ${tensor.name} has no place in this model`);
    checkTensor(file, tensor, shape);
    tensors.push(tensor);
  }
  return { files: table.files, tensors };
}

/**
 * The tensors by their names in this model. As in transformers, a checkpoint of the decoder alone ("layers.0.…") or of a model that
 * has this one in it may have one "model." less or more in front; a name that is there as it should be comes first.
 */
function namedAsHere(tensors: readonly NativeTensorRef[], known: ReadonlySet<string>): Map<string, NativeTensorRef> {
  const stored = new Set(tensors.map(({ name }) => name));
  const free = (name: string) => known.has(name) && !stored.has(name);
  const nameOf = (name: string) => {
    const [less, more] = [name.replace(/^model\./, ""), `model.${name}`];
    if (known.has(name)) return name;
    if (free(less)) return less;
    return free(more) ? more : name;
  };
  return new Map(tensors.map((tensor) => [nameOf(tensor.name), { ...tensor, name: nameOf(tensor.name) }]));
}

/** Tied models may store the shared matrix under either name, or under both. */
function useOnlyEmbedding(
  where: string,
  stored: Map<string, NativeTensorRef>,
  files: readonly string[],
  config: NativeModelConfig,
): void {
  const name = `${embeddingLayer(config).module}.weight`;
  const headName = `${outputLayer(config).module}.weight`;
  const head = stored.get(headName);
  const embedding = stored.get(name);
  if (head === undefined) return;
  stored.delete(headName);
  if (embedding === undefined) stored.set(name, { ...head, name });
  else if (!sameBytes(head, embedding, files)) {
    // transformers then leaves them apart, with a warning: the config is wrong.
    throw badCheckpoint(
      `${where}: tensor ${headName} differs from ${name}, but config.json has tie_word_embeddings true`,
      `set tie_word_embeddings to false in config.json, or leave ${headName} out`,
    );
  }
}

function sameBytes(a: NativeTensorRef, b: NativeTensorRef, files: readonly string[]): boolean {
  if (a.dtype !== b.dtype || a.bytes !== b.bytes) return false;
  const chunk = 1 << 24;
  for (let start = 0; start < a.bytes; start += chunk) {
    const length = Math.min(chunk, a.bytes - start);
    const read = ({ file, offset }: NativeTensorRef) => readRange(at(files, file), offset + start, length);
    if (!read(a).equals(read(b))) return false;
  }
  return true;
}

function readRange(file: string, offset: number, length: number): Buffer {
  const handle = openSync(file, "r");
  try {
    const bytes = Buffer.alloc(length);
    return bytes.subarray(0, readSync(handle, bytes, 0, length, offset));
  } finally {
    closeSync(handle);
  }
}

function checkTensor(file: string, tensor: NativeTensorRef, shape: readonly number[]): void {
  if (shapeText(tensor.shape) !== shapeText(shape)) {
    const found = `expected shape ${shapeText(shape)}, found ${shapeText(tensor.shape)}`;
    throw badCheckpoint(`${file}: tensor ${tensor.name}: ${found}`);
  }
  if (!WEIGHT_DTYPES.includes(tensor.dtype)) {
    throw badCheckpoint(
      `${file}: tensor ${tensor.name}: dtype ${tensor.dtype} is not supported (${WEIGHT_DTYPES.join(", ")} are)`,
    );
  }
}

export function shapeText(shape: readonly number[]): string {
  return `[${shape.join(", ")}]`;
}

function badCheckpoint(message: string, hint = "check that config.json and the weights belong together"): GrpoError {
  return new GrpoError("BAD_CHECKPOINT", message, { hint });
}
