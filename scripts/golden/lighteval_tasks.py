"""What LightEval asks and how it grades: test/fixtures/golden/lighteval.json.

    lighteval_tasks.py --lighteval CHECKOUT --out test/fixtures/golden

CHECKOUT is a checkout of github.com/huggingface/lighteval (0.13 or its main branch); beside the packages of requirements.txt it
needs math-verify's (sympy, latex2sympy2_extended) and nltk. What a task module imports beyond that is stood in for: none of it is
called here. The rows are made up, in the columns of the data sets.

`prompts`: `task`, `row`, and the `query` of LightEval's task (of gsm8k the template of its solver with the question; the gold of
gpqa:diamond stands where this project puts it). `graded`: `task`, `row`, `completion`, `score`. `instructions`: `row`, `completion`, and
IFEval's four numbers; sentences and words in capitals, for which LightEval needs data of nltk, and languages are not among them.
"""

import argparse
import hashlib
import importlib.abc
import importlib.machinery
import random
import sys
from pathlib import Path
from unittest.mock import MagicMock

from common import write_json


# What LightEval imports for tasks and metrics that are not looked at here.
NOT_CALLED = ("sklearn", "inspect_ai", "sacrebleu", "rouge_score", "bert_score", "aenum", "colorlog", "pytablewriter", "termcolor")


class StandIns(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] not in NOT_CALLED:
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec):
        module = MagicMock(name=spec.name)
        module.__spec__ = spec
        module.__path__ = []
        return module

    def exec_module(self, module):
        pass


class AnyMetric(type):
    def __getattr__(cls, name):
        return MagicMock(name=name)


NUMBERS = ["72", "1,080", "-3.5", "5"]
GSM8K = [{"question": f"Question {i}: how many are there?", "answer": f"Some.\nMore.\n#### {n}"} for i, n in enumerate(NUMBERS)]
MATH = [
    {"problem": "Compute $\\frac{1}{4}+\\frac{1}{4}$.", "solution": "We add them, which gives $\\boxed{\\frac{1}{2}}$.", "answer": "\\frac{1}{2}"},
    {"problem": "Find the pair.", "solution": "It is $\\boxed{\\left( 3, \\frac{\\pi}{2} \\right)}$.", "answer": "\\left( 3, \\frac{\\pi}{2} \\right)"},
    {"problem": "Solve $x^2=4$.", "solution": "So $x=\\pm 2$, the larger of them is $\\boxed{2}$.", "answer": "2"},
    {"problem": "Simplify.", "solution": "We get $\\boxed{6\\sqrt{5}}$ in the end.", "answer": "6\\sqrt{5}"},
]
AIME = [{"problem": f"Find the remainder number {n}.", "answer": n} for n in ("204", "25", "033", "809")]
GPQA = [
    {
        "Question": f" Which particle number {i} is it? ",
        "Correct Answer": f"right {i}\n",
        "Incorrect Answer 1": f"wrong {i}a",
        "Incorrect Answer 2": f"wrong {i}b",
        "Incorrect Answer 3": f"wrong {i}c",
    }
    for i in range(5)
]


def right_place(row):
    """Where this project puts the right answer."""
    return hashlib.sha256(row["Question"].encode()).digest()[0] % 4


def says(gold, wrong):
    """Ways of saying an answer, and another one."""
    return [
        f"First this, then that.\nANSWER: {gold}",
        f"ANSWER: {wrong}",
        f"The answer is ${gold}$.",
        f"The answer is **{wrong}**.",
        f"Therefore, the final answer is: $\\boxed{{{gold}}}$. I hope it is correct",
        f"Therefore, the final answer is: $\\boxed{{{wrong}}}$. I hope it is correct",
        f"First {wrong}, but no: \\boxed{{{gold}}}",
        f"It costs {gold} in all",
        f"{gold}",
        f"We know that x = {wrong}, so ANSWER: x = {gold}",
        "I cannot say.",
        "",
    ]


