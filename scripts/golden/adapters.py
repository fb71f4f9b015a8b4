"""Adapters saved by PEFT with the logits they give, PEFT's initial LoRA statistics and its parameter counts.

    python3 scripts/golden/adapters.py --tiny scripts/assets/tiny-qwen2 --out test/fixtures/golden

Needs the packages of requirements.txt, tiny-qwen2 and the models that models.py wrote into OUT/models. Writes
OUT/adapters/<name>/ (as PEFT saves them; base model path made neutral, target list sorted, README.md left out),
OUT/adapter-<name>.safetensors and OUT/lora.json. B is not zero. attn_implementation is sdpa, everything is float32.
"""

import contextlib
import io
import json
import math
import shutil

import torch
from common import ATTENTION, SYSTEM_PROMPT, arguments, generator, ragged, read_rows, write_json, write_tensors
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, Qwen2Config
from transformers import Qwen2ForCausalLM

QV = ["q_proj", "v_proj"]
# name: (base, LoraConfig options). None is the bundled model.
ADAPTERS = {
    "tiny-qwen2-qv": (None, {"r": 8, "lora_alpha": 32, "lora_dropout": 0.1, "target_modules": QV}),
    "llama-all-linear": ("llama-random-bias", {"r": 4, "lora_alpha": 8, "target_modules": "all-linear"}),
    "qwen2-rslora": (
        "qwen2-random",
        {
            "r": 4,
            "lora_alpha": 8,
            "use_rslora": True,
            "target_modules": ["q_proj", "k_proj", "o_proj", "down_proj"],
            "rank_pattern": {"o_proj": 2},
            "alpha_pattern": {"down_proj": 16},
        },
    ),
}
# Shapes of real models; weights are never made (meta device).
QWEN2_05B = Qwen2Config(
    vocab_size=151936,
    hidden_size=896,
    intermediate_size=4864,
    num_hidden_layers=24,
    num_attention_heads=14,
    num_key_value_heads=2,
    tie_word_embeddings=True,
)
SMOLLM2_135M = LlamaConfig(
    vocab_size=49152,
    hidden_size=576,
    intermediate_size=1536,
    num_hidden_layers=30,
    num_attention_heads=9,
    num_key_value_heads=3,
    tie_word_embeddings=True,
)
LLAMA_32_1B = LlamaConfig(
    vocab_size=128256,
    hidden_size=2048,
    intermediate_size=8192,
    num_hidden_layers=16,
    num_attention_heads=32,
    num_key_value_heads=8,
    tie_word_embeddings=True,
)
COUNTS = [
    ("Qwen2-0.5B", QWEN2_05B, {"r": 8, "target_modules": QV}),
    ("Qwen2-0.5B", QWEN2_05B, {"r": 16, "target_modules": "all-linear"}),
    ("SmolLM2-135M", SMOLLM2_135M, {"r": 16, "target_modules": "all-linear"}),
    ("Llama-3.2-1B", LLAMA_32_1B, {"r": 8, "target_modules": QV}),
    ("Llama-3.2-1B", LLAMA_32_1B, {"r": 64, "target_modules": "all-linear"}),
]


def load(path):
    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, attn_implementation=ATTENTION).eval()


def sequences_for(args, base):
    if base:
        random = generator(77)
        return [torch.randint(3, 64, (n,), generator=random).tolist() for n in (1, 5, 17, 30)]
    tokenizer = AutoTokenizer.from_pretrained(args.tiny)
    chats = [[{"role": "user", "content": row["problem"]}] for row in read_rows(args.tiny / "test.jsonl", 2)]
    chats[0].insert(0, {"role": "system", "content": SYSTEM_PROMPT})
    return [tokenizer.apply_chat_template(c, add_generation_prompt=True, return_dict=False) for c in chats]


def draw(model, seed, std):
    random = generator(seed)
    with torch.no_grad():
        for name, weight in sorted(model.named_parameters()):
            if "lora_" in name:
                weight.copy_(std * torch.randn(weight.shape, generator=random))


