// What a file is in truth whose content is not what its name promises, by its first bytes: the usual mistakes, for messages.

import { open } from "node:fs/promises";
import { GrpoError } from "./errors.js";

const START_BYTES = 64;

/** How such a file begins, in lower case; what it is; what to do about it. */
const KINDS: readonly (readonly [string, string, string])[] = [
  ["\x1f\x8b\x08", "gzip", "unpack it first: gunzip"],
  ["pk\x03\x04", "a zip archive", "unpack it, or save it as safetensors if PyTorch wrote it"],
  ["bzh", "bzip2", "unpack it first: bunzip2"],
  ["\xfd7zxz", "xz", "unpack it first: unxz"],
  ["(\xb5/\xfd", "zstandard", "unpack it first: unzstd"],
  ["\x80\x02", "a Python pickle", "save it as safetensors in Python"],
  ["gguf", "a GGUF file", "use the checkpoint in safetensors"],
  ["version https://git-lfs", "a Git LFS pointer", "fetch the file itself: git lfs pull"],
  ["<!doctype html", "an HTML page", "download the file itself, not the page about it"],
  ["<html", "an HTML page", "download the file itself, not the page about it"],
];

/** The kind of content that begins so; undefined for any that is not one of the usual mistakes. */
export function foreignKind(start: Uint8Array): { readonly name: string; readonly hint: string } | undefined {
  const text = Buffer.from(start.subarray(0, START_BYTES)).toString("latin1").trimStart().toLowerCase();
  const [, name, hint] = KINDS.find(([beginning]) => text.startsWith(beginning)) ?? [];
  return name === undefined || hint === undefined ? undefined : { name, hint };
}

/** An error about a file that could not be read, which names the kind of the file if that is why. */
export async function namingForeignKind(file: string, error: GrpoError): Promise<GrpoError> {
  const kind = foreignKind(await startOf(file));
  if (kind === undefined) return error;
  return new GrpoError(error.code, `${file}: its content is ${kind.name}`, { cause: error, hint: kind.hint });
}

async function startOf(file: string): Promise<Uint8Array> {
  const handle = await open(file, "r").catch(() => undefined);
  if (handle === undefined) return new Uint8Array();
  try {
    const { bytesRead, buffer } = await handle.read(Buffer.alloc(START_BYTES), 0, START_BYTES, 0);
    return buffer.subarray(0, bytesRead);
  } catch {
    // A folder, for example.
    return new Uint8Array();
  } finally {
    await handle.close();
  }
}
