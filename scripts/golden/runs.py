"""Whole trainings by TRL's GRPOTrainer with given completions: every log line and the adapter at the end.

    python3 scripts/golden/runs.py --tiny scripts/assets/tiny-qwen2 --out test/fixtures/golden

Needs what loss.py needs. Writes OUT/runs.{safetensors,json}. Only two things are not the trainer's own: a rollout function
hands out the completions of a table instead of sampling, and shuffle_sequence_dict keeps their order, so that slices are
consecutive rows. Loss, rewards, advantages, buffering, iterations, accumulation, controller, optimizer, schedule and logs
are TRL's and transformers'. attn_implementation is sdpa, everything is float32.
"""

import re
import tempfile

import torch
from common import ATTENTION, arguments, generator, write_json, write_tensors
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOConfig, GRPOTrainer
from trl.trainer import grpo_trainer
from trl_case import SETS, VOCAB, draw_adapter, lora_parameters

SET = "qwen2-qv"
GROUP, BATCH, ROWS, GENERATIONS = 4, 4, 6, 8
LARGEST = 16  # completions of one generation
MAX_LENGTH = 10
EOS, PAD = 1, 0

# GRPOConfig's options in camelCase; `functions` says how many of the reward functions there are.
RUNS = {
    "two slices a step": {"gradientAccumulationSteps": 2},
    "two iterations": {"gradientAccumulationSteps": 2, "numIterations": 2},
    "two steps a generation": {"gradientAccumulationSteps": 2, "stepsPerGeneration": 4, "lossType": "bnpo"},
    "four steps a generation, two iterations": {
        "stepsPerGeneration": 4,
        "numIterations": 2,
        "lossType": "grpo",
        "beta": 0.04,
    },
    "two generations a step": {"gradientAccumulationSteps": 4, "stepsPerGeneration": 2, "beta": 0.04},
    "two generations a step, bnpo": {"gradientAccumulationSteps": 4, "stepsPerGeneration": 2, "lossType": "bnpo"},
    "steps across generations": {"gradientAccumulationSteps": 2, "stepsPerGeneration": 3, "beta": 0.02},
    "a short last step": {"gradientAccumulationSteps": 4, "stepsPerGeneration": 3, "numIterations": 2, "lossType": "sapo"},
    "one slice in several iterations of a step": {"gradientAccumulationSteps": 2, "numIterations": 2, "stepsPerGeneration": 1},
    "generationBatchSize": {"generationBatchSize": 16, "numIterations": 2, "lossType": "cispo", "epsilonHigh": 1.02},
    "GDPO": {
        "multiObjectiveAggregation": "normalize_then_sum",
        "functions": 3,
        "rewardWeights": [1.0, 0.5, 2.0],
        "gradientAccumulationSteps": 2,
        "lossType": "luspo",
        "importanceSamplingLevel": "sequence",
        "numIterations": 2,
        "epsilon": 0.003,
    },
    "GDPO with truncated completions": {
        "multiObjectiveAggregation": "normalize_then_sum",
        "functions": 2,
        "maskTruncatedCompletions": True,
        "gradientAccumulationSteps": 2,
        "numIterations": 2,
        "lossType": "grpo",
    },
    "scaled by the batch": {
        "scaleRewards": "batch",
        "functions": 3,
        "maskTruncatedCompletions": True,
        "lossType": "dr_grpo",
        "gradientAccumulationSteps": 2,
        "numIterations": 2,
    },
    "not scaled": {"scaleRewards": "none", "functions": 2, "lossType": "vespo", "gradientAccumulationSteps": 2, "numIterations": 3},
    "GSPO off-policy": {
        "importanceSamplingLevel": "sequence",
        "stepsPerGeneration": 4,
        "numIterations": 2,
        "lossType": "grpo",
        "epsilon": 3e-3,
        "epsilonHigh": 4e-3,
        "offPolicyMaskThreshold": 0.002,
    },
    "entropy bonus": {
        "entropyCoef": 0.05,
        "gradientAccumulationSteps": 2,
        "stepsPerGeneration": 3,
        "maskTruncatedCompletions": True,
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
        "lossType": "grpo",
    },
    "everything at once": {
        "lossType": "dapo",
        "importanceSamplingLevel": "sequence",
        "beta": 0.04,
        "useBiasCorrectionKl": True,
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


def first(completion_ids, **_):
    return [sum(ids) % 11 / 10 for ids in completion_ids]


def second(completion_ids, **_):
    """Abstains from every completion that begins with an even id."""
    return [None if ids[0] % 2 == 0 else len(ids) / 8 for ids in completion_ids]


def third(completion_ids, **_):
    return [(ids[0] * 7 + len(ids)) % 5 - 1.5 for ids in completion_ids]


def tables():
    random = generator(41)
    tokens = lambda n: torch.randint(3, VOCAB, (n,), generator=random).tolist()  # noqa: E731
    prompts = [tokens(n) for n in (5, 1, 9, 3, 4, 2)]

    def completion():
        length = int(torch.randint(1, MAX_LENGTH + 3, (1,), generator=random))
        # Whatever would be longer is cut; all others end with eos.
        return tokens(MAX_LENGTH) if length > MAX_LENGTH else tokens(length - 1) + [EOS]

    return prompts, [[completion() for _ in range(LARGEST)] for _ in range(GENERATIONS)]


class Rollouts:
    """Hands out the completions of one generation after the other, with masks where there are any."""

    def __init__(self, prompts, completions, masks=None):
        self.prompts, self.completions, self.masks, self.calls = prompts, completions, masks, 0

    def __call__(self, prompts, _):
        generation, count = self.calls % GENERATIONS, len(prompts)
        self.calls += 1
        ids = {"prompt_ids": [self.prompts[int(p)] for p in prompts], "completion_ids": self.completions[generation][:count]}
        masks = {"env_mask": self.masks[generation][:count]} if self.masks else {}
        return ids | masks | {"logprobs": None}


def make_trainer(args, options, rollouts, output, model=None):
    """`model`: a PeftModel that was trained before, in place of a new adapter on the model of the set."""
    options = dict(options)
    functions = [first, second, third][: options.pop("functions", 1)]
    snake = lambda key: re.sub("[A-Z]", lambda upper: "_" + upper.group().lower(), key)  # noqa: E731
    folder, targets = SETS[SET]
    tokenizer = AutoTokenizer.from_pretrained(args.tiny)
    tokenizer.eos_token, tokenizer.pad_token = tokenizer.convert_ids_to_tokens([EOS, PAD])
    path = args.out / "models" / folder
    return GRPOTrainer(
        model=model or AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, attn_implementation=ATTENTION),
        processing_class=tokenizer,
        reward_funcs=functions,
        rollout_func=rollouts,
        args=GRPOConfig(
            output_dir=output,
            per_device_train_batch_size=BATCH,
            num_generations=GROUP,
            max_completion_length=MAX_LENGTH,
            # Larger than the gradients' rounding, which AdamW would otherwise blow up where a gradient is almost zero.
            adam_epsilon=1e-3,
            logging_steps=1,
            shuffle_dataset=False,
            bf16=False,
            use_cpu=True,
            gradient_checkpointing=False,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
            **{"max_steps": 6, "learning_rate": 5e-3} | {snake(key): value for key, value in options.items()},
        ),
        train_dataset=Dataset.from_list([{"prompt": str(i)} for i in range(ROWS)]),
        peft_config=None
        if model
        else LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8, lora_dropout=0.0, target_modules=targets),
    )


