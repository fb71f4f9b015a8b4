// GPT-2's way of writing bytes as printable characters, so that a vocabulary of strings can hold any byte.

const encoder = new TextEncoder();

/** The character of each byte: itself where it is printable, else the next free one from U+0100. */
const CHARACTERS: readonly string[] = buildCharacters();
/** The byte of each character, indexed by its code (all are below 0x200); -1 for characters that stand for none. */
const BYTES = new Int16Array(0x200).fill(-1);
CHARACTERS.forEach((character, byte) => {
  BYTES[character.charCodeAt(0)] = byte;
});

export const BYTE_SPACE = CHARACTERS[0x20] as string;

export function toByteCharacters(text: string): string {
  let out = "";
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit < 0x80) {
      out += CHARACTERS[unit];
      continue;
    }
    const char = String.fromCodePoint(text.codePointAt(i) as number);
    for (const byte of encoder.encode(char)) out += CHARACTERS[byte];
    i += char.length - 1;
  }
  return out;
}

/** For every unit of toByteCharacters(text), the unit of `text` that it comes from. */
export function byteCharacterSources(text: string): number[] {
  const sources: number[] = [];
  let at = 0;
  for (const char of text) {
    const bytes = utf8Length(char.codePointAt(0) as number);
    for (let i = 0; i < bytes; i++) sources.push(at);
    at += char.length;
  }
  return sources;
}

/** The bytes that a token stands for; a token with any other character in it stands for its own text. */
export function bytesOfToken(token: string): Uint8Array {
  const bytes = new Uint8Array(token.length);
  for (let i = 0; i < token.length; i++) {
    const byte = BYTES[token.charCodeAt(i)] ?? -1;
    if (byte < 0) return encoder.encode(token);
    bytes[i] = byte;
  }
  return bytes;
}

export function utf8Length(codePoint: number): number {
  return codePoint < 0x80 ? 1 : codePoint < 0x800 ? 2 : codePoint < 0x10000 ? 3 : 4;
}

function buildCharacters(): string[] {
  const printable = (byte: number) =>
    (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || (byte >= 0xae && byte <= 0xff);
  let next = 0x100;
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(printable(byte) ? byte : next++));
}
