"""Conversations with tools and environments as TRL's GRPOTrainer holds them, turn by turn, with given turns of the model.

    python3 scripts/golden/tool_loops.py --fixtures test/fixtures --out test/fixtures/agents

Writes OUT/tool-loops.json.gz. The trainer is TRL's; only _generate_single_turn hands out turns from a table, cut where the trainer's own
generation would be. Tokenizer and turns of the families are those of chat_formats.py. Two runs write the same bytes.
"""

import argparse
import datetime
import gzip
import json
import os
import pathlib
import tempfile

os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"

from datasets import Dataset  # noqa: E402
from tokenizers import Tokenizer  # noqa: E402
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM  # noqa: E402
from transformers.utils import chat_template_utils, get_json_schema  # noqa: E402
from trl import GRPOConfig, GRPOTrainer  # noqa: E402

POSITIONS = 4096
# Some templates write the day.
NOW = datetime.datetime(2025, 7, 10, 12, 0, 5)


class FrozenClock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return NOW


chat_template_utils.datetime = FrozenClock


def add(a: int, b: int):
    """Adds two numbers.

    Args:
        a: The first.
        b: The second.
    """
    return a + b


async def later(text: str):
    """Says it later.

    Args:
        text: What to say.
    """
    return text


async def fails_later(text: str):
    """Fails later.

    Args:
        text: What to say.
    """
    raise RuntimeError(f"no {text}")


def fails(text: str, twice: bool = False):
    """Fails.

    Args:
        text: What to say.
        twice: Whether to say it twice.
    """
    raise ValueError(f"it's {text}" if twice else text)


def repeat(text: str, times: int):
    """Repeats a text.

    Args:
        text: The text.
        times: How often.
    """
    return text * times


RESULTS = {
    "none": None,
    "true": True,
    "fraction": 1.5,
    "small": 1e-07,
    "object": {"a": 1, "b": [None, True, 2.5, "it's"], "c": {"d": 'say "hi"'}},
    "nested": {"1": [[], {"x": -0.5}], "y": "a\tb\\ \u00e9"},
    "empty object": {},
    "text": "line\nGrüße 世界 😀",
    "empty text": "",
}


def give(what: str):
    """Gives a value.

    Args:
        what: Which one.
    """
    return RESULTS[what]


TOOLS = [add, later, fails_later, fails, repeat, give]


class Counter:
    """Counts; a row says from where."""

    def reset(self, start=0, silent=False, **_):
        self.count = start
        return None if silent else f" It stands at {start}."

    def increase(self, by: int):
        """Counts on.

        Args:
            by: How far.
        """
        self.count += by
        return self.count

    def get_reward(self):
        return float(self.count)


class Word:
    """Keeps a word."""

    def reset(self, word="a", **_):
        self.word = word

    async def say(self):
        """Says the word."""
        return self.word


class Script:
    """Turns of the model by sample: the first for all samples in their order, each other one for the sample whose ids the prompt begins with."""

    def __init__(self, turns, limit):
        self.turns, self.limit, self.held = [list(sample) for sample in turns], limit, []

    def __call__(self, prompt_ids, *_, **__):
        rows = self.rows(prompt_ids)
        turns = [self.turns[row].pop(0)[: self.limit] for row in rows]
        for row, ids, turn in zip(rows, prompt_ids, turns, strict=True):
            self.held[row] = list(ids) + turn
        return turns, None

    def rows(self, prompt_ids):
        if not self.held:
            self.held = [None] * len(prompt_ids)
            return list(range(len(prompt_ids)))
        free, rows = list(range(len(self.held))), []
        for ids in prompt_ids:
            rows.append(next(row for row in free if self.held[row] == ids[: len(self.held[row])]))
            free.remove(rows[-1])
        return rows


def make_trainer(tok, output, tools=None, environments=None, positions=POSITIONS):
    config = Qwen2Config(
        vocab_size=len(tok), hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1,
        num_key_value_heads=1, max_position_embeddings=positions,
    )  # fmt: skip
    return GRPOTrainer(
        model=Qwen2ForCausalLM(config),
        processing_class=tok,
        reward_funcs=[length],
        tools=tools,
        environment_factory=environments,
        args=GRPOConfig(
            output_dir=output, num_generations=2, per_device_train_batch_size=2, max_completion_length=512, bf16=False, use_cpu=True,
            gradient_checkpointing=False, report_to="none", save_strategy="no", disable_tqdm=True,
        ),
        train_dataset=Dataset.from_list([{"prompt": [{"role": "user", "content": "Hi"}]}] * 4),
    )  # fmt: skip


def length(completions, **_):
    return [float(len(c)) for c in completions]


def hermes(name, arguments):
    return f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>'


def value(what):
    return hermes("give", json.dumps({"what": what}))