def train(args, options, tables):
    with tempfile.TemporaryDirectory() as output:
        trainer = make_trainer(args, options, Rollouts(*tables), output)
        draw_adapter(trainer, seed=11)
        before = adapter_of(trainer)
        trainer.train()
    return before, log_lines(trainer), adapter_of(trainer)


def write_runs(args, file, runs, prompts, completions, masks=None):
    grpo_trainer.shuffle_sequence_dict = lambda batch: batch
    tensors, logs = {}, []
    for name, options in runs.items():
        before, steps, after = train(args, options, (prompts, completions, masks))
        tensors |= {f"adapter.{n}": w for n, w in before.items()} | {f"{name}.{n}": w for n, w in after.items()}
        logs.append({"name": name, "options": options, "steps": steps})
    write_tensors(args.out / f"{file}.safetensors", tensors)
    write_json(args.out / f"{file}.json", shared(prompts, completions, masks) | {"runs": logs})


def shared(prompts, completions, masks=None):
    """What all trainings of a fixture have in common."""
    model, targets = SETS[SET]
    common = {"model": model, "targetModules": targets, "r": 4, "loraAlpha": 8, "numGenerations": GROUP}
    common |= {"perDeviceTrainBatchSize": BATCH, "maxCompletionLength": MAX_LENGTH, "maxSteps": 6, "learningRate": 5e-3, "adamEpsilon": 1e-3}
    return common | {"eosId": EOS, "prompts": prompts, "completions": completions} | ({"lossMask": masks} if masks else {})


def log_lines(trainer):
    lines = [line for line in trainer.state.log_history if "loss" in line]
    return [{k: v for k, v in line.items() if k not in {"step_time", "step"}} for line in lines]


def adapter_of(trainer):
    return {n: p.detach().clone() for n, p in lora_parameters(trainer).items()}


def main():
    write_runs(arguments(__doc__), "runs", RUNS, *tables())


if __name__ == "__main__":
    main()
