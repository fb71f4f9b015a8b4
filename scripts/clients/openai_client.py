"""openai for Python, unmodified, against an endpoint: prints what each use of it gave."""

import json
import os

import openai

MODEL = "policy"
client = openai.OpenAI(base_url=os.environ["BASE_URL"], api_key=os.environ["KEY"])
messages = [{"role": "user", "content": os.environ["QUESTION"]}]
tools = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}]
result = {"models": [model.id for model in client.models.list()]}

whole = client.chat.completions.create(model=MODEL, messages=messages, temperature=0)
result["chat"] = whole.choices[0].message.content
with client.chat.completions.stream(model=MODEL, messages=messages, temperature=0) as stream:
    for _ in stream:
        pass
    result["streamed"] = stream.get_final_completion().choices[0].message.content

# The stream helper joins ids and names that come twice, and refuses pieces without an index.
for dump in (True, False):
    with client.chat.completions.stream(model=MODEL, messages=messages, tools=tools, temperature=0) as stream:
        message = stream.get_final_completion().choices[0].message
    turn = message.model_dump() if dump else message
    results = [{"role": "tool", "tool_call_id": call.id, "content": "sunny"} for call in message.tool_calls]
    last = client.chat.completions.create(
        model=MODEL, messages=[*messages, turn, *results], tools=tools, temperature=0
    )
    calls = [[call.function.name, json.loads(call.function.arguments)] for call in message.tool_calls]
    result["tools dumped" if dump else "tools"] = [last.choices[0].message.content, calls]

response = client.responses.create(model=MODEL, input=os.environ["QUESTION"], temperature=0)
result["responses"] = response.output_text
with client.responses.stream(model=MODEL, input=os.environ["QUESTION"], temperature=0) as stream:
    result["responses streamed"] = stream.get_final_response().output_text
scored = client.completions.create(model=MODEL, prompt="2 + 2", echo=True, logprobs=1, max_tokens=1)
result["completions"] = [scored.choices[0].text[:5], scored.choices[0].logprobs.token_logprobs[0]]
try:
    client.chat.completions.create(model=MODEL, messages=messages, presence_penalty=1)
except openai.BadRequestError as error:
    result["bad request"] = [error.code, error.param]
print(json.dumps(result))
