"""The Agents SDK for Python, unmodified, against an endpoint: prints what each use of it gave."""

import asyncio
import json
import os

from agents import Agent, ModelSettings, OpenAIChatCompletionsModel, OpenAIResponsesModel, Runner, function_tool
from openai import AsyncOpenAI

client = AsyncOpenAI(base_url=os.environ["BASE_URL"], api_key=os.environ["KEY"])
ran = []


@function_tool
def weather(city: str, days: float) -> str:
    ran.append(city)
    return f"sunny in {city}"


def told():
    cities = list(ran)
    ran.clear()
    return cities


async def use(model):
    agent = Agent(name="A", model=model, tools=[weather], model_settings=ModelSettings(temperature=0))
    run = await Runner.run(agent, os.environ["QUESTION"])
    result = {"tools": [run.final_output, *told()]}
    again = [*run.to_input_list(), {"role": "user", "content": os.environ["QUESTION"]}]
    result["second turn"] = [(await Runner.run(agent, again)).final_output, *told()]
    streamed = Runner.run_streamed(agent, os.environ["QUESTION"])
    async for _ in streamed.stream_events():
        pass
    result["tools streamed"] = [streamed.final_output, *told()]
    return result


async def main():
    models = {"responses": OpenAIResponsesModel, "chat": OpenAIChatCompletionsModel}
    result = {}
    for name, make in models.items():
        used = await use(make(model="policy", openai_client=client))
        result.update({f"{name}: {key}": value for key, value in used.items()})
    print(json.dumps(result))


asyncio.run(main())
