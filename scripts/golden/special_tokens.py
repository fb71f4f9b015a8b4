"""What transformers makes of the files that name a model's tokens, for files drawn at random.

    python3 scripts/golden/special_tokens.py --out test/fixtures/tokenizers/special-tokens.json [--count 120] [--seed 0]

A case is a small tokenizer.json with added tokens and some of tokenizer_config.json, special_tokens_map.json and
added_tokens.json; expected are the template variables, ids and texts. Left out is what transformers refuses, and what tokenizers
decides by chance: which of two tokens counts that the normalizer makes equal. Needs the packages of requirements.txt.
"""

import argparse
import json
import pathlib
import random
import tempfile

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

NAMES = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"]
OWN_NAMES = ["image_token", "eot_token", "think_token", "pad_token"]
CONTENTS = ["<s>", "</s>", "<M>", "<m>", "<tool>", "</tool>", "the", "The", " ", "  ", "\n", "<M> ", " <m>", "[P]", "é<", "🙂"]
WORDS = ["<unk>", "</s>", "the", "<tool>", " ", *"abeht<>/sMmPolT[]\n▁é🙂", "ab", "  "]
NORMALIZERS = [
    None,
    None,
    {"type": "Lowercase"},
    {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
    {"type": "Prepend", "prepend": "▁"},
    {"type": "NFD"},
]
SPLITTERS = [
    {"type": "FixedLength", "length": 1},
    {"type": "Split", "pattern": {"Regex": "the|ab|."}, "behavior": "Isolated", "invert": False},
    {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": True},
]
TEMPLATE = "".join(f"{{{{ {name} }}}}|" for name in dict.fromkeys([*NAMES, *OWN_NAMES, "additional_special_tokens"]))


class Draw:
    def __init__(self, seed: int):
        self.random = random.Random(seed)

    def chance(self, share: float) -> bool:
        return self.random.random() < share

    def content(self) -> str:
        return self.random.choice(CONTENTS)

    def flags(self, names: list[str], share: float = 0.35) -> dict:
        return {name: self.chance(share) for name in names if self.chance(0.8)}

    def token(self, typed: bool) -> dict:
        flags = self.flags(["lstrip", "rstrip", "normalized", "single_word", "special"])
        return {**({"__type": "AddedToken"} if typed else {}), "content": self.content(), **flags}

    def value(self, typed: bool):
        return self.content() if self.chance(0.6) else self.token(typed)

    def some(self, most: int) -> range:
        return range(self.random.randint(0, most))


def draw_tokenizer(draw: Draw) -> dict:
    size = draw.random.randint(8, len(WORDS))
    vocabulary = {word: i for i, word in enumerate(["<unk>", *draw.random.sample(WORDS[1:], size - 1)])}
    flags = ["single_word", "lstrip", "rstrip", "normalized", "special"]
    added = [
        {"id": draw.random.randint(0, 40), "content": draw.content(), **{flag: draw.chance(0.35) for flag in flags}}
        for _ in draw.some(6)
    ]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": draw.random.choice(NORMALIZERS),
        "pre_tokenizer": draw.random.choice(SPLITTERS),
        "post_processor": None,
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "<unk>"},
    }


def draw_names(draw: Draw, typed: bool, share: float) -> dict:
    return {name: None if draw.chance(0.1) else draw.value(typed) for name in NAMES if draw.chance(share)}


def draw_config(draw: Draw) -> dict:
    config = {"chat_template": TEMPLATE, **draw_names(draw, True, 0.3)}
    if draw.chance(0.3):
        config["added_tokens_decoder"] = {str(draw.random.randint(0, 40)): draw.token(False) for _ in draw.some(5)}
    if draw.chance(0.4):
        config["additional_special_tokens"] = [draw.value(True) for _ in draw.some(3)]
    if draw.chance(0.5):
        listed = {name: draw.value(True) for name in OWN_NAMES if draw.chance(0.4)}
        config["extra_special_tokens"] = listed if draw.chance(0.6) else [draw.value(True) for _ in draw.some(3)]
    if draw.chance(0.3):
        config["model_specific_special_tokens"] = {name: draw.value(True) for name in OWN_NAMES[:3] if draw.chance(0.5)}
    for name in OWN_NAMES[:3]:
        if draw.chance(0.2):
            config[name] = draw.value(True)
    if draw.chance(0.1):
        config["split_special_tokens"] = True
    return config


def draw_map(draw: Draw) -> dict:
    named = draw_names(draw, False, 0.3)
    if draw.chance(0.3):
        named["additional_special_tokens"] = [draw.content() for _ in draw.some(3)]
    if draw.chance(0.3):
        named["extra_special_tokens"] = [draw.value(False) for _ in draw.some(3)]
    if draw.chance(0.2):
        named["image_token"] = draw.value(False)
    return named


def draw_files(draw: Draw) -> dict:
    files = {"tokenizer.json": draw_tokenizer(draw)}
    if draw.chance(0.9):
        files["tokenizer_config.json"] = draw_config(draw)
    if draw.chance(0.5):
        files["special_tokens_map.json"] = draw_map(draw)
    if draw.chance(0.4):
        files["added_tokens.json"] = {draw.content(): draw.random.randint(0, 40) for _ in draw.some(4)}
    return files


def draw_texts(draw: Draw, count: int) -> list[str]:
    pieces = [*CONTENTS, " ", "  ", "a", "b", "the", "T"]
    return ["".join(draw.random.choice(pieces) for _ in range(draw.random.randint(1, 10))) for _ in range(count)]


def decided_by_chance(tokenizer: Tokenizer) -> bool:
    normalized = [token.content for token in tokenizer.get_added_tokens_decoder().values() if token.normalized]
    normalizer = tokenizer.normalizer
    forms = [normalizer.normalize_str(content) if normalizer else content for content in normalized]
    return len(set(forms)) < len(forms)


def expect(files: dict, texts: list[str]) -> dict | None:
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            (pathlib.Path(folder) / name).write_text(json.dumps(content), encoding="utf-8")
        try:
            tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
            if decided_by_chance(tokenizer.backend_tokenizer):
                return None
            ids = [tokenizer.encode(text, add_special_tokens=False) for text in texts]
            split = [tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True) for text in texts]
            chat = [{"role": "user", "content": "x"}]
            return {
                "variables": tokenizer.apply_chat_template(chat, tokenize=False, chat_template=TEMPLATE),
                "ids": ids,
                "split": split,
                "texts": [tokenizer.decode(one) for one in ids],
                "skipped": [tokenizer.decode(one, skip_special_tokens=True) for one in ids],
            }
        # A panic of the Rust library is no Exception.
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--count", type=int, default=120)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    cases = []
    seed = arguments.seed
    while len(cases) < arguments.count:
        draw = Draw(seed)
        files, texts = draw_files(draw), draw_texts(draw, 5)
        expected = expect(files, texts)
        if expected is not None:
            cases.append({"seed": seed, "files": files, "inputs": texts, "expected": expected})
        seed += 1
    lines = ",\n".join(json.dumps(case, ensure_ascii=False, separators=(",", ":")) for case in cases)
    arguments.out.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
