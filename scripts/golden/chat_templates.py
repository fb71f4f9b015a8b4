"""What transformers renders for many chat templates and conversations, and where it raises.

    python3 scripts/golden/chat_templates.py --out test/fixtures/tokenizers/chat-renderings.json.gz FILE ...

A FILE is a template (*.jinja), a tokenizer_config.json with a template, or groups of named cases with a
`chat_template`. Needs the packages of requirements.txt. The clock stands at 2025-07-10 12:00:05, and two runs write the
same bytes.
"""

import argparse
import datetime
import gzip
import json
import pathlib

from transformers.utils import chat_template_utils

NOW = datetime.datetime(2025, 7, 10, 12, 0, 5)


class FrozenClock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return NOW


chat_template_utils.datetime = FrozenClock

SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}


def user(content):
    return {"role": "user", "content": content}


def assistant(content, **more):
    return {"role": "assistant", "content": content, **more}


def system(content):
    return {"role": "system", "content": content}


WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the weather of a place, in °C & \"quoted\" <b>text</b>.",
        "parameters": {
            "type": "object",
            "properties": {
                "location": {"type": "string", "description": "City, e.g. Zürich or 東京"},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "default": None},
                "days": {"type": ["integer", "null"], "minimum": 0, "maximum": 14.5, "default": 1},
                "detailed": {"type": "boolean", "default": False},
                "tags": {"type": "array", "items": {"type": "object", "properties": {}, "required": []}},
            },
            "required": ["location"],
        },
        "return": {"type": "object", "description": "The weather"},
    },
}
ADD = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Add two numbers",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "number", "description": "First"}, "b": {"type": "number", "description": "Second"}},
            "required": ["a", "b"],
        },
    },
}
ODD_TEXT = "  Größe <b>&'\"</b> \\n {{ x }} {% y %}\n\n\t日本 😀 \u2028 end  \n"


def call(name, arguments, **more):
    return {"type": "function", "function": {"name": name, "arguments": arguments}, **more}


TOOL_TURNS = [
    user("What is the weather in Zürich, and 1.5 + 2?"),
    assistant(
        "",
        tool_calls=[
            call("get_weather", {"location": "Zürich", "days": 2, "detailed": True, "unit": None}, id="call00001"),
            call("add", {"a": 1.5, "b": 2}, id="call00002"),
        ],
    ),
    {"role": "tool", "name": "get_weather", "content": '{"temperature": 21.5}', "tool_call_id": "call00001"},
    {"role": "tool", "name": "add", "content": "3.5", "tool_call_id": "call00002"},
]
ONE_CALL = [
    user("Add 1 and 2."),
    assistant(None, tool_calls=[call("add", {"a": 1, "b": 2}, id="abcdefghi")]),
    {"role": "tool", "name": "add", "content": "3", "tool_call_id": "abcdefghi"},
    assistant("It is 3."),
    user("Thanks!"),
]
CHAT = [system("You are kind."), user("Hi"), assistant("Hello!"), user("2 + 2?"), assistant("<think>\nadd\n</think>\n\n4")]

