"""Whole trainings by TRL's SFTTrainer: the rows as it prepares them, the first gradient, what it logs, an evaluation and the weights.

    python3 scripts/golden/sft_runs.py --tiny scripts/assets/tiny-qwen2 --out test/fixtures/golden

Needs what loss.py needs. Writes OUT/sft-runs.{safetensors,json} and OUT/models/qwen2-sft: random weights for the tokenizer of the bundled
model, with a small adapter whose A and B are both random, so that everything has a gradient. Options are SFTConfig's in camelCase, as
the test gives them to ours.
"""

import re
import tempfile

import torch
from common import ATTENTION, arguments, generator, write_json, write_tensors
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import SFTConfig, SFTTrainer
from trl_case import draw_adapter, lora_parameters

MODEL = "qwen2-sft"
TARGETS = ["q_proj", "v_proj", "down_proj"]
RANK, ALPHA = 2, 8
# A gradient that is only rounding decides the direction of a step of Adam; with a large epsilon it does not.
BASE = {
    "maxSteps": 3,
    "learningRate": 0.01,
    "adamEpsilon": 1e-3,
    "perDeviceTrainBatchSize": 2,
    "perDeviceEvalBatchSize": 2,
    "loggingSteps": 1,
    "maxGradNorm": 1e9,
}
# ChatML with what the assistant writes marked, its end included.
MARKED = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}{% else %}{{ message['content'] + '<|im_end|>' }}"
    "{% endif %}{{ '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def sums(count, offset=0):
    return [(offset + 7 * i * i + 3, offset + 5 * i + 1) for i in range(count)]


def message(role, content):
    return {"role": role, "content": content}


def turns(a, b):
    return [message("user", f"What is {a} + {b}?"), message("assistant", f"It is {a + b}.")]


def data():
    """name -> rows to train on and, with other numbers, to evaluate."""
    kinds = {
        "text": lambda a, b: {"text": f"{a} plus {b} makes {a + b}" + ", so it does" * (a % 3)},
        "ended text": lambda a, b: {"text": f"{a} + {b} = {a + b}" + ("<|im_end|>" if a % 2 else "")},
        "story": lambda a, b: {"story": f"Once {a} met {b}.", "id": a},
        "text pairs": lambda a, b: {"prompt": f"{a} + {b} =", "completion": f" {a + b}" + "!" * (a % 4)},
        "merging pairs": lambda a, b: {"prompt": f"{a} + {b} = {str(a + b)[:1]}", "completion": f"{str(a + b)[1:]} or so"},
        "chat pairs": lambda a, b: {"prompt": turns(a, b)[:1], "completion": turns(a, b)[1:]},
        "chats": lambda a, b: {"messages": turns(a, b) * (1 + a % 2)},
        "sharegpt": lambda a, b: {
            "conversations": [
                {"from": "user", "value": f"Is {a} more than {b}?"},
                {"from": "assistant", "value": "yes" if a > b else "no"},
            ]
        },
    }
    table = {name: (list(map(row, *zip(*sums(11)))), list(map(row, *zip(*sums(5, 40))))) for name, row in kinds.items()}
    random = generator(11)
    draw = lambda n: torch.randint(3, 400, (n,), generator=random).tolist()  # noqa: E731
    lengths = torch.randint(1, 30, (16,), generator=random).tolist()
    ids = [draw(n) for n in lengths]
    bits = [[int(x > 150) for x in draw(n)] for n in lengths]
    labelled = [{"input_ids": x, "labels": [t if m else -100 for t, m in zip(x, b)]} for x, b in zip(ids, bits)]
    masked = [{"input_ids": x, "completion_mask": b} for x, b in zip(ids, bits)]
    assistant = [{"input_ids": x, "assistant_masks": b} for x, b in zip(ids, bits)]
    table |= {
        "ids": ([{"input_ids": x} for x in ids], [{"input_ids": x} for x in ids[:5]]),
        "labels": (labelled, labelled[3:8]),
        "completion masks": (masked, masked[3:8]),
        "assistant masks": (assistant, assistant[3:8]),
    }
    return table


