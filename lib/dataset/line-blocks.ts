// Text files in blocks of whole lines, so that the rows of a block can be found again by the byte at which it begins.

/** A run of whole lines, as bytes, with the number of the first one. */
export interface LineBlock {
  readonly bytes: Uint8Array;
  readonly firstLine: number;
  /** Where it begins in the file. */
  readonly offset: number;
}

/** About how large a block is. */
export const BLOCK_BYTES = 1 << 18;
const NEWLINE = 10;

/** Blocks of about a quarter of a megabyte; a longer line is a block of its own. */
export async function* lineBlocks(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<LineBlock> {
  let pending: Uint8Array[] = [];
  let size = 0;
  let offset = 0;
  let firstLine = 1;
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
    const end = size + chunk.length >= BLOCK_BYTES ? chunk.lastIndexOf(NEWLINE) + 1 : 0;
    pending.push(end > 0 ? chunk.subarray(0, end) : chunk);
    size += end > 0 ? end : chunk.length;
    if (end === 0) continue;
    yield take();
    if (end < chunk.length) pending.push(chunk.subarray(end));
    size = chunk.length - end;
  }
  if (size > 0) yield take();
}

function countLines(bytes: Uint8Array): number {
  let count = 0;
  for (let at = bytes.indexOf(NEWLINE); at >= 0; at = bytes.indexOf(NEWLINE, at + 1)) count++;
  return count;
}