def tidy(folder, base):
    """adapter_config.json with a base path that means nothing here, and the target set in one order."""
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text())
    config["base_model_name_or_path"] = base
    if isinstance(config["target_modules"], list):
        config["target_modules"].sort()
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    (folder / "README.md").unlink(missing_ok=True)


def logits_of(model, sequences):
    with torch.no_grad():
        return torch.cat([model(input_ids=torch.tensor([ids])).logits[0] for ids in sequences])


def write_adapter(args, name, base, options):
    folder = args.out / "models" / base if base else args.tiny
    model = load(folder)
    sequences = sequences_for(args, base)
    plain = logits_of(model, sequences)
    model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **options)).eval()
    draw(model, seed=5, std=0.1 if base else 0.03)
    target = args.out / "adapters" / name
    shutil.rmtree(target, ignore_errors=True)
    model.save_pretrained(target)
    (target / "adapter_model.safetensors").chmod(0o644)
    tidy(target, base or "tiny-qwen2")
    adapted = logits_of(model, sequences)
    assert (adapted - plain).abs().max() > 0.1, f"{name}: the adapter hardly matters"
    ids, offsets = ragged(sequences)
    positions = torch.tensor(sorted(set(range(0, len(ids), 4)) | {int(o) - 1 for o in offsets[1:]}))
    tensors = {
        "ids": ids,
        "offsets": offsets,
        "positions": positions.to(torch.int32),
        "logits": adapted[positions],
        "logits_base": plain[positions],
    }
    write_tensors(args.out / f"adapter-{name}.safetensors", tensors)


def printed(model):
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        model.print_trainable_parameters()
    return text.getvalue().strip()


def count(name, config, options):
    family = Qwen2ForCausalLM if config.model_type == "qwen2" else LlamaForCausalLM
    with torch.device("meta"):
        model = get_peft_model(family(config), LoraConfig(task_type="CAUSAL_LM", **options))
    trainable, everything = model.get_nb_trainable_parameters()
    row = {"model": name, "r": options["r"], "targetModules": options["target_modules"]}
    return row | {"trainable": trainable, "all": everything, "line": printed(model)}


def count_folder(name, folder, options):
    model = get_peft_model(load(folder), LoraConfig(task_type="CAUSAL_LM", **options))
    trainable, everything = model.get_nb_trainable_parameters()
    row = {"model": name, "r": options["r"], "targetModules": options["target_modules"]}
    return row | {"trainable": trainable, "all": everything, "line": printed(model)}


def initial_statistics(args):
    """How PEFT draws A of a fresh adapter on tiny-qwen2, beside the bound of Kaiming-uniform with a = sqrt(5)."""
    torch.manual_seed(0)
    config = LoraConfig(task_type="CAUSAL_LM", r=64, target_modules=["q_proj", "down_proj"])
    model = get_peft_model(load(args.tiny), config)
    rows = []
    for name, weight in sorted(model.named_parameters()):
        if "layers.0" in name and "lora_" in name:
            weight = weight.detach()
            stats = {"shape": list(weight.shape), "mean": weight.mean().item(), "std": weight.std().item()}
            stats |= {"min": weight.min().item(), "max": weight.max().item()}
            if "lora_A" in name:
                stats["bound"] = 1 / math.sqrt(weight.shape[1])
            rows.append({"name": name.replace(".default.", ".")} | stats)
    return rows


def main():
    args = arguments(__doc__)
    for name, (base, options) in ADAPTERS.items():
        write_adapter(args, name, base, options)
    counts = [count(*row) for row in COUNTS]
    counts.append(count_folder("tiny-qwen2", args.tiny, {"r": 8, "target_modules": QV}))
    counts.append(count_folder("tiny-qwen2", args.tiny, {"r": 8, "target_modules": "all-linear"}))
    for name in ("qwen2-random", "llama-random-tied", "llama-random-bias"):
        counts.append(count_folder(name, args.out / "models" / name, {"r": 4, "target_modules": "all-linear"}))
    write_json(args.out / "lora.json", {"initial": initial_statistics(args), "trainableParameters": counts})


if __name__ == "__main__":
    main()
