"""One small random model for every family and switch: logits, and the gradient of a summed log-probability by LoRA weights.

    python3 scripts/golden/families.py --tiny scripts/assets/tiny-qwen2 --out test/fixtures/golden

Writes OUT/models/family-<name>/ (weights in bfloat16, computed in float32), OUT/family-<name>.safetensors, OUT/families.json
(the rows, in the order of the table in docs/models.md) and OUT/configs.json. attn_implementation is eager: soft caps need it.
Every sequence is run by itself. Ropes that depend on the length look at the longest sequence of a batch, in transformers as
here, and transformers' "dynamic" one keeps what the longest sequence so far made of it; so each call has sequences on one
side of the switching length only, in a fresh model: the calls are marked in `groups`.
"""

import json
import shutil

import torch
from common import arguments, generator, ragged, write_json, write_tensors
from models import draw
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM

SMALL = {
    "vocab_size": 48,
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "initializer_range": 0.25,
    "bos_token_id": 1,
    "eos_token_id": None,  # completions then end at the length that a test asks for
    "pad_token_id": 0,
    "dtype": "bfloat16",
}
THREE = {"num_hidden_layers": 3}
LLAMA3 = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0}
LLAMA3 |= {"high_freq_factor": 4.0, "original_max_position_embeddings": 16}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}
SHORT = [1.0, 1.05, 1.2]
LONG = [1.5, 4.0, 9.0]
LONGROPE = {"rope_type": "longrope", "short_factor": SHORT, "long_factor": LONG}
GEMMA = {"head_dim": 12, "query_pre_attn_scalar": 20, "sliding_window": 5, "initializer_range": 0.2}
WINDOW = {"sliding_window": 5}

