"""Writes test/fixtures/golden/advantages.json: rewards in, TRL's advantages and metrics out.

The lines that TRL runs for this are inside GRPOTrainer._generate_and_score_completions, between the rewards and the
logging of texts. They are taken from the installed source and executed here on given rewards, so that the fixture is
what TRL computes and not a second reading of it.
"""

import inspect
import json
import textwrap
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import torch
from trl.trainer import grpo_trainer

OUT = Path(__file__).resolve().parents[2] / "test/fixtures/golden/advantages.json"


def trl_lines():
    """The block from the first reward line to the last reward metric, as a code object."""
    source = textwrap.dedent(inspect.getsource(grpo_trainer.GRPOTrainer._generate_and_score_completions))
    start = source.index("    unscorable_mask = ")
    stop = source.index("    # Log prompts and completions")
    return compile(textwrap.dedent(source[start:stop]), "trl", "exec")


def run(code, rewards, weights, group, scale, aggregation="sum_then_normalize"):
    """rewards: [functions][completions] with None for abstentions."""
    values = [[float("nan") if r is None else r for r in row] for row in rewards]
    names = [f"f{k}" for k in range(len(rewards))]
    trainer = SimpleNamespace(
        multi_objective_aggregation=aggregation,
        reward_funcs=[None] * len(rewards),
        scale_rewards=scale,
        reward_weights=torch.tensor(weights),
        reward_func_names=names,
        accelerator=SimpleNamespace(process_index=0),
        _metrics={"train": defaultdict(list)},
    )
    scope = {
        **vars(grpo_trainer),
        "self": trainer,
        "mode": "train",
        "device": torch.device("cpu"),
        "num_generations": group,
        "prompts": [None] * len(rewards[0]),
        "rewards_per_func": torch.tensor(values, dtype=torch.float32).T.contiguous(),
    }
    exec(code, scope)
    clean = lambda x: None if x != x else x
    return {
        "rewards": rewards,
        "weights": weights,
        "groupSize": group,
        "scaleRewards": scale,
        "multiObjectiveAggregation": aggregation,
        "advantages": scope["advantages"].tolist(),
        "metrics": {name: clean(value[0]) for name, value in trainer._metrics["train"].items()},
    }


def main():
    torch.manual_seed(7)
    code = trl_lines()
    drawn = lambda n: [round(x, 3) for x in torch.randn(n).tolist()]
    inputs = [
        ([[1, 0, 0, 1, 0, 0, 0, 0], drawn(8)], [0.5, 0.5], 4),
        ([drawn(12), drawn(12), drawn(12)], [1.0, -0.5, 2.0], 3),
        # A function that abstains; a completion that no function scores; a group with one known reward.
        ([[1, None, 0.5, None, None, None, None, 2], [None, None, 0.25, 3, None, None, None, 1]], [1.0, 0.3], 4),
        # No spread in one group, and in all.
        ([[0.1, 0.1, 0.1, 0.1, 0.4, 0.2, 0.3, 0.1]], [1.0], 4),
        ([[0.1] * 8], [1.0], 2),
        ([[None] * 4], [1.0], 2),
    ]
    cases = [run(code, *case, scale) for case in inputs for scale in ("group", "batch", "none")]
    cases += [run(code, *case, "group", "normalize_then_sum") for case in inputs]
    # One function without spread in a group where the other has some.
    mixed = ([[1, 0, 0.5, 1, 2, 2, 2, 2], [3, 3, 3, 3, 0.5, 0.25, 1, 0]], [1.0, 0.7], 4)
    cases.append(run(code, *mixed, "group", "normalize_then_sum"))
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(cases, separators=(",", ":")) + "\n")
    print(f"{OUT}: {len(cases)} cases, {OUT.stat().st_size} bytes")


if __name__ == "__main__":
    main()
