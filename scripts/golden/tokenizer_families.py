"""Small tokenizers with the structure of published families, and what Rust's tokenizers gives for varied texts.

    python3 scripts/golden/tokenizer_families.py --out FOLDER [--texts 5200] [--text FILE] [--add NAME=tokenizer.json ...] [--kept]

Writes FOLDER/texts.json.gz, FOLDER/NAME.json.gz (the tokenizer) and FOLDER/NAME.golden.json.gz for every family. The
committed files are `--texts 200` without --add; `npx tsx scripts/check-tokenizers.ts FOLDER` compares any of them. Needs
the packages of requirements.txt and sentencepiece. Two runs write the same texts; the trainers of bert, gpt, gaps and unigram
break ties at random, so the committed tokenizers are --kept when another version of tokenizers says what they give.
"""

import argparse
import gzip
import io
import json
import pathlib
import random
import unicodedata

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

PHRASES = [
    "The quick brown fox jumps over the lazy dog.",
    "I'm sure they're right, we'll see; it's 'fine', don't DON'T I'LL 'Tis y'all'd've",
    "Der Fluß überquert die Straße, daß es ÄÖÜ gäbe. ẞ GROẞ",
    "Où est l'été? Ça coûte 1 234,56 €, garçon — n'est-ce pas…",
    "¿Dónde está el niño? ¡Qué lástima! Mañana, señor.",
    "Быстрая коричневая лиса прыгает через ленивую собаку. Ёжик",
    "Ο γρήγορος σκύλος· ΟΔΥΣΣΕΥΣ σοφός Άέή",
    "العربية لغة جميلة، أليس كذلك؟ مُحَمَّد ٣٫١٤ ۱۲۳",
    "שלום עולם! מה שלומך? בְּרֵאשִׁית",
    "速い茶色の狐がのろまな犬を飛び越える。カタカナ ｶﾀｶﾅ ひらがな",
    "快速的棕色狐狸跳过懒狗。繁體中文：測試「引號」",
    "빠른 갈색 여우가 게으른 개를 뛰어넘는다. 한국어",
    "สวัสดีชาวโลก ทดสอบภาษาไทย",
    "नमस्ते दुनिया क्षि त्रि ज्ञ १२३",
    "வணக்கம் உலகம் தமிழ்",
    "Xin chào thế giới, tiếng Việt có dấu ậ ữ ờ",
    "ქართული ენა Ქართული",
    "Ђорђе, İstanbul'da ışık ığdır",
    "אבג abc ۴۵۶ mixed עם English و العربية",
    "x² + y² = z², ½ ¾ Ⅷ ① ⑳ ₂ ³",
    "$\\frac{1}{2} + \\sqrt{2} = \\boxed{84}$, \\[ \\int_0^1 x^2\\,dx \\]",
    "<think>\n2 + 2 = 4\n</think>\n<answer>4</answer>",
    "def f(x: int) -> int:\n    return x ** 2  # squared\n\n\tprint(f(10))\r\n",
    "for (let i = 0; i < n; i++) { a[i] += b?.c ?? `${d}`; }\n",
    "SELECT * FROM t WHERE a >= 10 AND b != 'x';\n\n\n",
    "#include <stdio.h>\nint main(void){printf(\"%d\\n\",0x1F);}",
    '{"key": [1, 2.5e-3, null, true], "a\\u00e9": "\\n"}',
    "https://example.com/a/b?c=d&e=f#g user@example.org",
    "1234567890 12,345,678.90 3.14159 1e-10 0xFF 007 2024-01-31 12:34:56",
    "A" * 40 + "aaaa" * 10 + "!!!!????....",
    "CamelCaseWords snake_case_words SCREAMING_CASE kebab-case-words XMLHttpRequest2",
]
EMOJI = ["😀", "👍🏽", "👩‍👩‍👧‍👦", "🇩🇪🇫🇷", "1️⃣", "❤️", "🏳️‍🌈", "☺", "©", "🧑🏿‍🚀", "〰️", "🀄", "𝒳", "𠮷", "🦊"]
SPACES = [" ", "  ", "   ", "\t", "\n", "\n\n", "\r\n", "\r", "\x0b", "\x0c", "\x85", "\u00a0", "\u2003", "\u2028",
          "\u3000", "\u200b", "\u200d", "\ufeff", "\u1680", "\u202f", " \n", "\n ", "\t\t", "        "]  # fmt: skip
