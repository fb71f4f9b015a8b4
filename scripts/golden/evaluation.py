"""An evaluation's numbers, from the same completions, by NumPy and SciPy: test/fixtures/golden/evaluation.json.

    evaluation.py --out test/fixtures/golden

Needs scipy beside the packages of requirements.txt. `runs`: cases of `name`, `doSample`, `seed`, `groups` (lines of completions.jsonl,
a list for each problem, but for what plays no part here) and `metrics`: value, low and high. `differences`: `before` and `after` (names of
runs), `metrics`: before, after, the difference with its interval, p, exact, better, worse. Nothing here is taken from this project's code:
pass@k is by binomial coefficients, the majority by counting, McNemar by scipy.stats.binomtest, the exact sign-flip test by enumeration
or by scipy.stats.permutation_test, its distribution by polynomials of fractions.
"""

import argparse
import itertools
import math
from collections import Counter
from fractions import Fraction
from pathlib import Path

import numpy as np
from common import write_json
from scipy import stats

RESAMPLES = 2000
FLIPS = 10_000


def line(problem, sample, score, vote, **rest):
    return {
        "problem": problem,
        "sample": sample,
        "score": score,
        "vote": vote,
        "format": rest.get("format", True),
        "finish_reason": rest.get("finish_reason", "eos"),
        "tokens": rest.get("tokens", 10),
        **({"scores": rest["scores"]} if "scores" in rest else {}),
    }


def make(seed, problems, count, solved, read_answers=True, real=False, abstains=()):
    """Completions of a model that solves problem i with probability solved[i]."""
    rng = np.random.default_rng(seed)
    groups = []
    for i in range(problems):
        lines = []
        answers = []
        for j in range(count):
            right = rng.random() < solved[i]
            answer = "right" if right else rng.choice(["wrong", "odd", None], p=[0.6, 0.2, 0.2])
            answers.append(answer)
            vote = None if answer is None else answers.index(answer)
            score = round(float(rng.normal(0.4, 0.3)), 4) if real else int(right)
            lines.append(
                line(
                    i,
                    j,
                    None if (i, j) in abstains else score,
                    vote,
                    format=bool(answer is not None),
                    finish_reason="length" if rng.random() < 0.2 else "eos",
                    tokens=int(rng.integers(5, 60)),
                )
            )
            if not read_answers:
                del lines[-1]["vote"], lines[-1]["format"]
        groups.append(lines)
    return groups


def pass_at_k(n, c, k):
    return 1 - math.comb(n - c, k) / math.comb(n, k)


def majority_score(lines):
    votes = [entry["vote"] for entry in lines if entry["vote"] is not None]
    if not votes:
        return 0
    counts = Counter(votes)
    most = max(counts.values())
    return lines[min(vote for vote in counts if counts[vote] == most)]["score"]


def columns(groups, do_sample):
    count = len(groups[0])
    scores = [[entry["score"] for entry in lines] for lines in groups]
    known = [None not in row for row in scores]
    of = lambda f: np.array([f(lines) if ok else np.nan for lines, ok in zip(groups, known)], dtype=float)
    mean = of(lambda lines: np.mean([entry["score"] for entry in lines]))
    result = {}
    if not do_sample:
        result["score"] = mean
    else:
        result[f"avg@{count}"] = mean
        ks = sorted({2**i for i in range(20) if 2**i <= count} | {count})
        for k in ks:
            result[f"pass@{k}"] = of(lambda lines: pass_at_k(count, sum(e["score"] >= 1 for e in lines), k))
        if "vote" in groups[0][0]:
            result[f"maj@{count}"] = of(majority_score)
    if "format" in groups[0][0]:
        result["format"] = np.array([np.mean([e["format"] for e in lines]) for lines in groups])
    result["truncated"] = np.array([np.mean([e["finish_reason"] == "length" for e in lines]) for lines in groups])
    result["tokens"] = np.array([np.mean([e["tokens"] for e in lines]) for lines in groups])
    return result


def intervals(values, seed):
    """The given resampling: default_rng(seed).integers(0, n, (RESAMPLES, n))."""
    n = len(next(iter(values.values())))
    drawn = np.random.default_rng(seed).integers(0, n, size=(RESAMPLES, n))
    found = {}
    for name, column in values.items():
        means = np.nanmean(column[drawn], axis=1)
        low, high = np.quantile(means, [0.025, 0.975])
        found[name] = {"value": float(np.nanmean(column)), "low": float(low), "high": float(high)}
    return found


