"""What TRL's and open-r1's reward functions give for fixed texts: test/fixtures/golden/rewards.json.

    git clone https://github.com/huggingface/open-r1
    python scripts/golden/rewards.py --open-r1 open-r1/src/open_r1/rewards.py --out test/fixtures/golden
"""

import argparse
import json
import pathlib
import re
import sys
import types

from trl.rewards import (
    get_cosine_scaled_reward,
    get_repetition_penalty_reward,
    get_soft_overlong_punishment,
    think_format_reward,
)

TEXTS = [
    "",
    "<think>\nreasons\n</think>\n<answer>\n42\n</answer>",
    "<think>\nreasons\n</think>\n<answer>\n42\n</answer>\n",
    "<think>\nreasons\n</think>\n<answer>\n42\n</answer>\nand more",
    " <think>\na\n</think>\n<answer>\nb\n</answer>",
    "before\n<think>\na\n</think>\n<answer>\nb\n</answer>",
    "<think>a</think><answer>b</answer>",
    "<think>\na\n</think>\n<answer>\nb\n</answer>\n<answer>\nc\n</answer>",
    "<think>\na<think>\nb\n</think>\n</think>\n<answer>\n</answer>",
    "<think>\nplan\n</think>\n<answer>\n```python\nprint(1)\n```\n</answer>",
    "<think>\nplan\n</think>\n<answer>\n```cpp\nint x;\n```\n</answer>",
    "<think>\nplan\n</think>\n<answer>\n```python\nprint(1)\n</answer>",
    "1. First, do this.\n- then\n* that\nStep 2: Finally, done. Next, stop.",
    "2. only",
    "text 2. not at the start\n3. nor here",
    "Step ٣: and \n-dash\n-dash",
    "the cat sat on the mat the cat sat on the mat the cat sat on the mat",
    "The CAT the cat THE cat",
    "a\x1cb\x85c a\xa0b\u3000c \ufeffa b c",
    "two words",
    "I think 12. The answer is $\\boxed{12}$.",
    "The answer is $\\boxed{13}$, I am sure of it after very long and careful consideration.",
    "It is \\boxed{\\frac{24}{2}} 😀😀😀😀😀 which has five faces.",
    "It is 12.",
    "So $x = 12$ follows. " * 40,
    "\\boxed{12}" + " and so on" * 150,
]
# Tokens of the texts, as cosineScaled counts them: none, on both sides of its limit, and far beyond it.
LENGTHS = [(37 * i) % 140 for i in range(len(TEXTS))]
SOLUTIONS = ["The sum is $\\boxed{12}$.", "$\\frac{1}{2}$", "there is nothing to read here"]


def load_open_r1(path):
    source = path.read_text()
    # The code-execution rewards need services; the rest of the module does not.
    source = re.sub(r"^from \.utils[^\n(]*(\([^)]*\)|[^\n]*)\n", "", source, flags=re.MULTILINE)
    source = source.replace("from .utils.competitive_programming import patch_code as cf_patch_code\n", "")
    module = types.ModuleType("open_r1_rewards")
    module.__dict__["SubtaskResult"] = object
    sys.modules["open_r1_rewards"] = module
    exec(compile(source, str(path), "exec"), module.__dict__)
    return module


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--open-r1", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    args = parser.parse_args()
    r1 = load_open_r1(args.open_r1)
    completions = [[{"role": "assistant", "content": text}] for text in TEXTS]
    ids = [list(range(n)) for n in (0, 1, 2, 5, 79, 80, 81, 90, 100, 101)]
    ids += [[5] * 5, [1, 2, 3] * 7, [1, 1, 2], [7, 8, 7, 8, 7, 8]]
    cases = []

    def case(name, options, rewards, solution=None):
        cases.append({"name": name, "options": options, "solution": solution, "rewards": rewards})

    case("thinkFormat", None, think_format_reward(completions))
    case("answerFormat", None, r1.format_reward(completions))
    case("tagCount", None, r1.tag_count_reward(completions))
    case("reasoningSteps", None, r1.reasoning_steps_reward(completions))
    case("codeFormat", {}, r1.get_code_format_reward()(completions))
    case("codeFormat", {"language": "cpp"}, r1.get_code_format_reward("cpp")(completions))
    for size, penalty in ((3, -1.0), (1, -0.5), (2, -2.0)):
        options = {"ngramSize": size, "maxPenalty": penalty}
        case("repetitionPenalty", {**options, "unit": "words"}, r1.get_repetition_penalty_reward(size, penalty)(completions))
        case("repetitionPenalty", options, get_repetition_penalty_reward(size, penalty)(ids))
    for longest, cache in ((100, 20), (80, 0), (80, 80)):
        options = {"maxCompletionLength": longest, "softPunishCache": cache}
        case("softOverlongPunishment", options, get_soft_overlong_punishment(longest, cache)(ids))
    for solution in SOLUTIONS:
        repeated = [solution] * len(completions)
        case("lengthPenalty", None, r1.len_reward(completions, repeated), solution)
        case("openR1CosineScaled", {}, r1.get_cosine_scaled_reward()(completions, repeated), solution)
        bounds = {"minValueWrong": 0.0, "maxValueWrong": -0.5, "minValueCorrect": 0.2, "maxValueCorrect": 2.0}
        scaled = r1.get_cosine_scaled_reward(0.0, -0.5, 0.2, 2.0, 60)(completions, repeated)
        case("openR1CosineScaled", {**bounds, "maxLength": 60}, scaled, solution)
        tokens = [[1] * length for length in LENGTHS]
        scaled = get_cosine_scaled_reward(max_len=100)(completions, repeated, tokens)
        case("cosineScaled", {"maxLength": 100}, scaled, solution)
        scaled = get_cosine_scaled_reward(60, 0.0, -0.5, 0.2, 2.0)(completions, repeated, tokens)
        case("cosineScaled", {**bounds, "maxLength": 60}, scaled, solution)
    fixture = {"texts": TEXTS, "lengths": LENGTHS, "ids": ids, "cases": cases}
    (args.out / "rewards.json").write_text(json.dumps(fixture, indent=1) + "\n")


if __name__ == "__main__":
    main()
