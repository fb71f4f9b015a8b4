"""What open-r1's rewards for programs give for fixed completions: test/fixtures/golden/code-rewards.json.

    git clone https://github.com/huggingface/open-r1
    python scripts/golden/code_rewards.py --open-r1 open-r1/src --out test/fixtures/golden

Its scripts for E2B run in this process. Piston is a stub: the input of a test is, as JSON, what Piston answers to it.
"""

import argparse
import ast
import json
import pathlib
import sys
import textwrap
import types

FENCE = "```"


def block(code, language="python"):
    return f"<think>\nplan\n</think>\n<answer>\n{FENCE}{language}\n{code}\n{FENCE}\n</answer>"


EXTRACTED = [
    "",
    "no block",
    block("print(1)"),
    block("print(1)") + block("print(2)"),
    block("int x;", "cpp"),
    block("print(1)") + block("int x;", "cpp"),
    f"{FENCE}python print(1){FENCE}",
    f"{FENCE}python\nnever ends",
    f"{FENCE}python\n{FENCE}",
    f"{FENCE}python3\nprint(3)\n{FENCE}",
    f"{FENCE}python\r\nprint(1)\r\n{FENCE}",
    f"{FENCE}python\nfirst\n{FENCE}python\nsecond\n{FENCE}",
]

INCLUDED = [
    "",
    "int main() {}",
    '#include "plants.h"\nint f();',
    "std::vector<int> v;",
    "using namespace std;\nint x;",
    '#include "other.h"\nstd::string s;',
]

PATCHED = [
    "",
    "print(1)",
    "import sys\nprint(sys.argv)",
    "from collections import Mapping, Counter\nfrom collections import MutableSequence\nprint(1)",
    "from collections import Counter",
    "import imp\nimp.x()",
    "import asyncio\nasyncio.async(f())",
    "inspect.getargspec(f); array.array('c', b)",
    "x = 1 + \\\n\n\n2",
    "import os\nif os.getlogin() == 'me' or getlogin(): pass",
    "import fractions\nprint(fractions.gcd(4, 6))",
    "import fractions, math\nimport math\nprint(fractions.gcd(4, 6))",
    "from fractions import gcd\nprint(gcd(4, 6))",
    "from fractions import gcd, Fraction\nprint(gcd(4, 6))",
    "from fractions import Fraction, gcd\nprint(gcd(4, 6))",
    "from fractions import (Fraction, gcd)  # both\nprint(gcd(4, 6))",
    "from math import gcd\nprint(gcd(4, 6))",
    "n = int(input())\nfrom math import sqrt\nprint(n)\n",
    "import sys\nsys.set_int_max_str_digits(9)",
    "a\x0bb\x0cc\u2028d\r\ne\x85f",
    "ends \\\\",
    "\n\n",
]

PROGRAMS = [
    "print(sum(map(int, input().split())))",
    "print(3)",
    "print(3)\nraise SystemExit(1)",
    "print('3  \\n', end='')",
    "print()\nprint(3)",
    "import sys\nsys.stdout.write('3\\r\\n')",
    "import sys\nsys.stdout.buffer.write(b'\\xff')",
    "this is no program",
    "a, b = map(int, input().split())\nprint(a + b)\nprint('and more')",
    "",
    "print('\\ufeff3')",
    "print('\\x1c3\\x85')",
    "import sys\nprint(len(sys.stdin.read().encode()))",
    "import time\nif input() != '1 2': time.sleep(9)\nprint(3)",
]
CASES = [
    [{"input": "1 2\n", "output": "3\n"}, {"input": "20 22", "output": "42"}],
    [{"input": "1 2\n", "output": " 3"}, {"input": "1 2", "output": ""}, {"input": "1 2", "output": "3\nand more\n"}],
    [{"input": "\u00e9 \U0001f600\n", "output": "8\n\n"}],
]


def answer(stdout="", code=0, stderr="", signal=None, compile_code=None):
    result = {"language": "x", "version": "1", "run": {"stdout": stdout, "stderr": stderr, "code": code, "signal": signal}}
    if compile_code is not None:
        result["compile"] = {"stdout": "", "stderr": "no", "code": compile_code, "signal": None}
    return json.dumps(result)


IOI_TESTS = {
    "full": answer("1.0\n", stderr="Output is correct"),
    "one": answer("1"),
    "part": answer("0.335"),
    "tie": answer("0.125"),
    "low": answer("0.015\n"),
    "none": answer("0", stderr="Output isn't correct"),
    "memory": answer("", 1, "MemoryError"),
    "killed": answer("", None, signal="SIGKILL"),
    "silent": answer("", 0),
    "uncompiled": answer("", compile_code=1),
    "compiled": answer("1", compile_code=0),
}
IOI_SUBTASKS = [
    (["full"], 1, 2),
    (["full", "one", "compiled"], 2, 2),
    (["part", "full"], 1, 2),
    (["tie", "full"], 3, 2),
    (["low", "one"], 1, 2),
    (["tie"], 1, 0),
    (["full", "none", "one"], 1, 2),
    (["full", "none", "one", "part"], 2, 2),
    (["memory", "full"], 1, 2),
    (["killed"], 1, 2),
    (["silent"], 1, 2),
    (["uncompiled", "full"], 2, 2),
    ([], 1, 2),
]

CF_TESTS = {
    "pass": answer("1\n", compile_code=0),
    "fail": answer("0\n", compile_code=0),
    "crash": answer("0\n", 139, compile_code=0),
    "odd": answer("1\n", 1, compile_code=0),
    "uncompiled": answer("", compile_code=1),
}
CF_PROBLEMS = [
    ["pass"],
    ["pass", "pass", "pass"],
    ["pass", "fail", "pass"],
    ["fail", "pass", "uncompiled"],
    ["pass", "uncompiled"],
    ["crash", "odd", "pass"],
    [],
]


