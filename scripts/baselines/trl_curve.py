"""TRL's learning curve on the bundled tiny model, with the settings of the quickstart: the reference for ours.

    python3 scripts/baselines/trl_curve.py --model scripts/assets/tiny-qwen2 --out scripts/baselines \\
        --targets all --seeds 1 2 3 4 5

Needs the packages of scripts/golden/requirements.txt and the model folder with its train.jsonl. Each seed writes
OUT/trl-curve-<targets>-seed-<n>.json: the settings, and one row per optimizer step (reward, both reward parts,
entropy, grad_norm, mean completion length, seconds). Rewards are those of the rollout that the step learned from.
About two seconds a step on one core. attn_implementation is sdpa.
"""

import argparse
import json
import re
import tempfile
from pathlib import Path

import torch
import trl
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback, set_seed
from trl import GRPOConfig, GRPOTrainer

SYSTEM_PROMPT = (
    "A conversation between User and Assistant. The user asks a question, and the Assistant solves it. The assistant "
    "first thinks about the reasoning process in the mind and then provides the user with the answer. The reasoning "
    "process and answer are enclosed within <think> </think> and <answer> </answer> tags, respectively, i.e., "
    "<think> reasoning process here </think><answer> answer here </answer>"
)
TARGETS = {
    "qv": ["q_proj", "v_proj"],
    "all": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
}
# \Z, not $: Python's $ also matches before a last newline, JavaScript's does not.
FORMAT = re.compile(r"^<think>[\s\S]*?</think>\s*<answer>[\s\S]*?</answer>\Z")
INTEGER = re.compile(r"-?\d+")
COLUMNS = {
    "reward": "reward",
    "rewards/format/mean": "format",
    "rewards/accuracy/mean": "accuracy",
    "reward_std": "rewardStd",
    "frac_reward_zero_std": "fracRewardZeroStd",
    "entropy": "entropy",
    "grad_norm": "gradNorm",
    "completions/mean_length": "meanLength",
    "completions/clipped_ratio": "clippedRatio",
    "learning_rate": "learningRate",
    "step_time": "seconds",
}


def format(completions, **_):
    return [1.0 if FORMAT.match(c[0]["content"]) else 0.0 for c in completions]


def accuracy(completions, solution, **_):
    found = [INTEGER.findall(c[0]["content"]) for c in completions]
    right = [INTEGER.findall(s)[-1] for s in solution]
    return [1.0 if f and int(f[-1]) == int(r) else 0.0 for f, r in zip(found, right, strict=True)]


def read_rows(path):
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return Dataset.from_list(
        [
            {
                "prompt": [
                    {"role": "system", "content": SYSTEM_PROMPT},
                    {"role": "user", "content": row["problem"]},
                ],
                "solution": row["solution"],
            }
            for row in rows
        ]
    )


class Recorder(TrainerCallback):
    def __init__(self):
        self.rows = []

    def on_log(self, args, state, control, logs=None, **_):
        if "reward" in logs:
            row = {"step": state.global_step}
            row |= {name: round(float(logs[key]), 5) for key, name in COLUMNS.items() if logs.get(key) is not None}
            row["learningRate"] = float(f"{logs['learning_rate']:.6g}")
            self.rows.append(row)


def run(args, seed):
    set_seed(seed)  # the adapter is drawn before the trainer seeds itself
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32, attn_implementation="sdpa")
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    recorder = Recorder()
    with tempfile.TemporaryDirectory() as folder:
        config = GRPOConfig(
            output_dir=folder,
            per_device_train_batch_size=64,
            num_generations=8,
            gradient_accumulation_steps=1,
            max_completion_length=48,
            max_steps=args.steps,
            learning_rate=args.learning_rate,
            lr_scheduler_type="linear",
            temperature=1.0,
            top_p=args.top_p,
            loss_type="dapo",
            beta=0.0,
            reward_weights=[0.5, 0.5],
            seed=seed,
            bf16=False,
            use_cpu=True,
            gradient_checkpointing=False,  # memory only
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        lora = LoraConfig(
            task_type="CAUSAL_LM", r=8, lora_alpha=32, lora_dropout=0.1, target_modules=TARGETS[args.targets]
        )
        GRPOTrainer(
            model=model,
            processing_class=tokenizer,
            reward_funcs=[format, accuracy],
            args=config,
            train_dataset=read_rows(args.model / "train.jsonl"),
            peft_config=lora,
            callbacks=[recorder],
        ).train()
    settings = {
        "model": args.model.name,
        "targets": TARGETS[args.targets],
        "seed": seed,
        "steps": args.steps,
        "completionsPerStep": 64,
        "numGenerations": 8,
        "maxCompletionLength": 48,
        "learningRate": args.learning_rate,
        "topP": args.top_p,
        "temperature": 1.0,
        "loraR": 8,
        "loraAlpha": 32,
        "loraDropout": 0.1,
        "disableDropout": False,
        "lossType": "dapo",
        "beta": 0.0,
        "rewardWeights": {"format": 0.5, "accuracy": 0.5},
        "dtype": "float32",
        "trl": trl.__version__,
    }
    lines = ",\n".join("    " + json.dumps(row) for row in recorder.rows)
    path = args.out / f"trl-curve-{args.targets}-seed-{seed}.json"
    path.write_text(f'{{\n  "settings": {json.dumps(settings)},\n  "rows": [\n{lines}\n  ]\n}}\n')


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="folder of tiny-qwen2")
    parser.add_argument("--out", type=Path, required=True, help="folder for the JSON files")
    parser.add_argument("--targets", choices=sorted(TARGETS), default="qv")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--top-p", type=float, default=1.0)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    for seed in args.seeds:
        run(args, seed)


if __name__ == "__main__":
    main()
