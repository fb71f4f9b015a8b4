"""Token probabilities after transformers' logits processors, in the order that generate() applies them.

    python3 scripts/golden/sampling.py --tiny scripts/assets/tiny-qwen2 --out test/fixtures/golden

Needs the packages of requirements.txt (--tiny is not read). Writes OUT/sampling.{safetensors,json}: random logits
[8, 64], the ids that each row has seen (for the repetition penalty), and for every setting the probabilities that a
token is drawn from.
"""

import torch
from common import arguments, generator, write_json, write_tensors
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM
from transformers.generation.logits_process import LogitsProcessorList

ROWS, VOCAB, SEEN = 8, 64, 12
OFF = {"temperature": 1.0, "topP": 1.0, "topK": 0, "minP": 0.0, "repetitionPenalty": 1.0}
CASES = [
    {},
    {"temperature": 0.7},
    {"temperature": 1.5},
    {"temperature": 0.05},
    {"topP": 0.95},
    {"topP": 0.5},
    {"topP": 0.01},
    {"topK": 1},
    {"topK": 5},
    {"topK": 64},
    {"topK": 1000},
    {"minP": 0.05},
    {"minP": 0.5},
    {"minP": 1.0},
    {"repetitionPenalty": 1.3},
    {"repetitionPenalty": 0.8},
    {"temperature": 0.7, "topP": 0.9},
    {"temperature": 1.3, "topK": 10},
    {"temperature": 0.8, "minP": 0.1},
    {"topK": 20, "topP": 0.8},
    {"topP": 0.9, "minP": 0.1},
    {"temperature": 0.9, "topP": 0.95, "topK": 40, "minP": 0.02},
    {"temperature": 0.9, "topP": 0.95, "topK": 40, "minP": 0.02, "repetitionPenalty": 1.2},
    {"temperature": 1.2, "repetitionPenalty": 1.5, "topK": 8},
]
NAMES = {
    "temperature": "temperature",
    "topP": "top_p",
    "topK": "top_k",
    "minP": "min_p",
    "repetitionPenalty": "repetition_penalty",
}


def processors(model, settings, device="cpu"):
    """The list that generate() builds for these settings."""
    options = {NAMES[k]: v for k, v in settings.items()} | {"do_sample": True, "pad_token_id": 0}
    if settings["minP"] == 0.0:
        options["min_p"] = None
    return model._get_logits_processor(
        generation_config=GenerationConfig(**options),
        input_ids_seq_length=SEEN,
        encoder_input_ids=None,
        prefix_allowed_tokens_fn=None,
        logits_processor=LogitsProcessorList(),
        device=device,
    )


def main():
    args = arguments(__doc__)
    config = LlamaConfig(
        vocab_size=VOCAB, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1
    )
    model = LlamaForCausalLM(config)
    random = generator(7)
    logits = 3 * torch.randn(ROWS, VOCAB, generator=random)
    seen = torch.randint(0, VOCAB, (ROWS, SEEN), generator=random)
    tensors = {"logits": logits, "seen": seen.to(torch.int32)}
    cases = []
    for index, case in enumerate(CASES):
        settings = OFF | case
        chain = processors(model, settings)
        probabilities = chain(seen, logits.clone()).softmax(-1)
        tensors[f"probs.{index}"] = probabilities
        kept = (probabilities > 0).sum(-1).tolist()
        cases.append({"index": index, **settings, "order": [type(p).__name__ for p in chain], "kept": kept})
    write_tensors(args.out / "sampling.safetensors", tensors)
    write_json(args.out / "sampling.json", {"cases": cases})


if __name__ == "__main__":
    main()