LENGTHS = [[1, 2, 7, 13, 24]]
# name: (model_type, config, what it exercises, the sequence lengths of each call)
FAMILIES = {
    "qwen2": ("qwen2", {}, "bias on q, k, v", LENGTHS),
    "qwen2-window": (
        "qwen2",
        THREE | WINDOW | {"use_sliding_window": True, "max_window_layers": 1, "tie_word_embeddings": True},
        "`use_sliding_window` from layer `max_window_layers` on",
        LENGTHS,
    ),
    "qwen2-yarn": ("qwen2", {"rope_parameters": YARN | {"rope_theta": 1e6}}, "rope `yarn`", LENGTHS),
    "qwen3": ("qwen3", {"head_dim": 12}, "q/k norms for each head, `head_dim` ≠ hidden / heads", LENGTHS),
    "qwen3-window": (
        "qwen3",
        THREE
        | WINDOW
        | {"use_sliding_window": True, "attention_bias": True, "head_dim": 8}
        | {"layer_types": ["sliding_attention", "full_attention", "sliding_attention"]},
        "windows by `layer_types`, `attention_bias`",
        LENGTHS,
    ),
    "llama2": ("llama", {"num_key_value_heads": 4}, "as many key-value heads as heads", LENGTHS),
    "llama-bias": ("llama", {"attention_bias": True, "mlp_bias": True}, "`attention_bias`, `mlp_bias`", LENGTHS),
    "llama32": (
        "llama",
        {"rope_parameters": LLAMA3, "tie_word_embeddings": True, "head_dim": 10, "rms_norm_eps": 1e-5},
        "rope `llama3`, tied, `head_dim` ≠ hidden / heads",
        LENGTHS,
    ),
    "smollm2": ("llama", {"num_key_value_heads": 1, "tie_word_embeddings": True}, "one key-value head, tied", LENGTHS),
    "llama-linear": ("llama", {"rope_parameters": {"rope_type": "linear", "factor": 4.0}}, "rope `linear`", LENGTHS),
    "llama-dynamic": (
        "llama",
        {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0}, "max_position_embeddings": 16},
        "rope `dynamic`, below and above its length",
        [[5, 16], [11, 27]],
    ),
    "llama-yarn": (
        "llama",
        {
            "rope_parameters": YARN
            | {"beta_fast": 4.0, "beta_slow": 0.5, "mscale": 1.2, "mscale_all_dim": 0.7, "truncate": False}
        },
        "rope `yarn` with `beta_fast`, `beta_slow`, `mscale`, `mscale_all_dim`, `truncate`",
        LENGTHS,
    ),
    "llama-yarn-factor": (
        "llama",
        {"rope_parameters": YARN | {"attention_factor": 1.3}},
        "rope `yarn` with `attention_factor`",
        LENGTHS,
    ),
    "mistral": ("mistral", WINDOW | {"head_dim": 12}, "window on all layers, `head_dim` ≠ hidden / heads", LENGTHS),
    "smollm3": ("smollm3", THREE | {"no_rope_layer_interval": 2}, "a layer without rope (`no_rope_layer_interval`)", LENGTHS),
    "smollm3-window": (
        "smollm3",
        THREE
        | WINDOW
        | {"no_rope_layers": [1, 0, 1], "use_sliding_window": True, "attention_bias": True, "mlp_bias": True}
        | {"tie_word_embeddings": False},
        "`no_rope_layers` with a window, biases, untied",
        LENGTHS,
    ),
    "gemma2": (
        "gemma2",
        THREE | GEMMA | {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0},
        "soft caps, pre- and post-norms, GeGLU, scaled embeddings, alternating windows, `query_pre_attn_scalar`",
        LENGTHS,
    ),
    "gemma2-bias": (
        "gemma2",
        THREE
        | GEMMA
        | {"attn_logit_softcapping": None, "final_logit_softcapping": None, "attention_bias": True}
        | {"layer_types": ["full_attention", "sliding_attention", "sliding_attention"]},
        "no soft caps, `attention_bias`, windows by `layer_types`",
        LENGTHS,
    ),
    "gemma3": (
        "gemma3_text",
        THREE
        | GEMMA
        | {"sliding_window_pattern": 3, "final_logit_softcapping": 3.0}
        | {"rope_scaling": {"rope_type": "linear", "factor": 8.0}},
        "q/k norms, a rope for local and one for global layers, rope `linear`, windows by `sliding_window_pattern`",
        LENGTHS,
    ),
    "phi3": ("phi3", WINDOW, "fused `qkv_proj` and `gate_up_proj`, window on all layers", LENGTHS),
    "phi3-longrope": (
        "phi3",
        {"rope_parameters": LONGROPE | {"partial_rotary_factor": 0.75}, "original_max_position_embeddings": 16},
        "rope `longrope`, below and above its length, `partial_rotary_factor`",
        [[5, 16], [11, 27]],
    ),
    "phi3-longrope-factor": (
        "phi3",
        {"rope_parameters": LONGROPE | {"attention_factor": 1.4, "partial_rotary_factor": 0.75}}
        | {"original_max_position_embeddings": 16, "tie_word_embeddings": True},
        "rope `longrope` with `attention_factor`, tied",
        [[5, 16], [11, 27]],
    ),
    "olmo2": ("olmo2", {}, "norms on outputs only, q/k norms over all heads", LENGTHS),
    "olmo2-bias": ("olmo2", {"attention_bias": True, "num_key_value_heads": 4}, "`attention_bias`, as many key-value heads as heads", LENGTHS),
}
RANK = 2
ALPHA = 3


def load(folder):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    return model.eval()


def adapted(folder, seed):
    """LoRA on every linear layer of the blocks, A and B both random."""
    model = get_peft_model(load(folder), LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules="all-linear")).eval()
    random = generator(seed)
    with torch.no_grad():
        for name, weight in sorted(model.named_parameters()):
            if "lora_" in name:
                weight.copy_(0.2 * torch.randn(weight.shape, generator=random))
    return model