def load_open_r1(source):
    """The package without what it imports for other purposes."""
    for name, path in (("open_r1", source / "open_r1"), ("open_r1.utils", source / "open_r1" / "utils")):
        module = types.ModuleType(name)
        module.__path__ = [str(path)]
        sys.modules[name] = module
    sys.modules["open_r1.utils"].is_e2b_available = lambda: False
    sys.modules["open_r1.utils"].is_morph_available = lambda: False
    morph = types.ModuleType("morph_client")
    morph.get_morph_client_from_env = None
    sys.modules["open_r1.utils.competitive_programming.morph_client"] = morph
    async_lru = types.ModuleType("async_lru")
    async_lru.alru_cache = lambda maxsize: lambda function: function
    sys.modules["async_lru"] = async_lru
    import open_r1.rewards as rewards
    import open_r1.utils.competitive_programming.cf_scoring as cf_scoring
    import open_r1.utils.competitive_programming.code_patcher as code_patcher

    async def no_generated_tests(problem_id):
        return []

    cf_scoring.get_generated_tests = no_generated_tests
    return rewards, code_patcher


class InProcess:
    """What an E2B sandbox does: runs a cell, and takes the value of its last expression."""

    def execute_scripts(self, scripts, languages):
        return [self.execute(script) for script in scripts]

    def execute(self, script):
        tree = ast.parse(textwrap.dedent(script))
        last = ast.Expression(tree.body.pop().value)
        names = {}
        try:
            exec(compile(tree, "cell", "exec"), names)
            return float(repr(eval(compile(last, "cell", "eval"), names)))
        except Exception:
            return 0.0


class Piston:
    def __init__(self):
        self.requests = []

    async def send_execute(self, data, language="cms_ioi"):
        self.requests.append({**data, "language": language, "version": "*"})
        content = next(file["content"] for file in data["files"] if file["name"] == "input.txt")
        return json.loads(content)


def said(texts):
    return [[{"role": "assistant", "content": text}] for text in texts]


def grader_cases(rewards):
    rewards.get_provider = lambda **kwargs: InProcess()
    cases = []
    for tests in CASES:
        texts = [block(code) for code in PROGRAMS[: 14 if tests is CASES[0] else 13]]
        info = {"language": "python", "test_cases": tests}
        batch = {"completions": said(texts), "verification_info": [info] * len(texts)}
        given = rewards.code_reward(**batch)
        binary = rewards.binary_code_reward(**batch)
        cases.append({"texts": texts, "verification_info": info, "code": given, "binary": binary})
    return cases


def ioi_cases(rewards):
    cases = []
    for names, batch_size, precision in IOI_SUBTASKS:
        piston = Piston()
        rewards.get_piston_client_from_env = lambda: piston
        row = {
            **{"id": "Plants", "year": 2020, "subtask": "1", "score": 10, "score_precision": precision},
            **{"test_names": names, "time_limit": 1.5, "memory_limit": 268435456},
            "grader_files": [["graders/grader.cpp", "int main();"], ["checker/checker.cpp", None], ["empty", ""]],
            "test_cases": [[IOI_TESTS[name], "" if name == "one" else "expected"] for name in names],
        }
        texts = [block("int f();", "cpp"), "no program"]
        columns = {key: [value] * len(texts) for key, value in row.items()}
        given = rewards.ioi_code_reward(said(texts), test_batch_size=batch_size, **columns)
        cases.append({"row": row, "batch_size": batch_size, "texts": texts, "rewards": given, "requests": piston.requests})
    return cases


def cf_cases(rewards):
    cases = []
    for names in CF_PROBLEMS:
        for mode, batch_size in (("pass_fail", 1), ("pass_fail", -1), ("partial", 2), ("weighted_sum", 1), ("weighted_sum", -1)):
            piston = Piston()
            rewards.get_piston_client_from_env = lambda: piston
            row = {
                **{"id": "852/A", "time_limit": 2, "memory_limit": 256, "input_mode": "stdio"},
                "generated_checker": "print(1)" if len(names) == 1 else None,
                "official_tests": [{"input": CF_TESTS[name], "output": "expected"} for name in names],
            }
            texts = [block("int x;", "cpp"), block("print(1)"), block("print(1)"), "no program", block("fn main() {}", "rust")]
            columns = {key: [value] * len(texts) for key, value in row.items()}
            columns["language"] = ["cpp", "python", "cpp", "python", "rust"]
            given = rewards.cf_code_reward(said(texts), test_batch_size=batch_size, scoring_mode=mode, **columns)
            case = {"row": row, "languages": columns["language"], "mode": mode, "batch_size": batch_size}
            cases.append({**case, "texts": texts, "rewards": given, "requests": len(piston.requests), "first": piston.requests[:1]})
    return cases


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--open-r1", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    args = parser.parse_args()
    rewards, code_patcher = load_open_r1(args.open_r1.resolve())
    languages = ["python", "cpp", None]
    fixture = {
        "extracted": [[text, language or "", rewards.extract_code(text, language)] for text in EXTRACTED for language in languages],
        "included": [[code, rewards.add_includes(code, "plants")] for code in INCLUDED],
        "patched": [[code, "python", code_patcher.patch_code(code, "python")] for code in PATCHED]
        + [[code, "cpp", code_patcher.patch_code(code, "cpp")] for code in INCLUDED],
        "graded": grader_cases(rewards),
        "ioi": ioi_cases(rewards),
        "codeforces": cf_cases(rewards),
    }
    (args.out / "code-rewards.json").write_text(json.dumps(fixture, indent=1) + "\n")


if __name__ == "__main__":
    main()
