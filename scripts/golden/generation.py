"""What transformers generates with a generation_config.json beside the weights: greedy ids, and a token's distribution.

    python3 scripts/golden/generation.py --tiny scripts/assets/tiny-qwen2 --out test/fixtures/golden

Needs the packages of requirements.txt and OUT/models/llama-mha of models.py (--tiny is not read). Writes
OUT/generation.json, which README.md describes.
"""

import json
import shutil
import tempfile
from pathlib import Path

import torch
from common import ATTENTION, arguments, write_json
from transformers import AutoModelForCausalLM

PROMPT = [7, 12, 3, 51, 12, 3]
EOS = {"eos_token_id": [19, 2]}
NEW = 16
# name, generation_config.json, prompt, maxNewTokens (None: not given to generate)
GREEDY = [
    ("nothing", {}, PROMPT, NEW),
    (
        "sampling settings that greedy decoding passes over",
        {"temperature": 0.0, "top_k": -1, "top_p": 5, "typical_p": 0.2},
        PROMPT,
        NEW,
    ),
    ("no_repeat_ngram_size 1", {"no_repeat_ngram_size": 1}, PROMPT, 40),
    ("no_repeat_ngram_size 2", {"no_repeat_ngram_size": 2}, PROMPT, 40),
    ("no_repeat_ngram_size 3", {"no_repeat_ngram_size": 3}, PROMPT, 60),
    ("no_repeat_ngram_size 4, longer than the prompt", {"no_repeat_ngram_size": 4}, [5], 60),
    ("no_repeat_ngram_size -1", {"no_repeat_ngram_size": -1}, PROMPT, NEW),
    ("bad_words_ids", {"bad_words_ids": "WORDS"}, PROMPT, NEW),
    ("bad_words_ids that begin in the prompt", {"bad_words_ids": "PROMPT_WORDS"}, PROMPT, NEW),
    ("bad_words_ids with the end of a text", {"bad_words_ids": "EOS_WORD", "eos_token_id": "FIRST"}, PROMPT, NEW),
    ("suppress_tokens", {"suppress_tokens": "SOME"}, PROMPT, NEW),
    ("suppress_tokens that the model does not have", {"suppress_tokens": [700, -1]}, PROMPT, NEW),
    ("begin_suppress_tokens", {"begin_suppress_tokens": "SOME"}, PROMPT, NEW),
    ("min_new_tokens", {"min_new_tokens": 6, "eos_token_id": "SEVERAL"}, PROMPT, NEW),
    ("min_length, which counts the prompt", {"min_length": 10, "eos_token_id": "SEVERAL"}, PROMPT, NEW),
    (
        "min_length beside min_new_tokens",
        {"min_length": 90, "min_new_tokens": 2, "eos_token_id": "SEVERAL"},
        PROMPT,
        NEW,
    ),
    ("min_new_tokens beyond the length", {"min_new_tokens": 90, "eos_token_id": "SEVERAL"}, PROMPT, NEW),
    ("max_length, which counts the prompt", {"max_length": 11}, PROMPT, None),
    ("max_length beside max_new_tokens", {"max_length": 11, "max_new_tokens": 8}, PROMPT, None),
    ("forced_eos_token_id", {"forced_eos_token_id": 19} | EOS, PROMPT, NEW),
    ("forced_eos_token_id, the lower of two", {"forced_eos_token_id": [44, 19]}, PROMPT, NEW),
    (
        "forced_eos_token_id that is suppressed in part",
        {"forced_eos_token_id": [19, 44], "suppress_tokens": [19]},
        PROMPT,
        NEW,
    ),
    (
        "forced_eos_token_id before min_new_tokens",
        {"forced_eos_token_id": 19, "min_new_tokens": 90} | EOS,
        PROMPT,
        NEW,
    ),
    ("eos_token_id that the model does not have", {"eos_token_id": [700, -1]}, PROMPT, NEW),
    (
        "all together",
        {
            "no_repeat_ngram_size": 2,
            "repetition_penalty": 1.3,
            "suppress_tokens": "SOME",
            "bad_words_ids": "PROMPT_WORDS",
            "begin_suppress_tokens": [8, 9, 10],
            "forced_eos_token_id": 3,
            "min_new_tokens": 5,
            "eos_token_id": "SEVERAL",
        },
        PROMPT,
        30,
    ),
]
SAMPLED = [
    ("min_new_tokens", {"min_new_tokens": 2, "eos_token_id": "SEVERAL"}),
    ("suppress_tokens below a temperature", {"suppress_tokens": "SOME", "temperature": 0.6}),
    (
        "bad_words_ids and no_repeat_ngram_size before top_p",
        {"bad_words_ids": "WORDS", "no_repeat_ngram_size": 2, "top_p": 0.8},
    ),
    ("begin_suppress_tokens before top_k", {"begin_suppress_tokens": "SOME", "top_k": 5}),
    (
        "suppress_tokens before min_p and after repetition_penalty",
        {"suppress_tokens": "SOME", "repetition_penalty": 1.4, "min_p": 0.1},
    ),
    ("forced_eos_token_id, two alike", {"forced_eos_token_id": [44, 19], "max_new_tokens": 1, "top_k": 1}),
]