CONVERSATIONS = {
    "user": ([user("Hi there")], {"add_generation_prompt": True}),
    "system": ([system("Be brief."), user("Hi")], {"add_generation_prompt": True}),
    "chat": (CHAT, {}),
    "chat, open": ([*CHAT, user("And 3 + 3?")], {"add_generation_prompt": True}),
    "chat, no system": (CHAT[1:], {}),
    "odd text": ([system(ODD_TEXT), user(ODD_TEXT), assistant(ODD_TEXT), user("x")], {"add_generation_prompt": True}),
    "thinking off": ([*CHAT[:2]], {"add_generation_prompt": True, "enable_thinking": False}),
    "thinking on": ([*CHAT[:2]], {"add_generation_prompt": True, "enable_thinking": True}),
    "other variables": (
        CHAT[:2],
        {
            "add_generation_prompt": True, "thinking": True, "reasoning_effort": "high", "date_string": "01 Jan 2025",
            "model_identity": "You are a test.", "preserve_thinking": True, "custom_tools": None,
        },
    ),
    "reasoning": (
        [user("2 + 2?"), assistant("4", reasoning_content="Two and two."), user("3 + 3?"), assistant("6", reasoning_content="Three.\nTwice.")],
        {},
    ),
    "reasoning, thinking key": ([user("2 + 2?"), assistant("4", thinking="Two and two.")], {}),
    "reasoning, its own key": ([user("2 + 2?"), assistant("4", reasoning="Two and two."), user("3 + 3?")], {"add_generation_prompt": True}),
    "reasoning, several keys": (
        [user("2 + 2?"), assistant("4", reasoning="Third", thinking="Second", reasoning_content=None), user("Sure?"), assistant("Yes", thinking="b", reasoning_content="a")],
        {},
    ),
    "tools": ([user("Weather in Rome?")], {"tools": [WEATHER, ADD], "add_generation_prompt": True}),
    "tools, system": ([system("Use tools."), user("Weather?")], {"tools": [WEATHER], "add_generation_prompt": True}),
    "tools, none": ([user("Hi")], {"tools": [], "add_generation_prompt": True}),
    "tools, turns": (TOOL_TURNS, {"tools": [WEATHER, ADD], "add_generation_prompt": True}),
    "tools, one call": (ONE_CALL, {"tools": [ADD], "add_generation_prompt": True}),
    "tools, final": (ONE_CALL[:4], {"tools": [ADD]}),
    "calls, no tools": (ONE_CALL, {}),
    "arguments as text": (
        [user("Add."), assistant("Let me see.", tool_calls=[call("add", '{"a": 1, "b": 2}', id="abcdefghi")])],
        {"tools": [ADD]},
    ),
    "bare call": ([user("Add."), assistant("", tool_calls=[{"name": "add", "arguments": {"a": 1, "b": -2.0e-7}}])], {"tools": [ADD]}),
    "tool after user": ([user("Hi"), {"role": "tool", "content": "3"}], {}),
    "tool result object": ([user("Hi"), assistant("", tool_calls=[call("add", {"a": 1, "b": 2}, id="abcdefghi")]), {"role": "tool", "name": "add", "content": {"sum": 3, "ok": True}}], {"tools": [ADD]}),
    "ipython": ([user("Hi"), {"role": "ipython", "content": "3"}], {}),
    "parts": ([user([{"type": "text", "text": "Hi"}, {"type": "text", "text": "there"}]), assistant([{"type": "text", "text": "Hello"}])], {}),
    "image": ([user([{"type": "image"}, {"type": "text", "text": "What is it?"}])], {"add_generation_prompt": True}),
    "system parts": ([system([{"type": "text", "text": "Be kind."}]), user("Hi")], {"add_generation_prompt": True}),
    "two users": ([user("Hi"), user("there")], {"add_generation_prompt": True}),
    "assistant first": ([assistant("Hello"), user("Hi")], {}),
    "late system": ([user("Hi"), system("Be kind."), user("there")], {"add_generation_prompt": True}),
    "developer": ([{"role": "developer", "content": "Be kind."}, user("Hi")], {"add_generation_prompt": True}),
    "unknown role": ([{"role": "critic", "content": "Hm."}, user("Hi")], {}),
    "only system": ([system("Be kind.")], {"add_generation_prompt": True}),
    "empty": ([system(""), user(""), assistant("")], {}),
    "no content": ([{"role": "user"}, assistant(None)], {}),
    "null content": ([user("Hi"), assistant(None)], {}),
    "null keys": ([user("Hi"), assistant("Hello", tool_calls=None, reasoning_content=None, name=None), user("Bye")], {"tools": [ADD]}),
    "number content": ([user(42), assistant(True)], {}),
    "documents": (
        [user("What is in it?")],
        {"documents": [{"title": "One", "text": "First text"}, {"title": "Zwei", "text": ODD_TEXT}], "add_generation_prompt": True},
    ),
    "continued": ([user("2 + 2?"), assistant("It is  ")], {"continue_final_message": True}),
    "continued parts": ([user("2 + 2?"), assistant([{"type": "text", "text": "It is"}])], {"continue_final_message": True}),
    "continued thinking": ([user("2 + 2?"), assistant("<think>\nTwo and")], {"continue_final_message": True}),
    "continued reasoning": ([user("2 + 2?"), assistant("", reasoning_content="Two and ")], {"continue_final_message": "reasoning_content"}),
    "continued reasoning, its own key": ([user("2 + 2?"), assistant("4", reasoning="Two and")], {"continue_final_message": "reasoning"}),
}


def render(template: str, messages: list, options: dict) -> dict:
    """As apply_chat_template does it: the conversation is put in order before it is rendered."""
    # Indices are asked for where they exist: they must not change the text.
    wants_indices = "generation" in template and "continue_final_message" not in options
    try:
        texts, indices = chat_template_utils.render_jinja_template(
            [chat_template_utils._normalize_chat_messages(json.loads(json.dumps(messages)))],
            chat_template=template, return_assistant_tokens_mask=wants_indices, **SPECIAL, **json.loads(json.dumps(options)),
        )  # fmt: skip
    except Exception as error:  # whatever a template can run into
        return {"error": type(error).__name__, "message": str(error)[:300]}
    return {"text": texts[0], **({"generated": indices[0]} if wants_indices and indices[0] else {})}


def read_templates(file: pathlib.Path) -> dict[str, str]:
    if file.suffix == ".jinja":
        return {f"{file.parent.name}/{file.stem}": file.read_text()}
    content = json.loads(file.read_text())
    if "chat_template" in content:
        return {file.stem.removesuffix("-tokenizer_config"): content["chat_template"]}
    return {name: case["chat_template"] for group in content.values() for name, case in group.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=pathlib.Path)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    templates = {}
    for file in arguments.files:
        templates.update(read_templates(file))
    result = {
        "now": NOW.isoformat(),
        "specialTokens": SPECIAL,
        "conversations": [{"name": n, "messages": m, "options": o} for n, (m, o) in CONVERSATIONS.items()],
        "templates": [
            {"name": name, "template": text, "expected": [render(text, m, o) for m, o in CONVERSATIONS.values()]}
            for name, text in templates.items()
        ],
    }
    data = json.dumps(result, ensure_ascii=False, separators=(",", ":")).encode()
    arguments.out.write_bytes(gzip.compress(data, 9, mtime=0))


if __name__ == "__main__":
    main()
