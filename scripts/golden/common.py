"""What the fixture scripts share: paths, ragged arrays, deterministic writing.

Needs the packages of requirements.txt beside it. Nothing here reads the network or the clock.
"""

import argparse
import json
import os
from pathlib import Path

# Sums are done in the same order on every x86-64 processor: with AVX-512 or bfloat16 arithmetic the last bits differ.
os.environ.update(ATEN_CPU_CAPABILITY="avx2", ONEDNN_MAX_CPU_ISA="AVX2")

import numpy as np
import torch
from safetensors.torch import save_file

SYSTEM_PROMPT = (
    "A conversation between User and Assistant. The user asks a question, and the Assistant solves it. The assistant "
    "first thinks about the reasoning process in the mind and then provides the user with the answer. The reasoning "
    "process and answer are enclosed within <think> </think> and <answer> </answer> tags, respectively, i.e., "
    "<think> reasoning process here </think><answer> answer here </answer>"
)
ATTENTION = "sdpa"  # transformers' and so TRL's default; eager gives the same to about 1e-6


def arguments(doc):
    """Parses --tiny and --out. One thread: sums are then done in one order."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", type=Path, required=True, help="folder of the bundled tiny-qwen2")
    parser.add_argument("--out", type=Path, required=True, help="folder of the fixtures")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    args.out.mkdir(parents=True, exist_ok=True)
    return args


def generator(seed):
    return torch.Generator().manual_seed(seed)


def ragged(sequences):
    """Lists of token ids -> flat int32 ids, int32 offsets [n + 1]."""
    offsets = np.cumsum([0] + [len(s) for s in sequences])
    flat = [token for s in sequences for token in s]
    return torch.tensor(flat, dtype=torch.int32), torch.tensor(offsets, dtype=torch.int32)


def write_tensors(path, tensors):
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensors[name].detach().contiguous().clone() for name in sorted(tensors)}, path)
    path.chmod(0o644)


def write_json(path, value):
    """Indented JSON with lists of plain numbers on one line, so that diffs stay readable."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dump(value, 0) + "\n")


def dump(value, depth):
    pad = "  " * (depth + 1)
    if isinstance(value, dict) and any(isinstance(v, (dict, list)) for v in value.values()):
        body = ",\n".join(f"{pad}{json.dumps(k)}: {dump(v, depth + 1)}" for k, v in value.items())
        return "{\n" + body + "\n" + "  " * depth + "}"
    if isinstance(value, list) and any(isinstance(v, (dict, list)) for v in value):
        return "[\n" + ",\n".join(pad + dump(v, depth + 1) for v in value) + "\n" + "  " * depth + "]"
    return json.dumps(value, ensure_ascii=False)


def read_rows(path, count):
    return [json.loads(line) for line in path.read_text().splitlines()[:count]]
