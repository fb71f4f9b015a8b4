"""Loads from a Hub what this project pushed to it, with huggingface_hub, transformers, PEFT and datasets.

    HF_ENDPOINT=http://127.0.0.1:PORT HF_HOME=EMPTY python3 scripts/golden/check_hub.py --model BASE --data DATA
        --adapter REPO --run REPO --checkpoints REPO --completions DATASET --whole REPO --local FOLDER --cache FOLDER

Not a fixture: scripts/check-hub.ts starts the Hub, runs the guide's notebook against it and calls this. --local is where
the notebook saved what it then pushed as --adapter, --cache the cache that it downloaded into. Exit status 1 on the first
thing that is not as it should be.
"""

import argparse
import json
import pathlib

import torch
from datasets import load_dataset
from huggingface_hub import HfApi, ModelCard, hf_hub_download, snapshot_download
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer


def logits(model, ids: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model(ids).logits


def check_adapter(base_id: str, repo: str, tokenizer) -> float:
    """The largest change of a logit by the adapter; all of its tensors must be known to PEFT, and none missing."""
    base = AutoModelForCausalLM.from_pretrained(base_id, dtype=torch.float32)
    ids = torch.tensor([tokenizer("What is 88 - 4?")["input_ids"]])
    before = logits(base, ids)
    model = PeftModel.from_pretrained(base, repo)
    found = model.load_adapter(repo, adapter_name="again")
    assert not found.unexpected_keys, found.unexpected_keys
    assert not [key for key in found.missing_keys if "lora" in key], found.missing_keys
    after = logits(model, ids)
    assert torch.isfinite(after).all()
    return (after - before).abs().max().item()


def check_card(repo: str, data: str | None) -> None:
    card = ModelCard.load(repo)
    assert card.data.library_name == "peft" and card.data.pipeline_tag == "text-generation", card.data
    assert data is None or card.data.datasets == [data], card.data.datasets
    if data is not None:
        results = {result.metric_type: result.metric_value for result in card.data.eval_results}
        assert 0 <= results["reward"] <= 1, results
        hf_hub_download(repo, "metrics.jsonl")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ["model", "data", "adapter", "run", "checkpoints", "completions", "whole"]:
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--local", type=pathlib.Path, required=True)
    parser.add_argument("--cache", type=pathlib.Path, required=True)
    options = parser.parse_args()

    rows = load_dataset(options.data, split="train[:5%]")
    assert rows.column_names == ["problem", "solution", "messages"] and len(rows) == 65, rows
    print("datasets      ", options.data, len(rows), "rows")

    tokenizer = AutoTokenizer.from_pretrained(options.adapter)
    original = AutoTokenizer.from_pretrained(options.model)
    messages = [{"role": "user", "content": "What is 88 - 4?"}]
    chat = {"add_generation_prompt": True, "tokenize": False}
    assert tokenizer.apply_chat_template(messages, **chat) == original.apply_chat_template(messages, **chat)
    assert tokenizer.pad_token == tokenizer.eos_token
    print("transformers  ", options.adapter, "tokenizer,", len(tokenizer), "tokens")

    folder = pathlib.Path(snapshot_download(options.adapter))
    for name in ["adapter_model.safetensors", "adapter_config.json", "tokenizer.json"]:
        assert (folder / name).read_bytes() == (options.local / name).read_bytes(), name
    print("PEFT          ", options.adapter, "changes a logit by up to", check_adapter(options.model, options.adapter, tokenizer))
    check_card(options.adapter, None)

    print("PEFT          ", options.run, "changes a logit by up to", check_adapter(options.model, options.run, tokenizer))
    check_card(options.run, options.data)

    files = HfApi().list_repo_files(options.checkpoints)
    steps = sorted(name for name in files if name.endswith("trainer_state.json"))
    state = json.loads(pathlib.Path(hf_hub_download(options.checkpoints, steps[-1])).read_text())
    print("huggingface_hub", options.checkpoints, steps, "global_step", state["global_step"])
    check_adapter(options.model, options.checkpoints, tokenizer)

    completions = load_dataset(options.completions, split="train")
    assert {"step", "prompt", "completion", "rewards", "advantage"} <= set(completions.column_names), completions
    print("datasets      ", options.completions, len(completions), "completions")

    cache = options.cache
    offline = AutoModelForCausalLM.from_pretrained(options.model, cache_dir=cache, local_files_only=True)
    print("transformers  ", options.model, offline.num_parameters(), "parameters, out of the cache that was filled from TypeScript")

    whole = AutoModelForCausalLM.from_pretrained(options.whole, dtype=torch.float32)
    ids = torch.tensor([tokenizer("What is 88 - 4?")["input_ids"]])
    base = AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32)
    assert torch.equal(logits(whole, ids), logits(base, ids))
    print("transformers  ", options.whole, whole.num_parameters(), "parameters, the logits of its original")


if __name__ == "__main__":
    main()
