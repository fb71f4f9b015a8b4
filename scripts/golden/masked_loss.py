"""TRL's loss, metrics and every LoRA gradient where some completion tokens were given and do not count.

    python3 scripts/golden/masked_loss.py --tiny scripts/assets/tiny-qwen2 --out test/fixtures/golden

Needs what loss.py needs. Writes OUT/masked-loss-<set>.{safetensors,json}: loss.py's batch, with a mask on every completion
that reaches the real GRPOTrainer as `tool_mask`, the way results of tools and a rollout function's `env_mask` do. Masked
tokens stay in the sequence: they are attended to and scored, and add nothing to loss, metrics and normalizers.
"""

import re

import torch
from common import arguments, generator
from loss import LOSSES, SEQUENCE, TRUNCATED, case, noise, write_set
from loss import check as check_gradients
from trl_case import SETS, Batch

SEED = 24
# How many stretches each completion has, in turn sampled and given, and whether the first one is sampled.
STRETCHES = [
    *[(7, True), (1, True), (2, False), (3, True)],  # four sampled; all; all but the first tokens; two sampled
    *[(1, False), (1, True), (3, True), (1, False)],  # nothing counts; all; two sampled; nothing counts
    *[(5, True), (8, False), (6, True), (2, True)],  # three; four after given tokens; three, given tokens last; the same, one
    *[(7, True), (1, True), (4, False), (3, False)],
]


def draw_mask(length, stretches, sampled, random):
    """1 for sampled and 0 for given tokens of a completion; the stretches' lengths are drawn."""
    cuts = (torch.randperm(length - 1, generator=random)[: stretches - 1] + 1).tolist()
    return [int((sum(cut <= i for cut in cuts) % 2 == 0) == sampled) for i in range(length)]


class MaskedBatch(Batch):
    """The batch of that seed with a mask; token_count is of the tokens that count."""

    def __init__(self, seed):
        super().__init__(seed)
        random = generator(seed + 1)
        shapes = zip(self.completions, STRETCHES, strict=True)
        self.masks = [draw_mask(len(ids), *stretches, random) for ids, stretches in shapes]
        self.token_count = sum(map(sum, self.masks))

    def padded(self, extra=0):
        inputs = super().padded(extra)
        width = inputs["completion_ids"].size(1)
        return inputs | {"tool_mask": torch.tensor([m + [1] * (width - len(m)) for m in self.masks])}

    def tensors(self):
        return super().tensors() | {"lossMask": torch.tensor(sum(self.masks, []), dtype=torch.uint8)}


def cases(name):
    # For the quantiles see loss.py.
    if name == "qwen2-qv":
        yield from each_loss()
        yield from combinations()
        return
    for loss in LOSSES:
        yield case(loss, old=True, slices=2, beta=0.04, temperature=0.7)
    yield case("grpo", old=True, slices=2, beta=0.04, epsilon=0.03, **SEQUENCE)
    yield case("dapo", old=True, slices=2, topEntropyQuantile=0.35, entropyCoef=0.02)


def each_loss():
    for loss in LOSSES:
        yield case(loss, old=False)
        yield case(loss, old=True, slices=4, epsilon=0.1, epsilonHigh=0.28, beta=0.04)
        yield case(loss, old=True, slices=2, beta=0.04, epsilon=0.03, **SEQUENCE)
        yield case(loss, old=True, slices=4, topEntropyQuantile=0.25, entropyCoef=0.02)
        yield case(loss, old=True, offPolicyMaskThreshold=0.02, truncated=TRUNCATED)
        # One completion a slice: in two slices nothing counts.
        yield case(loss, old=True, slices=16, beta=0.04, useBiasCorrectionKl=False)


def combinations():
    for loss in ["grpo", "dapo"]:
        yield case(loss, old=True, delta=1.1, slices=2)
        yield case(loss, old=True, delta=1.02, epsilon=0.02, truncated=TRUNCATED, slices=2, **SEQUENCE)
        yield case(loss, old=False, topEntropyQuantile=0.5, beta=0.04, temperature=0.7, **SEQUENCE)
        yield case(loss, old=True, entropyCoef=0.01, offPolicyMaskThreshold=0.0, truncated=TRUNCATED, slices=2)
    yield case("cispo", old=True, slices=2, epsilonHigh=1.1)
    yield case("luspo", old=True, slices=16, epsilon=0.03, topEntropyQuantile=0.5, entropyCoef=0.02, **SEQUENCE)
    yield case("vespo", old=True, slices=2, beta=0.04, offPolicyMaskThreshold=0.0, topEntropyQuantile=0.4)


def check(settings, metrics, gradients, rerun):
    """Whoever ignores the mask must fail, by gradients and by the entropy; ratios are clipped on both sides."""
    check_gradients(settings, metrics, gradients, rerun)
    if settings["old"] and "delta" not in settings["options"]:
        assert all(value > 0 for name, value in metrics.items() if re.search("(low|high)_mean", name)), settings["name"]
    _, unmasked, others = rerun(Batch(SEED))
    assert noise(gradients, others) > 0.1, settings["name"]
    assert abs(metrics["entropy"] - unmasked["entropy"]) > 1e-3, settings["name"]


def main():
    args = arguments(__doc__)
    for name in SETS:
        write_set(args, "masked-loss", name, MaskedBatch(SEED), cases(name), check)


if __name__ == "__main__":
    main()