# Turns of two samples each; `cut` turns have no end token.
ADD = hermes("add", '{"a": 3, "b": 4}')
CASES = {
    "a call and an answer": {"turns": [[ADD, "It is 7."], ["No call."]]},
    "the first call cut before its end token": {"turns": [[ADD, "It is 7."], ["No call."]], "cut": [[0, 0], [1, 0]]},
    "calls in four turns": {"turns": [[ADD, hermes("add", '{"a": 7, "b": 1}'), value("true"), "8"], [value("none"), ADD, "7"]]},
    "a tool that raises": {"turns": [[hermes("fails", '{"text": "kaput"}'), "So."], [hermes("fails", '{"text": "over", "twice": true}'), "So."]]},
    "a coroutine that raises": {"turns": [[hermes("fails_later", '{"text": "luck"}'), "So."], ["-"]]},
    "a tool that is not there": {"turns": [[hermes("nope", '{"x": 1}'), "So."], ["-"]]},
    "arguments that are missing": {"turns": [[hermes("add", '{"a": 1}'), "So."], [hermes("add", "{}"), "So."]]},
    "arguments that are too many": {"turns": [[hermes("add", '{"a": 1, "b": 2, "c": 3}'), "So."], [hermes("add", '{"c": 3}'), "So."]]},
    "arguments that are missing, of a tool with a default": {"turns": [[hermes("fails", "{}"), "So."], ["-"]]},
    "no arguments": {"turns": [['<tool_call>\n{"name": "add"}\n</tool_call>', "So."], ["-"]]},
    "arguments typed by the schema": {"turns": [[hermes("add", '{"a": "3", "b": "4.0"}'), "7"], [hermes("repeat", '{"text": "5", "times": "2"}'), "55"]]},
    "what is no call": {"turns": [["<tool_call>\n{bad}\n</tool_call>"], ['<tool_call>\n{"arguments": {}}\n</tool_call>']]},
    "text before a call": {"turns": [["I add.\n" + ADD, "7"], ["-"]]},
    "thoughts before a call": {"turns": [["<think>\nI add.\n</think>\n\n" + ADD, "<think>\nSo\n</think>\n\n7"], ["-"]], "family": "qwen3"},
    "several calls in a turn": {"turns": [[ADD + "\n" + value("fraction") + "\n" + hermes("nope", "{}"), "7"], [ADD + "\n" + ADD, "7"]]},
    "results, 1": {"turns": [[value("none"), value("true"), value("fraction"), "."], [value("object"), value("text"), value("empty text"), "."]]},
    "results, 2": {"turns": [[value("small"), value("nested"), "."], [value("empty object"), "."]]},
    "a result that is too long": {"turns": [[hermes("repeat", '{"text": "x", "times": 500}')], [ADD, "7"]], "limit": 400},
    "a second result that is too long": {"turns": [[ADD, hermes("repeat", '{"text": "x", "times": 500}')], ["-"]], "limit": 400},
    "a result that fills the completion": {"turns": [[hermes("repeat", '{"text": "x", "times": 9}'), "never"], ["-"]], "fill": 0},
    "a result that leaves a token": {"turns": [[hermes("repeat", '{"text": "x", "times": 9}'), "More."], ["-"]], "fill": 1},
    "a result of a token too many": {"turns": [[hermes("repeat", '{"text": "x", "times": 9}'), "never"], ["-"]], "fill": -1},
    "a turn that is too long": {"turns": [[ADD, "7" * 400], ["7" * 400]], "limit": 300},
    "a call that is cut in the middle": {"turns": [[ADD, ADD], ["-"]], "fill": 20},
    "a call at the end of the completion": {"turns": [[ADD], ["-"]], "limit": "first call"},
    "two rounds at most": {"turns": [[ADD, ADD, ADD], [ADD, "7"]], "rounds": 2},
    "no rounds": {"turns": [[ADD], ["-"]], "rounds": 0},
    "a context that is too long": {"turns": [[hermes("repeat", '{"text": "x", "times": 60}')], ["-"]], "positions": 100},
}  # fmt: skip
OTHER_FAMILIES = ["qwen2.5", "qwen3-2507", "qwen3.5", "qwen3.5-nothink", "glm-4.5", "llama-3.1", "llama-3.2", "nemotron-3", "lfm2.5", "gpt-oss", "gemma-4"]


def plain(value):
    """Without what `datasets` or a parser put into a message."""
    return json.loads(json.dumps(value))


def run(trainer, tok, rows, turns, limit, rounds):
    seen = {}
    generate, rewards = trainer._generate, trainer._calculate_rewards

    def wrapped(prompts):
        prompt_ids, completion_ids, mask, completions, *rest = out = generate(prompts)
        seen.update(promptIds=prompt_ids, completionIds=completion_ids, mask=mask, completions=plain(completions), prompts=plain(prompts))
        return out

    def scored(inputs, prompts, completions, ids):
        out = rewards(inputs, prompts, completions, ids)
        seen["rewards"] = [[None if x != x else x for x in row] for row in out.tolist()]
        return out

    script = Script(turns, limit)
    trainer._generate, trainer._calculate_rewards, trainer._generate_single_turn = wrapped, scored, script
    trainer.max_completion_length, trainer.max_tool_calling_iterations = limit, 1 << 40 if rounds is None else rounds
    trainer._metrics["train"].clear()
    trainer.model.train()
    try:
        trainer._generate_and_score_completions([dict(row) for row in rows])
    finally:
        trainer._generate, trainer._calculate_rewards = generate, rewards
    seen["metrics"] = {k: v[0] for k, v in trainer._metrics["train"].items() if k.startswith(("tools/", "completions/"))}
    seen["names"] = trainer.reward_func_names
    return seen


