// How GGUF stores the numbers of a tensor: float32, float16, bfloat16, and Q8_0, which keeps 32 neighbours as whole numbers of 8 bits
// and one float16 factor. Rounded as ggml does, so that a file has the bytes of llama.cpp's own converter.

import { at } from "../at.js";

export interface TensorType {
  /** Its number in a GGUF file (ggml_type). */
  readonly id: number;
  /** The number of a file whose matrices are of it (llama_ftype). */
  readonly fileType: number;
  /** Elements and bytes of a block; a row is made of whole blocks. */
  readonly blockSize: number;
  readonly blockBytes: number;
  /** `values` are whole blocks. */
  encode(values: Float32Array): Uint8Array;
}

const plain = (id: number, fileType: number, blockBytes: number, encode: TensorType["encode"]): TensorType => {
  return { id, fileType, blockSize: 1, blockBytes, encode };
};

export const TENSOR_TYPES = {
  f32: plain(0, 0, 4, bytesOf),
  f16: plain(1, 1, 2, (values) => bytesOf(Uint16Array.from(values, toHalf))),
  bf16: plain(30, 32, 2, (values) => bytesOf(toBfloat16(values))),
  q8_0: { id: 8, fileType: 7, blockSize: 32, blockBytes: 34, encode: toQ8 },
} as const satisfies Readonly<Record<string, TensorType>>;

export type TensorTypeName = keyof typeof TENSOR_TYPES;

function bytesOf(values: Float32Array | Uint16Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}

/** The upper half of each float32, rounded to even. */
function toBfloat16(values: Float32Array): Uint16Array {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  return Uint16Array.from(bits, (word, i) => {
    if (Number.isNaN(values[i])) return (word >>> 16) | 64; // quiet
    return (word + 0x7fff + ((word >>> 16) & 1)) >>> 16;
  });
}

const FLOAT = new Float32Array(1);
/** The bits of FLOAT. */
const WORD = new Uint32Array(FLOAT.buffer);

/** The bits of a float16, rounded to even. */
export function toHalf(value: number): number {
  FLOAT[0] = value;
  const word = at(WORD, 0);
  const sign = (word >>> 16) & 0x8000;
  const size = Math.abs(at(FLOAT, 0));
  if (Number.isNaN(size)) return sign | 0x7e00;
  if (size >= 65_520) return sign | 0x7c00; // above the middle between the largest and infinity
  const exponent = Math.max(((word >>> 23) & 255) - 127, -14);
  // In steps of the last place. A carry into the next exponent is what the sum below makes of it.
  const steps = roundToEven(size * 2 ** (10 - exponent));
  return sign | (steps < 1024 ? steps : ((exponent + 15) << 10) + (steps - 1024));
}

function roundToEven(value: number): number {
  const whole = Math.floor(value);
  const rest = value - whole;
  return rest > 0.5 || (rest === 0.5 && whole % 2 === 1) ? whole + 1 : whole;
}

/** Block by block the factor d = max |x| / 127 as float16, then x / d as int8, halves away from 0. */
function toQ8(values: Float32Array): Uint8Array {
  const { blockSize, blockBytes } = TENSOR_TYPES.q8_0;
  const bytes = Buffer.alloc((values.length / blockSize) * blockBytes);
  for (let start = 0, to = 0; start < values.length; start += blockSize, to += blockBytes) {
    let most = 0;
    for (let i = 0; i < blockSize; i++) most = Math.max(most, Math.abs(at(values, start + i)));
    const factor = Math.fround(most / 127);
    const inverse = factor === 0 ? 0 : Math.fround(1 / factor);
    bytes.writeUInt16LE(toHalf(factor), to);
    for (let i = 0; i < blockSize; i++) {
      const scaled = Math.fround(at(values, start + i) * inverse);
      bytes[to + 2 + i] = Math.trunc(scaled < 0 ? scaled - 0.5 : scaled + 0.5);
    }
  }
  return bytes;
}
