"""Three optimizer steps with peft.optimizers.create_loraplus_optimizer.

    python3 scripts/golden/lora_plus.py --tiny scripts/assets/tiny-qwen2 --out test/fixtures/golden

Needs the packages of requirements.txt and the models that models.py wrote into OUT/models. Writes OUT/adapters/lora-plus (the
adapter before the steps) and OUT/lora-plus.safetensors: ids, offsets and the adapter's tensors afterwards. Everything is
float32. The loss is minus the mean log-probability of every token but the first of its sequence; nothing is clipped.
"""

import shutil
import warnings

import torch
from adapter_variants import QWEN, adapt, file_name, sequences_for, shake
from adapters import tidy
from common import arguments, ragged, write_json, write_tensors
from peft.optimizers import create_loraplus_optimizer

OPTIONS = {"target_modules": ["q_proj", "embed_tokens"], "bias": "all"}
RATES = {"learningRate": 0.01, "ratio": 4.0, "embeddingRate": 0.002, "weightDecay": 0.1, "epsilon": 1e-3, "steps": 3}


def loss_of(model, sequences):
    rows = [model(input_ids=torch.tensor([ids])).logits[0, :-1].log_softmax(-1) for ids in sequences]
    chosen = [row.gather(1, torch.tensor(ids[1:])[:, None]) for row, ids in zip(rows, sequences, strict=True)]
    return -torch.cat(chosen).mean()


def main():
    args = arguments(__doc__)
    warnings.simplefilter("ignore")
    model = adapt(args.out / "models" / QWEN, OPTIONS)
    shake(model, seed=8)
    target = args.out / "adapters" / "lora-plus"
    shutil.rmtree(target, ignore_errors=True)
    model.save_pretrained(target, save_embedding_layers=False)
    (target / "adapter_model.safetensors").chmod(0o644)
    tidy(target, QWEN)
    optimizer = create_loraplus_optimizer(
        model,
        torch.optim.AdamW,
        lr=RATES["learningRate"],
        loraplus_lr_ratio=RATES["ratio"],
        loraplus_lr_embedding=RATES["embeddingRate"],
        loraplus_weight_decay=RATES["weightDecay"],
        eps=RATES["epsilon"],
    )
    sequences = sequences_for(model.config.vocab_size)
    for _ in range(RATES["steps"]):
        optimizer.zero_grad()
        loss_of(model, sequences).backward()
        optimizer.step()
    ids, offsets = ragged(sequences)
    after = {file_name(name): weight for name, weight in model.named_parameters() if weight.requires_grad}
    write_tensors(args.out / "lora-plus.safetensors", {"ids": ids, "offsets": offsets} | after)
    write_json(args.out / "lora-plus.json", RATES)


if __name__ == "__main__":
    main()
