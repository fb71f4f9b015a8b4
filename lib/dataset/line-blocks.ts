// Text files in blocks of whole lines, so that the rows of a block can be found again by the byte at which it begins.

/** A run of whole lines, as bytes, with the number of the first one. */
export interface LineBlock {
  readonly bytes: Uint8Array;
  readonly firstLine: number;
  /** Where it begins in the file. */
  readonly offset: number;
}

const BLOCK_BYTES = 1 << 18;
const NEWLINE = 10;
const QUOTE = 34;

/**
 * Blocks of about a quarter of a megabyte; a longer line is a block of its own. With `quoted`, a line end between quotes does
 * not end a line: quotes come in pairs, doubled ones inside a value too.
 */
export async function* lineBlocks(
  chunks: AsyncIterable<Uint8Array>,
  { quoted = false }: { readonly quoted?: boolean } = {},
): AsyncGenerator<LineBlock> {
  let pending: Uint8Array[] = [];
  let size = 0;
  let offset = 0;
  let firstLine = 1;
  const lineEnd = quoted ? lastLineEndOutsideQuotes() : (chunk: Uint8Array) => chunk.lastIndexOf(NEWLINE) + 1;
  const take = (): LineBlock => {
    const bytes = pending.length === 1 && pending[0] ? pending[0] : Buffer.concat(pending);
    const block = { bytes, firstLine, offset };
    offset += bytes.length;
    firstLine += countLines(bytes);
    pending = [];
    size = 0;
    return block;
  };
  for await (const chunk of chunks) {
    const found = lineEnd(chunk);
    const end = size + chunk.length >= BLOCK_BYTES ? found : 0;
    pending.push(end > 0 ? chunk.subarray(0, end) : chunk);
    size += end > 0 ? end : chunk.length;
    if (end === 0) continue;
    yield take();
    if (end < chunk.length) pending.push(chunk.subarray(end));
    size = chunk.length - end;
  }
  if (size > 0) yield take();
}

/** Must be shown every chunk: whether a chunk begins between quotes is decided by those before it. */
function lastLineEndOutsideQuotes(): (chunk: Uint8Array) => number {
  let inside = false;
  return (chunk) => {
    let end = 0;
    for (let i = 0; i < chunk.length; i++) {
      if (chunk[i] === QUOTE) inside = !inside;
      else if (chunk[i] === NEWLINE && !inside) end = i + 1;
    }
    return end;
  };
}

function countLines(bytes: Uint8Array): number {
  let count = 0;
  for (let at = bytes.indexOf(NEWLINE); at >= 0; at = bytes.indexOf(NEWLINE, at + 1)) count++;
  return count;
}
