"""Which tokens transformers counts as the assistant's, for TRL's training templates and many conversations.

    python3 scripts/golden/assistant_masks.py --tiny scripts/assets/tiny-qwen2 --out test/fixtures/tokenizers

Needs the packages of requirements.txt; the templates are those of the TRL that is installed. Writes OUT/assistant-masks.json.gz: the
templates, some of those that they mark, the conversations, and for each pair the ids by the bundled tokenizer and their mask as a text of 0 and 1, or null where the
template refuses the conversation. The clock stands at 2025-07-10 12:00:05.
"""

import datetime
import gzip
import json
from pathlib import Path

import trl
from common import arguments
from transformers import AutoTokenizer
from transformers.utils import chat_template_utils

NOW = datetime.datetime(2025, 7, 10, 12, 0, 5)


class FrozenClock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return NOW


chat_template_utils.datetime = FrozenClock


def user(content):
    return {"role": "user", "content": content}


def assistant(content, **more):
    return {"role": "assistant", "content": content, **more}


def call(name, **arguments):
    return {"type": "function", "function": {"name": name, "arguments": arguments}}


# Whose training template writes the same text, with marks.
UNMARKED = ["cohere", "cohere2", "gemma", "gemma3", "lfm2", "qwen2_5_vl", "qwen3_instruct_2507", "qwen3_vl"]
ADD = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Adds.",
        "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
    },
}
CONVERSATIONS = {
    "one turn": {"messages": [user("What is 2 + 3?"), assistant("It is 5.")]},
    "two turns": {"messages": [user("2 + 3?"), assistant("5"), user("And 4 more?"), assistant("9, of course.")]},
    "a system message": {
        "messages": [{"role": "system", "content": "Be short."}, user("2 + 3?"), assistant("5")],
    },
    "ending with the user": {"messages": [user("2 + 3?"), assistant("5"), user("Sure?")]},
    "reasoning": {
        "messages": [user("2 + 3?"), assistant("5", reasoning_content="2 and 3."), user("4 + 4?"), assistant("8", reasoning_content="Twice 4.")]
    },
    "reasoning in the text": {"messages": [user("2 + 3?"), assistant("<think>\n2 and 3.\n</think>\n\n5")]},
    "a tool": {
        "messages": [
            user("2 + 3?"),
            assistant("", tool_calls=[call("add", a=2)]),
            {"role": "tool", "name": "add", "content": "5"},
            assistant("It is 5."),
        ],
        "tools": [ADD],
    },
    "white space and letters of two bytes": {"messages": [user(" Größe? "), assistant("  über 5\n\n")]},
    "an empty answer": {"messages": [user("Say nothing."), assistant("")]},
}


def main():
    args = arguments(__doc__)
    folder = Path(trl.__file__).parent / "chat_templates"
    templates = {path.stem: path.read_text() for path in sorted(folder.glob("*_training.jinja"))}
    tokenizer = AutoTokenizer.from_pretrained(args.tiny)
    masks = {}
    for name, template in templates.items():
        masks[name] = {}
        for title, conversation in CONVERSATIONS.items():
            try:
                result = tokenizer.apply_chat_template(
                    **{"conversation" if key == "messages" else key: value for key, value in conversation.items()},
                    chat_template=template,
                    tokenize=True,
                    return_dict=True,
                    return_assistant_tokens_mask=True,
                )
            except Exception as error:  # noqa: BLE001
                print(name, title, type(error).__name__, str(error)[:80])
                masks[name][title] = None
                continue
            masks[name][title] = {
                "ids": result["input_ids"],
                "mask": "".join(map(str, result["assistant_masks"])),
            }
    originals = {name: (folder / f"{name}.jinja").read_text() for name in UNMARKED}
    value = {"originals": originals, "templates": templates, "conversations": CONVERSATIONS, "masks": masks}
    with open(args.out / "assistant-masks.json.gz", "wb") as file:
        file.write(gzip.compress(json.dumps(value, ensure_ascii=False).encode(), mtime=0))


if __name__ == "__main__":
    main()