COMPOSITION = ["cafe\u0301", "\u0041\u030a", "\u212b", "\u212a", "\u017f", "\ufb01", "\u1e9b\u0323", "a\u0323\u0301",
               "a\u0301\u0323", "\u1100\u1161\u11a8", "\uac01\u11a8", "\u0344", "\u0958", "q\u0307\u0323", "\u0301x",
               "o\u0328\u0304", "\u1ea5\u0323", "Ａｂｃ１", "㍿", "ﷺ", "ǆ", "ŉ", "ΰ", "\u0130", "e\u0301\u0301\u0301",
               "\u3099か\u3099", "ﾊﾞ", "\u0f71\u0f72", "z\u0334\u0335\u0336"]  # fmt: skip
MARKUP = ["<s>", "</s>", "<unk>", "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|im_", "<bos>", "<eos>", "<pad>",
          "[MASK]", "[CLS]", "[SEP]", "<0x41>", "<0x0A>", "▁", "▁▁", "▁a", "<word>", "<Left>", " <right> ", "<both>",
          "xx<word>yy", "\u0120", "Ċ", "<|begin_of_text|>", "<|eot_id|>", "Été", "été", "</w>", "##ing"]  # fmt: skip


def draw_texts(count: int) -> list[str]:
    source = random.Random(20)
    # Old characters whose category never changed: the libraries' tables are of different versions of Unicode.
    old = unicodedata.ucd_3_2_0.category
    assigned = [chr(c) for c in range(0x10000) if old(chr(c)) not in ("Cn", "Cs", "Co")]
    assigned = [char for char in assigned if old(char) == unicodedata.category(char)]
    controls = [chr(c) for c in [*range(0x20), *range(0x7F, 0xA0)]]

    def words(low: int, high: int) -> str:
        pool = source.choice(PHRASES).split(" ")
        return " ".join(source.choice(pool) for _ in range(source.randint(low, high)))

    def run(pool: list[str], low: int, high: int) -> str:
        return "".join(source.choice(pool) for _ in range(source.randint(low, high)))

    kinds = [
        lambda: words(1, 8),
        lambda: source.choice(PHRASES),
        lambda: run(SPACES, 1, 8) + words(1, 3) + run(SPACES, 0, 6),
        lambda: words(1, 3) + run(SPACES, 1, 3) + words(1, 3),
        lambda: run(EMOJI, 1, 5) + words(0, 2),
        lambda: run(list("0123456789٣۴१๓Ⅷ²½①,. -+"), 1, 20),
        lambda: run(COMPOSITION, 1, 5),
        lambda: run(assigned, 1, 12),
        lambda: run(controls + list("ab \n"), 1, 10),
        lambda: run(MARKUP, 1, 4) + words(0, 2) + run(MARKUP, 0, 2),
        lambda: words(0, 1) + run(SPACES, 0, 2) + source.choice(MARKUP) + run(SPACES, 0, 2) + words(0, 1),
        lambda: run(list("".join(PHRASES)), 1, 40),
        lambda: run(list("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~«»…—“”‘’¿¡。、（）"), 1, 12) + words(0, 1),
        lambda: run(SPACES, 1, 12),
        lambda: "".join(kinds[source.randrange(len(kinds) - 1)]() for _ in range(source.randint(2, 5))),
    ]  # fmt: skip
    fixed = ["", " ", "a", *PHRASES, *EMOJI, *COMPOSITION, *MARKUP]
    return [*fixed, *(kinds[i % len(kinds)]() for i in range(count - len(fixed)))][:count]


# ---------------------------------------------------------------------------------------------------------------------

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
CL100K = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
POSSESSIVE = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
QWEN = CL100K.replace(r"\p{N}{1,3}", r"\p{N}")
QWEN_OLD_CASE = QWEN.replace("(?i:'s|'t|'re|'ve|'m|'ll|'d)", "'(?i:[sdmt]|ll|ve|re)")
TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
O200K = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
DEEPSEEK = [
    r"\p{N}{1,3}",
    r"[一-龥぀-ゟ゠-ヿ]+",
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
    r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
]
DEEPSEEK_CODER = [r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", r"[一-龥ࠀ-一가-퟿]+"]
KIMI = r"[\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+|\p{N}{1,3}|\s+|."
BLOOM = r" ?[^(\s|[.,!?…。，、।۔،])]+"
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def special(*contents: str, **flags: bool) -> list[AddedToken]:
    return [AddedToken(content, special=True, normalized=False, **flags) for content in contents]


def split(pattern: str, behavior: str = "isolated", invert: bool = False):
    return pre_tokenizers.Split(Regex(pattern), behavior=behavior, invert=invert)


def byte_level(corpus: list[str], pre_tokenizer, *, normalizer=None, size: int = 700, **model) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(**model))
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(corpus, trainer)
    return tokenizer


