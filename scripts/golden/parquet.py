"""Small parquet files in the layout of AI-MO/NuminaMath-TIR, with the rows that they hold.

    python3 scripts/golden/parquet.py --out test/fixtures/data

Needs pyarrow. Writes OUT/rows-CODEC.parquet (12 rows, row groups of 5, pages v1 and v2), OUT/rows.json and
OUT/integers.parquet (whole numbers beyond 2^53, a null).
"""

import argparse
import json
import pathlib

import pyarrow as pa
import pyarrow.parquet as pq


def make_rows(count: int) -> list[dict]:
    return [
        {
            "problem": f"What is {n} + {n}? \u2202\u00e9",
            "solution": None if n == 4 else f"${2 * n}$",
            "level": n % 3,
            "messages": []
            if n == 7
            else [
                {"content": f"What is {n} + {n}?", "role": "user"},
                {"content": f"${2 * n}$", "role": "assistant"},
            ],
        }
        for n in range(count)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    out = parser.parse_args().out
    rows = make_rows(12)
    table = pa.Table.from_pylist(rows)
    for codec, page in [("snappy", "1.0"), ("zstd", "2.0"), ("gzip", "1.0")]:
        pq.write_table(
            table, out / f"rows-{codec}.parquet", compression=codec, data_page_version=page, row_group_size=5
        )
    (out / "rows.json").write_text(json.dumps(rows, ensure_ascii=False, indent=1) + "\n")
    integers = pa.table({"n": pa.array([1, -5, 2**53 - 1, 2**60, None], pa.int64())})
    pq.write_table(integers, out / "integers.parquet")


if __name__ == "__main__":
    main()
