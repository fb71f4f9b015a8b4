"""Which rows Hugging Face datasets gives, in which order: splits, shuffles, mixtures, streams.

    python3 scripts/golden/datasets_order.py --out test/fixtures/data

Needs datasets. Writes OUT/order.json: `splits` (expression, rows, bounds), `shuffles`, `trainTestSplits`, `interleaved` (tables
and streams of the given lengths; row n of source k is 100 * k + n), `streams` (shards of the given lengths, numbered through).
"""

import argparse
import itertools
import json
import pathlib

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


def streams() -> list[dict]:
    cases = []
    for lengths, seed, buffer, inputs in [
        ([30], 42, 5, 10), ([30], 42, 1000, 10), ([8, 8, 8, 8], 0, 4, 10), ([8, 3, 9, 1, 5], 7, 6, 2), ([4] * 12, 3, 10, 10), ([5, 5], 1, 3, 1),
        ([1200], 5, 50, 10),
    ]:  # fmt: skip
        options = {"seed": seed, "buffer_size": buffer, "max_buffer_input_shards": inputs}
        plain = sharded(lengths).shuffle(**options)
        skipped = sharded(lengths).skip(2).take(20).shuffle(**options)
        chained = datasets.concatenate_datasets([sharded(lengths), sharded([3, 2])]).shuffle(**options)
        cases.append(
            {
                "shards": lengths,
                "seed": seed,
                "bufferSize": buffer,
                "maxBufferInputShards": inputs,
                "order": [row["n"] for row in plain],
                "skip2take20": [row["n"] for row in skipped],
                "chained": [row["n"] for row in chained],
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
