"""Small random models and the logits that transformers gives for them; logits of tiny-qwen2 in fp32 and bf16.

    python3 scripts/golden/models.py --tiny scripts/assets/tiny-qwen2 --out test/fixtures/golden

Needs the packages of requirements.txt and the tiny-qwen2 folder. Writes OUT/models/<name>/ (ordinary Hugging Face
folders), OUT/logits-<name>.safetensors for each and OUT/logits-tiny-qwen2.{safetensors,json}. Weights are drawn wide,
biases are not zero and norm weights are not one, so that a forgotten term shows. Every sequence is run by itself,
unpadded; attn_implementation is sdpa.
"""

import json
import shutil

import torch
from common import ATTENTION, SYSTEM_PROMPT, arguments, generator, ragged, read_rows, write_json, write_tensors
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, Qwen2Config
from transformers import Qwen2ForCausalLM

LENGTHS = [1, 2, 3, 7, 13, 21, 33, 40]
SMALL = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "initializer_range": 0.25,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}


def default_rope(theta):
    return {"rope_type": "default", "rope_theta": theta}


# name: (config, save options). config4 rewrites config.json in the form of transformers 4.
MODELS = {
    "qwen2-random": (Qwen2Config(**SMALL, tie_word_embeddings=False, rope_parameters=default_rope(10000.0)), {}),
    "llama-random-tied": (LlamaConfig(**SMALL, tie_word_embeddings=True, rope_parameters=default_rope(10000.0)), {}),
    "llama-random-bias": (
        LlamaConfig(
            **SMALL,
            head_dim=12,
            attention_bias=True,
            mlp_bias=True,
            tie_word_embeddings=False,
            rms_norm_eps=1e-5,
            rope_parameters=default_rope(10000.0),
        ),
        {},
    ),
    "llama-mha": (
        LlamaConfig(**(SMALL | {"num_key_value_heads": 4}), rope_parameters=default_rope(500000.0)),
        {"max_shard_size": "32KB"},
    ),
    "qwen2-v4": (Qwen2Config(**SMALL, tie_word_embeddings=True, rope_parameters=default_rope(1000000.0)), {"v4": True}),
    "qwen2-bf16": (
        Qwen2Config(**SMALL, tie_word_embeddings=False, rope_parameters=default_rope(10000.0)),
        {"dtype": torch.bfloat16},
    ),
    "llama-rope3": (LlamaConfig(**SMALL, rope_parameters=LLAMA3_ROPE), {}),
    "llama-rope3-v4": (LlamaConfig(**SMALL, rope_parameters=LLAMA3_ROPE), {"v4": True}),
}


def draw(model, seed):
    """Weights N(0, range²), biases N(0, 0.3²), norm weights 1 + N(0, 0.3²)."""
    random = generator(seed)
    with torch.no_grad():
        for name, weight in sorted(model.named_parameters()):
            noise = torch.randn(weight.shape, generator=random)
            if "norm" in name:
                weight.copy_(1 + 0.3 * noise)
            elif name.endswith("bias"):
                weight.copy_(0.3 * noise)
            else:
                weight.copy_(model.config.initializer_range * noise)


def to_v4_config(path):
    """config.json as transformers 4 wrote it: rope_theta and rope_scaling at the top, torch_dtype."""
    config = json.loads(path.read_text())
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    config["rope_scaling"] = None if rope["rope_type"] == "default" else rope
    config["torch_dtype"] = config.pop("dtype")
    config.pop("layer_types", None)
    config["transformers_version"] = "4.46.0"
    path.write_text(json.dumps(dict(sorted(config.items())), indent=2) + "\n")


def load(path, dtype):
    return AutoModelForCausalLM.from_pretrained(path, dtype=dtype, attn_implementation=ATTENTION).eval()


def logits_of(model, sequences):
    """[tokens, V] of all sequences, one after another."""
    with torch.no_grad():
        return torch.cat([model(input_ids=torch.tensor([ids])).logits[0] for ids in sequences])


def write_model(out, name, config, options, seed):
    family = Qwen2ForCausalLM if config.model_type == "qwen2" else LlamaForCausalLM
    model = family(config)
    draw(model, seed)
    model = model.to(options.get("dtype", torch.float32))
    folder = out / "models" / name
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder, max_shard_size=options.get("max_shard_size", "1GB"))
    if options.get("v4"):
        to_v4_config(folder / "config.json")

    random = generator(1000 + seed)
    sequences = [torch.randint(3, config.vocab_size, (n,), generator=random).tolist() for n in LENGTHS]
    ids, offsets = ragged(sequences)
    tensors = {"ids": ids, "offsets": offsets, "logits": logits_of(load(folder, torch.float32), sequences)}
    if options.get("dtype") == torch.bfloat16:
        tensors["logits_bf16"] = logits_of(load(folder, torch.bfloat16), sequences)
    write_tensors(out / f"logits-{name}.safetensors", tensors)
    # What transformers reads back from the folder is the model that was saved, old config form or new.
    # (A fresh copy: casting to bfloat16 and back would round the rotary frequencies as well.)
    saved = family(config).eval()
    saved.load_state_dict(model.float().state_dict())
    torch.testing.assert_close(tensors["logits"], logits_of(saved, sequences), rtol=0, atol=1e-4)
    spread = tensors["logits"].std().item()
    assert spread > 0.5, f"{name}: logits hardly vary ({spread})"


def tiny_prompts(tokenizer, folder):
    """Chat prompts with and without the system prompt, one with an answer, and plain text."""
    rows = read_rows(folder / "test.jsonl", 3)
    system = [{"role": "system", "content": SYSTEM_PROMPT}]
    chats = [
        system + [{"role": "user", "content": rows[0]["problem"]}],
        [{"role": "user", "content": rows[1]["problem"]}],
    ]
    texts = [tokenizer.apply_chat_template(c, add_generation_prompt=True, tokenize=False) for c in chats]
    texts.append(texts[0] + "<think> 7 and 5 make 12 </think><answer> 12 </answer><|im_end|>")
    texts.append(rows[2]["problem"])
    return texts


def write_tiny(out, folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    texts = tiny_prompts(tokenizer, folder)
    sequences = [tokenizer(t, add_special_tokens=False)["input_ids"] for t in texts]
    ids, offsets = ragged(sequences)
    # Every fourth token and the last one of each sequence: enough to show an error, a quarter of the bytes.
    positions = sorted(set(range(0, len(ids), 4)) | {int(o) - 1 for o in offsets[1:]})
    fp32 = logits_of(load(folder, torch.float32), sequences)
    bf16 = logits_of(load(folder, torch.bfloat16), sequences)
    write_tensors(
        out / "logits-tiny-qwen2.safetensors",
        {
            "ids": ids,
            "offsets": offsets,
            "positions": torch.tensor(positions, dtype=torch.int32),
            "logits": fp32[positions],
            "logits_bf16": bf16[positions],
        },
    )
    difference = (bf16.float() - fp32).abs()
    meta = {
        "texts": texts,
        "attention": ATTENTION,
        "maxAbsDifferenceBf16": difference.max().item(),
        "meanAbsDifferenceBf16": difference.mean().item(),
    }
    write_json(out / "logits-tiny-qwen2.json", meta)


def main():
    args = arguments(__doc__)
    for seed, (name, (config, options)) in enumerate(MODELS.items()):
        write_model(args.out, name, config, options, seed)
    write_tiny(args.out, args.tiny)


if __name__ == "__main__":
    main()
