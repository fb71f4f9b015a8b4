"""Trainings of one model one after the other, each by a GRPOTrainer of its own or by the one before.

    python3 scripts/golden/stages.py --tiny scripts/assets/tiny-qwen2 --out test/fixtures/golden

Needs what loss.py needs. Writes OUT/stages.{safetensors,json}, with the completions of runs.py, whose first generation is the first of
every stage. What a stage has of those before it is TRL's and transformers' business: a new trainer has a new optimizer and the model as
it is, with which the KL term compares; a trainer that trains again keeps its optimizer.
"""

import tempfile

from common import arguments, write_json, write_tensors
from runs import Rollouts, adapter_of, log_lines, make_trainer, shared, tables
from trl.trainer import grpo_trainer
from trl_case import draw_adapter

# Options of each stage; None: the trainer before trains once more.
STAGES = {
    "two trainers": [{"gradientAccumulationSteps": 2}, {"gradientAccumulationSteps": 2}],
    "a KL term in between": [
        {"numIterations": 2, "lossType": "grpo"},
        {"beta": 0.04, "numIterations": 2, "learningRate": 1e-2, "maxSteps": 4},
        {"gradientAccumulationSteps": 2, "lossType": "bnpo", "weightDecay": 0.1, "lrSchedulerType": "constant"},
    ],
    "another optimizer": [
        {"maxSteps": 3, "lrSchedulerType": "constant"},
        {"maxSteps": 3, "optim": "sgd", "optimArgs": "momentum=0.9", "learningRate": 0.5},
        {"maxSteps": 3},
    ],
    "one trainer twice": [{"gradientAccumulationSteps": 2}, None],
}


def train(args, stages, prompts, completions):
    """The adapter before the first stage, and of each stage its log and the adapter after it."""
    results, trainer = [], None
    with tempfile.TemporaryDirectory() as output:
        for options in stages:
            if options is None:
                rollouts.calls = 0
            else:
                rollouts = Rollouts(prompts, completions)
                trainer = make_trainer(args, options, rollouts, output, trainer and trainer.model)
            if not results:
                draw_adapter(trainer, seed=11)
                before = adapter_of(trainer)
            trainer.train()
            results.append((log_lines(trainer), adapter_of(trainer)))
    return before, results


def main():
    args = arguments(__doc__)
    grpo_trainer.shuffle_sequence_dict = lambda batch: batch
    prompts, completions = tables()
    tensors, logs = {}, []
    for name, stages in STAGES.items():
        before, results = train(args, stages, prompts, completions)
        tensors |= {f"adapter.{n}": w for n, w in before.items()}
        for i, (_, after) in enumerate(results):
            tensors |= {f"{name} {i + 1}.{n}": w for n, w in after.items()}
        rows = [{"options": options, "steps": steps} for options, (steps, _) in zip(stages, results)]
        logs.append({"name": name, "stages": rows})
    write_tensors(args.out / "stages.safetensors", tensors)
    write_json(args.out / "stages.json", shared(prompts, completions) | {"chains": logs})


if __name__ == "__main__":
    main()