def encode(tok, text):
    return tok(text, add_special_tokens=False)["input_ids"]


def record(trainer, tok, rows, case, positions=POSITIONS):
    cut = [tuple(c) for c in case.get("cut", [])]
    end = case.get("end", tok.eos_token)
    turns = [[encode(tok, t + ("" if (s, i) in cut else end)) for i, t in enumerate(sample)] for s, sample in enumerate(case["turns"])]
    limit = case.get("limit", 2000)
    if limit == "first call":
        limit = len(turns[0][0]) - 1
    if "fill" in case:
        # The results end so many tokens before the completion does.
        ids = run(trainer, tok, rows, turns, 2000, 1)
        limit = ids["mask"][0].index(0) + ids["mask"][0].count(0) + case["fill"]
    rounds = case.get("rounds")
    seen = run(trainer, tok, rows, turns, limit, rounds)
    return {"rows": rows, "turns": turns, "maxCompletionLength": limit, "maxToolCallingIterations": rounds, "positions": positions, **seen}


def family_cases(family):
    """A call of `add`, and an answer, as the template writes them."""
    written = {r["turn"]: r["response"] for r in family["responses"] if r.get("context", "user") == "user"}
    calls = [[written["fractions"], written["text"]], [written["one call"], written["unknown tool"], written["text"]]]
    return {"calls and an answer": {"turns": calls, "end": ""}}


def read(path):
    return json.loads(gzip.decompress(path.read_bytes()))


class Fixtures:
    def __init__(self, folder):
        self.tokenizer = Tokenizer.from_str(json.dumps(read(folder / "chat/tokenizer.json.gz")))
        self.families = read(folder / "chat/conversations.json.gz")["families"]
        self.templates = {t["name"]: t["template"] for t in read(folder / "tokenizers/chat-renderings.json.gz")["templates"]}

    def tok(self, name):
        family = self.families[name]
        marks = {"eos_token": family["ends"][0], "bos_token": "<s>", "pad_token": "<pad>", "unk_token": "<unk>"}
        tok = PreTrainedTokenizerFast(tokenizer_object=self.tokenizer, **marks)
        tok.chat_template = self.templates[family["template"]]
        return tok


def loops(fixtures, output):
    user = {"prompt": [{"role": "user", "content": "Hi there"}]}
    families = {}
    for name in ["qwen3", *OTHER_FAMILIES]:
        tok = fixtures.tok(name)
        trainer = make_trainer(tok, output, TOOLS)
        prompt = len(tok.apply_chat_template(user["prompt"], tools=TOOLS, add_generation_prompt=True)["input_ids"])
        recorded = {}
        for case_name, case in (CASES if name == "qwen3" else family_cases(fixtures.families[name])).items():
            if "positions" in case:
                positions = prompt + case["positions"]
                recorded[case_name] = record(make_trainer(tok, output, TOOLS, positions=positions), tok, [user, user], case, positions)
            else:
                recorded[case_name] = record(trainer, tok, [user, user], case)
        families[name] = {"cases": recorded}
    return families


def asked(**columns):
    return {"prompt": [{"role": "user", "content": "Count."}], **columns}


UP = hermes("increase", '{"by": 2}')
SAY = hermes("say", "{}")
ONE = [
    {"rows": [asked(start=3, silent=False)] * 2, "turns": [[UP, UP, "7"], ["none"]]},
    {"rows": [asked(start=5, silent=True)] * 2, "turns": [[UP, ADD, "7"], [UP, "7"]]},
]
TWO = [
    {"rows": [asked(environment="counter", start=1)] * 2, "turns": [[UP, SAY, "3"], ["none"]]},
    {"rows": [asked(environment="word", word="w")] * 2, "turns": [[SAY, UP, "w"], [ADD, "7"]]},
]


def environments(fixtures, output, given, cases):
    tok = fixtures.tok("qwen3")
    trainer = make_trainer(tok, output, [add], given)
    return [record(trainer, tok, case["rows"], case) for case in cases]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fixtures", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    args = parser.parse_args()
    fixtures = Fixtures(args.fixtures)
    with tempfile.TemporaryDirectory() as output:
        families = loops(fixtures, output)
        one = environments(fixtures, output, Counter, ONE)
        two = environments(fixtures, output, {"counter": Counter, "word": Word}, TWO)
    methods = {"increase": get_json_schema(Counter().increase), "say": get_json_schema(Word().say)}
    result = {
        "now": NOW.isoformat(),
        "tools": [get_json_schema(tool) for tool in TOOLS],
        "environmentTools": methods,
        "families": families,
        "environments": {"one": one, "two": two},
    }
    args.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(result, ensure_ascii=False, separators=(",", ":"))
    (args.out / "tool-loops.json.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
    print(sum(len(f["cases"]) for f in families.values()), "conversations of tools")


if __name__ == "__main__":
    main()