def letters(gold, wrong):
    return [
        f"Think. Answer: {gold}",
        f"Think.\nAnswer: {wrong}",
        f"Answer: ({gold})",
        f"**Answer:** {gold}",
        f"The final answer is {gold}. I hope it is correct",
        f"The final answer to your question is: ({wrong})",
        f"{gold}",
        f"{gold}) because {wrong} is wrong",
        f"A long day, Betty and Carl said.\n**{gold}**",
        f"Either {wrong} or {gold}.",
        f"I would say {gold}, not {wrong}.",
        f"answer {wrong}\nanswer: {gold}\n",
        "None of them.",
        "nothing here",
        "",
    ]


def graded(tasks, response, metrics):
    from lighteval.tasks.requests import Doc

    found = []
    for task, rows, gold_of, ways in tasks:
        metric = metrics[task]
        for i, row in enumerate(rows):
            gold, wrong, choices, index = gold_of(row, rows[(i + 1) % len(rows)])
            for completion in ways(gold, wrong):
                asked = Doc(query="", choices=choices, gold_index=index, task_name=task)
                score = metric.compute(doc=asked, model_response=response(text=[completion]))
                found.append({"task": task, "row": row, "completion": completion, "score": int(score)})
    return found


def grade_all():
    from lighteval.metrics.dynamic_metrics import MultilingualExtractiveMatchMetric as Metric
    from lighteval.metrics.utils.extractive_match_utils import (
        ExprExtractionConfig,
        IndicesExtractionConfig,
        LatexExtractionConfig,
    )
    from lighteval.models.model_output import ModelResponse
    from lighteval.utils.language import Language

    both = [ExprExtractionConfig(), LatexExtractionConfig()]
    math = Metric(language=Language.ENGLISH, gold_extraction_target=both, pred_extraction_target=both, precision=6)
    gsm8k = Metric(
        language=Language.ENGLISH,
        fallback_mode="first_match",
        precision=5,
        gold_extraction_target=(ExprExtractionConfig(),),
        pred_extraction_target=(ExprExtractionConfig(), LatexExtractionConfig(boxed_match_priority=0)),
    )
    index = [IndicesExtractionConfig(prefix_for_extraction="NativeLetters", try_extract_without_anchor=True)]
    gpqa = Metric(language=Language.ENGLISH, gold_extraction_target=index, pred_extraction_target=index, precision=6)
    number = lambda row: row["answer"].split("####")[1].strip()
    tasks = [
        ("gsm8k", GSM8K, lambda row, other: (number(row), number(other), [number(row)], 0), says),
        ("math_500", MATH, lambda row, other: (row["answer"], other["answer"], [f"ANSWER: {row['solution']}"], 0), says),
        ("aime24", AIME, lambda row, other: (row["answer"], other["answer"], [row["answer"]], 0), says),
        (
            "gpqa:diamond",
            GPQA,
            lambda row, other: ("ABCD"[right_place(row)], "ABCD"[(right_place(row) + 1) % 4], list("ABCD"), right_place(row)),
            letters,
        ),
    ]
    return graded(tasks, ModelResponse, {"gsm8k": gsm8k, "math_500": math, "aime24": math, "gpqa:diamond": gpqa})


def prompts():
    from lighteval.tasks.tasks import aime, gpqa, gsm8k, math_500

    random.seed(0)
    asked = [("gsm8k", row, gsm8k.MATH_PROMPT_TEMPLATE.format(prompt=row["question"])) for row in GSM8K[:2]]
    asked += [("math_500", row, math_500.math_500_prompt(row).query) for row in MATH[:2]]
    asked += [("aime24", row, aime.aime_prompt(row).query) for row in AIME[:2]]
    for row in GPQA[:3]:
        gpqa.random.randint = lambda low, high, place=right_place(row): place
        asked.append(("gpqa:diamond", row, gpqa.gpqa_instruct_prompt(row).query))
    return [{"task": task, "row": row, "query": query} for task, row, query in asked]


