"""An adapter of every kind that PEFT 0.21 writes and this project reads: files, logits, gradients, counts, beginnings.

    python3 scripts/golden/adapter_variants.py --tiny scripts/assets/tiny-qwen2 --out test/fixtures/golden

Needs the packages of requirements.txt and the models that models.py and families.py wrote into OUT/models. Writes
OUT/adapters/<name>/ (as PEFT saves them, made neutral as in adapters.py), OUT/adapter-<name>.safetensors, and of all of them
OUT/adapter-variants.json; and OUT/lora-init.safetensors, how the decompositions begin. Everything is float32.
"""

import copy
import re
import shutil
import warnings

import torch
from adapters import load, printed, tidy
from common import arguments, generator, ragged, write_json, write_tensors
from peft import LoraConfig, PeftModel, get_peft_model
from peft.utils.save_and_load import get_peft_model_state_dict
from transformers import AutoModelForCausalLM

Q = ["q_proj"]
QWEN, TIED, BIASED = "qwen2-random", "llama-random-tied", "llama-random-bias"
PHI, GEMMA = "family-phi3", "family-gemma3"
# name: (base, options of LoraConfig). r 4 and alpha 6 unless given.
VARIANTS = {
    "regex": (BIASED, {"target_modules": r".*layers\.\d+\.(self_attn\.(q|o)_proj|mlp\.up_proj)"}),
    "layers": (
        QWEN,
        {
            "target_modules": ["q_proj", "o_proj", "up_proj", "down_proj"],
            "exclude_modules": ["o_proj"],
            "layers_to_transform": 1,
            "layers_pattern": "layers",
            "rank_pattern": {"q_proj": 2},
            "alpha_pattern": {r"mlp\.\w+": 12},
        },
    ),
    "fused": (PHI, {"target_modules": "all-linear"}),
    "dora": (QWEN, {"target_modules": ["q_proj", "v_proj", "down_proj"], "use_dora": True}),
    "dora-fused": (PHI, {"target_modules": ["qkv_proj", "gate_up_proj"], "use_dora": True, "use_rslora": True}),
    "dora-head": (TIED, {"target_modules": ["lm_head", "o_proj"], "use_dora": True}),
    "bias-all": (QWEN, {"target_modules": ["q_proj", "o_proj"], "bias": "all"}),
    "bias-lora-only": (BIASED, {"target_modules": ["q_proj", "down_proj"], "bias": "lora_only"}),
    "dora-bias": (BIASED, {"target_modules": ["q_proj", "down_proj"], "bias": "lora_only", "use_dora": True}),
    "save-untied": (QWEN, {"target_modules": Q, "modules_to_save": ["embed_tokens", "lm_head"]}),
    "save-embedding-of-tied": (TIED, {"target_modules": Q, "modules_to_save": ["embed_tokens"]}),
    "save-head-of-tied": (TIED, {"target_modules": Q, "modules_to_save": ["lm_head"]}),
    "save-both-of-tied": (TIED, {"target_modules": Q, "modules_to_save": ["embed_tokens", "lm_head"]}),
    "save-tied": (TIED, {"target_modules": Q, "modules_to_save": ["lm_head"], "ensure_weight_tying": True}),
    "save-norms": (GEMMA, {"target_modules": Q, "modules_to_save": ["norm", "0.mlp"]}),
    "save-attention": (QWEN, {"target_modules": ["up_proj"], "modules_to_save": ["0.self_attn"]}),
    "tokens": (QWEN, {"target_modules": Q, "trainable_token_indices": {"embed_tokens": [9, 3], "lm_head": [5]}}),
    "tokens-of-tied": (TIED, {"target_modules": Q, "trainable_token_indices": [3, 9, 40]}),
    "tokens-of-tied-head": (TIED, {"target_modules": Q, "trainable_token_indices": {"lm_head": [3, 9]}}),
    "tokens-scaled": (GEMMA, {"target_modules": Q, "trainable_token_indices": [3, 9]}),
    "head": (QWEN, {"target_modules": ["lm_head", "embed_tokens", "q_proj"]}),
    "head-of-tied": (TIED, {"target_modules": ["lm_head", "q_proj"]}),
    "embedding-scaled": (GEMMA, {"target_modules": ["embed_tokens", "q_proj"]}),
    "pissa": (QWEN, {"target_modules": ["q_proj", "down_proj"], "init_lora_weights": "pissa"}),
    "olora": (TIED, {"target_modules": ["q_proj", "up_proj"], "init_lora_weights": "olora", "use_rslora": True}),
    "dora-pissa": (QWEN, {"target_modules": ["q_proj"], "init_lora_weights": "pissa", "use_dora": True}),
    "orthogonal": (QWEN, {"target_modules": ["q_proj"], "init_lora_weights": "orthogonal"}),
    "gaussian": (QWEN, {"target_modules": ["q_proj"], "init_lora_weights": "gaussian"}),
}
INITS = {
    "pissa": {"target_modules": ["q_proj", "k_proj", "down_proj"], "rank_pattern": {"k_proj": 3}},
    "pissa_niter_8": {"target_modules": ["q_proj"], "use_rslora": True},
    "olora": {"target_modules": ["q_proj", "k_proj", "down_proj"], "alpha_pattern": {"q_proj": 10}},
}


