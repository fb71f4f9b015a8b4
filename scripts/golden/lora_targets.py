"""Which modules PEFT adapts for many ways of saying so, with rank and scaling of each, and what it refuses.

    python3 scripts/golden/lora_targets.py --tiny scripts/assets/tiny-qwen2 --out test/fixtures/golden

Needs the packages of requirements.txt. Writes OUT/lora-targets.json. Models are made on the meta device from the
configurations below, which the file repeats, so that a reader needs nothing else.
"""

import contextlib
import copy
import io
import warnings

import torch
from common import arguments, write_json
from peft import LoraConfig, get_peft_model
from peft.utils.save_and_load import get_peft_model_state_dict
from transformers import Gemma3ForCausalLM, Gemma3TextConfig, LlamaConfig, LlamaForCausalLM, Olmo2Config
from transformers import Olmo2ForCausalLM, Phi3Config, Phi3ForCausalLM, Qwen2Config, Qwen2ForCausalLM, Qwen3Config
from transformers import Qwen3ForCausalLM

SMALL = {"vocab_size": 40, "hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 4}
SMALL |= {"num_key_value_heads": 2, "max_position_embeddings": 64, "pad_token_id": 0}
MODELS = {
    "qwen2": (Qwen2ForCausalLM, Qwen2Config(**SMALL, num_hidden_layers=3, tie_word_embeddings=False)),
    "llama-tied": (LlamaForCausalLM, LlamaConfig(**SMALL, num_hidden_layers=2, tie_word_embeddings=True)),
    "llama-bias": (
        LlamaForCausalLM,
        LlamaConfig(**SMALL, num_hidden_layers=2, tie_word_embeddings=False, attention_bias=True, mlp_bias=True),
    ),
    "llama-deep": (LlamaForCausalLM, LlamaConfig(**SMALL, num_hidden_layers=12, tie_word_embeddings=False)),
    "qwen3": (Qwen3ForCausalLM, Qwen3Config(**SMALL, num_hidden_layers=2, head_dim=8, tie_word_embeddings=True)),
    "phi3": (Phi3ForCausalLM, Phi3Config(**SMALL, num_hidden_layers=2, tie_word_embeddings=False)),
    "olmo2": (Olmo2ForCausalLM, Olmo2Config(**SMALL, num_hidden_layers=2, tie_word_embeddings=False)),
    "gemma3_text": (
        Gemma3ForCausalLM,
        Gemma3TextConfig(**SMALL, num_hidden_layers=2, head_dim=8, tie_word_embeddings=True),
    ),
}
QV = ["q_proj", "v_proj"]
TOKENS = {"embed_tokens": [3, 9], "lm_head": [3, 9]}
OTHER_TOKENS = {"embed_tokens": [3, 9], "lm_head": [4, 9, 1]}
# As training tools write them for models with and without a vision tower.
LONG_PATTERN = (
    r"(?:.*?(?:language|text).*?(?:self_attn|attention|attn|mlp|feed_forward|ffn|dense).*?"
    r"(?:k_proj|v_proj|q_proj|out_proj|gate_proj|up_proj|down_proj).*?)|"
    r"(?:\bmodel\.layers\.[\d]{1,}\.(?:self_attn|attention|attn|mlp|feed_forward|ffn|dense)\."
    r"(?:(?:k_proj|v_proj|q_proj|out_proj|gate_proj|up_proj|down_proj)))"
)
# (model, options of LoraConfig). r 4, alpha 8 unless given.
CASES = [
    ("qwen2", {}),
    ("llama-tied", {}),
    ("qwen3", {}),
    ("gemma3_text", {}),
    ("phi3", {}),
    ("olmo2", {}),
    *[(name, {"target_modules": "all-linear"}) for name in MODELS],
    # names
    ("qwen2", {"target_modules": ["mlp.up_proj", "o_proj"]}),
    ("qwen2", {"target_modules": ["model.layers.1.mlp.up_proj"]}),
    ("qwen2", {"target_modules": ["0.mlp.down_proj", "2.self_attn.k_proj"]}),
    ("qwen2", {"target_modules": ["q_proj", "missing"]}),
    ("qwen2", {"target_modules": ["missing"]}),
    ("qwen2", {"target_modules": ["proj"]}),
    ("qwen2", {"target_modules": ["self_attn"]}),
    ("qwen2", {"target_modules": []}),
    ("phi3", {"target_modules": ["qkv_proj", "gate_up_proj"]}),
    # patterns for the whole path
    ("qwen2", {"target_modules": r".*\.0\..*(q|k)_proj"}),
    ("qwen2", {"target_modules": r"up_proj|.*1.mlp.down_proj"}),
    ("qwen2", {"target_modules": r"\A.*(?P<n>1).*up_proj\Z"}),
    ("qwen2", {"target_modules": r"^(?!.*\.1\.).*(?:q_proj|v_proj)$"}),
    ("qwen2", {"target_modules": r"(?i).*Q_PROJ"}),
    ("qwen2", {"target_modules": r".*[]q]_proj"}),
    ("qwen2", {"target_modules": r".*layers\.\d{,1}\.mlp\.(gate|up)_proj"}),
    ("qwen2", {"target_modules": r"(?:model\.)?layers\.[12]\.self_attn\.(?:q|k|v|o)_proj"}),
    ("qwen2", {"target_modules": LONG_PATTERN}),
    ("qwen2", {"target_modules": r".*self_attn.*"}),
    ("qwen2", {"target_modules": "q_proj"}),
    ("llama-deep", {"target_modules": r".*\.(?P<d>\d)(?P=d)\.mlp.up_proj"}),
    # exclusions win
    ("qwen2", {"target_modules": "all-linear", "exclude_modules": ["down_proj", "0.self_attn.q_proj"]}),
    ("qwen2", {"target_modules": QV, "exclude_modules": r".*\.[01]\..*"}),
    ("qwen2", {"target_modules": QV, "exclude_modules": ["q_proj", "v_proj"]}),
    ("qwen2", {"target_modules": QV, "exclude_modules": ["self_attn"]}),
    # layers
    ("qwen2", {"target_modules": QV, "layers_to_transform": [0, 2]}),
    ("qwen2", {"target_modules": QV, "layers_to_transform": 1}),
    ("qwen2", {"target_modules": QV, "layers_to_transform": []}),
    ("qwen2", {"target_modules": QV, "layers_to_transform": [1], "layers_pattern": "layers"}),
    ("qwen2", {"target_modules": QV, "layers_to_transform": [1], "layers_pattern": ["h", "layers"]}),
    ("qwen2", {"target_modules": QV, "layers_to_transform": [1], "layers_pattern": "blocks"}),
    ("qwen2", {"target_modules": QV, "layers_to_transform": [7]}),
    ("qwen2", {"target_modules": QV, "layers_to_transform": [1], "exclude_modules": ["v_proj"]}),
    ("qwen2", {"target_modules": ["model.layers.0.mlp.up_proj", "q_proj"], "layers_to_transform": [1]}),
    ("qwen2", {"target_modules": "all-linear", "layers_to_transform": [1]}),
    ("qwen2", {"target_modules": QV, "layers_pattern": "layers"}),
    ("llama-deep", {"target_modules": ["q_proj"], "layers_to_transform": [1, 10]}),
    # ranks and alphas
    ("qwen2", {"target_modules": QV, "rank_pattern": {"1.*q_proj": 2}, "alpha_pattern": {"v_proj": 24}}),
    ("qwen2", {"target_modules": QV, "rank_pattern": {"q_proj": 2, "0.self_attn.q_proj": 1}}),
    ("qwen2", {"target_modules": QV, "rank_pattern": {"_proj": 2}}),
    ("qwen2", {"target_modules": QV, "rank_pattern": {r"^model\.layers\.0\.self_attn\.q_proj": 2}}),
    ("qwen2", {"target_modules": QV, "rank_pattern": {r"model\.layers\.0\.self_attn\.q_proj": 2}}),
    ("qwen2", {"target_modules": QV, "rank_pattern": {"o_proj": 2}}),
    ("qwen2", {"target_modules": QV, "use_rslora": True, "rank_pattern": {"v_proj": 9}}),
    # what is trained besides
    ("qwen2", {"target_modules": QV, "use_dora": True}),
    ("qwen2", {"target_modules": ["q_proj", "o_proj"], "bias": "all"}),
    ("qwen2", {"target_modules": ["q_proj", "o_proj"], "bias": "lora_only"}),
    ("llama-bias", {"target_modules": ["down_proj"], "bias": "lora_only"}),
    ("llama-bias", {"target_modules": ["down_proj"], "bias": "all"}),
    ("llama-tied", {"target_modules": QV, "bias": "all"}),
    *[
        (model, {"target_modules": QV, "modules_to_save": modules, "ensure_weight_tying": tying})
        for model in ("qwen2", "llama-tied")
        for modules in (["embed_tokens"], ["lm_head"], ["embed_tokens", "lm_head"], ["model.embed_tokens"])
        for tying in (False, True)
    ],
    ("qwen2", {"target_modules": QV, "modules_to_save": ["norm"]}),
    ("qwen3", {"target_modules": QV, "modules_to_save": ["norm"]}),
    ("gemma3_text", {"target_modules": QV, "modules_to_save": ["layernorm"]}),
    ("qwen2", {"target_modules": QV, "modules_to_save": ["down_proj", "1.mlp.up_proj"]}),
    ("qwen2", {"target_modules": QV, "modules_to_save": ["0.self_attn"]}),
    ("qwen2", {"target_modules": QV, "modules_to_save": ["q_proj"]}),
    ("qwen2", {"target_modules": "all-linear", "modules_to_save": ["mlp"]}),
    ("qwen2", {"target_modules": QV, "modules_to_save": ["missing"]}),
    *[
        (model, {"target_modules": QV, "trainable_token_indices": tokens, "ensure_weight_tying": tying})
        for model in ("qwen2", "llama-tied")
        for tokens in ([3, 9], {"embed_tokens": [9, 3]}, {"lm_head": [3]}, TOKENS, OTHER_TOKENS)
        for tying in (False, True)
    ],
    ("qwen2", {"target_modules": QV, "trainable_token_indices": [3], "modules_to_save": ["lm_head"]}),
    ("qwen2", {"target_modules": QV, "trainable_token_indices": [3], "modules_to_save": ["model.embed_tokens"]}),
    ("qwen2", {"target_modules": QV, "trainable_token_indices": {"missing": [3]}}),
    ("llama-tied", {"target_modules": QV, "trainable_token_indices": {"model.embed_tokens": [3]}}),
    # the embedding and the output layer as targets
    *[
        (model, {"target_modules": modules})
        for model in ("qwen2", "llama-tied")
        for modules in (["lm_head"], ["embed_tokens"], ["embed_tokens", "lm_head", "q_proj"], r"lm_head|.*q_proj")
    ],
]


def adapt(name, options):
    family, config = MODELS[name]
    # PEFT changes lists of its configuration in place.
    options = copy.deepcopy({"r": 4, "lora_alpha": 8} | options)
    with torch.device("meta"):
        return get_peft_model(family(config), LoraConfig(task_type="CAUSAL_LM", **options))


def printed(model):
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        model.print_trainable_parameters()
    return text.getvalue().strip()


def case(name, options):
    """Targets with their shapes of A and B in short: module -> [rank, scaling]; other tensors of the file -> shape."""
    row = {"model": name, "options": options}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model = adapt(name, options)
        except Exception as error:  # what kind matters less than that there is one
            return row | {"error": f"{type(error).__name__}: {str(error).splitlines()[0][:160]}"}
        state = get_peft_model_state_dict(model, save_embedding_layers=False)
    targets, extra = {}, {}
    for module in sorted(model.base_model.targeted_module_names):
        layer = model.get_submodule(f"base_model.model.{module}")
        targets[module] = [layer.r["default"], layer.scaling["default"]]
    for key, tensor in sorted(state.items()):
        if ".lora_A." not in key and ".lora_B." not in key:
            extra[key.removeprefix("base_model.model.")] = list(tensor.shape)
    saved = model.peft_config["default"].modules_to_save
    return row | {"targets": targets, "extra": extra, "modulesToSave": saved, "line": printed(model)}


def main():
    args = arguments(__doc__)
    drop = ("transformers_version", "dtype", "architectures")
    configs = {}
    for name, (family, config) in MODELS.items():
        fields = {key: value for key, value in config.to_diff_dict().items() if key not in drop}
        configs[name] = fields | {"model_type": config.model_type, "architectures": [family.__name__]}
    write_json(args.out / "lora-targets.json", {"configs": configs, "cases": [case(*row) for row in CASES]})


if __name__ == "__main__":
    main()
