"""Ten optimizer steps of TRL on fixed batches: loss, gradient norm, learning rate, LoRA weights.

    python3 scripts/golden/steps.py --tiny scripts/assets/tiny-qwen2 --out test/fixtures/golden

Needs what loss.py needs. Writes OUT/steps-<set>.{safetensors,json}. Two batches take turns. Loss, optimizer (AdamW,
0.9 / 0.999 / 1e-8, no weight decay), linear schedule to 0 and clipping are the trainer's own; only the loop is written
out here, because the trainer's would sample. attn_implementation is sdpa, everything is float32.
"""

from common import arguments, write_json, write_tensors
from trl_case import SETS, Batch, accumulate, draw_adapter, logprobs, lora_parameters, make_trainer, perturbed

STEPS = 10
# The first has no old log-probabilities and no reference; the second has both.
SETTINGS = {
    "qwen2-qv": {"loss_type": "grpo", "beta": 0.0, "learning_rate": 5e-3},
    "llama-all": {"loss_type": "dapo", "beta": 0.04, "learning_rate": 5e-3},
}


def inputs_of(trainer, batch, tensors, prefix, beta):
    """The padded batch, with old and reference log-probabilities fixed before the first step where beta is not 0."""
    inputs = batch.padded()
    if beta:
        tensors[f"{prefix}.old"] = perturbed(logprobs(trainer, batch), seed=32)
        tensors[f"{prefix}.reference"] = logprobs(trainer, batch, adapter=False)
        inputs["old_per_token_logps"] = batch.pad_tokens(tensors[f"{prefix}.old"])
        inputs["ref_per_token_logps"] = batch.pad_tokens(tensors[f"{prefix}.reference"])
    return inputs


def weights(trainer, prefix):
    return {f"{prefix}.{n}": p.detach().clone() for n, p in lora_parameters(trainer).items()}


def step(trainer, inputs):
    """One optimizer step, in the order of transformers' training loop."""
    loss, metrics = accumulate(trainer, inputs, 1)
    norm = trainer._clip_grad_norm(trainer.model)
    rate = trainer.lr_scheduler.get_last_lr()[0]
    trainer.optimizer.step()
    trainer.lr_scheduler.step()
    trainer.model.zero_grad()
    return {"loss": loss, "gradNorm": norm.item(), "learningRate": rate, "metrics": metrics}


def write_set(args, name):
    settings = SETTINGS[name]
    batches = [Batch(seed=24), Batch(seed=28)]
    trainer = make_trainer(
        args.out / "models", args.tiny, name, per_device_train_batch_size=len(batches[0].completions), **settings
    )
    draw_adapter(trainer, seed=12)
    trainer.create_optimizer_and_scheduler(num_training_steps=STEPS)
    tensors = weights(trainer, "adapter")
    inputs = []
    for i, batch in enumerate(batches):
        tensors |= {f"batch{i}.{k}": v for k, v in batch.tensors().items()}
        inputs.append(inputs_of(trainer, batch, tensors, f"batch{i}", settings["beta"]))
    rows = []
    for i in range(STEPS):
        rows.append({"batch": i % 2} | step(trainer, inputs[i % 2]))
        if i == 0:
            tensors |= weights(trainer, "after1")
    tensors |= weights(trainer, f"after{STEPS}")
    write_tensors(args.out / f"steps-{name}.safetensors", tensors)
    model, targets = SETS[name]
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
            "weightDecay": group["weight_decay"],
        },
        "lossTokens": [b.token_count for b in batches],
        "steps": rows,
    }
    write_json(args.out / f"steps-{name}.json", meta)


def main():
    args = arguments(__doc__)
    for name in SETS:
        write_set(args, name)


if __name__ == "__main__":
    main()