def byte_level_families(corpus: list[str]) -> dict[str, Tokenizer]:
    plain = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    sequence = pre_tokenizers.Sequence
    out = {}

    gpt2 = byte_level(corpus, pre_tokenizers.ByteLevel(add_prefix_space=False))
    gpt2.post_processor = processors.ByteLevel(trim_offsets=False)
    gpt2.add_special_tokens([AddedToken("<|endoftext|>", special=True, normalized=True)])
    out["gpt2"] = gpt2

    # RoBERTa, and with a prefix space.
    roberta = byte_level(corpus, pre_tokenizers.ByteLevel(add_prefix_space=True))
    roberta.add_special_tokens(special("<s>", "<pad>", "</s>") + special("[MASK]", lstrip=True))
    ids = [("</s>", roberta.token_to_id("</s>")), ("<s>", roberta.token_to_id("<s>"))]
    roberta.post_processor = processors.RobertaProcessing(*ids, trim_offsets=True, add_prefix_space=True)
    out["roberta"] = roberta

    llama3 = byte_level(corpus, sequence([split(CL100K), plain]))
    model = json.loads(llama3.to_str())
    model["model"]["ignore_merges"] = True
    llama3 = Tokenizer.from_str(json.dumps(model))
    llama3.add_special_tokens(special("<|begin_of_text|>", "<|eot_id|>", *(f"<|reserved_{i}|>" for i in range(20))))
    bos = ("<|begin_of_text|>", llama3.token_to_id("<|begin_of_text|>"))
    template = processors.TemplateProcessing("<|begin_of_text|> $A", "<|begin_of_text|> $A <|begin_of_text|>:1 $B:1", [bos])
    llama3.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=True), template])
    out["llama3"] = llama3

    for name, pattern, trim in [("qwen", QWEN, False), ("qwen-case", QWEN_OLD_CASE, True)]:
        qwen = byte_level(corpus, sequence([split(pattern), plain]), normalizer=normalizers.NFC())
        qwen.post_processor = processors.ByteLevel(add_prefix_space=False, trim_offsets=trim, use_regex=False)
        qwen.add_special_tokens(special(*SPECIAL))
        qwen.add_tokens([AddedToken("<think>", normalized=False), AddedToken("</think>", normalized=False)])
        out[name] = qwen

    for name, pattern in [("tekken", TEKKEN), ("o200k", O200K), ("phi4", POSSESSIVE), ("kimi", KIMI), ("bloom", BLOOM)]:
        tokenizer = byte_level(corpus, sequence([split(pattern), plain]))
        tokenizer.add_special_tokens(special("<s>", "</s>", *SPECIAL))
        tokenizer.post_processor = processors.TemplateProcessing("<s> $A", "<s> $A $B", [("<s>", tokenizer.token_to_id("<s>"))])
        out[name] = tokenizer

    # Phi 1.5 and 2: CodeGen's tokenizer with runs of spaces as added tokens that are looked for after normalization.
    phi = byte_level(corpus, pre_tokenizers.ByteLevel(add_prefix_space=False))
    phi.add_special_tokens([AddedToken("<|endoftext|>", special=True, normalized=False)])
    phi.add_tokens([AddedToken(" " * n, normalized=True) for n in range(31, 1, -1)])
    phi.add_tokens([AddedToken("\t" * n, normalized=True) for n in range(9, 1, -1)])
    phi.post_processor = processors.ByteLevel(trim_offsets=True)
    out["phi"] = phi

    deepseek = byte_level(corpus, sequence([*(split(p) for p in DEEPSEEK), plain]), normalizer=normalizers.Sequence([]))
    deepseek.add_special_tokens(special("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>"))
    deepseek.add_tokens([AddedToken("<｜User｜>", normalized=False), AddedToken("<think>", normalized=False)])
    begin = ("<｜begin▁of▁sentence｜>", deepseek.token_to_id("<｜begin▁of▁sentence｜>"))
    deepseek.post_processor = processors.TemplateProcessing(f"{begin[0]} $A", f"{begin[0]} $A {begin[0]}:1 $B:1", [begin])
    out["deepseek"] = deepseek

    coder = sequence([*(split(p) for p in DEEPSEEK_CODER), pre_tokenizers.Digits(individual_digits=True), plain])
    out["deepseek-coder"] = byte_level(corpus, coder)

    digits = sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    smollm = byte_level(corpus, digits)
    smollm.add_special_tokens(special(*SPECIAL))
    out["smollm"] = smollm

    falcon = sequence([
        pre_tokenizers.Punctuation("contiguous"),
        pre_tokenizers.ByteLevel(add_prefix_space=False),
        pre_tokenizers.Digits(individual_digits=False),
        split("[0-9][0-9][0-9]"),
    ])  # fmt: skip
    out["falcon"] = byte_level(corpus, falcon)
    return out


