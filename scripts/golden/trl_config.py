"""What `trl grpo` can be told: every key of its four argument groups with its default, how its parser reads some command
lines, and the arguments of GRPOTrainer. Writes test/fixtures/golden/trl-config.json.

    python scripts/golden/trl_config.py
"""

import dataclasses
import enum
import inspect
import json
import pathlib
import sys
import tempfile

from trl import GRPOTrainer
from trl.scripts.grpo import make_parser

OUT = pathlib.Path(__file__).resolve().parents[2] / "test/fixtures/golden/trl-config.json"
GROUPS = ("script", "grpo", "model", "mixture")

YAML = """
model_name_or_path: some/model
dataset_name: some/data
learning_rate: 1.0e-5
warmup_steps: 0.1
use_peft: true
lora_target_modules: [q_proj, v_proj]
lr_scheduler_type: cosine_with_min_lr
lr_scheduler_kwargs:
  min_lr_rate: 0.1
bf16: false
report_to: none
"""
COMMAND_LINES = [
    [],
    ["--learning_rate", "2e-6", "--use_peft", "False"],
    ["--reward_funcs", "accuracy_reward", "think_format_reward", "--reward_weights", "1.0", "-0.5"],
    ["--max_steps=7", "--no_shuffle_dataset", "--log_completions", "--run_name", "42"],
    ["--max-steps", "8", "--lora-target-modules", "all-linear"],
    ["--lr_scheduler_kwargs", '{"min_lr": 1e-7}', "--loss_type", "dr_grpo"],
]


def plain(value):
    if isinstance(value, enum.Enum):
        return value.value
    if dataclasses.is_dataclass(value):
        return {key: plain(item) for key, item in vars(value).items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value


def default_of(field):
    if field.default is not dataclasses.MISSING:
        return plain(field.default)
    return plain(field.default_factory()) if field.default_factory is not dataclasses.MISSING else None


def main() -> None:
    parser = make_parser()
    keys = {
        group: {field.name: default_of(field) for field in dataclasses.fields(kind) if field.init}
        for group, kind in zip(GROUPS, parser.dataclass_types)
    }
    asked = sorted(
        {"model_name_or_path", "dataset_name", "learning_rate", "warmup_steps", "use_peft", "lora_target_modules"}
        | {"lr_scheduler_type", "lr_scheduler_kwargs", "bf16", "reward_funcs", "reward_weights", "max_steps"}
        | {"shuffle_dataset", "log_completions", "run_name", "loss_type"}
    )
    parsed = []
    with tempfile.TemporaryDirectory() as folder:
        config = pathlib.Path(folder, "config.yaml")
        config.write_text(YAML)
        for line in COMMAND_LINES:
            groups = make_parser().parse_args_and_config(["--config", str(config), *line])
            values = {name: value for group in groups for name, value in vars(group).items()}
            parsed.append({"line": line, "values": {name: plain(values[name]) for name in asked}})
    trainer = [name for name in inspect.signature(GRPOTrainer.__init__).parameters if name != "self"]
    OUT.write_text(json.dumps({"keys": keys, "trainer": trainer, "yaml": YAML, "parsed": parsed}, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
