"""TRL's loss, metrics and every LoRA gradient for fixed batches, by the real GRPOTrainer.

    python3 scripts/golden/loss.py --tiny scripts/assets/tiny-qwen2 --out test/fixtures/golden

Needs the packages of requirements.txt, tiny-qwen2 (its tokenizer; nothing is tokenized) and the models that models.py
wrote into OUT/models. Writes OUT/loss-<set>.{safetensors,json} for two sets of model and LoRA targets. Each case is a
trainer built with that GRPOConfig, whose compute_loss gets a batch made by hand. `noise` is how far TRL's own
gradient moves, relative to the largest entry of the tensor, when the same batch has five more columns of padding.
attn_implementation is sdpa, everything is float32.
"""

import re
from itertools import product

from common import arguments, write_json, write_tensors
from trl_case import SETS, Batch, accumulate, draw_adapter, logprobs, lora_parameters, make_trainer, perturbed

TEMPERATURES = [1.0, 0.7]


LOSSES = ["grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo", "vespo", "luspo"]
SEQUENCE = {"importanceSamplingLevel": "sequence"}
# Two of positive and two of negative advantage.
TRUNCATED = [0, 3, 6, 9]


def cases(name):
    """Settings of every case: GRPOConfig's options in camelCase, and what else the case has."""
    yield from plain_cases()
    yield from (each_loss() if name == "llama-all" else [*each_loss(), *combinations()])


def plain_cases():
    kls = [(0.0, True), (0.04, True), (0.04, False)]
    for loss, (beta, corrected), old in product(["dapo", "grpo"], kls, [True, False]):
        yield case(loss, old=old, beta=beta, useBiasCorrectionKl=corrected)


def each_loss():
    for loss in LOSSES:
        yield case(loss, old=True, slices=2, beta=0.04, temperature=0.7)
    yield case("grpo", old=True, slices=2, beta=0.04, **SEQUENCE)
    yield case("dapo", old=True, slices=2, topEntropyQuantile=0.3, entropyCoef=0.02)


def combinations():
    # Quantiles are such that the threshold is not the entropy of a prompt's first tokens, which all its completions share:
    # rounding would then decide in TRL which of them count.
    for loss in LOSSES:
        yield case(loss, old=False)
        yield case(loss, old=True, slices=4, epsilon=0.1, epsilonHigh=0.28)
        yield case(loss, old=True, beta=0.04, useBiasCorrectionKl=False, truncated=TRUNCATED)
        yield case(loss, old=True, slices=2, **SEQUENCE)
        yield case(loss, old=False, beta=0.04, **SEQUENCE)
        yield case(loss, old=True, slices=4, topEntropyQuantile=0.2)
        yield case(loss, old=True, slices=2, entropyCoef=0.01, beta=0.04)
        yield case(loss, old=True, offPolicyMaskThreshold=0.02, truncated=TRUNCATED)
    yield case("cispo", old=True, epsilonHigh=5.0)
    yield case("cispo", old=True, epsilonHigh=1.1, slices=2, **SEQUENCE)
    yield case("sapo", old=True, sapoTemperaturePos=2.0, sapoTemperatureNeg=0.5)
    yield case("vespo", old=True, vespoKPos=1.5, vespoLambdaPos=2.5, vespoKNeg=2.0, vespoLambdaNeg=1.0, slices=2)
    for loss in ["grpo", "dapo"]:
        yield case(loss, old=True, delta=1.5, slices=2)
        yield case(loss, old=True, delta=1.1)  # below 1 + epsilon: it takes the place of the upper clip
        yield case(loss, old=True, delta=1.5, epsilonHigh=0.28, beta=0.04, temperature=0.7)
        yield case(loss, old=True, delta=1.02, epsilon=0.02, truncated=TRUNCATED, slices=2, **SEQUENCE)
        yield case(loss, old=False, topEntropyQuantile=0.5, beta=0.04)
        yield case(loss, old=False, topEntropyQuantile=0.5, **SEQUENCE)
        yield case(loss, old=True, topEntropyQuantile=0.25, entropyCoef=0.05, truncated=TRUNCATED, slices=4)
        yield case(loss, old=False, entropyCoef=0.01, slices=4, temperature=0.7)
        yield case(loss, old=True, entropyCoef=-0.01, offPolicyMaskThreshold=0.0, beta=0.04)
        yield case(loss, old=True, epsilon=0.03, epsilonHigh=0.04, beta=0.04, useBiasCorrectionKl=False, **SEQUENCE)
        yield case(loss, old=True, offPolicyMaskThreshold=0.02, topEntropyQuantile=0.4, slices=2, **SEQUENCE)
        yield case(loss, old=True, slices=8, beta=0.04)
    yield case("luspo", old=True, slices=2, beta=0.04, topEntropyQuantile=0.5, **SEQUENCE)
    yield case("bnpo", old=True, slices=2, entropyCoef=0.02, topEntropyQuantile=0.35, truncated=TRUNCATED)
    yield case("vespo", old=True, slices=2, beta=0.04, offPolicyMaskThreshold=0.0, topEntropyQuantile=0.5)


