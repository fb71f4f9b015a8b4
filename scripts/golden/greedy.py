"""Greedy completions that transformers gives on tiny-qwen2 in fp32: 20 prompts of different lengths, 64 tokens.

    python3 scripts/golden/greedy.py --tiny scripts/assets/tiny-qwen2 --out test/fixtures/golden

Needs the packages of requirements.txt and the tiny-qwen2 folder. Writes OUT/greedy-tiny-qwen2.json. Every prompt is
run by itself and once more in one left-padded batch; both must agree. `margin` is the smallest gap between the best
and the second logit over all tokens of the row: how far an implementation may be off before the text changes.
attn_implementation is sdpa.
"""

import torch
from common import ATTENTION, SYSTEM_PROMPT, arguments, read_rows, write_json
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

NEW_TOKENS = 64
PLAIN = [
    "1",
    "What is",
    "Ada has 5",
    "7 + 8 =",
    "The answer is <answer>",
    "<|im_start|>user\nWhat is 3 + 4?<|im_end|>\n<|im_start|>assistant\n<think>",
]


def prompts(tokenizer, folder):
    """Seven chats with the system prompt, seven without, six pieces of text."""
    rows = read_rows(folder / "test.jsonl", 14)
    texts = []
    for i, row in enumerate(rows):
        chat = [{"role": "user", "content": row["problem"]}]
        if i % 2 == 0:
            chat = [{"role": "system", "content": SYSTEM_PROMPT}, *chat]
        texts.append(tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False))
    return texts + PLAIN


def complete(model, ids, stop):
    """Greedy ids after the prompt, and the smallest gap between the two best logits."""
    config = GenerationConfig(
        max_new_tokens=NEW_TOKENS,
        do_sample=False,
        eos_token_id=stop,
        pad_token_id=0,
        output_logits=True,
        return_dict_in_generate=True,
    )
    model.generation_config = config
    out = model.generate(torch.tensor([ids]), generation_config=config)
    best = torch.stack(out.logits)[:, 0].topk(2).values
    return out.sequences[0, len(ids) :].tolist(), (best[:, 0] - best[:, 1]).min().item()


def complete_batch(model, prompts, pad):
    width = max(map(len, prompts))
    ids = torch.tensor([[pad] * (width - len(p)) + p for p in prompts])
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
    config = GenerationConfig(max_new_tokens=NEW_TOKENS, do_sample=False, pad_token_id=pad)
    model.generation_config = config
    return model.generate(ids, attention_mask=mask, generation_config=config)[:, width:].tolist()


def main():
    args = arguments(__doc__)
    tokenizer = AutoTokenizer.from_pretrained(args.tiny)
    model = AutoModelForCausalLM.from_pretrained(args.tiny, dtype=torch.float32, attn_implementation=ATTENTION).eval()
    eos = tokenizer.eos_token_id
    rows = []
    for text in prompts(tokenizer, args.tiny):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        stopped, _ = complete(model, ids, eos)
        full, margin = complete(model, ids, None)
        assert full[: len(stopped)] == stopped and len(full) == NEW_TOKENS
        rows.append(
            {
                "prompt": text,
                "promptIds": ids,
                "completionIds": stopped,
                "completion": tokenizer.decode(stopped, skip_special_tokens=True),
                "fullIds": full,
                "margin": margin,
            }
        )
    assert complete_batch(model, [r["promptIds"] for r in rows], tokenizer.pad_token_id) == [r["fullIds"] for r in rows]
    meta = {"maxNewTokens": NEW_TOKENS, "stopIds": [eos], "dtype": "float32", "attention": ATTENTION, "rows": rows}
    write_json(args.out / "greedy-tiny-qwen2.json", meta)
    for row in rows:
        print(len(row["promptIds"]), len(row["completionIds"]), f"{row['margin']:.5f}", repr(row["completion"]))


if __name__ == "__main__":
    main()