def byte_fallback_bpe(corpus: list[str], normalizer, pre_tokenizer, names: list[str], size: int = 600) -> Tokenizer:
    """A BPE over characters, with tokens for all bytes and few characters, so that byte fallback is used much."""
    tokenizer = Tokenizer(models.BPE(unk_token=names[0], byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizer if normalizer is not None else normalizers.Sequence([])
    if pre_tokenizer is not None:
        tokenizer.pre_tokenizer = pre_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=[*names, *(f"<0x{b:02X}>" for b in range(256))], limit_alphabet=120, show_progress=False
    )
    words = [word for text in corpus for word in text.split(" ")]
    # Without a pre-tokenizer a whole text would be one word; training on words keeps merges short.
    tokenizer.train_from_iterator(words, trainer)
    state = json.loads(tokenizer.to_str())
    # Byte tokens are in the vocabulary only; as added tokens they would be found in texts.
    state["added_tokens"] = [token for token in state["added_tokens"] if token["content"] in names]
    return Tokenizer.from_str(json.dumps(state))


def sentencepiece_families(corpus: list[str]) -> dict[str, Tokenizer]:
    names = ["<unk>", "<s>", "</s>"]
    llama_decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(content=" ", left=1)]
    )
    out = {}

    def bos(tokenizer: Tokenizer, token: str = "<s>") -> Tokenizer:
        pair = f"{token}:0 $A:0 {token}:1 $B:1"
        tokenizer.post_processor = processors.TemplateProcessing(f"{token}:0 $A:0", pair, [(token, tokenizer.token_to_id(token))])
        return tokenizer

    legacy = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    llama2 = bos(byte_fallback_bpe(corpus, legacy, None, names))
    llama2.decoder = llama_decoder
    out["llama2-legacy"] = llama2

    # As older conversions have it: special tokens that are normalized, so that text after them gets a prefix of its own.
    state = json.loads(llama2.to_str())
    for token in state["added_tokens"]:
        token["normalized"] = True
    out["llama2-normalized"] = Tokenizer.from_str(json.dumps(state))

    metaspace = pre_tokenizers.Metaspace("▁", prepend_scheme="first", split=False)
    mistral = bos(byte_fallback_bpe(corpus, None, metaspace, names))
    mistral.decoder = llama_decoder
    mistral.add_special_tokens(special("[INST]", "[/INST]"))
    out["mistral"] = mistral

    phi3 = Tokenizer.from_str(llama2.to_str())
    phi3.add_special_tokens(special("<|user|>", "<|assistant|>", "<|end|>", rstrip=True))
    phi3.add_special_tokens(special("<|endoftext|>"))
    out["phi3"] = phi3

    by_space = pre_tokenizers.Split(" ", behavior="merged_with_previous")
    gemma = byte_fallback_bpe(corpus, normalizers.Replace(" ", "▁"), by_space, ["<unk>", "<pad>", "<eos>", "<bos>"])
    gemma.add_tokens([AddedToken("\n" * n, normalized=False) for n in range(2, 12)])
    gemma.add_tokens([AddedToken("▁" * n, normalized=False) for n in range(2, 12)])
    gemma.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    out["gemma"] = bos(gemma, "<bos>")

    # tinyllama-like: always prefixed, split at the mark; Metaspace on both ways.
    always = byte_fallback_bpe(corpus, None, pre_tokenizers.Metaspace("▁", prepend_scheme="always", split=True), names)
    always.decoder = decoders.Metaspace("▁", prepend_scheme="always", split=True)
    out["metaspace-always"] = always
    out.update(unigram_families())
    return out


