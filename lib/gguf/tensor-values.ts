// The values of a stored tensor as float32, in parts, so that a large matrix is never in memory as a whole.

import { open } from "node:fs/promises";
import { GrpoError } from "../errors.js";
import type { NativeTensorRef } from "../native/native.js";

const BYTES: Readonly<Record<string, number>> = { F32: 4, BF16: 2, F16: 2, F64: 8 };
/** Elements of a part; a multiple of every block. */
const PART = 1 << 22;

/**
 * In row-major order. With `heads`, the rows of each head are reordered from halves to pairs: of a head's D rows, row i and row
 * i + D / 2 become neighbours.
 */
export async function* readValues(file: string, tensor: NativeTensorRef, heads?: number): AsyncIterable<Float32Array> {
  const count = tensor.shape.reduce((product, size) => product * size, 1);
  // What is reordered is small beside the embedding.
  const part = heads === undefined ? PART : count;
  const handle = await open(file, "r");
  try {
    for (let start = 0; start < count; start += part) {
      const values = await readPart(handle, file, tensor, start, Math.min(part, count - start));
      yield heads === undefined ? values : pairedRows(values, heads, tensor.shape[1] ?? 1);
    }
  } finally {
    await handle.close();
  }
}

async function readPart(
  handle: Awaited<ReturnType<typeof open>>,
  file: string,
  { name, dtype, offset }: NativeTensorRef,
  start: number,
  count: number,
): Promise<Float32Array> {
  const size = BYTES[dtype];
  if (size === undefined) throw new GrpoError("INTERNAL", `tensor ${name} has the dtype ${dtype}`);
  const { buffer } = new Uint8Array(count * size);
  const { bytesRead } = await handle.read(new Uint8Array(buffer), 0, count * size, offset + start * size);
  if (bytesRead !== count * size) throw new GrpoError("BAD_CHECKPOINT", `${file}: tensor ${name} is cut off`);
  if (dtype === "F32") return new Float32Array(buffer);
  if (dtype === "F64") return Float32Array.from(new Float64Array(buffer));
  const halves = new Uint16Array(buffer);
  if (dtype === "F16") return Float32Array.from(halves, fromHalf);
  // bfloat16 is the upper half of a float32.
  return new Float32Array(Uint32Array.from(halves, (half) => half << 16).buffer);
}

export function fromHalf(bits: number): number {
  const [sign, exponent, rest] = [bits & 0x8000 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
  if (exponent === 31) return rest === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return sign * (exponent === 0 ? rest * 2 ** -24 : (1024 + rest) * 2 ** (exponent - 25));
}

function pairedRows(values: Float32Array, heads: number, rowLength: number): Float32Array {
  const reordered = new Float32Array(values.length);
  const rows = values.length / rowLength;
  const half = rows / heads / 2;
  for (let row = 0; row < rows; row++) {
    const [head, inHead] = [Math.floor(row / (2 * half)), row % (2 * half)];
    const from = head * 2 * half + (inHead % 2) * half + Math.floor(inHead / 2);
    reordered.set(values.subarray(from * rowLength, (from + 1) * rowLength), row * rowLength);
  }
  return reordered;
}
