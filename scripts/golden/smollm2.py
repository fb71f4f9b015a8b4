"""Greedy answers of SmolLM2-135M-Instruct to 20 GSM8K questions in fp32, 64 tokens, as transformers gives them.

    python3 scripts/golden/smollm2.py --model FOLDER --questions test.jsonl --out test/fixtures/golden

Needs the packages of requirements.txt, SmolLM2-135M-Instruct as a Hugging Face folder (SHA-256 of its weights is
written down, as the ids depend on them) and GSM8K's test.jsonl (`question` per line). Writes OUT/smollm2-greedy.json.
The weights are read as float32 whatever they are stored as. attn_implementation is sdpa.
"""

import argparse
import hashlib
import json
from pathlib import Path

import torch
from common import ATTENTION, write_json
from greedy import NEW_TOKENS, complete
from transformers import AutoModelForCausalLM, AutoTokenizer


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="Hugging Face folder of SmolLM2-135M-Instruct")
    parser.add_argument("--questions", type=Path, required=True, help="GSM8K test.jsonl")
    parser.add_argument("--out", type=Path, required=True, help="folder of the fixtures")
    parser.add_argument("--count", type=int, default=20)
    args = parser.parse_args()
    torch.set_num_threads(1)

    tokenizer = AutoTokenizer.from_pretrained(args.model)
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32, attn_implementation=ATTENTION).eval()
    rows = []
    for line in args.questions.read_text().splitlines()[: args.count]:
        chat = [{"role": "user", "content": json.loads(line)["question"]}]
        text = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        completion, margin = complete(model, ids, tokenizer.eos_token_id)
        rows.append(
            {
                "promptIds": ids,
                "completionIds": completion,
                "completion": tokenizer.decode(completion, skip_special_tokens=True),
                "margin": margin,
            }
        )
        print(len(ids), len(completion), f"{margin:.5f}", flush=True)
    meta = {
        "maxNewTokens": NEW_TOKENS,
        "stopIds": [tokenizer.eos_token_id],
        "storedDtype": str(json.loads((args.model / "config.json").read_text())["torch_dtype"]),
        "weightsSha256": hashlib.sha256((args.model / "model.safetensors").read_bytes()).hexdigest(),
        "dtype": "float32",
        "attention": ATTENTION,
        "rows": rows,
    }
    write_json(args.out / "smollm2-greedy.json", meta)


if __name__ == "__main__":
    main()