def case(loss, old, slices=1, truncated=(), **options):
    """`old`: old log-probabilities are given. `slices`: gradient_accumulation_steps. `truncated`: rows masked as such."""
    options = {"lossType": loss, **options}
    shown = {"slices": slices, "truncated": len(truncated)}
    words = [f"{k} {v}" for k, v in options.items() if k != "lossType"] + [f"{k} {v}" for k, v in shown.items() if v > 1]
    return {
        "name": ", ".join([loss, "old" if old else "fresh", *words]),
        "options": options,
        "old": old,
        "slices": slices,
        "truncated": list(truncated),
    }


def trainer_of(args, name, settings, batch):
    snake = lambda key: re.sub("[A-Z]", lambda upper: "_" + upper.group().lower(), key)  # noqa: E731
    trainer = make_trainer(
        args.out / "models",
        args.tiny,
        name,
        per_device_train_batch_size=len(batch.completions) // settings["slices"],
        gradient_accumulation_steps=settings["slices"],
        **{snake(key): value for key, value in settings["options"].items()},
    )
    draw_adapter(trainer, seed=11)
    return trainer


def run(trainer, batch, settings, given, extra=0):
    """Loss, metrics and gradients by name of one case."""
    inputs = batch.padded(extra)
    # As _generate_and_score_completions masks truncated completions and counts tokens.
    for name in {"completion_mask", "tool_mask"} & inputs.keys():
        inputs[name][settings["truncated"]] = 0
    inputs["num_items_in_batch"] = (inputs["completion_mask"] * inputs.get("tool_mask", 1)).sum()
    key = f"{settings['options'].get('temperature', 1):g}"
    if settings["old"]:
        inputs["old_per_token_logps"] = batch.pad_tokens(given[f"old.{key}"], extra)
    if "beta" in settings["options"]:
        inputs["ref_per_token_logps"] = batch.pad_tokens(given[f"reference.{key}"], extra)
    trainer.model.zero_grad()
    loss, metrics = accumulate(trainer, inputs, settings["slices"])
    return loss, metrics, {n: p.grad.clone() for n, p in lora_parameters(trainer).items()}


def noise(gradients, others):
    return max(((g - others[n]).abs().max() / g.abs().max()).item() for n, g in gradients.items())


def check(settings, metrics, gradients, _):
    """The fixture must be able to fail: no zero gradient, and clipping on both sides where tokens are clipped."""
    for side in ("low_mean", "high_mean") if settings["name"] == "grpo, old, beta 0.0, useBiasCorrectionKl True" else ():
        assert metrics[f"clip_ratio/{side}"] > 0, settings["name"]
    assert all(g.abs().max() > 1e-4 for g in gradients.values()), settings["name"]


def given_numbers(args, name, batch):
    """The log-probabilities that the cases are given, and the adapter."""
    tensors = {}
    for temperature in TEMPERATURES:
        trainer = trainer_of(args, name, case("dapo", old=False, temperature=temperature), batch)
        current = logprobs(trainer, batch)
        tensors[f"logprobs.{temperature:g}"] = current
        tensors[f"old.{temperature:g}"] = perturbed(current, seed=31)
        tensors[f"reference.{temperature:g}"] = logprobs(trainer, batch, adapter=False)
    return tensors | {f"adapter.{n}": p.detach().clone() for n, p in lora_parameters(trainer).items()}


def write_set(args, kind, name, batch, cases, check):
    """Writes OUT/<kind>-<name>. `check(settings, metrics, gradients, rerun)`: rerun(batch) runs the case on another batch."""
    tensors, meta = batch.tensors() | given_numbers(args, name, batch), []
    for settings in cases:
        trainer = trainer_of(args, name, settings, batch)
        loss, metrics, gradients = run(trainer, batch, settings, tensors)
        check(settings, metrics, gradients, lambda other: run(trainer, other, settings, tensors))  # noqa: B023
        again, _, others = run(trainer, batch, settings, tensors, extra=5)
        meta.append(settings | {"loss": loss, "metrics": metrics, "noise": noise(gradients, others)})
        meta[-1]["lossNoise"] = abs(loss - again)
        tensors |= {f"grad.{settings['name']}.{n}": g for n, g in gradients.items()}
    model, targets = SETS[name]
    write_tensors(args.out / f"{kind}-{name}.safetensors", tensors)
    shared = {"model": model, "targetModules": targets, "r": 4, "loraAlpha": 8, "groupSize": 4}
    write_json(args.out / f"{kind}-{name}.json", shared | {"maxCompletionLength": 32, "lossTokens": batch.token_count, "cases": meta})


def main():
    args = arguments(__doc__)
    for name in SETS:
        write_set(args, "loss", name, Batch(seed=24), cases(name), check)


if __name__ == "__main__":
    main()
