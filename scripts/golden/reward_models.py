"""Small random reward models of every family, and the rewards that TRL's GRPOTrainer takes from them.

    python3 scripts/golden/reward_models.py --tiny scripts/assets/tiny-qwen2 --out test/fixtures/golden

Writes OUT/models/reward-<model_type>/ (config and weights in bfloat16, computed in float32; the tokenizer is that of --tiny)
and OUT/reward-models.json. The trainer is given the model's folder as a reward function and asked to score: which text is
made of prompt and completion, how it becomes ids, which token is read and what counts as padding are all TRL's and transformers'.
"""

import json
import shutil
import tempfile

import torch
from common import arguments, write_json
from datasets import Dataset
from models import draw
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer
from trl import GRPOConfig, GRPOTrainer

SMALL = {
    "vocab_size": 512,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 512,
    "initializer_range": 0.3,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": 0,  # not that of the tokenizer, which must win
    "num_labels": 1,
    "dtype": "bfloat16",
}
GEMMA = {"head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 7}
TYPES = {
    "qwen2": {},
    "qwen3": {"head_dim": 8},
    "llama": {},
    "mistral": {"sliding_window": 7},
    "smollm3": {},
    # The soft cap of the logits must not act on a score.
    "gemma2": GEMMA | {"final_logit_softcapping": 0.5},
    "gemma3_text": GEMMA | {"final_logit_softcapping": 0.5},
    "phi3": {},
    "olmo2": {},
}

QUESTION = [{"role": "user", "content": "What is 7 + 5?"}]
SYSTEM = [{"role": "system", "content": "You add numbers."}]
BATCHES = {
    "conversations": {
        "prompts": [QUESTION, QUESTION, SYSTEM + QUESTION, QUESTION],
        "completions": [
            [{"role": "assistant", "content": text}]
            for text in ("<think>7 + 5 = 12</think><answer>12</answer>", "12", "I do not know.", "")
        ],
    },
    # Padding tokens in the text itself: those at its end are not read, those inside are.
    "texts": {
        "prompts": ["What is 7 + 5? ", "What is 7 + 5? ", "Add 1 and 2.", "Add 1 and 2."],
        "completions": ["12", "12<|endoftext|><|endoftext|>", "<|endoftext|>3", "3<|im_end|>"],
    },
}
# Without a padding token the end of a turn becomes the padding.
TOKENIZERS = {"own": {}, "none": {"pad_token": None}}


def make_model(folder, model_type, options):
    if folder.exists():
        shutil.rmtree(folder)
    config = AutoConfig.for_model(model_type, **(SMALL | options))
    model = AutoModelForSequenceClassification.from_config(config)
    draw(model, seed=31)
    model.to(torch.bfloat16).save_pretrained(folder)
    (folder / "config.json").chmod(0o644)
    (folder / "model.safetensors").chmod(0o644)


def make_trainer(args, folder, tokenizer, output):
    return GRPOTrainer(
        model=str(args.tiny),
        reward_funcs=str(folder),
        reward_processing_classes=tokenizer,
        args=GRPOConfig(
            output_dir=output,
            per_device_train_batch_size=2,
            num_generations=2,
            use_cpu=True,
            bf16=False,
            report_to="none",
            # Soft caps on attention scores need eager.
            model_init_kwargs={"dtype": "float32", "attn_implementation": "eager"},
        ),
        train_dataset=Dataset.from_list([{"prompt": "a"}, {"prompt": "b"}]),
    )


def score(trainer, batch):
    prompts, completions = batch["prompts"], batch["completions"]
    inputs = [{"prompt": prompt} for prompt in prompts]
    return trainer._calculate_rewards(inputs, prompts, completions, [[] for _ in prompts])[:, 0].tolist()


def main():
    args = arguments(__doc__)
    cases, names = [], set()
    for model_type, options in TYPES.items():
        folder = args.out / "models" / f"reward-{model_type}"
        make_model(folder, model_type, options)
        for pad, changes in TOKENIZERS.items():
            tokenizer = AutoTokenizer.from_pretrained(args.tiny, **changes)
            with tempfile.TemporaryDirectory() as output:
                trainer = make_trainer(args, folder, tokenizer, output)
            names |= {name.removeprefix("reward-") for name in trainer.reward_func_names}
            for form, batch in BATCHES.items():
                cases.append({"model": model_type, "pad": pad, "form": form, "rewards": score(trainer, batch)})
    assert names == set(TYPES), names
    write_json(args.out / "reward-models.json", {"batches": BATCHES, "cases": cases})
    print(json.dumps({"models": len(TYPES), "cases": len(cases)}))


if __name__ == "__main__":
    main()
