// Parquet files of many row groups: written group by group, or seeming as large as is asked for, with every row group of the
// footer pointing to the same few.

import { type FileMetaData, parquetMetadata } from "hyparquet";
import { ByteWriter, parquetWriteBuffer } from "hyparquet-writer";
import { writeMetadata } from "hyparquet-writer/src/metadata.js";

export interface LargeParquet {
  readonly groups: number;
  readonly rowsPerGroup: number;
  /** Characters of text in a row, which no codec makes shorter by much. */
  readonly textLength: number;
}

/** Columns id (0, 1, …), text and level. */
export function makeParquet({ groups, rowsPerGroup, textLength }: LargeParquet): Buffer {
  const ids = Array.from({ length: groups * rowsPerGroup }, (_, id) => id);
  const columnData = [
    { name: "id", data: ids, type: "INT32" as const },
    { name: "text", data: ids.map((id) => textOf(id, textLength)), type: "STRING" as const },
    { name: "level", data: ids.map((id) => `Level ${id % 5}`), type: "STRING" as const },
  ];
  return Buffer.from(parquetWriteBuffer({ columnData, rowGroupSize: rowsPerGroup, dictionarySize: 1000 }));
}

/** The text of a row. */
export function textOf(id: number, length: number): string {
  let state = id + 1;
  let text = "";
  while (text.length < length) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    text += state.toString(36);
  }
  return text.slice(0, length);
}

/** The same file with all its row groups so many times. */
export function repeatGroups(file: Buffer, times: number): Buffer {
  const metadata = parquetMetadata(file);
  const footer = file.length - metadata.metadata_length - 8;
  const repeated: FileMetaData = {
    ...metadata,
    num_rows: metadata.num_rows * BigInt(times),
    row_groups: Array.from({ length: times }, () => metadata.row_groups).flat(),
  };
  const writer = new ByteWriter();
  writeMetadata(writer, repeated);
  writer.appendUint32(0x31524150);
  writer.finish();
  return Buffer.concat([file.subarray(0, footer), writer.getBytes()]);
}
