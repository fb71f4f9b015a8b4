"""Which files of a folder Hugging Face datasets takes for which split, by names, by the README's configurations, by patterns.

    python3 scripts/golden/data_files.py --out test/fixtures/data/data-files.json

Needs datasets. No file is read: the builder that datasets chooses says which files it would read, and in which format.
"""

import argparse
import json
import os
import pathlib
import tempfile

import datasets

DATA_DIRS = """configs:
- config_name: main_data
  data_dir: main
  default: true
- config_name: additional
  data_dir: extra
"""
TREE = ["main/train.jsonl", "main/test.jsonl", "extra/train.jsonl", "extra/notes/more_train.jsonl"]


def listed(*patterns: str) -> str:
    lines = "".join(f"    - {json.dumps(pattern)}\n" for pattern in patterns)
    return f"configs:\n- config_name: default\n  data_files:\n  - split: train\n    path:\n{lines}"


CASES: list[dict] = [
    {"title": "a configuration that is a folder", "files": TREE, "readme": DATA_DIRS},
    {"title": "another configuration that is a folder", "files": TREE, "readme": DATA_DIRS, "name": "additional"},
    {
        "title": "a folder with files of its own list",
        "files": [*TREE, "extra/a.jsonl"],
        "readme": "configs:\n- config_name: x\n  data_files: main/*.jsonl\n- config_name: y\n  data_dir: extra\n  data_files: '*.jsonl'\n",
        "name": "y",
    },
    {"title": "a configuration that names nothing", "files": TREE, "readme": "configs:\n- config_name: x\n", "name": "x"},
    {"title": "the order of a list", "files": ["a.jsonl", "b.jsonl"], "readme": listed("b.jsonl", "a.jsonl")},
    {"title": "a list that names a file twice", "files": ["a.jsonl", "b.jsonl"], "readme": listed("b.jsonl", "*.jsonl")},
    {
        "title": "a pattern before a name",
        "files": ["main/part.jsonl", "main/train.jsonl"],
        "readme": listed("main/train*", "main/part.jsonl"),
    },
    {"title": "the caller's order", "files": ["a.jsonl", "b.jsonl"], "dataFiles": ["b.jsonl", "a.jsonl"]},
    {"title": "a name that is not there", "files": ["a.jsonl"], "dataFiles": ["a.jsonl", "b.jsonl"]},
    {
        "title": "brackets",
        "files": ["x-0001.jsonl", "x-0012.jsonl", "x-000b.jsonl"],
        "readme": listed("x-000[0-9].jsonl"),
    },
    {
        "title": "brackets that leave out",
        "files": ["a.jsonl", "b.jsonl", "c.jsonl"],
        "dataFiles": "[!b].jsonl",
    },
    {
        "title": "files without data among those matched",
        "files": ["data/README.md", "data/config.json", "data/schema.md", "data/script.py", "data/x.jsonl"],
        "readme": listed("data/*"),
    },
    {
        "title": "hidden and special folders",
        "files": [".cache/b.jsonl", "__x/c.jsonl", "_x/d.jsonl", "a.jsonl"],
        "readme": listed("**/*.jsonl"),
    },
    {"title": "a special folder by name", "files": ["__x/c.jsonl", "a.jsonl"], "readme": listed("__x/*.jsonl")},
    {"title": "a hidden folder by name", "files": [".h/a.jsonl", ".h/.b.jsonl", "c.jsonl"], "dataFiles": ".h/*.jsonl"},
    {"title": "hidden folders by a pattern", "files": [".h/a.jsonl", "x/.g/b.jsonl", "c.jsonl"], "dataFiles": ".*/*.jsonl"},
    {"title": "a hidden folder of the card", "files": [".h/a.jsonl", "c.jsonl"], "readme": listed(".h/*")},
    {"title": "a hidden file by name", "files": [".a.jsonl", "c.jsonl"], "dataFiles": "**/.*.jsonl"},
    {"title": "folders at every depth", "files": ["d/a.jsonl", "d/e/b.jsonl", "d/e/f/c.jsonl", "d/.g/x.jsonl", "d/__h/y.jsonl"], "dataFiles": "d/**/*.jsonl"},
    {"title": "notes beside rows", "files": ["schema.md", "settings.toml", "x.jsonl"]},
    {"title": "more notes than rows", "files": ["a.md", "b.md", "x.jsonl"]},
    {"title": "an instruction beside rows", "files": ["instruction.md", "x.jsonl"]},
    {"title": "arrow shards beside a text", "files": ["data/train-00000-of-00001.arrow", "requirements.txt"]},
    {"title": "an archive beside a text", "files": ["LICENSE.txt", "data.zip"]},
    {"title": "pictures beside their captions", "files": ["metadata.jsonl", "train/1.png", "train/2.png"]},
    {"title": "sound beside a list", "files": ["list.csv", "a/1.wav", "a/2.wav"]},
    {"title": "one table among notes", "files": ["LICENSE.txt", "notes.txt", "rows.csv"]},
    {"title": "one table and one note", "files": ["LICENSE.txt", "rows.csv"]},
    {"title": "more JSON than CSV", "files": ["a.jsonl", "b.json", "c.csv"]},
    {"title": "as much JSON as CSV", "files": ["a.jsonl", "c.csv"]},
    {"title": "packed files", "files": ["train-1.jsonl.gz", "train-2.jsonl.gz", "test.jsonl.gz", "stats.csv"]},
    {"title": "splits in two formats", "files": ["test.jsonl", "train.csv"]},
    {"title": "shards of several splits", "files": [f"data/{s}-0000{i}-of-00002.jsonl" for s in "ab" for i in (0, 1)]},
    {
        "title": "keywords in folders before those in names",
        "files": ["dev/train.jsonl", "my-train/a.jsonl", "x.jsonl", "eval_1/b/c.jsonl"],
    },
    {
        "title": "keywords in names",
        "files": ["a/dev-1.jsonl", "my_train.jsonl", "retrain.jsonl", "test_all.jsonl", "training.jsonl", "valid.jsonl"],
    },
    {"title": "a keyword twice, and two keywords", "files": ["test-train.jsonl", "train.train-1.jsonl"]},
    {"title": "no keyword", "files": ["b.jsonl", "a.jsonl", "c/d.jsonl"]},
    {"title": "the caller's patterns in several formats", "files": ["d/a.jsonl", "d/b.jsonl", "d/c.txt"], "dataFiles": "d/*"},
]


def answer(folder: str, case: dict) -> dict:
    for name in case["files"]:
        file = pathlib.Path(folder, name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("")
    if "readme" in case:
        pathlib.Path(folder, "README.md").write_text(f"---\n{case['readme']}---\n")
    try:
        builder = datasets.load_dataset_builder(folder, case.get("name"), data_files=case.get("dataFiles"))
    except Exception as error:  # noqa: BLE001 - whatever datasets throws is its answer
        return {"error": type(error).__name__}
    found = {str(split): [os.path.relpath(file, os.path.realpath(folder)) for file in files] for split, files in builder.config.data_files.items()}
    return {"module": type(builder).__module__.split(".")[-1], "splits": found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    out = parser.parse_args().out
    cases = []
    for case in CASES:
        with tempfile.TemporaryDirectory() as folder:
            cases.append({**case, **answer(folder, case)})
    out.write_text(json.dumps(cases, indent=1) + "\n")


if __name__ == "__main__":
    main()
