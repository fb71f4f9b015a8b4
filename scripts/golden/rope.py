"""Inverse frequencies of rotary embeddings as transformers computes them."""

import json

from common import arguments
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
CASES = [
    (64, {"rope_type": "default", "rope_theta": 10000.0}),
    (128, {"rope_type": "default", "rope_theta": 1000000.0}),
    (96, {"rope_type": "default", "rope_theta": 500000.0}),
    (64, {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}),
    (128, {**LLAMA3, "rope_theta": 500000.0, "original_max_position_embeddings": 8192}),
    (64, {**LLAMA3, "rope_theta": 500000.0, "factor": 32.0, "original_max_position_embeddings": 8192}),
    (8, {**LLAMA3, "rope_theta": 10000.0, "original_max_position_embeddings": 16}),
]


def frequencies(head_dim: int, rope: dict) -> list[float]:
    config = LlamaConfig(hidden_size=4 * head_dim, num_attention_heads=4, rope_parameters=dict(rope))
    if rope["rope_type"] == "default":
        return LlamaRotaryEmbedding(config).inv_freq.tolist()
    values, scaling = ROPE_INIT_FUNCTIONS[rope["rope_type"]](config, "cpu")
    assert scaling == 1.0
    return values.tolist()


if __name__ == "__main__":
    cases = [{"headDim": d, "rope": rope, "invFreq": frequencies(d, rope)} for d, rope in CASES]
    (arguments(__doc__).out / "rope.json").write_text(json.dumps(cases, indent=1) + "\n")
