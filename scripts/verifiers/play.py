"""Plays one episode of an environment of `verifiers` with the policy, and prints its rewards: a program for `command`.

The row names the taskset and which of its tasks. With the name of a renderer and the folder of a tokenizer as arguments, conversations are
rendered here, and ids are sent instead of messages.
"""

import asyncio
import json
import os
import sys

import verifiers.v1 as vf
from verifiers.v1.utils.loaders import load_environment

ENDPOINT = {"base_url": os.environ["OPENAI_BASE_URL"], "api_key_var": "OPENAI_API_KEY"}
# In this machine's processes, and with nothing but the model, its prompt and the environment's tools.
AGENT = {"harness": {"id": "null"}, "runtime": {"type": "subprocess"}, "max_turns": 8}


def client(arguments: list[str]) -> vf.ClientConfig:
    if not arguments:
        return vf.EvalClientConfig(**ENDPOINT)
    renderer, tokenizer = arguments
    return vf.TrainClientConfig(**ENDPOINT, renderer={"name": renderer}, renderer_model_name=tokenizer)


async def play(row: dict, context: vf.ModelContext) -> vf.Trace:
    env = load_environment(vf.SingleAgentEnvConfig.model_validate({"taskset": row["taskset"], "agent": AGENT}))
    [task] = env.taskset.include(idx=[str(row["task"])])
    async with env.serving():
        episode = await env.run_episode(task, context)
    if not episode.ok:
        raise RuntimeError([*episode.errors, *(error for trace in episode.traces for error in trace.errors)])
    return episode.traces[-1]


def main() -> None:
    context = vf.ModelContext(model=os.environ["OPENAI_MODEL"], client=client(sys.argv[1:]))
    trace = asyncio.run(play(json.load(sys.stdin), context))
    rewards = {name: reward.value for name, reward in trace.rewards.items()}
    # Ids are there where they were rendered here.
    print(json.dumps({"rewards": rewards, "metrics": trace.metrics, "ids": trace.branches[-1].token_ids}))


if __name__ == "__main__":
    main()