TEXTS = [
    "My answer is yes.",
    "<<A title>>\n\n* one\n* two\n\nP.S. Write soon.",
    '{"a": [1, 2]}',
    '```json\n{"a": 1}\n```',
    '"All of it is quoted"',
    "first words here\n\nSecond, the rest [name] and [place]",
    "*bold* and **bolder** and ** ** text",
    "Section 1\nOne.\nSection 2\nTwo.",
    "one part *** another part *** third",
    "one answer\n******\nanother answer",
    "the cat, the dog and the cattle",
    "ALL IN CAPITALS",
    "nothing in capitals",
    "Repeat this. Here is more.",
    "It ends. That is all I have to say",
    "- a\n- b\n  * c",
    "Intro line\n<<Title>> x",
    "",
]
INSTRUCTIONS = [
    ("keywords:existence", {"keywords": ["cat", "dog"]}),
    ("keywords:frequency", {"keyword": "cat", "frequency": 2, "relation": "at least"}),
    ("keywords:frequency", {"keyword": "answer", "frequency": 2, "relation": "less than"}),
    ("keywords:forbidden_words", {"forbidden_words": ["cat", "title"]}),
    ("keywords:letter_frequency", {"letter": "e", "let_frequency": 3, "let_relation": "at least"}),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 3}),
    ("length_constraints:number_words", {"num_words": 5, "relation": "at least"}),
    ("length_constraints:nth_paragraph_first_word", {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "second"}),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}),
    ("detectable_format:number_bullet_lists", {"num_bullets": 3}),
    ("detectable_format:constrained_response", {}),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 3}),
    ("detectable_format:multiple_sections", {"section_spliter": "Section", "num_sections": 2}),
    ("detectable_format:json_format", {}),
    ("detectable_format:title", {}),
    ("combination:two_responses", {}),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Repeat this."}),
    ("startend:end_checker", {"end_phrase": "That is all I have to say"}),
    ("startend:quotation", {}),
    ("punctuation:no_comma", {}),
]


def instructions():
    from lighteval.models.model_output import ModelResponse
    from lighteval.tasks.requests import Doc
    from lighteval.tasks.tasks.ifeval.main import IFEvalMetrics

    found = []
    pairs = [[one] for one in INSTRUCTIONS] + [[INSTRUCTIONS[i], INSTRUCTIONS[i - 1]] for i in range(0, len(INSTRUCTIONS), 5)]
    for chosen in pairs:
        row = {"prompt": "Do it.", "instruction_id_list": [i for i, _ in chosen], "kwargs": [k for _, k in chosen]}
        for text in TEXTS:
            specific = {"instructions_id_list": row["instruction_id_list"], "kwargs": row["kwargs"]}
            doc = Doc(query=row["prompt"], choices=[""], gold_index=0, specific=specific)
            result = IFEvalMetrics().compute(doc, ModelResponse(text=[text]))
            found.append({"row": row, "completion": text, **result})
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lighteval", type=Path, required=True, help="a checkout of lighteval")
    parser.add_argument("--out", type=Path, required=True, help="folder of the fixtures")
    args = parser.parse_args()
    sys.path.insert(0, str(args.lighteval / "src"))
    sys.meta_path.append(StandIns())
    import lighteval.utils.imports as imports
    import nltk

    # It asks for an older latex2sympy2_extended; math_verify 0.9, whose rules this project has, goes with 1.11.
    imports.raise_if_package_not_available = lambda *_, **__: None
    # Its list of all metrics, of which the task modules take theirs; those looked at here are made in grade_all.
    sys.modules["lighteval.metrics.metrics"] = MagicMock(Metrics=AnyMetric("Metrics", (), {}))
    nltk.data.find = lambda *_: None  # the data of nltk is not needed here
    write_json(args.out / "lighteval.json", {"prompts": prompts(), "graded": grade_all(), "instructions": instructions()})


main()