def precompiled_charsmap(rule: str) -> bytes:
    """SentencePiece's own table, out of a model whose vocabulary does not matter."""
    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([PHRASES[0]] * 4), model_writer=model, model_type="char", vocab_size=30,
        hard_vocab_limit=False, normalization_rule_name=rule, minloglevel=2,
    )  # fmt: skip
    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(model.getvalue())
    return proto.normalizer_spec.precompiled_charsmap


def unigram_families() -> dict[str, Tokenizer]:
    out = {}
    for name, fallback in [("unigram", False), ("unigram-bytes", True)]:
        names = ["<pad>", "</s>", "<unk>", *(f"<0x{b:02X}>" for b in range(256) if fallback)]
        tokenizer = Tokenizer(models.Unigram())
        charsmap = precompiled_charsmap("nmt_nfkc")
        multiple = normalizers.Replace(Regex(" {2,}"), " ")
        tokenizer.normalizer = normalizers.Sequence(
            [normalizers.Nmt(), normalizers.NFKC(), multiple]
            if fallback
            else [normalizers.Precompiled(charsmap), normalizers.Strip(left=False, right=True), multiple]
        )
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="always", split=not fallback)
        trainer = trainers.UnigramTrainer(vocab_size=1200, special_tokens=names, unk_token="<unk>", show_progress=False)
        # Every character becomes a piece, so the phrases alone.
        tokenizer.train_from_iterator(PHRASES * 5, trainer)
        state = json.loads(tokenizer.to_str())
        state["model"]["byte_fallback"] = fallback
        if fallback:
            state["added_tokens"] = [t for t in state["added_tokens"] if not t["content"].startswith("<0x")]
        # Fewer digits are enough to tell pieces apart and keep the file small.
        state["model"]["vocab"] = [[piece, round(score, 4)] for piece, score in state["model"]["vocab"]]
        tokenizer = Tokenizer.from_str(json.dumps(state))
        tokenizer.decoder = decoders.Metaspace("▁", prepend_scheme="always")
        if fallback:
            tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace("▁", prepend_scheme="always")])
        end = ("</s>", tokenizer.token_to_id("</s>"))
        tokenizer.post_processor = processors.TemplateProcessing("$A </s>", "$A </s> $B </s>", [end])
        out[name] = tokenizer
    return out


