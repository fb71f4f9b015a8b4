"""Token ids and decoded texts by Python's tokenizers, and a check of the chat-template cases against transformers.

    python3 scripts/golden/token_ids.py --out test/fixtures/tokenizers NAME=FOLDER [NAME=FOLDER ...]

The committed files come from tiny-qwen2=scripts/assets/tiny-qwen2 stories260k=test/fixtures/tokenizers/stories260k. Needs
the packages of requirements.txt. Writes OUT/golden-NAME.json and reads OUT/chat-templates.json.
"""

import argparse
import json
import pathlib
import random

from tokenizers import Tokenizer
from transformers import AutoTokenizer
from transformers.utils.chat_template_utils import render_jinja_template

# One of each kind that tells tokenizers apart; the rest of the texts is drawn from these.
TEXTS = [
    "",
    " ",
    "hello",
    " hello  world \n",
    "Hello, world! It's 3.14; don't, we'll, I'M, THEY'RE",
    "a\nb\n\nc\r\nd\t\te   ",
    "What is 12345 + 67,890.12?",
    "<think>\n2 + 2 = 4\n</think>\n<answer>4</answer>",
    "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n",
    "x<|im_end|>  y <|endoftext|>",
    "<s>hi</s> <unk></s>",
    "$\\frac{1}{2} + \\sqrt{2} = \\boxed{84}$",
    "def f(x):\n    return x**2\n\n\tprint(f(10))",
    "日本語 한국어 русский עברית ไทย क्षि",
    "😀👩‍👩‍👧‍👦🇩🇪",
    "café cafe\u0301 Å ﬁ ½ ² Ⅷ ٣",
    "\ufeffbom \u200bzero\u00a0nbsp\u3000wide\u2028line",
    "\x00\x01\x7f\u0085",
    "<0x41> <0x0A> ▁ ▁▁a",
    "A" * 100,
]


def draw_texts(seed: int, count: int) -> list[str]:
    source = random.Random(seed)
    pool = "".join(TEXTS)
    return ["".join(source.choice(pool) for _ in range(source.randint(1, 40))) for _ in range(count)]


def draw_ids(seed: int, count: int, size: int) -> list[list[int]]:
    """Sequences that no text would give, with ids past the end of the vocabulary among them."""
    source = random.Random(seed)
    return [[source.randrange(size + 3) for _ in range(source.randint(1, 24))] for _ in range(count)]


def golden(tokenizer: Tokenizer) -> dict:
    texts = TEXTS + draw_texts(seed=1, count=40)
    size = tokenizer.get_vocab_size()
    plain = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
    sequences = plain + draw_ids(seed=2, count=60, size=size)
    return {
        "vocabSize": size,
        "encoded": [
            {"text": text, "ids": tokenizer.encode(text).ids, "plain": ids} for text, ids in zip(texts, plain, strict=True)
        ],
        "decoded": [
            {
                "ids": ids,
                "text": tokenizer.decode(ids, skip_special_tokens=False),
                "skipped": tokenizer.decode(ids, skip_special_tokens=True),
            }
            for ids in sequences
        ],
    }


# Generation blocks at the start, in the middle and at the end of a text, and an empty one.
MASK_TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'assistant' %}{{ 'A: ' }}{% generation %}{{ m.content + eos_token }}"
    "{% endgeneration %}{% else %}{{ m.role + ': ' + m.content }}{% endif %}{{ '\\n' }}{% endfor %}"
)
MASK_CHATS = [
    [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "It is 4."}],
    [{"role": "assistant", "content": "Größe 😀 日本"}, {"role": "user", "content": "é"}, {"role": "assistant", "content": ""}],
    [{"role": "user", "content": "nothing of the assistant"}],
]


def masks(folder: str) -> list[dict]:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    out = []
    for messages in MASK_CHATS:
        encoded = tokenizer.apply_chat_template(
            messages, chat_template=MASK_TEMPLATE, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
        )
        out.append({"messages": messages, "ids": encoded["input_ids"], "mask": encoded["assistant_masks"]})
    return out


def check_templates(file: pathlib.Path) -> None:
    for case in json.loads(file.read_text()):
        data = dict(case["data"])
        messages = data.pop("messages")
        text = render_jinja_template([messages], chat_template=case["chat_template"], **data)[0][0]
        if text != case["target"]:
            raise SystemExit(f"{case['name']}: transformers renders\n{text}\nand the file has\n{case['target']}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", metavar="NAME=FOLDER")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    for entry in arguments.folders:
        name, folder = entry.split("=", 1)
        tokenizer = Tokenizer.from_file(str(pathlib.Path(folder) / "tokenizer.json"))
        content = {**golden(tokenizer), "maskTemplate": MASK_TEMPLATE, "masks": masks(folder)}
        lines = json.dumps(content, ensure_ascii=True)
        # One case to a line, so that a change can be read.
        lines = lines.replace('}, {"', '},\n{"').replace('": [{', '": [\n{')
        (arguments.out / f"golden-{name}.json").write_text(lines + "\n")
    check_templates(arguments.out / "chat-templates.json")


if __name__ == "__main__":
    main()
