"""Optimizer steps of TRL on fixed batches: loss, gradient norm, learning rate, trained weights.

    python3 scripts/golden/steps.py --tiny scripts/assets/tiny-qwen2 --out test/fixtures/golden

Needs what loss.py needs, and the models of families.py. Writes OUT/steps-<set>.{safetensors,json}. Two batches take turns.
Loss, optimizer (AdamW, 0.9 / 0.999 / 1e-8), linear schedule to 0, clipping and the mixing of the reference are the
trainer's own; only the loop is written out here, because the trainer's would sample. attn_implementation is sdpa,
everything is float32.
"""

import json

from common import arguments, write_json, write_tensors
from trl.trainer.callbacks import SyncRefModelCallback
from trl_case import ALL_LINEAR, SETS, Batch, accumulate, draw_adapter, logprobs, lora_parameters, make_trainer, perturbed

# Fixture name -> model folder, LoRA targets (None: all parameters train), steps, GRPOConfig. Without beta there are neither
# old nor reference log-probabilities, else both.
WITH_KL = {"loss_type": "dapo", "beta": 0.04}
WITHOUT_KL = {"loss_type": "grpo", "beta": 0.0}
CASES = {
    "qwen2-qv": (*SETS["qwen2-qv"], 10, WITHOUT_KL | {"learning_rate": 5e-3}),
    "llama-all": (*SETS["llama-all"], 10, WITH_KL | {"learning_rate": 5e-3}),
    "qwen3-all": ("family-qwen3", ALL_LINEAR, 3, WITH_KL | {"learning_rate": 5e-3}),
    "llama32-all": ("family-llama32", ALL_LINEAR, 3, WITHOUT_KL | {"learning_rate": 5e-3}),
    "gemma3-all": ("family-gemma3", ALL_LINEAR, 3, WITH_KL | {"learning_rate": 5e-3}),
    # Tied, and a reference that is mixed with the policy after the second step.
    "full-llama32": (
        "family-llama32",
        None,
        3,
        WITH_KL | {"learning_rate": 1e-3, "sync_ref_model": True, "ref_model_sync_steps": 2},
    ),
    # Biases, an output layer of its own, and a decay that neither biases nor norms have.
    "full-qwen2": ("qwen2-random", None, 3, WITHOUT_KL | {"learning_rate": 1e-3, "weight_decay": 0.1}),
}

def reference_logprobs(trainer, batch):
    return logprobs(trainer, batch, adapter=trainer.ref_model is not None, model=trainer.ref_model)


def inputs_of(trainer, batch, tensors, prefix, beta):
    """The padded batch, with old log-probabilities fixed before the first step where beta is not 0."""
    inputs = batch.padded()
    if beta:
        tensors[f"{prefix}.old"] = perturbed(logprobs(trainer, batch), seed=32)
        tensors[f"{prefix}.reference"] = reference_logprobs(trainer, batch)
        inputs["old_per_token_logps"] = batch.pad_tokens(tensors[f"{prefix}.old"])
    return inputs


def weights(trainer, prefix):
    return {f"{prefix}.{n}": p.detach().clone() for n, p in lora_parameters(trainer).items()}


def step(trainer, inputs, batch):
    """One optimizer step, in the order of transformers' training loop."""
    if trainer.beta:
        inputs["ref_per_token_logps"] = batch.pad_tokens(reference_logprobs(trainer, batch))
    loss, metrics = accumulate(trainer, inputs, 1)
    norm = trainer._clip_grad_norm(trainer.model)
    rate = trainer.lr_scheduler.get_last_lr()[0]
    trainer.optimizer.step()
    trainer.lr_scheduler.step()
    trainer.model.zero_grad()
    return {"loss": loss, "gradNorm": norm.item(), "learningRate": rate, "metrics": metrics}


def write_set(args, name):
    model, targets, steps, settings = CASES[name]
    vocab = json.loads((args.out / "models" / model / "config.json").read_text())["vocab_size"]
    batches = [Batch(seed=24, vocab=vocab), Batch(seed=28, vocab=vocab)]
    rows_per_batch = len(batches[0].completions)
    trainer = make_trainer(
        args.out / "models",
        args.tiny,
        name,
        case=(model, targets),
        per_device_train_batch_size=rows_per_batch,
        **settings,
    )
    tensors = {}
    if targets is not None:
        draw_adapter(trainer, seed=12)
        tensors |= weights(trainer, "adapter")
    trainer.create_optimizer_and_scheduler(num_training_steps=steps)
    inputs = []
    for i, batch in enumerate(batches):
        tensors |= {f"batch{i}.{k}": v for k, v in batch.tensors().items()}
        inputs.append(inputs_of(trainer, batch, tensors, f"batch{i}", settings["beta"]))
    rows = []
    for i in range(steps):
        rows.append({"batch": i % 2} | step(trainer, inputs[i % 2], batches[i % 2]))
        if i == 0:
            tensors |= weights(trainer, "after1")
        if settings.get("sync_ref_model") and (i + 1) % trainer.args.ref_model_sync_steps == 0:
            SyncRefModelCallback.sync_target_model(trainer.model, trainer.ref_model, trainer.args.ref_model_mixup_alpha)
            rows[-1]["mixReference"] = trainer.args.ref_model_mixup_alpha
    tensors |= weights(trainer, f"after{steps}")
    if settings.get("sync_ref_model"):
        tensors |= {f"batch{i}.mixedReference": reference_logprobs(trainer, b) for i, b in enumerate(batches)}
    write_tensors(args.out / f"steps-{name}.safetensors", tensors)
    group = trainer.optimizer.param_groups[0]
    meta = {
        "model": model,
        "targetModules": targets,
        "r": 4,
        "loraAlpha": 8,
        "groupSize": 4,
        "lossType": settings["loss_type"],
        "beta": settings["beta"],
        "useBiasCorrectionKl": True,
        "epsilon": 0.2,
        "temperature": 1.0,
        "learningRate": settings["learning_rate"],
        "maxGradNorm": trainer.args.max_grad_norm,
        "optimizer": {
            "name": type(trainer.optimizer).__name__,
            "betas": list(group["betas"]),
            "eps": group["eps"],
            "weightDecay": trainer.args.weight_decay,
        },
        "lossTokens": [b.token_count for b in batches],
        "steps": rows,
    }
    write_json(args.out / f"steps-{name}.json", {k: v for k, v in meta.items() if v is not None})


def main():
    args = arguments(__doc__)
    for name in CASES:
        write_set(args, name)


if __name__ == "__main__":
    main()
