"""Data sets whose card says how their files are read, and the rows that Hugging Face datasets reads from them.

    python3 scripts/golden/dataset_cards.py --out test/fixtures/data/cards.json

Needs datasets. The file has cases of `title`, `files` (text by name), `card` (the front matter), `dataFiles` where the caller names
some, and `rows` of the split "train", or null where datasets raises.
"""

import argparse
import json
import math
import pathlib
import tempfile

import datasets

TABLE = "id,n,x,ok\n007,1,1.50,True\n008,,2e3,False\n"


def config(file: str, **parameters: object) -> dict:
    return {"configs": [{"config_name": "default", "data_files": file, **parameters}]}


def info(features: list[dict], file: str, **parameters: object) -> dict:
    return {"dataset_info": {"features": features}, **config(file, **parameters)}


def columns(**types: object) -> list[dict]:
    return [{"name": name, "dtype": dtype} if isinstance(dtype, str) else {"name": name, **dtype} for name, dtype in types.items()]


def csv(title: str, text: str, **parameters: object) -> dict:
    return {"title": title, "files": {"a.csv": text}, "card": config("a.csv", **parameters)}


def js(title: str, text: str, features: list[dict] | None = None, **parameters: object) -> dict:
    card = config("a.json", **parameters) if features is None else info(features, "a.json", **parameters)
    return {"title": title, "files": {"a.json": text}, "card": card}


