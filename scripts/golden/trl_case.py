"""A real TRL GRPOTrainer on a fixture model, fed with batches made by hand instead of sampled ones.

Used by loss.py, masked_loss.py, token_advantages.py and steps.py. Needs the packages of requirements.txt and the model folders that models.py writes.
"""

import re
import tempfile

import torch
from common import ATTENTION, generator, ragged
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOConfig, GRPOTrainer

GROUP = 4
PROMPT_LENGTHS = [5, 1, 9, 3]
VOCAB = 64
ALL_LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
# Fixture name -> model folder and LoRA targets; None: all parameters train.
SETS = {"qwen2-qv": ("qwen2-random", ["q_proj", "v_proj"]), "llama-all": ("llama-random-bias", ALL_LINEAR)}


def make_trainer(models, tokenizer, name, case=None, **options):
    """A trainer on the set's model with a LoRA of r 4, alpha 8, no dropout, or without. Options are GRPOConfig's."""
    folder, targets = case or SETS[name]
    model = AutoModelForCausalLM.from_pretrained(models / folder, dtype=torch.float32, attn_implementation=ATTENTION)
    rows = [{"prompt": "1 + 1"}] * 16  # the trainer wants a dataset; nothing is sampled from it
    with tempfile.TemporaryDirectory() as output:
        config = GRPOConfig(
            output_dir=output,
            num_generations=GROUP,
            max_completion_length=32,
            bf16=False,
            use_cpu=True,
            gradient_checkpointing=False,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
            **options,
        )
        trainer = GRPOTrainer(
            model=model,
            processing_class=AutoTokenizer.from_pretrained(tokenizer),
            reward_funcs=lambda completions, **_: [0.0] * len(completions),
            args=config,
            train_dataset=Dataset.from_list(rows),
            peft_config=lora(targets),
        )
    trainer.current_gradient_accumulation_steps = config.gradient_accumulation_steps
    trainer.model.train()
    return trainer


def lora(targets):
    if targets is None:
        return None
    return LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8, lora_dropout=0.0, target_modules=targets)


def lora_parameters(trainer):
    """name in the saved file -> parameter."""
    named = trainer.model.named_parameters()
    return {re.sub(r"\.default(?=\.|$)", "", n): p for n, p in named if p.requires_grad}


def draw_adapter(trainer, seed):
    """A and B both random, so that every tensor has a gradient."""
    random = generator(seed)
    with torch.no_grad():
        for _, weight in sorted(lora_parameters(trainer).items()):
            weight.copy_(0.1 * torch.randn(weight.shape, generator=random))


class Batch:
    """Four prompts of four ragged completions each; the last group's rewards are all the same."""

    def __init__(self, seed, vocab=VOCAB):
        random = generator(seed)
        tokens = lambda n: torch.randint(3, vocab, (n,), generator=random).tolist()  # noqa: E731
        self.prompts = [tokens(n) for n in PROMPT_LENGTHS]
        count = GROUP * len(self.prompts)
        lengths = torch.randint(2, 18, (count,), generator=random).tolist()
        lengths[1] = 1
        self.completions = [tokens(n) for n in lengths]
        self.prompt_of = [i // GROUP for i in range(count)]
        rewards = torch.rand(len(self.prompts), GROUP, generator=random)
        rewards[-1] = 0.5
        spread = rewards.std(dim=1, keepdim=True)
        self.advantages = ((rewards - rewards.mean(dim=1, keepdim=True)) / (spread + 1e-4)).flatten()
        self.token_count = sum(lengths)

    def padded(self, extra=0):
        """TRL's form: prompts padded on the left, completions on the right."""
        left = max(map(len, self.prompts)) + extra
        right = max(map(len, self.completions)) + extra
        prompts = [self.prompts[p] for p in self.prompt_of]
        pad = lambda rows, value: torch.tensor([value(r) for r in rows])  # noqa: E731
        return {
            "prompt_ids": pad(prompts, lambda p: [0] * (left - len(p)) + p),
            "prompt_mask": pad(prompts, lambda p: [0] * (left - len(p)) + [1] * len(p)),
            "completion_ids": pad(self.completions, lambda c: c + [0] * (right - len(c))),
            "completion_mask": pad(self.completions, lambda c: [1] * len(c) + [0] * (right - len(c))),
            "advantages": self.advantages,
            "num_items_in_batch": torch.tensor(self.token_count),
        }

    def pad_tokens(self, flat, extra=0):
        """Per-token values [tokens] -> [B, width], zero where there is no token."""
        width = max(map(len, self.completions)) + extra
        rows = torch.split(flat, [len(c) for c in self.completions])
        return torch.stack([torch.nn.functional.pad(r, (0, width - len(r))) for r in rows])

    def flatten(self, padded):
        return torch.cat([row[: len(c)] for row, c in zip(padded, self.completions, strict=True)])

    def tensors(self):
        prompt_ids, prompt_offsets = ragged(self.prompts)
        completion_ids, completion_offsets = ragged(self.completions)
        return {
            "promptIds": prompt_ids,
            "promptOffsets": prompt_offsets,
            "completionIds": completion_ids,
            "completionOffsets": completion_offsets,
            "promptOf": torch.tensor(self.prompt_of, dtype=torch.int32),
            "advantages": self.advantages,
        }


def logprobs(trainer, batch, adapter=True, model=None):
    """Per-token log-probabilities [tokens] by TRL's own function, with the adapter on or off (the reference), or of a model."""
    inputs = batch.padded()
    ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1)
    mask = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], dim=1)
    width = inputs["completion_ids"].size(1)

    def compute():
        with torch.no_grad():
            return trainer._get_per_token_logps_and_entropies(model or trainer.model, ids, mask, width)[0]

    if adapter:
        return batch.flatten(compute())
    with trainer.model.disable_adapter():
        return batch.flatten(compute())


def perturbed(current, seed):
    """Old log-probabilities whose ratios leave [0.8, 1.2] on both sides and keep clear of its ends."""
    old = current + 0.25 * torch.randn(current.shape, generator=generator(seed))
    ratio = (current - old).exp()
    near = ((ratio - 0.8).abs() < 0.01) | ((ratio - 1.2).abs() < 0.01)
    return torch.where(near, current - 0.05, old)


def accumulate(trainer, inputs, slices):
    """Loss and metrics of one optimizer step: `slices` micro-batches of consecutive rows, gradients summed."""
    trainer._metrics["train"].clear()
    total = 0.0
    rows = inputs["advantages"].size(0) // slices
    for start in range(0, slices * rows, rows):
        part = {k: v[start : start + rows] if v.dim() else v for k, v in inputs.items()}
        loss = trainer.compute_loss(trainer.model, part)
        trainer.accelerator.backward(loss)
        total += loss.item()
    names = {k: [x for x in v if x == x] for k, v in trainer._metrics["train"].items()}
    metrics = {k: sum(v) / len(v) for k, v in names.items() if not k.startswith("profiling")}
    return total, metrics
