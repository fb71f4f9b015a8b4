"""Which rows the mixtures of a configuration take, in which order: `datasets` by TRL's get_dataset, `dataset_mixture` by the steps
of open-r1's (shuffle each, take its share, shuffle all, split). Writes test/fixtures/golden/mixtures.json.

    python scripts/golden/mixtures.py
"""

import json
import pathlib
import tempfile

import datasets
from trl import DatasetMixtureConfig, get_dataset
from trl.scripts.utils import DatasetConfig

OUT = pathlib.Path(__file__).resolve().parents[2] / "test/fixtures/golden/mixtures.json"
SIZES = {"a": 10, "b": 7, "c": 33}


def table(name: str) -> list[dict]:
    return [{"id": f"{name}{i}", "prompt": f"{name} {i}"} for i in range(SIZES[name])]


def trl(folder: pathlib.Path, parts: dict[str, float | None]) -> dict:
    configs = [DatasetConfig(path="json", data_files=str(folder / f"{name}.jsonl"), fraction=f) for name, f in parts.items()]
    rows = get_dataset(DatasetMixtureConfig(datasets=configs))["train"]
    return {"fractions": parts, "ids": rows["id"][:]}


def openr1(parts: dict[str, float], seed: int, test_split_size: float | None) -> dict:
    tables = []
    for name, weight in parts.items():
        rows = datasets.Dataset.from_list(table(name)).shuffle(seed=seed)
        tables.append(rows.select(range(int(len(rows) * weight))))
    rows = datasets.concatenate_datasets(tables).shuffle(seed=seed)
    case = {"weights": parts, "seed": seed, "test_split_size": test_split_size}
    if test_split_size is None:
        return {**case, "train": rows["id"][:]}
    split = rows.train_test_split(test_size=test_split_size, seed=seed)
    return {**case, "train": split["train"]["id"][:], "test": split["test"]["id"][:]}


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for part in SIZES:
            (folder / f"{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in table(part)))
        shares = [{"a": None, "b": None}, {"a": 0.7, "b": 0.3}, {"a": 1, "b": 1, "c": 2}, {"a": 1, "b": 0}, {"a": 1, "b": 3}]
        cases = {
            "sizes": SIZES,
            "trl": [trl(folder, parts) for parts in shares],
            "openR1": [openr1({"a": 0.5, "c": 1.0}, 0, None), openr1({"a": 0.75, "b": 0.5, "c": 0.3}, 42, 0.2)],
        }
    OUT.write_text(json.dumps(cases) + "\n")


if __name__ == "__main__":
    main()
