"""Loads an adapter that grpo saved into PEFT and compares its logits with the ones that grpo computed.

    python3 scripts/golden/check_adapter.py --base MODEL_FOLDER --adapter ADAPTER_FOLDER --logits LOGITS

Needs the packages of requirements.txt. LOGITS is a .safetensors file with ids I32 [T], offsets I32 [n + 1], logits F32
[T, V] (optionally positions I32 [k], then logits is [k, V]), or a .json file with `ids` (list of lists) and `logits`
(for each sequence a list of rows). Prints one line of JSON. Exit status 1 when PEFT finds missing or unexpected keys,
when the adapter changes nothing, or when a logit differs by more than --tolerance (1e-4, meant for float32).
"""

import argparse
import json
import sys
import warnings
from pathlib import Path

import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM


def read_logits(path):
    """The sequences, and the rows of logits that were computed, with their places among all tokens."""
    if path.suffix == ".json":
        data = json.loads(path.read_text())
        logits = torch.tensor([row for sequence in data["logits"] for row in sequence])
        return data["ids"], logits, torch.arange(len(logits))
    data = load_file(path)
    bounds = data["offsets"].tolist()
    sequences = [data["ids"][a:b].tolist() for a, b in zip(bounds, bounds[1:], strict=False)]
    return sequences, data["logits"].float(), data.get("positions", torch.arange(len(data["ids"]))).long()


def logits_of(model, sequences, positions):
    with torch.no_grad():
        rows = [model(input_ids=torch.tensor([ids])).logits[0] for ids in sequences]
    return torch.cat(rows)[positions].float()


def stray_keys(model, folder):
    """Keys of the file that the model has no place for, and LoRA parameters that the file does not have."""
    saved = set(load_file(folder / "adapter_model.safetensors"))
    wanted = {n.replace(".default.", ".") for n, _ in model.named_parameters() if "lora_" in n}
    return sorted(wanted - saved), sorted(saved - wanted)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--adapter", type=Path, required=True)
    parser.add_argument("--logits", type=Path, required=True)
    parser.add_argument("--tolerance", type=float, default=1e-4)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32", help="of the base model")
    args = parser.parse_args()
    torch.set_num_threads(1)

    sequences, expected, positions = read_logits(args.logits)
    base = AutoModelForCausalLM.from_pretrained(
        args.base, dtype=getattr(torch, args.dtype), attn_implementation="sdpa"
    ).eval()
    plain = logits_of(base, sequences, positions)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*adapter keys.*")  # PEFT only warns of missing ones
        model = PeftModel.from_pretrained(base, args.adapter).eval()
    missing, unexpected = stray_keys(model, args.adapter)
    found = logits_of(model, sequences, positions)
    report = {
        "missing": missing,
        "unexpected": unexpected,
        "maxAbsDifference": (found - expected).abs().max().item(),
        "maxAbsEffect": (found - plain).abs().max().item(),
    }
    print(json.dumps(report))
    good = not missing and not unexpected and report["maxAbsDifference"] <= args.tolerance
    sys.exit(0 if good and report["maxAbsEffect"] > 0 else 1)


if __name__ == "__main__":
    main()
