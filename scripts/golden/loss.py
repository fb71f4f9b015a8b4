"""TRL's loss, metrics and every LoRA gradient for fixed batches, by the real GRPOTrainer.

    python3 scripts/golden/loss.py --tiny scripts/assets/tiny-qwen2 --out test/fixtures/golden

Needs the packages of requirements.txt, tiny-qwen2 (its tokenizer; nothing is tokenized) and the models that models.py
wrote into OUT/models. Writes OUT/loss-<set>.{safetensors,json} for two sets of model and LoRA targets. Each case is a
trainer built with that GRPOConfig, whose compute_loss gets a batch made by hand. `noise` is how far TRL's own
gradient moves, relative to the largest entry of the tensor, when the same batch has five more columns of padding.
attn_implementation is sdpa, everything is float32.
"""

from itertools import product

import torch
from common import arguments, write_json, write_tensors
from trl_case import SETS, Batch, accumulate, draw_adapter, logprobs, lora_parameters, make_trainer, perturbed

TEMPERATURES = [1.0, 0.7]


def cases():
    """Settings of every case; `slices` is TRL's gradient_accumulation_steps."""
    kls = [(0.0, True), (0.04, True), (0.04, False)]
    for loss, (beta, corrected), old, temperature in product(["dapo", "grpo"], kls, [True, False], TEMPERATURES):
        yield case(loss, beta, corrected, old, temperature, 1)
    for loss, old in product(["dapo", "grpo"], [True, False]):
        yield case(loss, 0.04, True, old, 1.0, 2)


def case(loss, beta, corrected, old, temperature, slices):
    parts = [loss, f"beta{beta:g}"]
    if beta:
        parts.append("corrected" if corrected else "plain")
    parts += ["old" if old else "fresh", f"t{temperature:g}"]
    if slices > 1:
        parts.append(f"slices{slices}")
    return {
        "name": "-".join(parts),
        "lossType": loss,
        "beta": beta,
        "useBiasCorrectionKl": corrected,
        "old": old,
        "temperature": temperature,
        "slices": slices,
    }


def trainer_of(args, name, settings, batch):
    trainer = make_trainer(
        args.out / "models",
        args.tiny,
        name,
        per_device_train_batch_size=len(batch.completions) // settings["slices"],
        gradient_accumulation_steps=settings["slices"],
        loss_type=settings["lossType"],
        beta=settings["beta"],
        use_bias_correction_kl=settings["useBiasCorrectionKl"],
        temperature=settings["temperature"],
    )
    draw_adapter(trainer, seed=11)
    return trainer


def run(trainer, batch, settings, given, extra=0):
    """Loss, metrics and gradients by name of one case."""
    inputs = batch.padded(extra)
    key = f"{settings['temperature']:g}"
    if settings["old"]:
        inputs["old_per_token_logps"] = batch.pad_tokens(given[f"old.{key}"], extra)
    if settings["beta"]:
        inputs["ref_per_token_logps"] = batch.pad_tokens(given[f"reference.{key}"], extra)
    trainer.model.zero_grad()
    loss, metrics = accumulate(trainer, inputs, settings["slices"])
    return loss, metrics, {n: p.grad.clone() for n, p in lora_parameters(trainer).items()}


def noise(gradients, others):
    return max(((g - others[n]).abs().max() / g.abs().max()).item() for n, g in gradients.items())


def check(settings, metrics, gradients):
    """The fixture must be able to fail: clipping on both sides where old is given, no zero gradient."""
    for side in ("low_mean", "high_mean"):
        assert (metrics[f"clip_ratio/{side}"] > 0) == settings["old"], settings["name"]
    assert all(g.abs().max() > 1e-4 for g in gradients.values()), settings["name"]


def write_set(args, name):
    batch = Batch(seed=24)
    tensors, meta = batch.tensors(), []
    for temperature in TEMPERATURES:
        trainer = trainer_of(args, name, case("dapo", 0.0, True, False, temperature, 1), batch)
        current = logprobs(trainer, batch)
        tensors[f"logprobs.{temperature:g}"] = current
        tensors[f"old.{temperature:g}"] = perturbed(current, seed=31)
        tensors[f"reference.{temperature:g}"] = logprobs(trainer, batch, adapter=False)
    tensors |= {f"adapter.{n}": p.detach().clone() for n, p in lora_parameters(trainer).items()}
    for settings in cases():
        trainer = trainer_of(args, name, settings, batch)
        loss, metrics, gradients = run(trainer, batch, settings, tensors)
        check(settings, metrics, gradients)
        again, _, others = run(trainer, batch, settings, tensors, extra=5)
        meta.append(settings | {"loss": loss, "metrics": metrics, "noise": noise(gradients, others)})
        meta[-1]["lossNoise"] = abs(loss - again)
        tensors |= {f"grad.{settings['name']}.{n}": g for n, g in gradients.items()}
    model, targets = SETS[name]
    write_tensors(args.out / f"loss-{name}.safetensors", tensors)
    shared = {"model": model, "targetModules": targets, "r": 4, "loraAlpha": 8, "epsilon": 0.2, "groupSize": 4}
    write_json(args.out / f"loss-{name}.json", shared | {"lossTokens": batch.token_count, "cases": meta})


def main():
    args = arguments(__doc__)
    for name in SETS:
        write_set(args, name)


if __name__ == "__main__":
    main()
