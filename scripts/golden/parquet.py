"""Small parquet files of every kind that pyarrow writes, with the rows that pyarrow reads from them.

    python3 scripts/golden/parquet.py --out test/fixtures/data

Needs pyarrow. Writes OUT/rows-CODEC.parquet and OUT/rows.json (12 rows in the layout of AI-MO/NuminaMath-TIR),
OUT/integers.parquet (whole numbers beyond 2^53, a null), and OUT/parquet/TABLE-VARIANT.parquet with OUT/parquet/TABLE.json for three tables: `types` (every type, nulls), `nested` (lists,
structs and maps in each other, null and empty at every level) and `text` (160 rows in many pages and groups).
"""

import argparse
import datetime
import decimal
import json
import pathlib

import pyarrow as pa
import pyarrow.parquet as pq
from parquet_rows import rows as plain_rows

D = decimal.Decimal


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


def types() -> pa.Table:
    utc = datetime.timezone.utc
    moment = datetime.datetime(2024, 2, 29, 23, 59, 59, 123456)
    old = datetime.datetime(1905, 1, 2, 3, 4, 5, 6)
    columns = {
        "bool": ([True, False, None, True], pa.bool_()),
        "int8": ([-128, 127, None, 0], pa.int8()),
        "uint8": ([255, 0, None, 1], pa.uint8()),
        "int16": ([-(2**15), 2**15 - 1, None, 0], pa.int16()),
        "uint16": ([2**16 - 1, 0, None, 1], pa.uint16()),
        "int32": ([-(2**31), 2**31 - 1, None, 0], pa.int32()),
        "uint32": ([2**32 - 1, 0, None, 1], pa.uint32()),
        "int64": ([-(2**63), 2**63 - 1, None, 2**53 - 1], pa.int64()),
        "uint64": ([2**64 - 1, 0, None, 2**53], pa.uint64()),
        "float16": ([1.5, -0.25, None, 65504.0], pa.float16()),
        "float32": ([1.5, float("nan"), None, float("-inf")], pa.float32()),
        "float64": ([0.1, float("nan"), None, float("inf")], pa.float64()),
        "string": (["", "\u00e9\u4e2d\U0001f600\u0000x", None, "a" * 300], pa.string()),
        "large_string": (["x", "", None, "y"], pa.large_string()),
        "binary": ([b"", b"\xff\x00\xfe", None, b"abc"], pa.binary()),
        "fixed": ([b"abcd", b"\x00\x01\x02\x03", None, b"\xff\xff\xff\xff"], pa.binary(4)),
        "decimal9": ([D("1234567.89"), D("-0.01"), None, D("0.00")], pa.decimal128(9, 2)),
        "decimal18": ([D("-99999999999999.9999"), D("0.0001"), None, D("1.0000")], pa.decimal128(18, 4)),
        "decimal38": ([D("-" + "9" * 28 + "." + "9" * 10), D("1E-10"), None, D("12")], pa.decimal128(38, 10)),
        "decimal76": ([D("9" * 76), D("-1"), None, D("0")], pa.decimal256(76, 0)),
        "date32": ([moment.date(), datetime.date(1, 1, 1), None, datetime.date(9999, 12, 31)], pa.date32()),
        "date64": ([moment.date(), datetime.date(1969, 12, 31), None, datetime.date(1970, 1, 1)], pa.date64()),
        "time_ms": ([datetime.time(23, 59, 59, 999000), datetime.time(0), None, datetime.time(1, 2, 3)], pa.time32("ms")),
        "time_us": ([datetime.time(23, 59, 59, 999999), datetime.time(0), None, datetime.time(1, 2, 3)], pa.time64("us")),
        "time_ns": ([1, 86_399_999_999_999, None, 1000], pa.time64("ns")),
        "timestamp_s": ([moment.replace(microsecond=0), old.replace(microsecond=0), None, datetime.datetime(1970, 1, 1)], pa.timestamp("s")),
        "timestamp_ms": ([moment.replace(microsecond=123000), old.replace(microsecond=0), None, datetime.datetime(1970, 1, 1)], pa.timestamp("ms")),
        "timestamp_us": ([moment, old, None, datetime.datetime(2199, 12, 31, 23, 59, 59, 999999)], pa.timestamp("us")),
        "timestamp_ns": ([1, -1, None, 1_700_000_000_123_456_789], pa.timestamp("ns")),
        "timestamp_utc": ([moment.replace(tzinfo=utc), old.replace(tzinfo=utc), None, datetime.datetime(1970, 1, 1, tzinfo=utc)], pa.timestamp("us", "UTC")),
        "category": (["red", "blue", None, "red"], pa.dictionary(pa.int8(), pa.string())),
        "nothing": ([None, None, None, None], pa.null()),
    }
    arrays = {name: pa.array(values, kind) for name, (values, kind) in columns.items()}
    return pa.table({**arrays, "required": pa.array([1, 2, 3, 4], pa.int64())})


