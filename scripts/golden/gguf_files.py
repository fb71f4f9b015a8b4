"""What llama.cpp's converter writes into GGUF files: metadata, and a digest of each tensor.

    python3 scripts/golden/gguf_files.py --llama-cpp CHECKOUT --tiny FOLDER --out test/fixtures/golden

Needs the packages of requirements.txt and a checkout of llama.cpp. The converter knows published tokenizers only, so the name of
the splitting of the small ones made here, and of the bundled model's, is given to it. The models are those of models.py.
"""

import hashlib
import json
import runpy
import shutil
import sys
import tempfile
from pathlib import Path

TYPES = ["f32", "f16", "bf16", "q8_0"]
WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+"
OTHERS = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
CASES = {"family-qwen3": "qwen2", "family-llama32": "llama-bpe", "family-smollm2": "gpt-2", "llama-mha": "qwen2"}
BOS, EOS, OTHER = "<|begin|>", "<|end|>", "<tool>"


def splitting(name):
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": name == "gpt-2"}
    if name == "gpt-2":
        return byte_level
    digits = {"qwen2": r"\p{N}", "llama-bpe": r"\p{N}{1,3}"}[name]
    split = {"type": "Split", "pattern": {"Regex": f"{WORDS}|{digits}{OTHERS}"}, "behavior": "Isolated", "invert": False}
    return {"type": "Sequence", "pretokenizers": [split, byte_level]}


def tokenizer_files(name):
    """A tokenizer of 45 tokens, four of them added; of llama-bpe one that begins every text with BOS."""
    letters = [*"abcdefghijklmnopqrstuvwxyz0123456789", "Ġ", "Ċ"]
    merges = [["Ġ", "a"], ["a", "b"], ["1", "2"]]
    vocab = {token: i for i, token in enumerate([*letters, *("".join(pair) for pair in merges)])}
    added = [
        {"id": 41 + i, "content": text, "special": special, "normalized": not special, **NO_FLAGS}
        for i, (text, special) in enumerate([(BOS, True), (EOS, True), (OTHER, False), ("<|odd|>", False)])
    ]
    model = {"type": "BPE", "vocab": vocab, "merges": merges, "ignore_merges": name == "llama-bpe", **NO_EXTRAS}
    sequence = {"Sequence": {"id": "A", "type_id": 0}}
    bos = [{"SpecialToken": {"id": BOS, "type_id": 0}}] if name == "llama-bpe" else []
    special = {BOS: {"id": BOS, "ids": [41], "tokens": [BOS]}} if bos else {}
    pair = [*bos, sequence, {"Sequence": {"id": "B", "type_id": 1}}]
    template = {"type": "TemplateProcessing", "single": [*bos, sequence], "pair": pair, "special_tokens": special}
    content = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None}
    decoder = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    parts = {"pre_tokenizer": splitting(name), "post_processor": template, "decoder": decoder}
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": BOS, "eos_token": EOS, "pad_token": EOS}
    template_text = "{{ bos_token }}{{ messages[0].content }}"
    return {
        "tokenizer.json": json.dumps({**content, **parts, "model": model}),
        "tokenizer_config.json": json.dumps({**config, "chat_template": template_text}),
    }


NO_FLAGS = {"single_word": False, "lstrip": False, "rstrip": False}
NO_EXTRAS = {
    "dropout": None,
    "unk_token": None,
    "continuing_subword_prefix": None,
    "end_of_word_suffix": None,
    "fuse_unk": False,
    "byte_fallback": False,
}


def convert(checkout, folder, pre, kind):
    from conversion.base import TextModel

    TextModel.get_vocab_base_pre = lambda *_: pre
    out = folder / f"{kind}.gguf"
    converter = str(checkout / "convert_hf_to_gguf.py")
    sys.argv = [converter, str(folder), "--outtype", kind, "--outfile", str(out)]
    runpy.run_path(converter, run_name="__main__")
    return out


def content(file):
    from gguf import GGUFReader

    reader = GGUFReader(file)
    fields = {name: field.contents() for name, field in reader.fields.items()}
    left_out = ("GGUF.", "general.name", "general.size_label")
    return {
        "metadata": {name: value for name, value in sorted(fields.items()) if not name.startswith(left_out)},
        "tensors": {tensor.name: described(tensor) for tensor in sorted(reader.tensors, key=lambda one: one.name)},
    }


def described(tensor):
    """Type, shape as the file has it, and a digest; of rope_freqs, which is computed, the values."""
    computed = tensor.name == "rope_freqs.weight"
    digest = hashlib.sha256(tensor.data.tobytes()).hexdigest()[:16]
    return [tensor.tensor_type.name, tensor.shape.tolist(), tensor.data.tolist() if computed else digest]


def main():
    sys.path.insert(0, str(Path(__file__).parent))
    from common import arguments

    index = sys.argv.index("--llama-cpp")
    checkout = Path(sys.argv[index + 1])
    del sys.argv[index : index + 2]
    args = arguments(__doc__)
    sys.path[:0] = [str(checkout), str(checkout / "gguf-py")]
    result = {"tokenizers": {name: tokenizer_files(name) for name in CASES.values()}, "cases": {}}
    for case, pre in [("tiny-qwen2", "smollm"), *CASES.items()]:
        with tempfile.TemporaryDirectory() as work:
            folder = Path(work)
            source = args.tiny if case == "tiny-qwen2" else args.out / "models" / case
            shutil.copytree(source, folder, dirs_exist_ok=True)
            for name, text in result["tokenizers"].get(pre, {}).items():
                (folder / name).write_text(text)
            files = {kind: content(convert(checkout, folder, pre, kind)) for kind in TYPES}
        # The metadata differs in one number.
        metadata = {**files["f32"]["metadata"], "general.file_type": None}
        assert all({**one["metadata"], "general.file_type": None} == metadata for one in files.values())
        file_types = {kind: one["metadata"]["general.file_type"] for kind, one in files.items()}
        tensors = {kind: one["tensors"] for kind, one in files.items()}
        result["cases"][case] = {"pre": pre, "metadata": metadata, "fileTypes": file_types, "tensors": tensors}
    (args.out / "gguf.json").write_text(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