def load(source, config):
    """The model, with this generation_config.json."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "model"
        shutil.copytree(source, folder)
        (folder / "generation_config.json").write_text(json.dumps(config))
        return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation=ATTENTION).eval()


def generate(source, config, prompt, length):
    """Greedy ids after the prompt, and the smallest gap between the two best scores that the processors left."""
    given = {} if length is None else {"max_new_tokens": length}
    inputs = torch.tensor([prompt])
    out = load(source, config | {"do_sample": False}).generate(
        inputs, attention_mask=torch.ones_like(inputs), output_scores=True, return_dict_in_generate=True, **given
    )
    best = torch.stack(out.scores)[:, 0].topk(2).values
    gaps = (best[:, 0] - best[:, 1])[best[:, 1].isfinite() & (best[:, 0] != best[:, 1])]
    return out.sequences[0, len(prompt) :].tolist(), gaps.min().item()


def distribution(source, config):
    """Of the token after PROMPT: what generate draws it from."""
    inputs = torch.tensor([PROMPT])
    settings = {"do_sample": True, "top_k": 0, "max_new_tokens": 2} | config
    out = load(source, settings).generate(
        inputs, attention_mask=torch.ones_like(inputs), output_scores=True, return_dict_in_generate=True
    )
    return settings, out.scores[0][0].softmax(-1).tolist()


def main():
    args = arguments(__doc__)
    source = args.out / "models" / "llama-mha"
    plain, _ = generate(source, {}, PROMPT, NEW)
    # What the model would say, so that every rule has something to do.
    named = {
        "SOME": [plain[0], plain[4], 33],
        "SEVERAL": [plain[1], plain[5], 2],
        "FIRST": plain[0],
        "WORDS": [[plain[0]], [plain[2], plain[3]], [60, 61, 62]],
        "PROMPT_WORDS": [[12, 3, plain[0]], [3, plain[1]], [7, 12, 3, 51, 12, 3, 9, 9]],
        "EOS_WORD": [[plain[0]], [plain[1], plain[2]]],
    }

    def filled(config):
        return {k: named[v] if isinstance(v, str) else v for k, v in config.items()}

    greedy = []
    for name, config, prompt, length in GREEDY:
        ids, margin = generate(source, filled(config), prompt, length)
        assert margin > 1e-3, (name, margin)
        row = {"name": name, "generationConfig": filled(config) | {"do_sample": False}, "promptIds": prompt}
        given = {} if length is None else {"maxNewTokens": length}
        greedy.append(row | given | {"completionIds": ids, "margin": margin})
    sampled = []
    for name, config in SAMPLED:
        torch.manual_seed(1)
        settings, probabilities = distribution(source, filled(config))
        row = {"name": name, "generationConfig": settings, "promptIds": PROMPT}
        sampled.append(row | {"probabilities": probabilities})
    write_json(args.out / "generation.json", {"greedy": greedy, "sampled": sampled})


if __name__ == "__main__":
    main()
