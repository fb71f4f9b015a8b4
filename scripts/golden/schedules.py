"""Learning rates of transformers' schedules: test/fixtures/golden/schedules.json.

    python scripts/golden/schedules.py --out test/fixtures/golden
"""

import argparse
import json
import pathlib

import torch
from transformers import get_scheduler

CASES = [
    ("linear", 0, {}),
    ("linear", 4, {}),
    ("cosine", 3, {}),
    ("cosine", 0, {"num_cycles": 1.25}),
    ("cosine_with_restarts", 2, {"num_cycles": 3}),
    ("polynomial", 2, {"lr_end": 1e-6, "power": 2.0}),
    ("polynomial", 0, {}),
    ("constant", 5, {}),
    ("constant_with_warmup", 5, {}),
    ("inverse_sqrt", 4, {}),
    ("inverse_sqrt", 0, {"timescale": 7}),
    ("cosine_with_min_lr", 3, {"min_lr_rate": 0.1}),
    ("cosine_with_min_lr", 0, {"min_lr": 2e-6, "num_cycles": 0.4}),
    ("cosine_warmup_with_min_lr", 4, {"min_lr_rate": 0.1}),
    ("cosine_warmup_with_min_lr", 4, {"min_lr": 1e-6, "warmup_lr_rate": 0.2}),
    ("warmup_stable_decay", 3, {"num_decay_steps": 6}),
    ("warmup_stable_decay", 5, {"num_decay_steps": 8, "warmup_type": "cosine", "decay_type": "linear", "min_lr_ratio": 0.1}),
    ("warmup_stable_decay", 5, {"num_decay_steps": 4, "num_stable_steps": 3, "warmup_type": "1-sqrt", "decay_type": "1-sqrt"}),
]
STEPS, RATE = 20, 2e-5


def rates(name, warmup, options):
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=RATE)
    scheduler = get_scheduler(name, optimizer, warmup, STEPS, scheduler_specific_kwargs=options)
    values = []
    for _ in range(STEPS + 2):
        values.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return values


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=pathlib.Path, required=True)
    args = parser.parse_args()
    cases = [
        {"name": name, "warmupSteps": warmup, "options": options, "rates": rates(name, warmup, options)}
        for name, warmup, options in CASES
    ]
    fixture = {"learningRate": RATE, "totalSteps": STEPS, "cases": cases}
    (args.out / "schedules.json").write_text(json.dumps(fixture) + "\n")


if __name__ == "__main__":
    main()