def nested() -> pa.Table:
    message = pa.struct([("content", pa.string()), ("role", pa.string())])
    columns = {
        "strings": ([["a", None, ""], [], None, ["b"]], pa.list_(pa.string())),
        "matrix": ([[[1, 2], [], None, [None]], [[]], None, []], pa.list_(pa.list_(pa.int64()))),
        "point": ([{"x": 1, "y": None}, None, {"x": None, "y": 2.5}, {"x": 3, "y": 4.0}], pa.struct([("x", pa.int32()), ("y", pa.float64())])),
        "messages": (
            [[{"content": "hi", "role": "user"}, None, {"content": None, "role": "assistant"}], [], None, [{"content": "", "role": "system"}]],
            pa.list_(message),
        ),
        "deep": (
            [{"name": "n", "turns": [{"ids": [1, None], "by": {"who": "a"}}, {"ids": None, "by": None}]}, {"name": None, "turns": []}, None, {"name": "m", "turns": None}],
            pa.struct([("name", pa.string()), ("turns", pa.list_(pa.struct([("ids", pa.list_(pa.int16())), ("by", pa.struct([("who", pa.string())]))])))]),
        ),
        "map": ([[("a", 1), ("b", None)], [], None, [("c", 3)]], pa.map_(pa.string(), pa.int64())),
        "map_of_lists": ([[("k", ["x", None])], [("l", []), ("m", None)], None, []], pa.map_(pa.string(), pa.list_(pa.string()))),
        "fixed_list": ([[1.0, 2.0], [7.5, 8.5], [3.0, None], [5.0, 6.0]], pa.list_(pa.float32(), 2)),
        "decimals": ([[D("1.50"), None], [], None, [D("-2.25")]], pa.list_(pa.decimal128(6, 2))),
        "times": ([{"at": datetime.datetime(2020, 1, 1, 12)}, {"at": None}, None, {"at": datetime.datetime(1999, 1, 1)}], pa.struct([("at", pa.timestamp("us"))])),
    }
    return pa.table({name: pa.array(values, kind) for name, (values, kind) in columns.items()})


def text() -> pa.Table:
    numbers = range(160)
    return pa.table(
        {
            "id": pa.array(numbers, pa.int64()),
            "problem": pa.array([None if n % 37 == 5 else f"Problem {n}: " + "x" * (n % 13) for n in numbers]),
            "level": pa.array([f"Level {n % 5}" for n in numbers]),
            "score": pa.array([n / 8 for n in numbers], pa.float64()),
            "solved": pa.array([None if n % 11 == 0 else n % 3 == 0 for n in numbers]),
            "messages": pa.array(
                [[{"content": f"turn {n}.{i}", "role": "user" if i % 2 == 0 else "assistant"} for i in range(n % 4)] for n in numbers],
                pa.list_(pa.struct([("content", pa.string()), ("role", pa.string())])),
            ),
        }
    )