RUNS = {
    "text": ("text", {}),
    "text that ends itself": ("ended text", {}),
    "a column of another name": ("story", {"datasetTextField": "story"}),
    "text, another end token": ("text", {"eosToken": "<|endoftext|>"}),
    "text, cut": ("text", {"maxLength": 9}),
    "text, its end kept": ("text", {"maxLength": 9, "truncationMode": "keep_end"}),
    "text, any length": ("text", {"maxLength": None}),
    "text, dft": ("text", {"lossType": "dft"}),
    "text, two slices a step": ("text", {"gradientAccumulationSteps": 2, "numTrainEpochs": 1, "maxSteps": -1}),
    "text, an epoch and a half": ("text", {"perDeviceTrainBatchSize": 3, "maxSteps": 6}),
    "text, one row at a time": ("text", {"perDeviceTrainBatchSize": 1, "gradientAccumulationSteps": 3}),
    "text, another seed": ("text", {"seed": 7}),
    "text, a seed for the data": ("text", {"dataSeed": 123}),
    "text, in order": ("text", {"trainSamplingStrategy": "sequential"}),
    "text, shuffled": ("text", {"shuffleDataset": True, "trainSamplingStrategy": "sequential"}),
    "text, clipped": ("text", {"maxGradNorm": 0.05}),
    "text, weight decay and warm-up": ("text", {"weightDecay": 0.1, "warmupSteps": 2, "lrSchedulerType": "cosine"}),
    "text, plain descent": ("text", {"optim": "sgd", "learningRate": 0.5}),
    "text pairs": ("text pairs", {}),
    "text pairs, all of them": ("text pairs", {"completionOnlyLoss": False}),
    "text pairs whose tokens merge": ("merging pairs", {}),
    "text pairs, cut within prompts": ("text pairs", {"maxLength": 10}),
    "text pairs, dft, two slices": ("text pairs", {"lossType": "dft", "gradientAccumulationSteps": 2}),
    "chat pairs": ("chat pairs", {}),
    "chat pairs, all of them": ("chat pairs", {"completionOnlyLoss": False}),
    "chat pairs, the assistant's": ("chat pairs", {"assistantOnlyLoss": True}),
    "chat pairs, the assistant's of all": ("chat pairs", {"assistantOnlyLoss": True, "completionOnlyLoss": False}),
    "chats": ("chats", {}),
    "chats, the assistant's": ("chats", {"assistantOnlyLoss": True}),
    "chats, the assistant's, dft, cut": ("chats", {"assistantOnlyLoss": True, "lossType": "dft", "maxLength": 30}),
    "sharegpt": ("sharegpt", {}),
    "ids": ("ids", {}),
    "labels": ("labels", {}),
    "labels, cut": ("labels", {"maxLength": 6, "gradientAccumulationSteps": 2}),
    "completion masks": ("completion masks", {"completionOnlyLoss": True}),
    "completion masks, unused": ("completion masks", {}),
    "assistant masks": ("assistant masks", {}),
    "ids, packed": ("ids", {"packing": True, "maxLength": 32}),
    "ids, packed tightly": ("ids", {"packing": True, "maxLength": 12}),
    "ids, packed and split": ("ids", {"packing": True, "packingStrategy": "bfd_split", "maxLength": 12}),
    "ids, wrapped": ("ids", {"packing": True, "packingStrategy": "wrapped", "maxLength": 16}),
    "ids, packed, not for the evaluation": ("ids", {"packing": True, "maxLength": 32, "evalPacking": False}),
    "ids, packed and shuffled": ("ids", {"packing": True, "maxLength": 32, "shuffleDataset": True}),
    "labels, packed, dft": ("labels", {"packing": True, "maxLength": 24, "lossType": "dft"}),
    "labels, wrapped": ("labels", {"packing": True, "packingStrategy": "wrapped", "maxLength": 11, "perDeviceTrainBatchSize": 3}),
    "labels, packed and split, two slices": (
        "labels",
        {"packing": True, "packingStrategy": "bfd_split", "maxLength": 9, "gradientAccumulationSteps": 2},
    ),
    "chat pairs, packed": ("chat pairs", {"packing": True, "maxLength": 64}),
    "chats, the assistant's, packed": ("chats", {"assistantOnlyLoss": True, "packing": True, "maxLength": 80}),
}


def write_model(tiny, folder):
    config = AutoConfig.from_pretrained(
        tiny,
        dtype="float32",
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        layer_types=["full_attention"] * 2,
    )
    model = AutoModelForCausalLM.from_config(config)
    random = generator(2)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if not name.endswith("norm.weight"):
                weight.copy_(0.15 * torch.randn(weight.shape, generator=random))
    model.save_pretrained(folder)