MESSAGES = [{"name": "messages", "list": [{"name": "role", "dtype": "string"}, {"name": "content", "dtype": "string"}]}]
LABEL = {"dtype": {"class_label": {"names": {"0": "no", "1": "yes"}}}}
CASES = [
    csv("sep", "a|b\n1|x\n", sep="|"),
    csv("delimiter before sep", "a|b\n1|2\n", sep=";", delimiter="|"),
    csv("a tab", "a\tb\n1\t2,5\n", sep="\t"),
    {"title": "sep of a .tsv", "files": {"a.tsv": "a;b\n1;2\n"}, "card": config("a.tsv", sep=";")},
    {"title": "a .tsv without", "files": {"a.tsv": "a\tb\n1\t2,5\n"}, "card": config("a.tsv")},
    csv("no header", "1,x\n2,y\n", header=None),
    csv("the third line as header", "about\n\nthis,\na,b\n1,2\n", header=2),
    csv("names and no header", "1,x\n2,y\n", names=["n", "t"]),
    csv("column_names in place of a header", "p,q\n2,y\n", column_names=["n", "t"], header=0),
    csv("more names than columns", "1,x\n", names=["n", "t", "u"]),
    csv("fewer names than columns", "1,x\n2,y\n", names=["n"]),
    csv("names that repeat", "1,x\n", names=["n", "n"]),
    csv("skiprows", "# made by hand\n\"with a\nbreak\"\na,b\n1,2\n", skiprows=2),
    csv("single quotes", "a,b\n'x,y',it\"s\n", quotechar="'"),
    csv("no quotes", 'a,b\n"x,y"\n', quoting=3),
    csv("escapes", 'a,b\n"x\\"y",z\\,w\n', escapechar="\\", doublequote=False),
    csv("comments", "#first\na,b\n1,2 # two\n#3,4\n5,6\n", comment="#"),
    csv("spaces after commas", 'a, b\n1, "x, y"\n', skipinitialspace=True),
    csv("blank lines that count", "a,b\n1,2\n\n3,4\n", skip_blank_lines=False),
    csv("missing values of its own", "a,b\n-,x\n2,?\n", na_values=["-", "?"]),
    csv("one missing value of its own", "a,b\n-,x\n2,?\n", na_values="-"),
    csv("only its own missing values", "a,b\nNA,x\n-,\n", na_values=["-"], keep_default_na=False),
    csv("no missing values", "a,b\nNA,1\n,2\n", na_filter=False),
    csv("yes and no", "a,b\nyes,1\nno,2\n", true_values=["yes"], false_values=["no"]),
    csv("decimal commas", "a;b\n1.234,5;7\n-2,25;8\n", sep=";", decimal=",", thousands="."),
    csv("thousands", 'a,b\n"1,234",x\n"12",y\n', thousands=","),
    csv("a chunk size", "a\n1\n", chunksize=100),
    csv("a parameter that no builder has", "a\n1\n", seperator=";"),
    csv("features of its own", TABLE, features=columns(id="string", x="string", ok="bool")),
    csv("whole numbers of its own", "id,n\n1,2\n3,4\n", features=columns(id="float64", n="int8")),
    csv("a missing whole number of its own", TABLE, features=columns(n="int64")),
    csv("a label of its own", "a\nyes\nno\n", features=[{"name": "a", **LABEL}]),
    {"title": "declared features", "files": {"a.csv": TABLE}, "card": info(columns(id="string", n="int64", x="string", ok="string"), "a.csv")},
    {"title": "declared features in another order", "files": {"a.csv": "a,b\n1,x\n"}, "card": info(columns(b="string", a="float32"), "a.csv")},
    {"title": "a declared column that is not there", "files": {"a.csv": "a\n1\n"}, "card": info(columns(a="int64", b="string"), "a.csv")},
    {"title": "a column that is not declared", "files": {"a.csv": "a,b\n1,2\n"}, "card": info(columns(a="int64"), "a.csv")},
    {"title": "text that is declared a number", "files": {"a.csv": "a\nx\n"}, "card": info(columns(a="int64"), "a.csv")},
    {"title": "a fraction that is declared whole", "files": {"a.csv": "a\n1.5\n"}, "card": info(columns(a="int64"), "a.csv")},
    {"title": "a number beyond a declared byte", "files": {"a.csv": "a\n300\n"}, "card": info(columns(a="int8"), "a.csv")},
    {"title": "numbers declared as truth", "files": {"a.csv": "a\n0\n2\n"}, "card": info(columns(a="bool"), "a.csv")},
    {"title": "numbers declared as text", "files": {"a.csv": "a\n1.0\n1e16\n1e-7\n-0.0\n123456789.125\n"}, "card": info(columns(a="string"), "a.csv")},
    {"title": "labels", "files": {"a.csv": "a,b\nyes,1\nno,0\n,\n"}, "card": info([{"name": "a", **LABEL}, {"name": "b", **LABEL}], "a.csv")},
    {"title": "a label that is none", "files": {"a.csv": "a\nmaybe\n"}, "card": info([{"name": "a", **LABEL}], "a.csv")},
    {"title": "features without configurations", "files": {"train.csv": "a\n01\n"}, "card": {"dataset_info": {"features": columns(a="string")}}},
    {
        "title": "features of the chosen configuration",
        "files": {"a.csv": "a\n1\n"},
        "card": {"dataset_info": [{"config_name": "b", "features": columns(a="string")}, {"config_name": "default", "features": columns(a="float64")}], **config("a.csv")},
    },
    js("a field with objects", '{"version": 1, "rows": [{"a": 1}, {"a": 2, "b": "x"}]}', field="rows"),
    js("a field with columns", '{"rows": {"a": [1, 2], "b": ["x", "y"]}}', field="rows"),
    js("a field with texts", '{"rows": ["x", "y"]}', field="rows"),
    js("a field with lists", '{"rows": [[1, "x"], [2, "y"]]}', field="rows"),
    js("a field that is not there", '{"rows": [{"a": 1}]}', field="data"),
    js("a field over several lines", '{\n "rows": [\n  {"a": 1}\n ]\n}\n', field="rows"),
    js("messages", '{"messages": [{"content": "hi", "role": "user"}]}\n{"messages": []}\n', MESSAGES),
    js("messages with another key", '{"messages": [{"content": "hi", "role": "user", "name": "x"}]}\n', MESSAGES),
    js("numbers declared as text in JSON", '{"a": 1, "b": [1, 2]}\n', [{"name": "a", "dtype": "string"}, {"name": "b", "list": "string"}]),
    js("a sequence", '{"a": [1, null]}\n', [{"name": "a", "sequence": "float64"}]),
    js("texts declared as numbers", '{"a": "NaN"}\n{"a": "-inf"}\n{"a": "+Infinity"}\n{"a": "1.5"}\n', columns(a="float64")),
    js("half precision", '{"a": 0.1}\n{"a": 2049}\n{"a": 2051}\n{"a": 3e-8}\n{"a": 65519.99}\n{"a": -1e5}\n{"a": 0}\n{"a": null}\n', columns(a="float16")),
    js("lists of a declared length", '{"a": [1, 2], "b": [3]}\n', [{"name": "a", "sequence": "int64", "length": 2}, {"name": "b", "list": "int8", "length": 1}]),
    js("a list of another length", '{"a": [1, 2]}\n', [{"name": "a", "sequence": "int64", "length": 3}]),
    js("an object", '{"a": {"x": 1}}\n', [{"name": "a", "struct": columns(x="string", y="int64")}]),
    js("a declared column that JSON lacks", '{"a": 1}\n{"b": "x"}\n', columns(a="int64", b="string", c="bool")),
    js("a column of JSON that is not declared", '{"a": 1}\n{"b": "x"}\n', columns(a="int64")),
    {
        "title": "a parameter beside the caller's own files",
        "files": {"a.csv": "a;b\n1;2\n", "b.csv": "a;b\n3;4\n"},
        "card": info(columns(a="string", b="string"), "a.csv", sep=";"),
        "dataFiles": "b.csv",
    },
    {"title": "text", "files": {"a.txt": "one\n\ntwo"}, "card": config("a.txt")},
    {"title": "paragraphs", "files": {"a.txt": "one\n\ntwo"}, "card": config("a.txt", sample_by="paragraph")},
]  # fmt: skip


def plain(value: object) -> object:
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    return {"$float": str(value)} if isinstance(value, float) and not math.isfinite(value) else value


def rows_of(case: dict) -> list | None:
    with tempfile.TemporaryDirectory() as folder:
        for name, text in case["files"].items():
            pathlib.Path(folder, name).write_bytes(text.encode())
        # JSON is YAML.
        pathlib.Path(folder, "README.md").write_text(f"---\n{json.dumps(case['card'])}\n---\n")
        try:
            return [plain(row) for row in datasets.load_dataset(folder, data_files=case.get("dataFiles"), split="train", cache_dir=f"{folder}/cache")]
        except Exception:  # noqa: BLE001 - whatever datasets raises
            return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    out = parser.parse_args().out
    lines = [json.dumps({**case, "rows": rows_of(case)}, ensure_ascii=False) for case in CASES]
    out.write_text("[\n" + ",\n".join(lines) + "\n]\n")


if __name__ == "__main__":
    main()