DELTA_TEXT = {
    "id": "DELTA_BINARY_PACKED",
    "problem": "DELTA_BYTE_ARRAY",
    "level": "DELTA_LENGTH_BYTE_ARRAY",
    "score": "BYTE_STREAM_SPLIT",
    "solved": "RLE",
    "messages.list.element.content": "DELTA_BYTE_ARRAY",
    "messages.list.element.role": "DELTA_LENGTH_BYTE_ARRAY",
}
PLAIN = {"use_dictionary": False}
V2 = {"data_page_version": "2.0"}
PAGES = {"data_page_size": 256, "write_batch_size": 8}
INDEX = {"write_page_index": True}

VARIANTS: dict[str, dict[str, dict]] = {
    "types": {
        "none": {"compression": "none"},
        "snappy": {"compression": "snappy"},
        "gzip-v2": {"compression": "gzip", **V2},
        "brotli-plain": {"compression": "brotli", **PLAIN},
        "zstd-required": {"compression": "zstd", "row_group_size": 1},
        "lz4": {"compression": "lz4"},
        "flavor-spark": {"compression": "snappy", "use_deprecated_int96_timestamps": True},
        "lz4-dictionary-v2": {"compression": "lz4", "use_dictionary": ["string", "decimal38", "timestamp_ns"], **V2},
    },
    "nested": {
        "none": {"compression": "none"},
        "snappy-v2": {"compression": "snappy", **V2},
        "gzip": {"compression": "gzip"},
        "zstd-plain-v2": {"compression": "zstd", **PLAIN, **V2},
        "brotli-groups": {"compression": "brotli", "row_group_size": 2},
        "lz4-index": {"compression": "lz4", **INDEX},
        "old-names": {"compression": "snappy", "use_compliant_nested_type": False},
    },
    "text": {
        "none-plain": {"compression": "none", **PLAIN},
        "snappy-groups": {"compression": "snappy", "row_group_size": 7},
        "gzip-pages": {"compression": "gzip", **PAGES},
        "zstd-pages-v2": {"compression": "zstd", **PAGES, **V2},
        "lz4-pages-index": {"compression": "lz4", **PAGES, **INDEX},
        "brotli-pages-index-v2": {"compression": "brotli", **PAGES, **INDEX, **V2},
        "none-pages-plain": {"compression": "none", **PAGES, **PLAIN},
        "snappy-pages-plain-index": {"compression": "snappy", **PAGES, **PLAIN, **INDEX},
        "zstd-delta": {"compression": "zstd", **PLAIN, "column_encoding": DELTA_TEXT},
        "none-delta-v2": {"compression": "none", **PLAIN, **V2, "column_encoding": DELTA_TEXT},
        "gzip-delta-pages": {"compression": "gzip", **PLAIN, **PAGES, "column_encoding": DELTA_TEXT},
        "snappy-dictionary-overflow": {"compression": "snappy", "dictionary_pagesize_limit": 200, **PAGES},
        "mixed-codecs": {"compression": {"id": "none", "problem": "zstd", "level": "gzip", "score": "brotli", "solved": "lz4"}},
        "no-statistics": {"compression": "snappy", "write_statistics": False, "store_schema": False},
        "sorted-bloom-checksum": {"compression": "snappy", "write_page_checksum": True, "sorting_columns": [pq.SortingColumn(0)]},
        "content-chunks": {"compression": "zstd", "use_content_defined_chunking": {"min_chunk_size": 128, "max_chunk_size": 512, "norm_level": 0}, **INDEX},
    },
}


def write_matrix(out: pathlib.Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for name, table in [("types", types()), ("nested", nested()), ("text", text())]:
        expected = None
        for variant, options in VARIANTS[name].items():
            file = out / f"{name}-{variant}.parquet"
            pq.write_table(table, file, **options)
            read = plain_rows(pq.ParquetFile(file).read())
            # Deprecated forms lose or change types: their rows are their own.
            if expected is not None and read != expected:
                (out / f"{name}-{variant}.json").write_text(to_lines(read))
            expected = expected or read
        (out / f"{name}.json").write_text(to_lines(expected))


def to_lines(rows: list[dict]) -> str:
    return "[\n" + ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n]\n"


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
    write_matrix(out / "parquet")


if __name__ == "__main__":
    main()
