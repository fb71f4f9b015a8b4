"""Whole trainings by TRL's GRPOTrainer with given completions of which some tokens do not count.

    python3 scripts/golden/masked_runs.py --tiny scripts/assets/tiny-qwen2 --out test/fixtures/golden

Needs what loss.py needs. Writes OUT/masked-runs.{safetensors,json}. As runs.py, whose rollout function also gives `env_mask`
here: the trainer's way in for results of tools that a rollout holds.
"""

import torch
from common import arguments, generator
from masked_loss import draw_mask
from runs import tables, write_runs

LARGEST_STRETCHES = 7  # four sampled

RUNS = {
    "two slices a step": {"gradientAccumulationSteps": 2},
    "two iterations": {
        "gradientAccumulationSteps": 2,
        "numIterations": 2,
        "lossType": "vespo",
        "scaleRewards": "none",
        "functions": 2,
    },
    "two steps a generation, bnpo": {"gradientAccumulationSteps": 2, "stepsPerGeneration": 4, "lossType": "bnpo"},
    "steps across generations": {"gradientAccumulationSteps": 2, "stepsPerGeneration": 3, "beta": 0.02},
    "two generations a step": {"gradientAccumulationSteps": 4, "stepsPerGeneration": 2, "lossType": "cispo", "epsilonHigh": 1.02},
    "truncated completions": {
        "maskTruncatedCompletions": True,
        "gradientAccumulationSteps": 2,
        "numIterations": 2,
        "lossType": "grpo",
        "functions": 2,
    },
    "GSPO off-policy": {
        "importanceSamplingLevel": "sequence",
        "stepsPerGeneration": 4,
        "numIterations": 2,
        "lossType": "luspo",
        "epsilon": 3e-3,
        "epsilonHigh": 4e-3,
        "offPolicyMaskThreshold": 0.002,
    },
    "adaptive entropy": {
        "useAdaptiveEntropy": True,
        "entropyCoef": 0.02,
        "entropyCoefMin": 0.01,
        "entropyCoefMax": 0.06,
        "entropyCoefDelta": 0.02,
        "entropyTarget": 3.325,
        "topEntropyQuantile": 0.6,
        "gradientAccumulationSteps": 2,
        "stepsPerGeneration": 4,
        "lossType": "sapo",
    },
    "everything at once": {
        "lossType": "dapo",
        "importanceSamplingLevel": "sequence",
        "beta": 0.04,
        "delta": 1.01,
        "epsilon": 0.002,
        "entropyCoef": 0.01,
        "topEntropyQuantile": 0.55,
        "offPolicyMaskThreshold": 0.004,
        "maskTruncatedCompletions": True,
        "functions": 3,
        "rewardWeights": [0.5, 1.0, -0.25],
        "gradientAccumulationSteps": 3,
        "stepsPerGeneration": 4,
        "numIterations": 2,
        "temperature": 0.8,
    },
}


def masks_of(completions):
    """As many stretches as drawn, the first of them sampled or given: in some completions nothing counts."""
    random = generator(43)

    def mask(ids):
        stretches = int(torch.randint(1, min(LARGEST_STRETCHES, len(ids)) + 1, (1,), generator=random))
        return draw_mask(len(ids), stretches, bool(torch.rand(1, generator=random) < 0.7), random)

    return [[mask(ids) for ids in rows] for rows in completions]


def main():
    args = arguments(__doc__)
    prompts, completions = tables()
    write_runs(args, "masked-runs", RUNS, prompts, completions, masks_of(completions))


if __name__ == "__main__":
    main()
