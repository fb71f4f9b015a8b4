"""Which rows Hugging Face datasets gives, in which order: splits, shuffles, mixtures, streams.

    python3 scripts/golden/datasets_order.py --out test/fixtures/data

Needs datasets 5.2. Writes OUT/order.json: `splits` (expression, rows, bounds), `shuffles`, `trainTestSplits`, `interleaved` (tables
and streams of the given lengths; row n of source k is 100 * k + n), `streams` (shards of the given lengths, numbered through: from
a generator, and from files of a `format`, where datasets takes rows in chunks if it knows the columns).
"""

import argparse
import itertools
import json
import pathlib
import tempfile

import datasets
from datasets.arrow_reader import ReadInstruction

EXPRESSIONS = [
    "train", "train[:5%]", "train[95%:]", "train[10%:20%]", "train[33%:66%]", "train[-15%:-5%]", "train[:-5%]", "train[-100:]",
    "train[:100]", "train[-5:-2]", "train[3:]", "train[:1%]", "train[1%:2%]", "train[99%:]", "train[:50%]+train[50%:]",
    "train[:20%](pct1_dropremainder)", "train[-30%:](pct1_dropremainder)", "train[7%:93%](closest)", "train[:0%]", "train[:100%]",
]  # fmt: skip
STRATEGIES = ["first_exhausted", "all_exhausted", "all_exhausted_without_replacement"]


def splits() -> list[dict]:
    cases = []
    for expression, rows in itertools.product(EXPRESSIONS, [1, 10, 99, 100, 101, 150, 333, 7473, 72441]):
        try:
            absolute = ReadInstruction.from_spec(expression).to_absolute({"train": rows})
        except ValueError:
            continue
        bounds = [[r.from_ or 0, rows if r.to is None else r.to] for r in absolute]
        cases.append({"expression": expression, "rows": rows, "bounds": bounds})
    return cases


def numbers(count: int, start: int = 0) -> datasets.Dataset:
    return datasets.Dataset.from_dict({"n": list(range(start, start + count))})


def shuffles() -> list[dict]:
    cases = [(1, 0), (2, 42), (10, 42), (10, 0), (37, 123456789012), (200, 7)]
    return [{"rows": rows, "seed": seed, "order": numbers(rows).shuffle(seed=seed)["n"][:]} for rows, seed in cases]


def train_test_splits() -> list[dict]:
    cases = [(10, 0.25, 1), (10, 3, 42), (37, 0.1, 0)]
    found = []
    for rows, size, seed in cases:
        parts = numbers(rows).train_test_split(test_size=size, seed=seed)
        found.append({"rows": rows, "testSize": size, "seed": seed, "train": parts["train"]["n"][:], "test": parts["test"]["n"][:]})
    return found


def interleaved() -> list[dict]:
    cases = []
    for lengths, probabilities, strategy in itertools.product([[3, 4, 5], [5, 2], [1, 6, 3, 3]], [False, True], STRATEGIES):
        tables = [numbers(length, 100 * k) for k, length in enumerate(lengths)]
        shares = [(k + 1) / sum(range(1, len(lengths) + 1)) for k in range(len(lengths))] if probabilities else None
        options = {"probabilities": shares, "seed": 42 if probabilities else None, "stopping_strategy": strategy}
        table = datasets.interleave_datasets(tables, **options)
        stream = datasets.interleave_datasets([part.to_iterable_dataset() for part in tables], **options)
        cases.append(
            {
                "lengths": lengths,
                "probabilities": shares,
                "seed": options["seed"],
                "stoppingStrategy": strategy,
                "table": table["n"][:],
                "stream": [row["n"] for row in stream],
            }
        )
    return cases


def shard_rows(shards: list[list[int]]):
    for shard in shards:
        for n in shard:
            yield {"n": n}


def sharded(lengths: list[int]) -> datasets.IterableDataset:
    starts = [sum(lengths[:k]) for k in range(len(lengths))]
    shards = [list(range(start, start + length)) for start, length in zip(starts, lengths)]
    return datasets.IterableDataset.from_generator(shard_rows, gen_kwargs={"shards": shards})


def written(folder: str, lengths: list[int], form: str) -> datasets.IterableDataset:
    files = []
    for k, length in enumerate(lengths):
        rows = range(sum(lengths[:k]), sum(lengths[:k]) + length)
        file = pathlib.Path(folder, f"{k:02}.{form}")
        if form == "parquet":
            datasets.Dataset.from_dict({"n": list(rows)}).to_parquet(file)
        elif form == "jsonl":
            file.write_text("".join(f'{{"n": {n}}}\n' for n in rows))
        elif form == "json":
            file.write_text(json.dumps([{"n": n} for n in rows]))
        else:
            file.write_text("n\n" + "".join(f"{n}\n" for n in rows))
        files.append(str(file))
    return datasets.load_dataset({"jsonl": "json"}.get(form, form), data_files=files, split="train", streaming=True, cache_dir=folder)


def streams() -> list[dict]:
    cases = []
    settings = [
        ([30], 42, 5, 10), ([30], 42, 1000, 10), ([8, 8, 8, 8], 0, 4, 10), ([8, 3, 9, 1, 5], 7, 6, 2), ([4] * 12, 3, 10, 10), ([5, 5], 1, 3, 1),
        ([1200], 5, 50, 10), ([40, 7, 25], 11, 21, 3), ([9, 9, 9], 2, 1, 10),
    ]  # fmt: skip
    for (lengths, seed, buffer, inputs), form in itertools.product(settings, [None, "jsonl", "parquet", "json", "csv"]):
        if form in ("parquet", "json", "csv") and len(lengths) not in (3, 5):
            continue
        options = {"seed": seed, "buffer_size": buffer, "max_buffer_input_shards": inputs}
        with tempfile.TemporaryDirectory() as folder:
            stream = sharded(lengths) if form is None else written(folder, lengths, form)
            orders = {
                "order": stream.shuffle(**options),
                "skip2take20": stream.skip(2).take(20).shuffle(**options),
                "chained": datasets.concatenate_datasets([stream, stream]).shuffle(**options),
                "filtered": stream.filter(lambda row: row["n"] % 3 > 0).shuffle(**options),
            }
            cases.append(
                {
                    "format": form,
                    "shards": lengths,
                    "seed": seed,
                    "bufferSize": buffer,
                    "maxBufferInputShards": inputs,
                    **{name: [row["n"] for row in rows] for name, rows in orders.items()},
                }
            )
    return cases


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    out = parser.parse_args().out
    parts = {"splits": splits(), "shuffles": shuffles(), "trainTestSplits": train_test_splits(), "interleaved": interleaved(), "streams": streams()}
    lines = [f'"{name}": [\n' + ",\n".join(json.dumps(case) for case in cases) + "\n]" for name, cases in parts.items()]
    (out / "order.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