def snake(name):
    return re.sub(r"[A-Z]", lambda letter: "_" + letter.group().lower(), name)


class FirstGradient(TrainerCallback):
    """What the first optimizer step is about to use."""

    def __init__(self):
        self.trainer = None
        self.gradient = None

    def on_pre_optimizer_step(self, args, state, control, **kwargs):
        if self.gradient is None:
            self.gradient = {n: p.grad.detach().clone() for n, p in lora_parameters(self.trainer).items()}


def rows_of(dataset):
    """[row][sequence] ids and labels."""
    rows = []
    for row in dataset:
        lengths = row.get("seq_lengths") or [len(row["input_ids"])]
        sequences, start = [], 0
        for length in lengths:
            end = start + length
            sequences.append({"ids": row["input_ids"][start:end], "labels": row["labels"][start:end]})
            start = end
        rows.append(sequences)
    return rows


LOGGED = ["loss", "grad_norm", "learning_rate", "entropy", "mean_token_accuracy", "num_tokens", "epoch"]
EVALUATED = ["eval_loss", "eval_entropy", "eval_mean_token_accuracy", "eval_num_tokens"]


def run(tiny, folder, rows, options, chat_template):
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    if chat_template is not None:
        tokenizer.chat_template = chat_template
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation=ATTENTION)
    callback = FirstGradient()
    train, test = ([dict(row) for row in part] for part in rows)
    with tempfile.TemporaryDirectory() as output:
        trainer = SFTTrainer(
            model=model,
            processing_class=tokenizer,
            args=SFTConfig(
                output_dir=output,
                bf16=False,
                use_cpu=True,
                gradient_checkpointing=False,
                report_to="none",
                save_strategy="no",
                disable_tqdm=True,
                **{snake(name): value for name, value in (BASE | options).items()},
            ),
            train_dataset=Dataset.from_list(train),
            eval_dataset=Dataset.from_list(test),
            callbacks=[callback],
            peft_config=LoraConfig(
                task_type="CAUSAL_LM", r=RANK, lora_alpha=ALPHA, lora_dropout=0.0, target_modules=TARGETS
            ),
        )
        callback.trainer = trainer
        draw_adapter(trainer, 5)
        adapter = {name: weight.detach().clone() for name, weight in lora_parameters(trainer).items()}
        prepared = rows_of(trainer.train_dataset)
        trainer.train()
        trainer.evaluate()
        evaluation = trainer.state.log_history[-1]
    steps = [{key: line[key] for key in LOGGED} for line in trainer.state.log_history if "loss" in line]
    return {
        "adapter": adapter,
        "gradient": callback.gradient,
        "weights": {name: weight.detach() for name, weight in lora_parameters(trainer).items()},
        "prepared": prepared,
        "steps": steps,
        "evaluation": {key: evaluation[key] for key in EVALUATED},
    }


def main():
    args = arguments(__doc__)
    table = data()
    folder = args.out / "models" / MODEL
    write_model(args.tiny, folder)
    tensors, runs = {}, []
    for index, (name, (rows, options)) in enumerate(RUNS.items()):
        template = MARKED if options.get("assistantOnlyLoss") else None
        result = run(args.tiny, folder, table[rows], options, template)
        tensors |= {f"adapter.{key}": value for key, value in result["adapter"].items()}
        tensors |= {f"{index}.gradient.{key}": value for key, value in result["gradient"].items()}
        tensors |= {f"{index}.weights.{key}": value for key, value in result["weights"].items()}
        runs.append(
            {
                "name": name,
                "data": rows,
                "options": options,
                "prepared": result["prepared"],
                "steps": result["steps"],
                "evaluation": result["evaluation"],
            }
        )
    write_tensors(args.out / "sft-runs.safetensors", tensors)
    write_json(
        args.out / "sft-runs.json",
        {
            "model": MODEL,
            "r": RANK,
            "loraAlpha": ALPHA,
            "targetModules": TARGETS,
            "base": BASE,
            "chatTemplate": MARKED,
            "data": {name: {"train": train, "test": test} for name, (train, test) in table.items()},
            "runs": runs,
        },
    )


if __name__ == "__main__":
    main()
