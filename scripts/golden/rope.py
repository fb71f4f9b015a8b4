"""Inverse frequencies of rotary embeddings as transformers computes them."""

from common import arguments, write_json
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 4096}
LONG = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "original_max_position_embeddings": 4096,
    "short_factor": [1 + i / 40 for i in range(32)],
    "long_factor": [1.1 * 1.13**i for i in range(32)],
}
MAX_POSITIONS = 131072
CASES = [
    (64, {"rope_type": "default", "rope_theta": 10000.0}),
    (128, {"rope_type": "default", "rope_theta": 1000000.0}),
    (96, {"rope_type": "default", "rope_theta": 500000.0}),
    (64, {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}),
    (64, {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 4.0}),
    (128, {**LLAMA3, "rope_theta": 500000.0, "original_max_position_embeddings": 8192}),
    (64, {**LLAMA3, "rope_theta": 500000.0, "factor": 32.0, "original_max_position_embeddings": 8192}),
    (8, {**LLAMA3, "rope_theta": 10000.0, "original_max_position_embeddings": 16}),
    (64, YARN),
    (128, {**YARN, "rope_theta": 1000000.0, "original_max_position_embeddings": 32768}),
    (64, {**YARN, "factor": 40.0, "mscale": 0.707, "mscale_all_dim": 1.0}),
    (64, {**YARN, "beta_fast": 16.0, "beta_slow": 2.0, "truncate": False}),
    (64, {**YARN, "attention_factor": 1.25, "partial_rotary_factor": 0.5}),
    (64, {**YARN, "factor": 1.0}),
    (64, LONG),
    (64, {**LONG, "factor": 8.0}),
    (64, {**LONG, "attention_factor": 1.19}),
    (128, {**LONG, "partial_rotary_factor": 0.5}),
]


def case(head_dim: int, rope: dict) -> dict:
    config = LlamaConfig(
        hidden_size=4 * head_dim,
        num_attention_heads=4,
        max_position_embeddings=MAX_POSITIONS,
        rope_parameters=dict(rope),
    )
    result = {"headDim": head_dim, "maxPositions": MAX_POSITIONS, "rope": rope}
    if rope["rope_type"] == "default":
        return result | {"invFreq": LlamaRotaryEmbedding(config).inv_freq.tolist(), "scaling": 1.0}
    compute = ROPE_INIT_FUNCTIONS[rope["rope_type"]]
    values, scaling = compute(config, "cpu")
    result |= {"invFreq": values.tolist(), "scaling": scaling}
    if rope["rope_type"] == "longrope":
        result["longInvFreq"] = compute(config, "cpu", seq_len=4097)[0].tolist()
    return result


if __name__ == "__main__":
    write_json(arguments(__doc__).out / "rope.json", [case(*each) for each in CASES])
