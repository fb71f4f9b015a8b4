"""Whole trainings by TRL's GRPOTrainer with tools and environments, and given turns of the model: every log line and the adapter at the end.

    python3 scripts/golden/tool_runs.py --tiny scripts/assets/tiny-qwen2 --templates test/fixtures/tokenizers/chat-renderings.json.gz \
        --out test/fixtures/golden

Writes OUT/tool-runs.{safetensors,json}. The bundled model with Qwen2.5's chat template. Only two things are not the trainer's own:
_generate_single_turn hands out turns from a table, and shuffle_sequence_dict keeps their order.
"""

import gzip
import json
import pathlib
import sys
import tempfile

from common import ATTENTION, arguments, write_json, write_tensors
from datasets import Dataset
from peft import LoraConfig
from runs import adapter_of, log_lines
from tool_loops import Counter, Script, add, encode, hermes, repeat
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import get_json_schema
from trl import GRPOConfig, GRPOTrainer
from trl.trainer import grpo_trainer
from trl_case import draw_adapter, lora_parameters
import torch

TARGETS = ["q_proj", "v_proj"]
LIMIT = 180
ADD = hermes("add", '{"a": 3, "b": 4}')
UP = hermes("increase", '{"by": 2}')
# By generation and completion: four completions of each of two prompts. A turn that is cut has no end.
TOOL_TURNS = [
    [[ADD, "It is 7"], ["No call"], [hermes("repeat", '{"text": "kaput", "times": "x"}'), "Sorry"], [hermes("add", '{"a": 3}'), ADD, "7"]]
    + [[hermes("repeat", '{"text": "x ", "times": 300}')], ["Hm. " + ADD, "Yes, 7"], [ADD + "\n" + ADD, "7 and 7"], ["1 + 2 = " * 80]],
    [[ADD, ADD, "Twice"], ["7"], ["<tool_call>\n{bad}\n</tool_call>"], [hermes("nope", "{}"), "No tool"]]
    + [["a"], ["b c"], [hermes("add", '{"a": "1", "b": "2"}'), "3 " * 200], [ADD, "d"]],
    [["x"], ["y z"], [ADD, "z"], ["w " * 9]] + [[ADD, "e"], [ADD, "f g"], ["h"], [hermes("repeat", '{"text": "ab", "times": 3}'), "i"]],
]  # fmt: skip
COUNTER_TURNS = [
    [[UP, "5"], [UP, UP, "7"], ["3"], [hermes("decrease", "{}"), "?"]] + [[UP, ADD, "7"], [UP + "\n" + UP, "5"], ["-"], ["1 " * 200]],
    [[UP, "5 it is"], ["3 " * 5], [ADD, UP, "so"], ["no"]] + [[UP, "3"], [UP, "3!"], ["1"], [hermes("reset", "{}"), "1"]],
    [["a"], [UP, "b"], [UP, UP, "c"], [UP, "d e"]] + [["f"], [UP, "g"], [UP, "h " * 9], ["i"]],
]  # fmt: skip
ROWS = [{"prompt": [{"role": "user", "content": "What is 3 + 4?"}], "start": 3}, {"prompt": [{"role": "user", "content": "Count."}], "start": 1}]
RUNS = {
    "tools": {"turns": TOOL_TURNS, "tools": [add, repeat], "options": {}},
    "tools, one round, several iterations": {
        "turns": TOOL_TURNS,
        "tools": [add, repeat],
        "options": {"maxToolCallingIterations": 1, "numIterations": 2, "maskTruncatedCompletions": True, "lossType": "grpo", "maxSteps": 6},
    },
    "an environment": {"turns": COUNTER_TURNS, "tools": [add], "environment": Counter, "options": {"beta": 0.04, "lossType": "bnpo"}},
}  # fmt: skip
SNAKE = {
    "maxToolCallingIterations": "max_tool_calling_iterations",
    "numIterations": "num_iterations",
    "maskTruncatedCompletions": "mask_truncated_completions",
    "lossType": "loss_type",
    "maxSteps": "max_steps",
    "beta": "beta",
}


def by_ids(completion_ids, **_):
    return [sum(ids) % 101 / 100 for ids in completion_ids]


def make_trainer(args, tokenizer, run, output):
    options = {"max_steps": 3} | {SNAKE[key]: value for key, value in run["options"].items()}
    return GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(args.tiny, dtype=torch.float32, attn_implementation=ATTENTION),
        processing_class=tokenizer,
        reward_funcs=by_ids,
        tools=run["tools"],
        environment_factory=run.get("environment"),
        args=GRPOConfig(
            output_dir=output, per_device_train_batch_size=8, num_generations=4, max_completion_length=LIMIT, learning_rate=1e-3,
            adam_epsilon=1e-3, logging_steps=1, shuffle_dataset=False, bf16=False, use_cpu=True, gradient_checkpointing=False,
            report_to="none", save_strategy="no", disable_tqdm=True, **options,
        ),
        train_dataset=Dataset.from_list(ROWS),
        peft_config=LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8, lora_dropout=0.0, target_modules=TARGETS),
    )  # fmt: skip


def train(args, tokenizer, run):
    generations = [[[encode(tokenizer, turn + "<|im_end|>") for turn in turns] for turns in generation] for generation in run["turns"]]
    with tempfile.TemporaryDirectory() as output:
        trainer = make_trainer(args, tokenizer, run, output)
        draw_adapter(trainer, seed=11)
        with torch.no_grad():
            # Far enough from the base model for a KL, and not so far that ratios are all that counts.
            for weight in lora_parameters(trainer).values():
                weight.mul_(0.2)
        before, generate, calls = adapter_of(trainer), trainer._generate, []

        def counted(prompts):
            trainer._generate_single_turn = Script(generations[len(calls)], LIMIT)
            calls.append(len(prompts))
            return generate(prompts)

        trainer._generate = counted
        trainer.train()
        return before, generations, log_lines(trainer), adapter_of(trainer)


def main():
    grpo_trainer.shuffle_sequence_dict = lambda batch: batch
    templates = pathlib.Path(sys.argv.pop(sys.argv.index("--templates") + 1))
    sys.argv.remove("--templates")
    args = arguments(__doc__)
    tokenizer = AutoTokenizer.from_pretrained(args.tiny)
    published = json.loads(gzip.decompress(templates.read_bytes()))["templates"]
    tokenizer.chat_template = next(t["template"] for t in published if t["name"] == "trl/qwen2_5")
    tensors, runs = {}, []
    for name, run in RUNS.items():
        before, generations, steps, after = train(args, tokenizer, run)
        tensors |= {f"adapter.{n}": w for n, w in before.items()} | {f"{name}.{n}": w for n, w in after.items()}
        tools = [get_json_schema(tool) for tool in run["tools"]]
        runs.append({"name": name, "options": run["options"], "tools": tools, "turns": generations, "steps": steps})
    write_tensors(args.out / "tool-runs.safetensors", tensors)
    shared = {"model": "tiny-qwen2", "targetModules": TARGETS, "r": 4, "loraAlpha": 8, "maxCompletionLength": LIMIT, "rows": ROWS}
    write_json(args.out / "tool-runs.json", shared | {"environmentTool": get_json_schema(Counter().increase), "runs": runs})


if __name__ == "__main__":
    main()