def other_families(corpus: list[str]) -> dict[str, Tokenizer]:
    out = {}
    bert = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    bert.normalizer = normalizers.BertNormalizer(lowercase=True)
    bert.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    bert.train_from_iterator(corpus, trainers.WordPieceTrainer(vocab_size=500, limit_alphabet=200, special_tokens=names, show_progress=False))
    bert.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    bert.decoder = decoders.WordPiece()
    out["bert"] = bert

    words = sorted({w for text in corpus for w in text.split()})[:400]
    level = Tokenizer(models.WordLevel({w: i for i, w in enumerate(["<unk>", *words])}, unk_token="<unk>"))
    level.normalizer = normalizers.Sequence([normalizers.NFKD(), normalizers.StripAccents(), normalizers.Strip()])
    level.pre_tokenizer = pre_tokenizers.Whitespace()
    out["word-level"] = level

    # The original GPT: suffixes at the ends of words.
    gpt = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    gpt.normalizer = normalizers.Sequence([normalizers.NFD(), normalizers.Lowercase()])
    gpt.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    gpt.decoder = decoders.BPEDecoder(suffix="</w>")
    gpt.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=500, limit_alphabet=100, special_tokens=["<unk>"], end_of_word_suffix="</w>", show_progress=False))
    out["gpt"] = gpt

    # Characters that no token can write are dropped, and offsets move (SmolLM2 lacks some bytes).
    for name, pre in {"gaps": pre_tokenizers.WhitespaceSplit(), "gaps-bytes": pre_tokenizers.ByteLevel(add_prefix_space=False)}.items():
        gaps = Tokenizer(models.BPE())
        gaps.pre_tokenizer = pre
        gaps.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=400, limit_alphabet=80, show_progress=False))
        out[name] = gaps

    # Added tokens of every kind under a normalizer that changes them.
    added = byte_level(corpus, pre_tokenizers.ByteLevel(add_prefix_space=False), normalizer=normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()]))
    added.post_processor = processors.ByteLevel(trim_offsets=True, add_prefix_space=False)
    added.add_tokens([
        AddedToken("<word>", single_word=True, normalized=False),
        AddedToken("<Left>", lstrip=True, normalized=True),
        AddedToken("<right>", rstrip=True, normalized=False),
        AddedToken("<both>", lstrip=True, rstrip=True, normalized=False, special=True),
        AddedToken("Été", normalized=True),
        AddedToken("<PAD>", normalized=True, special=True),
        AddedToken("\n", normalized=False),
        AddedToken("im", single_word=True, normalized=True),
        AddedToken("<s>", normalized=False), AddedToken("<s", normalized=False),
    ])  # fmt: skip
    out["added-tokens"] = added

    for behavior in ["removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous"]:
        for invert in [False, True]:
            pre = pre_tokenizers.Sequence([split(r"[aeiou\s]", behavior, invert), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
            out[f"split-{behavior}{'-inverted' if invert else ''}"] = byte_level(corpus, pre, size=320)
    for name, pre in {
        "fixed-length": pre_tokenizers.FixedLength(length=3),
        "delimiter": pre_tokenizers.CharDelimiterSplit("e"),
        "punctuation": pre_tokenizers.Punctuation("merged_with_next"),
        "empty-matches": split(r"(?=[A-Z])|\b", "isolated"),
        "word-split": pre_tokenizers.WhitespaceSplit(),
    }.items():
        out[name] = byte_level(corpus, pre_tokenizers.Sequence([pre, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]), size=320)
    byte_normal = byte_level(corpus, pre_tokenizers.Whitespace(), normalizer=normalizers.ByteLevel(), size=320)
    out["byte-normalizer"] = byte_normal
    return out


def golden(tokenizer: Tokenizer, texts: list[str], sequences: int) -> dict:
    source = random.Random(7)
    encoded = tokenizer.encode_batch(texts)
    plain = tokenizer.encode_batch(texts, add_special_tokens=False)
    size = tokenizer.get_vocab_size()
    drawn = [[source.randrange(size + 3) for _ in range(source.randint(1, 24))] for _ in range(sequences)]
    ids = [e.ids for e in plain]
    return {
        "vocabSize": size,
        # Offsets count code points: start and end of each token, one after the other.
        "encoded": [{"ids": e.ids, "offsets": [x for pair in e.offsets for x in pair]} for e in encoded],
        "plain": [e.ids if e.ids != f.ids else None for e, f in zip(plain, encoded, strict=True)],
        "decoded": tokenizer.decode_batch(ids, skip_special_tokens=False),
        "skipped": tokenizer.decode_batch(ids, skip_special_tokens=True),
        "drawn": drawn,
        "drawnDecoded": tokenizer.decode_batch(drawn, skip_special_tokens=False),
        "drawnSkipped": tokenizer.decode_batch(drawn, skip_special_tokens=True),
    }


def trained_families() -> dict[str, Tokenizer]:
    corpus = draw_texts(3000)
    return {**byte_level_families(corpus), **sentencepiece_families(corpus), **other_families(corpus)}


def kept_families(folder: pathlib.Path) -> dict[str, Tokenizer]:
    files = [file for file in sorted(folder.glob("*.json.gz")) if not file.name.startswith("texts.") and ".golden." not in file.name]
    return {file.name.removesuffix(".json.gz"): Tokenizer.from_str(gzip.decompress(file.read_bytes()).decode()) for file in files}


def write(file: pathlib.Path, value: object) -> None:
    data = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    file.write_bytes(gzip.compress(data, 9, mtime=0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--texts", type=int, default=200)
    parser.add_argument("--text", type=pathlib.Path, help="a text file whose paragraphs are added to the texts")
    parser.add_argument("--add", nargs="*", default=[], metavar="NAME=tokenizer.json")
    parser.add_argument("--kept", action="store_true", help="takes the tokenizers that FOLDER has and trains none")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    texts = draw_texts(arguments.texts)
    if arguments.text:
        texts += [part for part in arguments.text.read_text().split("\n\n") if part]
    families = kept_families(arguments.out) if arguments.kept else trained_families()
    for entry in arguments.add:
        name, file = entry.split("=", 1)
        data = pathlib.Path(file).read_bytes()
        families[name] = Tokenizer.from_str((gzip.decompress(data) if file.endswith(".gz") else data).decode())
    write(arguments.out / "texts.json.gz", texts)
    for name, tokenizer in families.items():
        write(arguments.out / f"{name}.json.gz", json.loads(tokenizer.to_str()))
        write(arguments.out / f"{name}.golden.json.gz", golden(tokenizer, texts, max(20, len(texts) // 5)))


if __name__ == "__main__":
    main()
