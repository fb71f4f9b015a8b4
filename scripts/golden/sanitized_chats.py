"""Ids of conversations in which users write control tokens, by transformers' sanitize_control_tokens.

    python3 scripts/golden/sanitized_chats.py --out test/fixtures/tokenizers/sanitized-chats.json \\
        scripts/assets/tiny-qwen2 test/fixtures/tokenizers/stories260k [--count 25] [--seed 0]

For each tokenizer some tokens are added, in a tokenizer_config.json that is written down; a case is a template, messages and
variables, and the ids that come out, or null where transformers refuses. Needs the packages of requirements.txt.
"""

import argparse
import json
import pathlib
import random
import shutil
import tempfile

from transformers import PreTrainedTokenizerFast

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TEMPLATES = [
    CHATML,
    "{% for m in messages %}{{ '<s>' ~ m.role ~ ': ' ~ (m.content | trim) }}</s>{% endfor %}",
    "{% for m in messages %}<think>{{ m.content.split('</think>')[-1].strip() }}{% if m.name %} by {{ m.name }}{% endif %}\n{% endfor %}",
    "{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}{{ '<tool_' 'call>' }}{{ m.content[3:] }}{{ m.content | upper }}{% endfor %}{{ note }}",
    "{{ bos_token }}{% for m in messages %}{{ '<|' + m.role + '|>' + m.content | replace('a', '') }}{% endfor %}{# <tool_call> #}",
]
PIECES = [
    "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<s>", "</s>", "<think>", "</think>", "<tool_call>", "<|im_", "end|>", "\n", "\n\n",
    " ", "  ", "a", "Hello", "世界", "🙂", "\U000f0000", "\U000f0001", "\U000f0000<s>\U000f0001", "im_end", "<unk>",
]  # fmt: skip
ADDED = [("<think>", False), ("</think>", False), ("<tool_call>", False), ("\n\n", False), ("<|user|>", True)]


def draw_text(draw: random.Random) -> str:
    return "".join(draw.choice(PIECES) for _ in range(draw.randint(0, 8)))


def draw_chat(draw: random.Random) -> dict:
    messages = []
    for _ in range(draw.randint(1, 3)):
        message = {"role": draw.choice(["user", "assistant", "<|im_end|>"]), "content": draw_text(draw)}
        messages.append({**message, "name": draw_text(draw)} if draw.random() < 0.2 else message)
    variables = {"note": draw_text(draw)}
    if draw.random() < 0.3:
        variables["tools"] = [{"type": "function", "function": {"name": draw_text(draw), "parameters": {"<s>": draw_text(draw)}}}]
    return {"template": draw.randrange(len(TEMPLATES)), "messages": messages, "variables": variables, "prompt": draw.random() < 0.5}


def encode(tokenizer: PreTrainedTokenizerFast, chat: dict) -> list[int] | None:
    try:
        return tokenizer.apply_chat_template(
            chat["messages"],
            chat_template=TEMPLATES[chat["template"]],
            add_generation_prompt=chat["prompt"],
            sanitize_control_tokens=True,
            tokenize=True,
            return_dict=False,
            **chat["variables"],
        )
    except ValueError:
        return None


def configured(source: str, listed: list[str] | None) -> dict:
    config = json.loads((pathlib.Path(source) / "tokenizer_config.json").read_text(encoding="utf-8"))
    for key in ["added_tokens_decoder", "tokenizer_class", "chat_template"]:
        config.pop(key, None)
    flags = {"lstrip": False, "rstrip": False, "single_word": False, "normalized": False}
    config["added_tokens_decoder"] = {
        str(10000 + i): {"content": content, "special": special, **flags} for i, (content, special) in enumerate(ADDED)
    }
    return config if listed is None else {**config, "chat_control_tokens": listed}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--count", type=int, default=25)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("folders", nargs="+")
    arguments = parser.parse_args()
    draw = random.Random(arguments.seed)
    groups = []
    for source in arguments.folders:
        for listed in [None, ["<tool_call>", "\n\n"]]:
            config = configured(source, listed)
            with tempfile.TemporaryDirectory() as folder:
                shutil.copy(pathlib.Path(source) / "tokenizer.json", folder)
                (pathlib.Path(folder) / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
                tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
                chats = [draw_chat(draw) for _ in range(arguments.count)]
                cases = [{**chat, "ids": encode(tokenizer, chat)} for chat in chats]
            groups.append({"tokenizer": pathlib.Path(source).name, "config": config, "cases": cases})
    content = {"templates": TEMPLATES, "groups": groups}
    arguments.out.write_text(json.dumps(content, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
