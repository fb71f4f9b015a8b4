"""JSON files and the rows that Hugging Face datasets reads from them.

    python3 scripts/golden/json_rows.py --out test/fixtures/data/json-rows.json

Needs datasets. The file has, by name, the bytes of a file (Latin-1) and its rows, or null where datasets raises.
"""

import argparse
import json
import math
import pathlib
import tempfile

import datasets

FILES = {
    "whole.jsonl": b'{"a":9007199254740993,"b":[-9007199254740993,{"c":9007199254740992}],"d":"9007199254740993"}\n',
    "limits.jsonl": b'{"a":9223372036854775807,"b":-9223372036854775808}\n',
    "larger.jsonl": b'{"a":9223372036854775808,"b":123456789012345678901234567890,"c":9007199254740993.0}\n',
    "too-large.jsonl": b'{"a":1e400}\n',
    "names.jsonl": b'{"a":1,"t":"NaN"}\n{"a":NaN,"t":"Infinity"}\n{"a":-Infinity,"t":"1234567890123456"}\n',
    "pretty.json": b'{\n "a": 1,\n "b": "x}\\"{"\n}\n',
    "pretty.jsonl": b'{\n "a": 1\n}\n{\n "a": 2\n}\n',
    "later.jsonl": b'{"a":1}\n{"a":\n2}\n{"a":3}',
    "columns.json": b'{\n "a": [1, 2],\n "b": ["x", "y"]\n}',
    "field.json": b'{\n "data": [{"a": 1}, {"a": 2}]\n}',
    "one-line.json": b'{"a":1}{"a":2}\n',
    "whole.json": b'[{"a":9007199254740993},\n{"a":\n2}]',
    "texts.json": b'["x","y",null]',
    "mixed.json": b'[1,{"a":1}]',
    "lists.json": b'[[1, 2], [], null]',
    "array.jsonl": b'[{"a": 1},\n {"a": 2}]\n',
    "text-first.json": b'["a {", "b"]',
    "nested.json": b'[\n {"a": [{"b": 1}]},\n {"a": []}\n]\n',
    "cut.json": b'{\n "a": 1,\n',
    "latin.jsonl": b'{"a":"x"}\n{"a":"\xe9"}\n',
    "utf-16.jsonl": '{"a":"x"}\n'.encode("utf-16"),
    "mark.jsonl": '\ufeff{"a":"é"}\n'.encode(),
}


def plain(value: object) -> object:
    """As scripts/golden/parquet_rows.py writes what JSON has no exact form for."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": str(value)}
    return {"$int": str(value)} if isinstance(value, int) and abs(value) > 2**53 - 1 else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    out = parser.parse_args().out
    found = {}
    for name, content in FILES.items():
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder, name)
            file.write_bytes(content)
            try:
                dataset = datasets.load_dataset("json", data_files=str(file), split="train", cache_dir=folder)
                rows = [{key: plain(value) for key, value in row.items()} for row in dataset]
            except Exception:  # noqa: BLE001 - whatever datasets raises
                rows = None
        found[name] = {"content": content.decode("latin-1"), "rows": rows}
    out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
