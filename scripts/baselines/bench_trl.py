"""The other side of scripts/bench-vs-trl.ts: TRL's trainer and transformers' generate on the case that a JSON file describes.

    python3 scripts/baselines/bench_trl.py CASE.json

Needs transformers; peft for a case with LoRA, trl and datasets for one that trains. Prints one JSON line last: seconds of
every repeat, tokens, and the high-water marks of the process's memory and of the device's. Everything is TRL's own way of working, but for three settings that make it faster
or equal: no gradient checkpointing, no logging to services, and completions that end where the case says. Tokens are spelt
as their numbers, so that both sides get the same ids.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    GenerationConfig,
    PreTrainedTokenizerFast,
    StoppingCriteria,
    TrainerCallback,
    set_seed,
)
from transformers.utils.logging import disable_progress_bar


class EndAt(StoppingCriteria):
    """Each row ends at its own length: those that the other side drew."""

    def __init__(self, prompt_length, lengths):
        self.ends = torch.tensor(lengths) + prompt_length

    def __call__(self, input_ids, scores, **_):
        return (self.ends <= input_ids.shape[1]).to(input_ids.device)


def number_tokenizer(case):
    """Ids beyond the model's vocabulary never end a text."""
    vocabulary = {str(i): i for i in range(case["vocabulary"])}
    end = case["endId"]
    if end is None:
        end = case["vocabulary"]
        vocabulary["<end>"] = end
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="0"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    end_token = "<end>" if end == case["vocabulary"] else str(end)
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=end_token, pad_token="0", padding_side="left")


def load(case):
    """The model, and the configuration of its adapter. Without a folder random weights are made on the device."""
    options = {"dtype": getattr(torch, case["dtype"]), "attn_implementation": "sdpa"}
    if case["folder"]:
        model = AutoModelForCausalLM.from_pretrained(case["folder"], **options)
    else:
        config = AutoConfig.for_model(**case["config"])
        with torch.device(case["device"]):
            model = AutoModelForCausalLM.from_config(config, **options)
    return model, lora_config(case["lora"]) if case.get("lora") else None


def lora_config(lora):
    from peft import LoraConfig

    return LoraConfig(task_type="CAUSAL_LM", r=lora["r"], lora_alpha=lora["alpha"], target_modules=lora["targets"])


def adapted(case):
    model, lora = load(case)
    if lora is None:
        return model
    from peft import get_peft_model

    return get_peft_model(model, lora)


def clock(case):
    """Seconds, when all that the device was told to do is done."""
    if case["device"].startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter()


def repeats_of(case):
    size = case["promptsPerRepeat"]
    for i in range(case["warmup"] + case["repeats"]):
        yield i >= case["warmup"], case["prompts"][i * size : (i + 1) * size]


