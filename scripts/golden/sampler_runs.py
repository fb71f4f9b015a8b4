"""Whole trainings by TRL's GRPOTrainer with completions that another engine has drawn, and its importance-sampling correction.

    python3 scripts/golden/sampler_runs.py --tiny scripts/assets/tiny-qwen2 --out test/fixtures/golden

Needs what loss.py needs. Writes OUT/sampler-runs and OUT/masked-sampler-runs (.safetensors, .json): runs.py's and masked_runs.py's
completions, each token with a log-probability that is off the policy's own at that moment by a random number, as of a server
with other kernels. The trainer takes it for vLLM's: ratios, bounds, masks, loss and metrics are its own.
"""

import tempfile

import torch
from common import arguments, generator, write_json, write_tensors
from masked_runs import masks_of
from runs import Rollouts, adapter_of, log_lines, make_trainer, shared, tables
from trl.trainer import grpo_trainer
from trl_case import draw_adapter

GAP = 0.3  # standard deviation in nats: ratios of tokens and of sequences leave the bounds below on both sides
UNKNOWN = 0.1  # share of the tokens without a log-probability, where a run has such

TWO_SLICES = {"gradientAccumulationSteps": 2, "maxSteps": 3}
TWO_ITERATIONS = TWO_SLICES | {"numIterations": 2}
# No reward is the mean of its group: vespo goes by the sign of the advantage, which rounding would decide.
THREE_FUNCTIONS = {"functions": 3, "rewardWeights": [0.5, 1.0, -0.25]}


def mode(name, high=None, low=None):
    bounds = {"vllmImportanceSamplingClipMax": high, "vllmImportanceSamplingClipMin": low}
    return {"vllmImportanceSamplingMode": name} | bounds


RUNS = {
    "the defaults": TWO_SLICES,
    "no correction": TWO_SLICES | {"vllmImportanceSamplingCorrection": False},
    "sequence_mask below 1.5": TWO_SLICES | mode("sequence_mask", 1.5),
    "sequence_mask between bounds": TWO_ITERATIONS | mode("sequence_mask", 1.6, 0.7),
    "sequence_mask above a bound": TWO_SLICES | {"lossType": "grpo"} | mode("sequence_mask", None, 0.8),
    "sequence_mask without bounds": TWO_SLICES | {"lossType": "bnpo"} | mode("sequence_mask"),
    "sequence_truncate at the default": TWO_SLICES | {"vllmImportanceSamplingMode": "sequence_truncate"},
    "sequence_truncate at both ends": TWO_ITERATIONS | {"lossType": "dr_grpo"} | mode("sequence_truncate", 1.3, 0.75),
    "sequence_truncate from below": TWO_SLICES | {"lossType": "sapo"} | mode("sequence_truncate", None, 0.9),
    "token_truncate at 1.2": TWO_SLICES | mode("token_truncate", 1.2),
    "token_truncate at both ends": TWO_ITERATIONS | {"lossType": "grpo", "beta": 0.04} | mode("token_truncate", 1.2, 0.85),
    "token_mask between bounds": TWO_SLICES | {"lossType": "bnpo"} | mode("token_mask", 1.3, 0.7),
    "token_mask above a bound": TWO_ITERATIONS | {"lossType": "cispo", "epsilonHigh": 1.02} | mode("token_mask", None, 0.8),
    "an older name of the upper bound": TWO_SLICES | {"vllmImportanceSamplingCap": 1.4, "vllmImportanceSamplingMode": "token_mask"},
    "GSPO": TWO_ITERATIONS
    | {"lossType": "grpo", "importanceSamplingLevel": "sequence", "epsilon": 3e-3}
    | mode("sequence_mask", 1.5),
    "LUSPO by tokens": TWO_SLICES | {"lossType": "luspo", "importanceSamplingLevel": "sequence"} | mode("token_truncate", 1.25),
    "VESPO, truncated": TWO_ITERATIONS | THREE_FUNCTIONS | {"lossType": "vespo"} | mode("token_truncate", 1.2, 0.8),
    "VESPO, masked": TWO_SLICES | THREE_FUNCTIONS | {"lossType": "vespo", "scaleRewards": "none"} | mode("token_mask", 1.4),
    "KL": TWO_SLICES | {"beta": 0.1, "useBiasCorrectionKl": False} | mode("token_mask", 1.3, 0.7),
    "off-policy mask": TWO_ITERATIONS | {"offPolicyMaskThreshold": 0.05} | mode("token_truncate", 1.5),
    "off-policy mask without correction": TWO_SLICES | {"offPolicyMaskThreshold": 0.02, "vllmImportanceSamplingCorrection": False},
    "off-policy mask, unknown tokens": TWO_SLICES | {"offPolicyMaskThreshold": 0.02, "unknown": True} | mode("token_mask", 1.4, 0.6),
    "unknown tokens of sequences": TWO_SLICES | {"unknown": True} | mode("sequence_mask", 1.5),
    "top entropies": TWO_SLICES | {"topEntropyQuantile": 0.6, "entropyCoef": 0.01} | mode("token_truncate", 1.2),
    "truncated completions": TWO_ITERATIONS | {"maskTruncatedCompletions": True} | mode("sequence_mask", 1.4, 0.8),
    "steps across generations": {"gradientAccumulationSteps": 2, "stepsPerGeneration": 3, "maxSteps": 4} | mode("token_truncate", 1.2),
    "two generations a step": {"gradientAccumulationSteps": 4, "stepsPerGeneration": 2, "maxSteps": 2} | mode("sequence_mask", 1.4),
}

