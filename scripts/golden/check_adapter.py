"""Loads what grpo saved with PEFT and transformers and compares logits with the ones that grpo computed.

    python3 scripts/golden/check_adapter.py --base MODEL_FOLDER --adapter ADAPTER_FOLDER --logits LOGITS
    python3 scripts/golden/check_adapter.py --all FOLDER

Needs the packages of requirements.txt. The first form checks one adapter. LOGITS is a .safetensors file with ids I32 [T],
offsets I32 [n + 1], logits F32 [T, V] (optionally positions I32 [k], then logits is [k, V]), or a .json file with `ids`
(list of lists) and `logits` (for each sequence a list of rows). The second form checks everything that
scripts/check-adapters.ts wrote: adapters in PEFT with their parameter counts, merged and whole models in transformers.
Prints one line of JSON for each. Exit status 1 when PEFT or transformers finds missing or unexpected keys, when an adapter
changes nothing, when counts differ, or when a logit differs by more than --tolerance (1e-4, meant for float32).
"""

import argparse
import json
import sys
import warnings
from pathlib import Path

import torch
from peft import PeftModel
from peft.utils.save_and_load import get_peft_model_state_dict
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


def logits_of(model, sequences):
    with torch.no_grad():
        return torch.cat([model(input_ids=torch.tensor([ids])).logits[0] for ids in sequences]).float()


def load(folder, dtype="float32"):
    """The model, after every tensor of the folder has found its place and every place its tensor."""
    options = {"dtype": getattr(torch, dtype), "attn_implementation": "sdpa", "output_loading_info": True}
    model, info = AutoModelForCausalLM.from_pretrained(folder, **options)
    return model.eval(), sorted(info["missing_keys"]), sorted(info["unexpected_keys"])


def check_adapter(base, folder, sequences, expected, positions, dtype="float32"):
    base, *_ = load(base, dtype)
    plain = logits_of(base, sequences)[positions]
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*adapter keys.*")  # PEFT only warns of missing ones
        warnings.filterwarnings("ignore", message=".*tie_word_embeddings.*")
        model = PeftModel.from_pretrained(base, folder, is_trainable=True).eval()
    saved = set(load_file(folder / "adapter_model.safetensors"))
    wanted = set(get_peft_model_state_dict(model, save_embedding_layers=False))
    found = logits_of(model, sequences)[positions]
    return {
        "missing": sorted(wanted - saved),
        "unexpected": sorted(saved - wanted),
        "maxAbsDifference": (found - expected).abs().max().item(),
        "maxAbsEffect": (found - plain).abs().max().item(),
        "counts": list(model.get_nb_trainable_parameters()),
    }


def check_model(folder, sequences, expected):
    model, missing, unexpected = load(folder)
    difference = (logits_of(model, sequences) - expected).abs().max().item()
    shards = len(list(folder.glob("*.safetensors")))
    return {"missing": missing, "unexpected": unexpected, "maxAbsDifference": difference, "files": shards}


def report(name, result, tolerance):
    print(json.dumps({"name": name} | result), flush=True)
    good = not result["missing"] and not result["unexpected"] and result["maxAbsDifference"] <= tolerance
    return good and result.get("maxAbsEffect", 1) > 0 and result.get("countsAgree", True)


def check_all(folder, tolerance):
    good = True
    for row in json.loads((folder / "checks.json").read_text()):
        vocabulary = json.loads((Path(row["base"]) / "config.json").read_text())["vocab_size"]
        expected = torch.cat([torch.tensor(flat).view(-1, vocabulary) for flat in row["logits"]])
        place = folder / row["name"]
        if (place / "adapter").exists():
            result = check_adapter(row["base"], place / "adapter", row["ids"], expected, slice(None))
            result["countsAgree"] = result["counts"] == [row["trainable"], row["all"]]
            good &= report(row["name"], result, tolerance)
        for kind in ("merged", "model"):
            if (place / kind).exists():
                result = check_model(place / kind, row["ids"], expected)
                good &= report(f"{row['name']} {kind}", result, tolerance)
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path)
    parser.add_argument("--adapter", type=Path)
    parser.add_argument("--logits", type=Path)
    parser.add_argument("--all", type=Path)
    parser.add_argument("--tolerance", type=float, default=1e-4)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32", help="of the base model")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.all:
        sys.exit(0 if check_all(args.all, args.tolerance) else 1)
    result = check_adapter(args.base, args.adapter, *read_logits(args.logits), args.dtype)
    sys.exit(0 if report(args.adapter.name, result, args.tolerance) else 1)


if __name__ == "__main__":
    main()
