"""TRL's loss, metrics and every LoRA gradient where single tokens have advantages of their own.

    python3 scripts/golden/token_advantages.py --tiny scripts/assets/tiny-qwen2 --out test/fixtures/golden

Needs what loss.py needs. Writes OUT/token-advantages-qwen2-qv.{safetensors,json}: masked_loss.py's batch with advantages of shape
(B, T), which TRL's `_compute_loss` takes "to support subclasses". Where a ratio is one for a completion, TRL broadcasts it.
"""

import torch
from common import arguments, generator
from loss import LOSSES, SEQUENCE, TRUNCATED, case, noise, write_set
from loss import check as check_gradients
from masked_loss import SEED, MaskedBatch

# Of each completion: turns of one advantage each, tokens of one each, the completion's own, or none.
KINDS = ["turns", "tokens", "turns", "completion", "tokens", "turns", "turns", "none"] * 2


def draw(kind, advantage, length, random):
    if kind == "none":
        return torch.zeros(length)
    if kind == "completion":
        return advantage.expand(length)
    values = torch.randn(length, generator=random)
    if kind == "turns":
        values = values[torch.arange(length) // 3]
        values[length // 2 :][:2] = 0
    return values


class TokenBatch(MaskedBatch):
    """That batch with an advantage for each token; `advantages` stay in the fixture for whoever ignores the others."""

    def __init__(self, seed):
        super().__init__(seed)
        random = generator(seed + 2)
        rows = zip(KINDS, self.advantages, self.completions, strict=True)
        self.token_advantages = [draw(kind, advantage, len(ids), random) for kind, advantage, ids in rows]

    def padded(self, extra=0):
        return super().padded(extra) | {"advantages": self.pad_tokens(torch.cat(self.token_advantages), extra)}

    def tensors(self):
        return super().tensors() | {"tokenAdvantages": torch.cat(self.token_advantages)}


def cases():
    for loss in LOSSES:
        yield case(loss, old=False, slices=2)
        yield case(loss, old=True, slices=4, epsilon=0.1, epsilonHigh=0.28, beta=0.04, temperature=0.7)
        yield case(loss, old=True, slices=2, epsilon=0.03, **SEQUENCE)
        yield case(loss, old=True, offPolicyMaskThreshold=0.02, truncated=TRUNCATED)
    for loss in ["grpo", "dapo", "luspo"]:
        yield case(loss, old=True, slices=2, delta=1.1, topEntropyQuantile=0.35, entropyCoef=0.02)
        yield case(loss, old=True, slices=2, delta=1.02, beta=0.04, offPolicyMaskThreshold=0.0, **SEQUENCE)
    yield case("cispo", old=True, slices=2, epsilonHigh=1.1, **SEQUENCE)


def check(settings, metrics, gradients, rerun):
    """Whoever takes the completions' advantages must fail."""
    check_gradients(settings, metrics, gradients, rerun)
    _, _, others = rerun(MaskedBatch(SEED))
    assert noise(gradients, others) > 0.1, settings["name"]


def main():
    args = arguments(__doc__)
    write_set(args, "token-advantages", "qwen2-qv", TokenBatch(SEED), cases(), check)


if __name__ == "__main__":
    main()