def run(model, sequences):
    """Logits [tokens, V] one sequence after another, the longest first, and the sum of log-probabilities of all but first tokens."""
    logits = {}
    total = 0
    for i in sorted(range(len(sequences)), key=lambda i: -len(sequences[i])):
        ids = torch.tensor([sequences[i]])
        logits[i] = model(input_ids=ids).logits[0]
        logprobs = logits[i][:-1].log_softmax(-1)
        total = total + logprobs.gather(1, ids[0, 1:, None]).sum()
    return torch.cat([logits[i] for i in range(len(sequences))]), total


def pad_to_longest(model, sequences):
    """In groups of sequences on both sides of the switching length, all have the longest's rope: run as a padded batch."""
    width = max(len(ids) for ids in sequences)
    ids = torch.tensor([list(s) + [0] * (width - len(s)) for s in sequences])
    mask = torch.tensor([[1] * len(s) + [0] * (width - len(s)) for s in sequences])
    logits = model(input_ids=ids, attention_mask=mask).logits
    kept = [logits[i, : len(s)] for i, s in enumerate(sequences)]
    total = sum(
        rows[:-1].log_softmax(-1).gather(1, torch.tensor(s)[1:, None]).sum() for rows, s in zip(kept, sequences)
    )
    return torch.cat(kept), total


def peft_name(name):
    return name.replace(".default.", ".")


def write_model(out, name, model_type, options, seed):
    config = AutoConfig.for_model(model_type, **(SMALL | options))
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    draw(model, seed)
    if config.model_type.startswith("gemma"):
        with torch.no_grad():  # norm weights are stored less one
            for parameter, weight in model.named_parameters():
                if "norm" in parameter:
                    weight.sub_(1)
    folder = out / "models" / f"family-{name}"
    shutil.rmtree(folder, ignore_errors=True)
    model.to(torch.bfloat16).save_pretrained(folder)
    (folder / "generation_config.json").unlink()
    (folder / "model.safetensors").chmod(0o644)
    return folder


def write_row(out, name, row, seed):
    model_type, options, exercises, lengths = row
    folder = write_model(out, name, model_type, options, seed)
    random = generator(2000 + seed)
    vocabulary = SMALL["vocab_size"]
    tensors = {}
    for group, sizes in enumerate(lengths):
        sequences = [torch.randint(3, vocabulary, (n,), generator=random).tolist() for n in sizes]
        run_group = pad_to_longest if len(lengths) > 1 else run
        with torch.no_grad():
            base, _ = run_group(load(folder), sequences)
        model = adapted(folder, seed)
        logits, total = run_group(model, sequences)
        total.backward()
        assert base.std() > 0.3, f"{name}: logits hardly vary ({base.std()})"
        assert (logits - base).abs().max() > 0.1, f"{name}: the adapter hardly matters"
        ids, offsets = ragged(sequences)
        tensors |= {f"{group}.ids": ids, f"{group}.offsets": offsets}
        tensors |= {f"{group}.logits_base": base, f"{group}.logits": logits}
        for parameter, weight in model.named_parameters():
            if "lora_" in parameter:
                tensors[f"adapter.{peft_name(parameter)}"] = weight
                tensors[f"{group}.grad.{peft_name(parameter)}"] = weight.grad
    write_tensors(out / f"family-{name}.safetensors", tensors)
    check_effect(name, folder, tensors)
    return {"name": name, "modelType": model_type, "exercises": exercises, "groups": len(lengths)}


# What each row is there for: without it, the logits must be others.
SWITCHES = {
    "use_sliding_window": False,
    "no_rope_layers": [1, 1, 1],
    "attn_logit_softcapping": None,
    "final_logit_softcapping": None,
    "query_pre_attn_scalar": 12,
    "rope_parameters": None,
    "sliding_window": 1000,
}


