"""TRL on a real model: SmolLM2-135M-Instruct learns to answer GSM8K questions in 60 characters.

    python3 scripts/baselines/trl_smollm2.py --model FOLDER --questions train.jsonl --out scripts/baselines --seed 1

Needs the packages of scripts/golden/requirements.txt, SmolLM2-135M-Instruct as a Hugging Face folder and GSM8K's
train.jsonl (`question` per line). 40 steps of 16 completions (G 8, at most 64 tokens, temperature 1), LoRA r 16 alpha 32
on all seven projections, lr 2e-4 constant, beta 0, bfloat16, reward -|60 - characters| / 60. Writes
OUT/trl-smollm2-seed-<n>.json: settings, one row per step, and at the end seconds a step and peak memory of the process.
attn_implementation is sdpa.
"""

import argparse
import json
import resource
import statistics
import tempfile
from pathlib import Path

import torch
import trl
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback, set_seed
from trl import GRPOConfig, GRPOTrainer

TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
COLUMNS = {
    "reward": "reward",
    "reward_std": "rewardStd",
    "entropy": "entropy",
    "grad_norm": "gradNorm",
    "completions/mean_length": "meanLength",
    "completions/clipped_ratio": "clippedRatio",
    "step_time": "seconds",
}


def sixty_characters(completions, **_):
    return [-abs(60 - len(c[0]["content"])) / 60 for c in completions]


class Recorder(TrainerCallback):
    def __init__(self):
        self.rows = []

    def on_log(self, args, state, control, logs=None, **_):
        if "reward" in logs:
            row = {name: round(float(logs[key]), 5) for key, name in COLUMNS.items() if logs.get(key) is not None}
            self.rows.append({"step": state.global_step} | row)
            print(json.dumps(self.rows[-1]), flush=True)


def configure(args, folder):
    return GRPOConfig(
        output_dir=folder,
        per_device_train_batch_size=16,
        num_generations=8,
        max_completion_length=64,
        max_steps=args.steps,
        learning_rate=2e-4,
        lr_scheduler_type="constant",
        temperature=1.0,
        beta=0.0,
        seed=args.seed,
        bf16=True,
        use_cpu=True,
        gradient_checkpointing=args.gradient_checkpointing,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )


def run(args):
    set_seed(args.seed)  # the adapter is drawn before the trainer seeds itself
    lines = args.questions.read_text().splitlines()
    rows = [{"prompt": [{"role": "user", "content": json.loads(line)["question"]}]} for line in lines]
    recorder = Recorder()
    with tempfile.TemporaryDirectory() as folder:
        trainer = GRPOTrainer(
            model=AutoModelForCausalLM.from_pretrained(
                args.model, dtype=torch.bfloat16, attn_implementation="sdpa"
            ),
            processing_class=AutoTokenizer.from_pretrained(args.model),
            reward_funcs=sixty_characters,
            args=configure(args, folder),
            train_dataset=Dataset.from_list(rows),
            peft_config=LoraConfig(task_type="CAUSAL_LM", r=16, lora_alpha=32, target_modules=TARGETS),
            callbacks=[recorder],
        )
        trainer.train()
        if args.save:
            trainer.save_model(args.save)
    return recorder.rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--questions", type=Path, required=True, help="GSM8K train.jsonl")
    parser.add_argument("--out", type=Path, required=True, help="folder for the JSON file")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--gradient-checkpointing", action=argparse.BooleanOptionalAction, default=False)
    parser.add_argument("--save", type=Path, help="folder for the adapter")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rows = run(args)
    report = {
        "settings": {"seed": args.seed, "steps": args.steps, "threads": args.threads, "trl": trl.__version__},
        "rewardFirst3": round(statistics.mean(r["reward"] for r in rows[:3]), 4),
        "rewardLast3": round(statistics.mean(r["reward"] for r in rows[-3:]), 4),
        "secondsPerStep": round(statistics.median(r["seconds"] for r in rows), 2),
        "peakMemoryGB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),  # kilobytes on Linux
    }
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / f"trl-smollm2-seed-{args.seed}.json"
    body = ",\n".join("    " + json.dumps(row) for row in rows)
    head = "".join(f"  {json.dumps(k)}: {json.dumps(v)},\n" for k, v in report.items())
    path.write_text(f'{{\n{head}  "rows": [\n{body}\n  ]\n}}\n')


if __name__ == "__main__":
    main()
