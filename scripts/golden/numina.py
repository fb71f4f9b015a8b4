"""A small data set with the columns and the file layout of AI-MO/NuminaMath-TIR, made of the bundled model's sums.

    python3 scripts/golden/numina.py --rows scripts/assets/tiny-qwen2/train.jsonl --out test/fixtures/hub

Needs pyarrow. Writes OUT/numina-train.parquet (1300 rows in groups of 500) and OUT/numina-test.parquet (240 rows).
"""

import argparse
import json
import pathlib

import pyarrow as pa
import pyarrow.parquet as pq

MESSAGE = pa.struct([("content", pa.string()), ("role", pa.string())])
SCHEMA = pa.schema([("problem", pa.string()), ("solution", pa.string()), ("messages", pa.list_(MESSAGE))])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    options = parser.parse_args()
    rows = [json.loads(line) for line in options.rows.read_text().splitlines()]
    for row in rows:
        user = {"content": row["problem"], "role": "user"}
        row["messages"] = [user, {"content": row["solution"], "role": "assistant"}]
    for name, part in [("train", rows[:1300]), ("test", rows[1300:1540])]:
        table = pa.Table.from_pylist(part, schema=SCHEMA)
        pq.write_table(table, options.out / f"numina-{name}.parquet", compression="zstd", row_group_size=500)


if __name__ == "__main__":
    main()