def padded(prompts, group):
    rows = [ids for ids in prompts for _ in range(group)]
    width = max(map(len, rows))
    ids = torch.tensor([[0] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    return {"input_ids": ids, "attention_mask": mask}


def rollout(case):
    model = adapted(case).eval().to(case["device"])
    model.generation_config = GenerationConfig(pad_token_id=0)
    result = {"rollout": [], "firstToken": [], "tokens": []}

    def generate(inputs, tokens, lengths):
        config = GenerationConfig(
            max_new_tokens=tokens, do_sample=True, temperature=1.0, top_p=case["topP"], top_k=0, pad_token_id=0
        )
        criteria = [EndAt(inputs["input_ids"].shape[1], lengths)] if lengths else []
        began = clock(case)
        out = model.generate(**inputs, generation_config=config, stopping_criteria=criteria)
        seconds = clock(case) - began
        return seconds, out.shape[1] - inputs["input_ids"].shape[1]

    for measured, prompts in repeats_of(case):
        inputs = {name: ids.to(case["device"]) for name, ids in padded(prompts, case["groupSize"]).items()}
        first, _ = generate(inputs, 1, None)
        seconds, width = (first, 1) if case["work"] == "first-token" else generate(
            inputs, case["maxNewTokens"], case["rowLengths"]
        )
        if not measured:
            continue
        lengths = case["rowLengths"] or [width] * len(inputs["input_ids"])
        assert width == max(lengths), f"generated {width} tokens, the case has {max(lengths)}"
        result["rollout"].append(seconds)
        result["firstToken"].append(first)
        result["tokens"].append(sum(lengths))
    return result


def update(case):
    """The gradient of given completions by transformers and PEFT alone: TRL's log-probabilities, forward and backward."""
    from trl.trainer.utils import selective_log_softmax

    model = adapted(case).train().to(case["device"])
    rows, length = case["prompts"], case["maxNewTokens"]
    result = {"update": [], "tokens": []}
    for i in range(case["warmup"] + case["repeats"]):
        ids = torch.tensor(
            [
                prompt + [(31 * (b * length + t) + 7) % min(10_000, case["vocabulary"]) for t in range(length)]
                for b, prompt in enumerate(row for row in rows[: case["promptsPerRepeat"]] for _ in range(case["groupSize"]))
            ]
        ).to(case["device"])
        advantages = torch.tensor([1.0 if b % 2 == 0 else -1.0 for b in range(len(ids))]).unsqueeze(1)
        began = clock(case)
        logits = model(input_ids=ids, logits_to_keep=length + 1).logits[:, :-1]
        logprobs = selective_log_softmax(logits, ids[:, -length:])
        (-(logprobs.exp() / logprobs.detach().exp() * advantages).mean()).backward()
        model.zero_grad()
        if i >= case["warmup"]:
            result["update"].append(clock(case) - began)
            result["tokens"].append(len(ids) * length)
    return result


def timed_trainer():
    """GRPOTrainer that sums up what passes in each part of a step."""
    from trl import GRPOTrainer

    class TimedTrainer(GRPOTrainer):
        seconds = {}

        def _generate_single_turn(self, *args, **kwargs):
            began = time.perf_counter()
            completions, logprobs = super()._generate_single_turn(*args, **kwargs)
            self.seconds["rollout"] += time.perf_counter() - began
            self.completion_tokens = sum(map(len, completions))
            return completions, logprobs

        def _prepare_inputs(self, *args, **kwargs):
            began = time.perf_counter()
            result = super()._prepare_inputs(*args, **kwargs)
            self.seconds["prepare"] += time.perf_counter() - began
            return result

    return TimedTrainer


class StepTimes(TrainerCallback):
    def __init__(self, case):
        self.case = case
        self.trainer = None
        self.result = {"step": [], "rollout": [], "update": [], "tokens": []}

    def on_step_begin(self, args, state, control, **_):
        self.trainer.seconds = {"rollout": 0.0, "prepare": 0.0}
        self.began = clock(self.case)

    def on_step_end(self, args, state, control, **_):
        if state.global_step <= self.case["warmup"]:
            return
        step, parts = clock(self.case) - self.began, self.trainer.seconds
        self.result["step"].append(step)
        self.result["rollout"].append(parts["rollout"])
        self.result["update"].append(step - parts["prepare"])
        self.result["tokens"].append(self.trainer.completion_tokens)


def alternating(completions, **_):
    """Every group has a spread, so that no row is without a gradient."""
    return [float(i % 2) for i in range(len(completions))]


def step(case):
    from datasets import Dataset
    from trl import GRPOConfig

    set_seed(1)
    model, lora = load(case)
    rows = case["promptsPerRepeat"] * case["groupSize"]
    times = StepTimes(case)
    with tempfile.TemporaryDirectory() as folder:
        config = GRPOConfig(
            output_dir=folder,
            per_device_train_batch_size=rows,
            num_generations=case["groupSize"],
            gradient_accumulation_steps=1,
            max_completion_length=case["maxNewTokens"],
            max_steps=case["warmup"] + case["repeats"],
            learning_rate=1e-5,
            temperature=1.0,
            top_p=case["topP"],
            beta=0.0,
            shuffle_dataset=False,
            bf16=case["dtype"] == "bfloat16",
            use_cpu=case["device"] == "cpu",
            gradient_checkpointing=False,
            logging_steps=1000,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        trainer = timed_trainer()(
            model=model,
            processing_class=number_tokenizer(case),
            reward_funcs=alternating,
            args=config,
            train_dataset=Dataset.from_list([{"prompt": " ".join(map(str, ids))} for ids in case["prompts"]]),
            peft_config=lora,
            callbacks=[times],
        )
        times.trainer = trainer
        trainer.train()
    if case["endId"] is None:
        assert times.result["tokens"] == [rows * case["maxNewTokens"]] * case["repeats"], times.result["tokens"]
    return times.result


def main():
    case = json.loads(Path(sys.argv[1]).read_text())
    disable_progress_bar()
    torch.set_num_threads(case["threads"])
    result = {"step": step, "update": update}.get(case["work"], rollout)(case)
    status = Path("/proc/self/status").read_text()
    result["peakBytes"] = 1024 * int(status.split("VmHWM:")[1].split()[0])
    if case["device"].startswith("cuda"):
        result["deviceBytes"] = torch.cuda.max_memory_reserved()
    print(json.dumps(result))


if __name__ == "__main__":
    main()