MASKED_RUNS = {
    "the defaults": TWO_SLICES,
    "sequence_mask between bounds": TWO_ITERATIONS | mode("sequence_mask", 1.4, 0.8),
    "sequence_truncate": TWO_SLICES | {"lossType": "grpo"} | mode("sequence_truncate", 1.2, 0.8),
    "token_truncate": TWO_ITERATIONS | {"lossType": "bnpo"} | mode("token_truncate", 1.2, 0.85),
    "token_mask, unknown tokens": TWO_SLICES | {"beta": 0.04, "unknown": True} | mode("token_mask", 1.3, 0.7),
    "VESPO": TWO_ITERATIONS | THREE_FUNCTIONS | {"lossType": "vespo"} | mode("token_truncate", 1.2, 0.8),
    "off-policy mask": TWO_ITERATIONS | {"offPolicyMaskThreshold": 0.02, "lossType": "cispo", "epsilonHigh": 1.02} | mode("token_mask", 1.3),
}


class OtherEngine(Rollouts):
    """Stands in for VLLMGeneration, too: its weights are the trainer's. Remembers every log-probability that it gave."""

    def __init__(self, *tables, unknown):
        super().__init__(*tables)
        self.random, self.unknown, self.given = generator(47), unknown, []

    def sync_weights(self):
        pass

    def __call__(self, prompts, trainer):
        output = super().__call__(prompts, trainer)
        rows = [p + c for p, c in zip(output["prompt_ids"], output["completion_ids"], strict=True)]
        self.given.append([self.logprobs(trainer, row, len(c)) for row, c in zip(rows, output["completion_ids"], strict=True)])
        return output | {"logprobs": self.given[-1]}

    def logprobs(self, trainer, ids, tokens):
        ids = torch.tensor([ids])
        with torch.no_grad():
            own = trainer._get_per_token_logps_and_entropies(trainer.model, ids, torch.ones_like(ids), tokens)[0][0]
        drawn = own + GAP * torch.randn(tokens, generator=self.random)
        hidden = torch.rand(tokens, generator=self.random) < (UNKNOWN if self.unknown else 0)
        return [None if h else round(x, 4) for x, h in zip(drawn.tolist(), hidden.tolist(), strict=True)]


def train(args, options, tables):
    options = dict(options)
    engine = OtherEngine(*tables, unknown=options.pop("unknown", False))
    with tempfile.TemporaryDirectory() as output:
        trainer = make_trainer(args, options, engine, output)
        # What use_vllm sets, without a vLLM: the engine above is there in its place.
        trainer.use_vllm, trainer.vllm_mode, trainer.vllm_generation, trainer._last_loaded_step = True, "server", engine, -1
        draw_adapter(trainer, seed=11)
        before = adapter_of(trainer)
        trainer.train()
    return before, log_lines(trainer), adapter_of(trainer), engine.given


def write(args, file, runs, prompts, completions, masks=None):
    tensors, logs = {}, []
    for name, options in runs.items():
        before, steps, after, given = train(args, options, (prompts, completions, masks))
        tensors |= {f"adapter.{n}": w for n, w in before.items()} | {f"{name}.{n}": w for n, w in after.items()}
        own = {k: v for k, v in options.items() if k != "unknown"}
        logs.append({"name": name, "options": own, "steps": steps, "samplingLogprobs": given})
    write_tensors(args.out / f"{file}.safetensors", tensors)
    write_json(args.out / f"{file}.json", shared(prompts, completions, masks) | {"runs": logs})


def main():
    args = arguments(__doc__)
    grpo_trainer.shuffle_sequence_dict = lambda batch: batch
    prompts, completions = tables()
    write(args, "sampler-runs", RUNS, prompts, completions)
    write(args, "masked-sampler-runs", MASKED_RUNS, prompts, completions, masks_of(completions))


if __name__ == "__main__":
    main()
