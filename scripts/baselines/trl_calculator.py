"""TRL's learning curve on examples/calculator.ts: the same model after its lessons, sums, tool, reward and settings.

    npx tsx examples/calculator.ts --taught FOLDER --steps 1
    python3 scripts/baselines/trl_calculator.py --model FOLDER --out scripts/baselines --seeds 0 1 2 3 4

Needs the packages of scripts/golden/requirements.txt. Writes OUT/trl-calculator.json: the settings, and for each seed one row per
optimizer step. The chat template is the example's own, which TRL does not know, so it is told how that template's turns are read:
as those of Qwen3. Seconds a step on one core.
"""

import argparse
import json
import pathlib
import tempfile

import torch
import transformers
import trl
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback, set_seed
from trl import GRPOConfig, GRPOTrainer
from trl.chat_template_utils import qwen3_template

SETTINGS = {
    "per_device_train_batch_size": 64,
    "num_generations": 8,
    "gradient_accumulation_steps": 1,
    "max_completion_length": 160,
    "max_tool_calling_iterations": 1,
    "learning_rate": 2e-4,
    "lr_scheduler_type": "linear",
    "temperature": 1.0,
    "loss_type": "dapo",
    "beta": 0.0,
}
COLUMNS = {
    "reward": "reward",
    "reward_std": "rewardStd",
    "tools/call_frequency": "calls",
    "tools/failure_frequency": "failures",
    "completions/mean_length": "meanLength",
    "entropy": "entropy",
    "grad_norm": "gradNorm",
}


def add(a: int, b: int) -> int:
    """
    Adds two numbers.

    Args:
        a: The first number.
        b: The second number.
    """
    return a + b


def three_digits(i):
    return 100 + (i * 7919) % 900


def rows():
    pairs = [(three_digits(2 * i), three_digits(2 * i + 1)) for i in range(2000)]
    return Dataset.from_list(
        [{"prompt": [{"role": "user", "content": f"{a} + {b} = ?"}], "sum": str(a + b)} for a, b in pairs]
    )


def right(completions, sum, **_):
    """What it says last."""
    said = [(completion[-1].get("content") or "").strip() for completion in completions]
    return [float(text == wanted) for text, wanted in zip(said, sum, strict=True)]


class Recorder(TrainerCallback):
    def __init__(self):
        self.rows = []

    def on_log(self, args, state, control, logs=None, **_):
        if "reward" in logs:
            self.rows.append({name: round(float(logs[key]), 5) for key, name in COLUMNS.items() if key in logs})


def run(model_folder, seed, steps):
    set_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    tokenizer.response_template = qwen3_template
    recorder = Recorder()
    with tempfile.TemporaryDirectory() as output:
        GRPOTrainer(
            model=AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32, attn_implementation="sdpa"),
            processing_class=tokenizer,
            reward_funcs=right,
            tools=[add],
            args=GRPOConfig(
                output_dir=output,
                seed=seed,
                max_steps=steps,
                bf16=False,
                use_cpu=True,
                gradient_checkpointing=False,  # memory only
                logging_steps=1,
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
                **SETTINGS,
            ),
            train_dataset=rows(),
            callbacks=[recorder],
        ).train()
    return recorder.rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=pathlib.Path, required=True, help="the taught model")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder for the JSON file")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    transformers.logging.set_verbosity_error()
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / "trl-calculator.json"
    runs = json.loads(path.read_text())["runs"] if path.exists() else {}
    for seed in args.seeds:
        if len(runs.get(str(seed), [])) < args.steps:
            runs[str(seed)] = run(args.model, seed, args.steps)
        write(path, runs)


def write(path, runs):
    lines = ",\n".join(
        f'    "{seed}": [\n' + ",\n".join("      " + json.dumps(row) for row in steps) + "\n    ]"
        for seed, steps in sorted(runs.items())
    )
    settings = json.dumps(SETTINGS | {"dtype": "float32", "trl": trl.__version__})
    path.write_text(f'{{\n  "settings": {settings},\n  "runs": {{\n{lines}\n  }}\n}}\n')


if __name__ == "__main__":
    main()