def adapt(base, options):
    torch.manual_seed(3)
    # PEFT changes lists of its configuration in place.
    config = LoraConfig(task_type="CAUSAL_LM", **copy.deepcopy({"r": 4, "lora_alpha": 6} | options))
    return get_peft_model(load(base), config).eval()


def shake(model, seed):
    """Moves everything that trains; a pair that begins at zero no longer is."""
    random = generator(seed)
    with torch.no_grad():
        for _, weight in sorted(model.named_parameters()):
            if weight.requires_grad:
                weight += 0.1 * torch.randn(weight.shape, generator=random)


def sequences_for(vocabulary):
    random = generator(78)
    return [torch.randint(3, vocabulary, (n,), generator=random).tolist() for n in (2, 7, 21)]


def run(model, sequences):
    """Logits, and the gradient of the summed log-probability of every token but the first of its sequence."""
    model.zero_grad()
    logits = [model(input_ids=torch.tensor([ids])).logits[0] for ids in sequences]
    total = 0
    for rows, ids in zip(logits, sequences, strict=True):
        total = total + rows[:-1].log_softmax(-1).gather(1, torch.tensor(ids[1:])[:, None]).sum()
    total.backward()
    gradients = {name: weight.grad for name, weight in model.named_parameters() if weight.requires_grad}
    return torch.cat(logits).detach(), gradients


def file_name(parameter):
    """The name that PEFT's file has for a parameter of the adapter called default."""
    name = re.sub(r"\.modules_to_save\.default", "", parameter)
    name = re.sub(r"(lora_magnitude_vector)\.default\.weight$", r"\1", name)
    return re.sub(r"\.default(?=\.|$)", "", name)


def write_variant(args, name, base, options):
    folder = args.out / "models" / base
    model = adapt(folder, options)
    shake(model, seed=6)
    sequences = sequences_for(model.config.vocab_size)
    logits, gradients = run(model, sequences)
    target = args.out / "adapters" / name
    shutil.rmtree(target, ignore_errors=True)
    model.save_pretrained(target)  # with a copy of the base weights of targeted embeddings
    (target / "adapter_model.safetensors").chmod(0o644)
    again = PeftModel.from_pretrained(load(folder), target, is_trainable=True).eval()
    assert (run(again, sequences)[0] - logits).abs().max() < 1e-4, f"{name}: PEFT reads something else than it wrote"
    plain = torch.cat([load(folder)(input_ids=torch.tensor([ids])).logits[0] for ids in sequences]).detach()
    assert (logits - plain).abs().max() > 0.1, f"{name}: the adapter hardly matters"
    tidy(target, base)
    ids, offsets = ragged(sequences)
    tensors = {"ids": ids, "offsets": offsets, "logits": logits}
    tensors |= {f"gradient.{file_name(parameter)}": gradient for parameter, gradient in gradients.items()}
    write_tensors(args.out / f"adapter-{name}.safetensors", tensors)
    return {"name": name, "base": base, "options": options, "line": printed(model)}


def beginnings(args):
    """scaling B A of fresh decompositions, and the squared norm of every row of A: what their free signs leave alone."""
    tensors = {}
    for init, options in INITS.items():
        model = adapt(args.out / "models" / QWEN, options | {"init_lora_weights": init})
        for module in sorted(model.base_model.targeted_module_names):
            if ".layers.0." in f".{module}":
                layer = model.get_submodule(f"base_model.model.{module}")
                a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
                tensors[f"{init}.{module}.product"] = layer.scaling["default"] * b @ a
                tensors[f"{init}.{module}.squares"] = (a * a).sum(1)
    write_tensors(args.out / "lora-init.safetensors", tensors)


def dtypes(args):
    """The type in which each kind of tensor is saved when the base model is bfloat16."""
    base = AutoModelForCausalLM.from_pretrained(args.out / "models" / "qwen2-bf16", dtype=torch.bfloat16)
    options = {"target_modules": ["q_proj", "o_proj"], "use_dora": True, "bias": "all"}
    options |= {"modules_to_save": ["lm_head", "norm"], "trainable_token_indices": [3, 9]}
    model = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", **copy.deepcopy(options)))
    names = {torch.float32: "F32", torch.bfloat16: "BF16"}
    state = get_peft_model_state_dict(model, save_embedding_layers=False)
    return {"options": options, "tensors": {key: names[state[key].dtype] for key in sorted(state)}}


def main():
    args = arguments(__doc__)
    warnings.simplefilter("ignore")
    rows = [write_variant(args, name, *variant) for name, variant in VARIANTS.items()]
    inits = {init: {"r": 4, "lora_alpha": 6} | options for init, options in INITS.items()}
    write_json(args.out / "adapter-variants.json", {"variants": rows, "inits": inits, "bfloat16": dtypes(args)})
    beginnings(args)


if __name__ == "__main__":
    main()
