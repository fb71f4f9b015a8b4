// Protocol buffers as far as event files need them: fields that are numbers, texts, or messages again, each written with its number
// of the message's definition, and read back.

export interface Encoded {
  readonly wireType: number;
  readonly bytes: Buffer;
}

export function field(number: number, { wireType, bytes }: Encoded): Buffer {
  return Buffer.concat([varint((number << 3) | wireType).bytes, bytes]);
}

/** An integer of at least 0. */
export function varint(value: number): Encoded {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128);
  return { wireType: 0, bytes: Buffer.from([...bytes, rest]) };
}

export function double(value: number): Encoded {
  const bytes = Buffer.alloc(8);
  bytes.writeDoubleLE(value);
  return { wireType: 1, bytes };
}

export function float(value: number): Encoded {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  return { wireType: 5, bytes };
}

/** Bytes, or a message. */
export function lengthDelimited(bytes: Buffer): Encoded {
  return { wireType: 2, bytes: Buffer.concat([varint(bytes.length).bytes, bytes]) };
}

export function text(value: string): Encoded {
  return lengthDelimited(Buffer.from(value));
}

/** A message of these fields. */
export function message(...fields: readonly Buffer[]): Encoded {
  return lengthDelimited(Buffer.concat(fields));
}

/** The fields of a message that are integers or bytes, in their order. */
export function* fieldsOf(bytes: Buffer): Generator<{ readonly number: number; readonly value: number | Buffer }> {
  let at = 0;
  const integer = () => {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = bytes.readUInt8(at++);
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const key = integer();
    const number = Math.floor(key / 8);
    if (key % 8 === 0) yield { number, value: integer() };
    else {
      const length = { 1: 8, 5: 4 }[key % 8] ?? integer();
      if (key % 8 === 2) yield { number, value: bytes.subarray(at, at + length) };
      at += length;
    }
  }
}
