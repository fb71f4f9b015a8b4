"""Labels accuracy cases with TRL's accuracy_reward settings, in one process and its main thread (math_verify's
timeouts are signals).

  python scripts/accuracy/label.py --in cases.jsonl --out labelled.jsonl

One JSON object a line: gold, completion and whatever else; label (1, 0 or null), goldParsed and answerParsed are
added. Lines already in --out are kept, so that a run can be stopped and resumed.
"""

import argparse
import json
import logging
import os

from latex2sympy2_extended import NormalizationConfig
from math_verify import LatexExtractionConfig, parse, verify

logging.disable(logging.CRITICAL)

ANSWER_CONFIG = [
    LatexExtractionConfig(
        normalization_config=NormalizationConfig(units=True), boxed_match_priority=0, try_extract_without_anchor=False
    )
]


def text_of(parsed):
    try:
        return str(parsed)[:300]
    except BaseException as error:
        return f"<{type(error).__name__}>"


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--in", dest="source", required=True)
    arguments.add_argument("--out", required=True)
    arguments = arguments.parse_args()
    done = sum(1 for _ in open(arguments.out)) if os.path.exists(arguments.out) else 0
    golds = {}
    with open(arguments.source) as source, open(arguments.out, "a") as out:
        for number, line in enumerate(source):
            if number < done:
                continue
            case = json.loads(line)
            gold_text = case["gold"]
            if gold_text not in golds:
                golds.clear()
                golds[gold_text] = parse(gold_text, parsing_timeout=10)
            gold = golds[gold_text]
            answer, label = [], None
            if len(gold) != 0:
                answer = parse(
                    case["completion"],
                    extraction_config=ANSWER_CONFIG,
                    extraction_mode="first_match",
                    parsing_timeout=10,
                )
                label = int(verify(gold, answer, timeout_seconds=5))
            case.update(label=label, goldParsed=text_of(gold), answerParsed=text_of(answer))
            out.write(json.dumps(case, ensure_ascii=False) + "\n")
            out.flush()


if __name__ == "__main__":
    main()