def exact_p(changes):
    """The share of sign flips whose sum is as far from 0, exactly: a product of (x^d + x^-d) / 2 over the differences."""
    changed = [Fraction(float(d)).limit_denominator(10_000) for d in changes if d != 0]
    if not changed:
        return 1.0
    sums = {Fraction(0): Fraction(1)}
    for d in changed:
        following = {}
        for total, chance in sums.items():
            for signed in (total + d, total - d):
                following[signed] = following.get(signed, Fraction(0)) + chance / 2
        sums = following
    seen = abs(sum(changed))
    return float(sum(chance for total, chance in sums.items() if abs(total) >= seen))


def check(changes, p):
    """Other ways to the same p, where there are any."""
    changed = changes[changes != 0]
    if set(np.abs(changed)) == {1.0}:
        ups = int((changed > 0).sum())
        assert abs(stats.binomtest(ups, len(changed), 0.5).pvalue - p) < 1e-12
    if 2 <= len(changed) <= 12:
        all_flips = np.array(list(itertools.product([1, -1], repeat=len(changed)))) @ changed
        assert abs(np.mean(np.abs(all_flips) >= abs(changed.sum()) - 1e-9) - p) < 1e-12
        test = stats.permutation_test(
            (changed, np.zeros(len(changed))), lambda a, b: np.sum(a - b), permutation_type="samples", n_resamples=np.inf
        )
        assert abs(test.pvalue - p) < 1e-9, (test.pvalue, p)


def drawn_p(changes, seed):
    """Differences on no grid: flips by default_rng(seed).random() < 0.5, the one that was seen among them."""
    changed = changes[changes != 0]
    signs = np.where(np.random.default_rng(seed).random((FLIPS, len(changed))) < 0.5, -1.0, 1.0)
    far = np.sum(np.abs(signs @ changed) >= abs(changed.sum()) * (1 - 1e-12))
    return float((1 + far) / (1 + FLIPS))


def differences(before, after, seed, on_grid):
    found = {}
    changes = {name: after[name] - before[name] for name in before if name in after}
    estimates = intervals(changes, seed)
    for name, change in changes.items():
        known = change[~np.isnan(change)]
        exact = on_grid(name)
        p = exact_p(known) if exact else drawn_p(known, seed)
        if exact:
            check(known, p)
        kept = ~np.isnan(change)
        found[name] = {
            "before": float(before[name][kept].mean()),
            "after": float(after[name][kept].mean()),
            "difference": estimates[name],
            "p": p,
            "exact": exact,
            "better": int((known > 0).sum()),
            "worse": int((known < 0).sum()),
        }
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the fixtures")
    args = parser.parse_args()
    easy = np.linspace(0.1, 0.9, 40)
    better = np.clip(easy + 0.25, 0, 1)
    made = {
        "greedy before": (make(1, 40, 1, easy), False),
        "greedy after": (make(2, 40, 1, better), False),
        "sampled before": (make(3, 10, 8, easy[::4]), True),
        "sampled after": (make(4, 10, 8, better[::4]), True),
        "six samples": (make(5, 12, 6, easy[::4][:6].repeat(2)), True),
        "abstaining": (make(6, 12, 4, easy[::4][:6].repeat(2), abstains={(3, 1), (7, 0)}), True),
        "rewards before": (make(7, 15, 4, easy[:15], read_answers=False, real=True), True),
        "rewards after": (make(8, 15, 4, easy[:15], read_answers=False, real=True), True),
    }
    values = {name: columns(groups, sampled) for name, (groups, sampled) in made.items()}
    runs = [
        {"name": name, "doSample": sampled, "seed": 5, "groups": groups, "metrics": intervals(values[name], 5)}
        for name, (groups, sampled) in made.items()
    ]
    pairs = [
        ("greedy before", "greedy after", lambda name: True),
        ("sampled before", "sampled after", lambda name: True),
        ("rewards before", "rewards after", lambda name: name != "avg@4"),
    ]
    compared = [
        {"before": a, "after": b, "seed": 5, "metrics": differences(values[a], values[b], 5, on_grid)} for a, b, on_grid in pairs
    ]
    write_json(args.out / "evaluation.json", {"runs": runs, "differences": compared})


main()
