"""Steps of each optimizer: torch.optim.SGD, torch.optim.Muon, transformers' Adafactor.

    python3 scripts/golden/optimizers.py --tiny scripts/assets/tiny-qwen2 --out test/fixtures/golden

Needs the packages of requirements.txt and the models that models.py wrote into OUT/models. Writes OUT/optimizers.json: the options
of each case, and OUT/optimizers.safetensors: ids, offsets, the adapter before the steps (`adapter.<name>`) and after those of each
case (`<case>.<name>`). Everything is float32, but what torch.optim.Muon does in bfloat16 itself. The loss is minus the mean
log-probability of every token but the first of its sequence; the gradient is clipped at 1.
"""

import shutil
import warnings

import torch
from adapter_variants import QWEN, adapt, file_name, sequences_for, shake
from adapters import tidy
from common import arguments, ragged, write_json, write_tensors
from lora_plus import loss_of
from transformers.optimization import Adafactor

STEPS = 4
LORA = {"target_modules": ["q_proj", "v_proj", "down_proj"], "bias": "lora_only"}
RATE = 0.01
CASES = {
    "sgd": {"weight_decay": 0.1},
    "sgd_momentum": {"momentum": 0.9, "dampening": 0.2, "weight_decay": 0.1},
    "sgd_nesterov": {"momentum": 0.8, "nesterov": True},
    "adafactor": {"weight_decay": 0.1},
    "muon": {"weight_decay": 0.1, "adjust_lr_fn": "match_rms_adamw"},
    "muon_original": {"momentum": 0.9, "nesterov": False, "adjust_lr_fn": "original"},
}
EPSILON = 1e-3


def optimizers(case, model):
    options = dict(CASES[case])
    decay = options.pop("weight_decay", 0.0)
    trained = [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]
    matrices = [weight for _, weight in trained if weight.ndim == 2]
    vectors = [weight for _, weight in trained if weight.ndim != 2]
    groups = [{"params": matrices, "weight_decay": decay}, {"params": vectors, "weight_decay": 0.0}]
    if case.startswith("sgd"):
        return [torch.optim.SGD(groups, lr=RATE, **options)]
    if case == "adafactor":
        # As transformers' trainer makes it.
        return [Adafactor(groups, lr=RATE, scale_parameter=False, relative_step=False)]
    return [
        torch.optim.Muon(matrices, lr=RATE, weight_decay=decay, **options),
        torch.optim.AdamW(vectors, lr=RATE, weight_decay=0.0, eps=EPSILON),
    ]


def after_steps(case, adapter_folder, base):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model = PeftModel.from_pretrained(model, adapter_folder, is_trainable=True)
    all_of_them = optimizers(case, model)
    sequences = sequences_for(model.config.vocab_size)
    for _ in range(STEPS):
        model.zero_grad()
        loss_of(model, sequences).backward()
        torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], 1.0)
        for optimizer in all_of_them:
            optimizer.step()
    return {f"{case}.{file_name(name)}": weight for name, weight in model.named_parameters() if weight.requires_grad}


def main():
    args = arguments(__doc__)
    warnings.simplefilter("ignore")
    base = args.out / "models" / QWEN
    model = adapt(base, LORA)
    shake(model, seed=12)
    target = args.out / "adapters" / "optimizers"
    shutil.rmtree(target, ignore_errors=True)
    model.save_pretrained(target, save_embedding_layers=False)
    (target / "adapter_model.safetensors").chmod(0o644)
    tidy(target, QWEN)
    ids, offsets = ragged(sequences_for(model.config.vocab_size))
    tensors = {"ids": ids, "offsets": offsets}
    for case in CASES:
        tensors |= after_steps(case, target, base)
    write_tensors(args.out / "optimizers.safetensors", tensors)
    write_json(args.out / "optimizers.json", {"steps": STEPS, "learningRate": RATE, "epsilon": EPSILON, "cases": CASES})


if __name__ == "__main__":
    main()