def check_effect(name, folder, tensors):
    config = json.loads((folder / "config.json").read_text())
    for key, other in SWITCHES.items():
        plain_rope = key == "rope_parameters" and config[key].get("rope_type") == "default"
        if config.get(key) in (None, other, False) or plain_rope:
            continue
        changed = config | {key: other}
        if key == "rope_parameters" and config["model_type"] == "phi3":
            changed[key] = {"rope_type": "default", "partial_rotary_factor": 0.75}
        if key == "use_sliding_window":
            changed["layer_types"] = None
        loaded = AutoConfig.for_model(**changed)
        model = AutoModelForCausalLM.from_pretrained(
            folder, config=loaded, dtype=torch.float32, attn_implementation="eager"
        ).eval()
        last = max(int(k.split(".")[0]) for k in tensors if k.endswith(".ids"))
        offsets = tensors[f"{last}.offsets"].tolist()
        ids = tensors[f"{last}.ids"].tolist()
        sequences = [ids[a:b] for a, b in zip(offsets, offsets[1:])]
        with torch.no_grad():
            difference = (run(model, sequences)[0] - tensors[f"{last}.logits_base"]).abs().max().item()
        assert difference > 0.01, f"{name}: {key} hardly matters ({difference})"


# config.json in the form of transformers 4, as published checkpoints have it (sizes aside).
V4 = {
    "qwen2-yarn": {
        "model_type": "qwen2",
        "rope_theta": 1000000.0,
        "rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32},
        "use_sliding_window": False,
        "sliding_window": 32,
        "max_window_layers": 1,
    },
    "qwen3": {"model_type": "qwen3", "head_dim": 16, "rope_theta": 1000000, "rope_scaling": None, "sliding_window": None},
    "llama-dynamic": {"model_type": "llama", "rope_scaling": {"type": "dynamic", "factor": 2.0}},
    "mistral-window": {"model_type": "mistral", "rope_theta": 10000.0, "sliding_window": 16},
    "mistral": {"model_type": "mistral", "rope_theta": 1000000.0, "sliding_window": None, "head_dim": 16},
    "smollm3": {
        "model_type": "smollm3",
        "no_rope_layers": [1, 1, 1, 0],
        "num_hidden_layers": 4,
        "rope_theta": 5000000.0,
        "rope_scaling": None,
    },
    "gemma2": {"model_type": "gemma2", "rope_theta": 10000.0, "sliding_window": 16, "hidden_act": "gelu_pytorch_tanh"},
    "gemma3": {
        "model_type": "gemma3_text",
        "num_hidden_layers": 7,
        "rope_theta": 1000000.0,
        "rope_local_base_freq": 10000.0,
        "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
        "sliding_window": 16,
        "sliding_window_pattern": 6,
    },
    "gemma3-defaults": {"model_type": "gemma3_text"},
    "phi3": {"model_type": "phi3", "rope_theta": 10000.0, "rope_scaling": None, "sliding_window": 20},
    "phi3-longrope": {
        "model_type": "phi3",
        "original_max_position_embeddings": 32,
        "partial_rotary_factor": 0.75,
        "rope_scaling": {"type": "longrope", "short_factor": SHORT, "long_factor": LONG},
        "sliding_window": 262144,
    },
    "olmo2": {"model_type": "olmo2", "rope_theta": 500000, "rope_scaling": None},
}


def config_row(name, options):
    """The same config in both forms; transformers 5 reads the first and writes the second."""
    sizes = {k: v for k, v in SMALL.items() if k not in ("dtype", "initializer_range")}
    v4 = sizes | {"torch_dtype": "float32"} | options
    config = AutoConfig.for_model(**json.loads(json.dumps(v4)))
    return {"name": name, "v4": v4, "v5": json.loads(config.to_json_string(use_diff=False))}


def main():
    args = arguments(__doc__)
    rows = [write_row(args.out, name, row, seed) for seed, (name, row) in enumerate(FAMILIES.items())]
    write_json(args.out / "families.json", {"rank": RANK, "loraAlpha": ALPHA, "rows": rows})
    write_json(args.out / "configs.json", [config_row(*item) for item in V4.items()])


if __name__ == "__main__":
    main()
