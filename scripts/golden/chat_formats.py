"""Conversations as chat templates render them, and what TRL and `renderers` read from the responses and append to them.

    python3 scripts/golden/chat_formats.py --templates test/fixtures/tokenizers/chat-renderings.json.gz --out test/fixtures/chat

The templates are those of chat_templates.py. The tokenizer is made here, one token for each byte and one for each mark of a family, so
that a text and its ids say the same. Needs the packages of requirements.txt. Two runs write the same bytes.
"""

import argparse
import copy
import datetime
import gzip
import json
import pathlib
from types import SimpleNamespace

from renderers import base as renderers_base
from renderers import configs
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from transformers.utils import chat_template_utils
from trl.chat_template_utils import add_response_schema, parse_response
from trl.trainer.grpo_trainer import GRPOTrainer

NOW = datetime.datetime(2025, 7, 10, 12, 0, 5)


class FrozenClock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return NOW


chat_template_utils.datetime = FrozenClock

# Marks by whether transformers' skip_special_tokens leaves them out.
MARKS = {
    True: """<s> </s> <pad> <unk> <|endoftext|> <|im_start|> <|im_end|> <|eot_id|> <|eom_id|> <|end_of_text|> <|begin_of_text|>
        <|start_header_id|> <|end_header_id|> <|python_tag|> <|start|> <|end|> <|return|> <|call|> <|channel|> <|message|> <|constrain|>
        <|system|> <|user|> <|assistant|> <|observation|> [gMASK] <sop> <｜User｜> <｜Assistant｜> <｜tool▁calls▁begin｜>
        <｜tool▁calls▁end｜> <｜tool▁call▁begin｜> <｜tool▁call▁end｜> <｜tool▁sep｜> <｜tool▁outputs▁begin｜> <｜tool▁outputs▁end｜>
        <｜tool▁output▁begin｜> <｜tool▁output▁end｜> <｜end▁of▁sentence｜> <｜begin▁of▁sentence｜> [INST] [/INST] [TOOL_CALLS]
        [TOOL_RESULTS] [/TOOL_RESULTS] [AVAILABLE_TOOLS] [/AVAILABLE_TOOLS] [ARGS] [CALL_ID] [THINK] [/THINK] <start_of_turn>
        <end_of_turn> <bos> <eos> <|turn> <turn|> <|tool> <tool|> <|think|> <|channel> <channel|> <|tool_call> <tool_call|>
        <|tool_response> <tool_response|> <|"|> <|image|> <|image> <image|> <|audio|> <|video|> <|tool_call_start|> <|tool_call_end|>
        <|tool_list_start|> <|tool_list_end|> <|tool_response_start|> <|tool_response_end|> <|vision_start|> <|vision_end|>
        <|image_pad|> <|video_pad|>""".split(),
    False: "<think> </think> <tool_call> </tool_call> <tool_response> </tool_response> <arg_key> </arg_key> <arg_value> </arg_value>".split(),
}  # fmt: skip


def byte_tokenizer() -> Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={char: i for i, char in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    for special, marks in MARKS.items():
        tokenizer.add_tokens([AddedToken(mark, special=special, normalized=False) for mark in marks])
    return tokenizer


def tool(name: str, **properties) -> dict:
    parameters = {"type": "object", "properties": properties, "required": list(properties)[:1]}
    return {"type": "function", "function": {"name": name, "description": f"Does {name}.", "parameters": parameters}}


TOOLS = [
    tool(
        "get_weather",
        city={"type": "string", "description": "Where"},
        days={"type": "integer"},
        detailed={"type": "boolean"},
        unit={"type": ["string", "null"], "enum": ["C", "F", None]},
    ),
    tool("add", a={"type": "number", "description": "First"}, b={"type": "number", "description": "Second"}),
    tool(
        "search",
        query={"type": "string"},
        filters={"type": "object"},
        tags={"type": "array", "items": {"type": "string"}},
        limit={"anyOf": [{"type": "integer"}, {"type": "null"}]},
        zip={"type": "string"},
    ),
    tool("ping"),
]


def call(name: str, **arguments) -> dict:
    return {"type": "function", "function": {"name": name, "arguments": arguments}}


def assistant(content="", *calls, reasoning=None) -> dict:
    message = {"role": "assistant", "content": content}
    if reasoning is not None:
        message["reasoning_content"] = reasoning
    if calls:
        message["tool_calls"] = [{**copy.deepcopy(c), "id": f"call{i:05d}"} for i, c in enumerate(calls)]
    return message


PARIS = call("get_weather", city="Paris", days=2)
SUM = call("add", a=1.5, b=-2)
TURNS = {
    "text": assistant("Hello!"),
    "unicode": assistant("Grüße an 世界, 😀 and é\u2028end"),
    "lines": assistant("First.\n\n```ts\nconst a = [1, 2];\n```\n\nLast <b>line</b> & more"),
    "json text": assistant('It is {"a": {"b": [1]}} as JSON, or { } or {'),
    "near marks": assistant("a < b, <tool, <|im_ and <thin and [TOOL and </think"),
    "padded": assistant("  spaced out \n"),
    "empty": assistant(""),
    "reasoning": assistant("It is 4.", reasoning="Two and two."),
    "long reasoning": assistant("Done: 12", reasoning="First, 3 * 4.\n\nThen: 世界 {x} <b>\n- so 12"),
    "one call": assistant("", PARIS),
    "typed": assistant("", call("get_weather", city="Oslo", days=-3, detailed=True, unit=None)),
    "fractions": assistant("", call("add", a=2.5, b=1e-07)),
    "whole fraction": assistant("", call("add", a=2.0, b=3)),
    "false": assistant("", call("get_weather", city="Bern", detailed=False)),
    "nested": assistant("", call("search", query="a", filters={"year": {"from": 2001, "to": [1, None, True]}, "x": {}}, tags=["b", "c d"])),
    "union": assistant("", call("search", query="limits", limit=7)),
    "digits": assistant("", call("search", query="75001", zip="00420")),
    "words": assistant("", call("search", query="true", zip="null")),
    "quotes": assistant("", call("search", query='say "hi" to C:\\dir & it')),
    "apostrophe": assistant("", call("search", query="it's")),
    "unicode call": assistant("", call("search", query="Zürich 東京 😀")),
    "text with lines": assistant("", call("search", query="one\ntwo\n\nthree")),
    "markup": assistant("", call("search", query="<b>x</b> a < b {y} [z]")),
    "no arguments": assistant("", call("ping")),
    "unknown tool": assistant("", call("other", x="5", y=5)),
    "two calls": assistant("", PARIS, SUM),
    "three calls": assistant("", SUM, call("ping"), PARIS),
    "text and call": assistant("Let me look.", PARIS),
    "text and calls": assistant("Two things:\n- one", PARIS, SUM),
    "reasoning and call": assistant("", PARIS, reasoning="I need the weather."),
    "all": assistant("I look it up.", PARIS, SUM, reasoning="Both.\nAt once."),
}

CALLED = [{"role": "user", "content": "What now?"}, assistant("", PARIS)]
RESULT = {"role": "tool", "name": "get_weather", "content": '{"temperature": 21.5}', "tool_call_id": "call00000"}
CONTEXTS = {
    "user": [{"role": "user", "content": "Hi there"}],
    "system": [{"role": "system", "content": "Be brief, 世界."}, {"role": "user", "content": "Hi"}],
    "history": [{"role": "user", "content": "2 + 2?"}, assistant("4", reasoning="Two and two."), {"role": "user", "content": "And 3?"}],
    "result": [*CALLED, RESULT],
}
NEXT = {
    "user": [{"role": "user", "content": "Go on, 世界"}],
    "result": [RESULT],
    "results": [RESULT, {"role": "tool", "name": "add", "content": "-0.5", "tool_call_id": "call00001"}],
    "result and user": [RESULT, {"role": "user", "content": "Thanks. More?"}],
}

HERMES = {
    "not JSON": '<tool_call>\n{"name": "add", "arguments": {"a": 1,}}\n</tool_call>',
    "no name": '<tool_call>\n{"arguments": {"a": 1}}\n</tool_call>',
    "a list": "<tool_call>\n[1]\n</tool_call>",
    "no arguments": '<tool_call>\n{"name": "ping"}\n</tool_call>',
    "null arguments": '<tool_call>\n{"name": "ping", "arguments": null}\n</tool_call>',
    "one line": '<tool_call>{"name": "add", "arguments": {"b": 2, "a": 1}}</tool_call>',
    "odd spacing": '<tool_call>\n{ "arguments" : { "note":"caf\\u00e9 \\/ x",  "city": "Paris",\n "days": 2.0 },  "name": "get_weather" }\n</tool_call>',
    "quoted numbers": '<tool_call>\n{"name": "get_weather", "arguments": {"city": "5", "days": "5", "detailed": "true"}}\n</tool_call>',
    "good and bad": '<tool_call>\n{"name": "ping", "arguments": {}}\n</tool_call>\n<tool_call>\n{bad}\n</tool_call>',
    "text behind": 'Look.\n<tool_call>\n{"name": "ping", "arguments": {}}\n</tool_call>\nDone.',
    "not closed": '<tool_call>\n{"name": "add", "arguments": {"a": 1',
    "not closed, whole": '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n',
    "thinks twice": "<think>\na\n</think>\n\nb\n<think>\nc\n</think>\n\nd",
    "thinks without end": "<think>\nAnd so on",
    "empty thoughts": "<think>\n\n</think>\n\nYes",
    "call in thoughts": '<think>\nI could <tool_call>{"name": "ping"}</tool_call>\n</think>\n\nNo.',
}
XML = {
    "no function": "<tool_call>\n<parameter=a>\n1\n</parameter>\n</tool_call>",
    "JSON inside": '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>',
    "open parameter": "<tool_call>\n<function=add>\n<parameter=a>\n1\n</function>\n</tool_call>",
    "one line": "<tool_call><function=add><parameter=a>1</parameter><parameter=b> 2.0 </parameter></function></tool_call>",
    "numbers": "<tool_call>\n<function=add>\n<parameter=a>\n1e3\n</parameter>\n<parameter=b>\n+7\n</parameter>\n</function>\n</tool_call>",
    "no numbers": "<tool_call>\n<function=get_weather>\n<parameter=city>\n5\n</parameter>\n<parameter=days>\nfew\n</parameter>\n<parameter=detailed>\nTRUE\n</parameter>\n<parameter=unit>\nNone\n</parameter>\n</function>\n</tool_call>",
    "not closed": "<tool_call>\n<function=add>\n<parameter=a>\n1\n</para",
    "text behind": "Look.\n<tool_call>\n<function=ping>\n</function>\n</tool_call>\nDone.",
    "good and bad": "<tool_call>\n<function=ping>\n</function>\n</tool_call>\n<tool_call>\nbad\n</tool_call>",
}
GLM = {
    "no key": "<tool_call>add\n<arg_value>1</arg_value>\n</tool_call>",
    "no name": "<tool_call></tool_call>",
    "tight": "<tool_call>add<arg_key>a</arg_key><arg_value>1</arg_value></tool_call>",
    "numbers": "<tool_call>add\n<arg_key>a</arg_key>\n<arg_value>1e3</arg_value>\n<arg_key>b</arg_key>\n<arg_value>2.0</arg_value>\n</tool_call>",
    "not closed": "<tool_call>add\n<arg_key>a</arg_key>\n<arg_val",
    "text behind": "Look.\n<tool_call>ping\n</tool_call>\nDone.",
}
LLAMA = {
    "prose": 'Write {"name": "f", "parameters": {"a": 1}} to call it.',
    "not JSON": '{"name": "add", "parameters": {"a": 1,}}',
    "spaces": '{"name":  "add",   "parameters": {"a": 1, "b": "2"}}',
    "other order": '{"parameters": {"a": 1}, "name": "add"}',
    "two": '{"name": "add", "parameters": {"a": 1}}; {"name": "ping", "parameters": {}}',
    "not closed": '{"name": "add", "parameters": {"a": 1',
    "object": '{"name": "add", "value": 1}',
}
HARMONY = {
    "channels": "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Yes.<|return|>",
    "recipient behind the channel": '<|channel|>commentary to=functions.ping <|constrain|>json<|message|>{"a": 1}<|call|>',
    "recipient before it": ' to=functions.add<|channel|>commentary json<|message|>{"a": "1"}<|call|>',
    "preamble": "<|channel|>commentary<|message|>I look.<|end|><|start|>assistant<|channel|>final<|message|>Done.<|return|>",
    "two thoughts": "<|channel|>analysis<|message|>One.<|end|><|start|>assistant<|channel|>analysis<|message|>Two.<|end|>",
    "not JSON": " to=functions.add<|channel|>commentary json<|message|>{a}<|call|>",
    "cut off": "<|channel|>analysis<|message|>And so",
}
GEMMA = {
    "not JSON": "<|tool_call>call:add{a:}<tool_call|>",
    "no name": "<|tool_call>add{a:1}<tool_call|>",
    "nested": '<|tool_call>call:search{query:<|"|>a {b:1}<|"|>,filters:{x:{y:[1,2]}},tags:[<|"|>c<|"|>]}<tool_call|>',
    "quoted": '<|tool_call>call:add{"a":1,b:2}<tool_call|>',
    "not closed": "<|tool_call>call:add{a:1",
}
LFM = {
    "double quotes": '<|tool_call_start|>[search(query="a, b", tags=["c"])]<|tool_call_end|>',
    "words": "<|tool_call_start|>[get_weather(city='Oslo', detailed=True, unit=None)]<|tool_call_end|>",
    "positional": "<|tool_call_start|>[add(1, 2)]<|tool_call_end|>",
    "not closed": "<|tool_call_start|>[add(a=1",
    "text behind": "<|tool_call_start|>[ping()]<|tool_call_end|>Done.",
}
DEEPSEEK = {
    "not JSON": "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>add\n```json\n{a}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
    "no mark": "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function add<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
}
# Template, its training variant, tokens that end a turn (the first is the tokenizer's EOS), config of `renderers`, responses by hand.
FAMILIES = {
    "qwen2.5": ("trl/qwen2_5", "trl/qwen2_5_training", ["<|im_end|>"], None, HERMES),
    "qwen3": ("trl/qwen3", "trl/qwen3_training", ["<|im_end|>"], configs.Qwen3RendererConfig(thinking_retention="all"), HERMES),
    "qwen3-2507": ("trl/qwen3_instruct_2507", "trl/qwen3_instruct_2507_training", ["<|im_end|>"], None, {}),
    "qwen3.5": ("trl/qwen3_5_think", "trl/qwen3_5_think_training", ["<|im_end|>"], configs.Qwen35RendererConfig(thinking_retention="all"), XML),
    "qwen3.5-nothink": ("trl/qwen3_5_nothink", "trl/qwen3_5_nothink_training", ["<|im_end|>"], None, XML),
    "qwen3.6": ("trl/qwen3_6", "trl/qwen3_6_training", ["<|im_end|>"], configs.Qwen36RendererConfig(thinking_retention="all"), {}),
    "qwen3.8": ("trl/qwen3_8", "trl/qwen3_8_training", ["<|im_end|>"], configs.Qwen38RendererConfig(thinking_retention="all"), {}),
    "glm-4.5": ("trl/glm4moe", "trl/glm4moe_training", ["<|endoftext|>", "<|user|>", "<|observation|>"], configs.GLM45RendererConfig(thinking_retention="all"), GLM),
    "glm-5.1": ("zai-org/GLM-5.1", None, ["<|endoftext|>", "<|user|>", "<|observation|>"], configs.GLM51RendererConfig(thinking_retention="all"), GLM),
    "nemotron-3": ("trl/nemotron_3_nano", "trl/nemotron_3_nano_training", ["<|im_end|>"], configs.Nemotron3RendererConfig(thinking_retention="all"), {}),
    "llama-3.1": ("trl/llama3_1", "trl/llama3_1", ["<|eot_id|>", "<|eom_id|>"], None, LLAMA),
    "llama-3.2": ("trl/llama3_2", "trl/llama3_2", ["<|eot_id|>", "<|eom_id|>"], configs.Llama3RendererConfig(), LLAMA),
    "gpt-oss": ("trl/gptoss", "trl/gptoss_training", ["<|return|>", "<|call|>"], None, HARMONY),
    "lfm2": ("trl/lfm2_v2", "trl/lfm2_v2_training", ["<|im_end|>"], None, LFM),
    "lfm2.5": ("trl/lfm2_2_5_v2", "trl/lfm2_2_5_v2", ["<|im_end|>"], None, LFM),
    "gemma-4": ("trl/gemma4_v5", "trl/gemma4_v5", ["<eos>", "<turn|>", "<|tool_response>"], configs.Gemma4RendererConfig(thinking_retention="all"), GEMMA),
    "gemma-3": ("trl/gemma3", "trl/gemma3_training", ["<eos>", "<end_of_turn>"], None, {}),
    "deepseek-r1-distill": ("trl/deepseek_r1_distill", "trl/deepseek_r1_distill_training", ["<｜end▁of▁sentence｜>"], None, {}),
    "deepseek-v3": ("trl/deepseekv3", "trl/deepseekv3_training", ["<｜end▁of▁sentence｜>"], configs.DeepSeekV3RendererConfig(thinking_retention="all"), DEEPSEEK),
    # The template of Hermes 2 knows no unions.
    "hermes-2": ("NousResearch/Hermes-2-Pro-Llama-3-8B (JSON Schema)", None, ["<|im_end|>"], None, {}),
    "mistral-nemo": ("mistralai/Mistral-Nemo-Instruct-2407", None, ["</s>"], None, {}),
    "mistral-0.3": ("mistralai/Mistral-7B-Instruct-v0.3 (JSON Schema)", None, ["</s>"], None, {}),
    "smollm3": ("HuggingFaceTB/SmolLM3-3B", None, ["<|im_end|>"], None, {}),
}  # fmt: skip


# What a template may begin of the turn itself.
BEGUN = ("<think>\n\n</think>\n\n", "<think>\n\n</think>\n", "<think>\n", "<think>")


class Family:
    def __init__(self, tokenizer: Tokenizer, templates: dict, name: str):
        self.template, training, self.ends, config, self.by_hand = FAMILIES[name]
        self.tools = [TOOLS[1]] if name == "hermes-2" else TOOLS
        self.tok = PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, eos_token=self.ends[0], bos_token="<s>", pad_token="<pad>", unk_token="<unk>"
        )
        self.tok.chat_template = templates[self.template]
        self.training = templates[training] if training else None
        try:
            add_response_schema(self.tok)
        except ValueError:  # TRL reads no responses of this template
            pass
        self.renderer = config and renderers_base.create_renderer(self.tok, config)
        self.end_ids = set(self.tok.convert_tokens_to_ids(self.ends))

    def render(self, messages, prompt: bool, template=None) -> str | None:
        """None where the template refuses; arguments as text where it takes no objects."""
        for arguments in (lambda value: value, json.dumps):
            given = [self.adapted(message) for message in copy.deepcopy(messages)]
            for message in given:
                for c in message.get("tool_calls", []):
                    c["function"]["arguments"] = arguments(c["function"]["arguments"])
            try:
                return self.tok.apply_chat_template(
                    given, tools=self.tools, add_generation_prompt=prompt, tokenize=False, chat_template=template
                )
            except Exception:
                continue
        return None

    def adapted(self, message: dict) -> dict:
        """The same for templates that take no calls, or no content beside thoughts and calls."""
        calls = message.get("tool_calls", [])
        if self.template == "HuggingFaceTB/SmolLM3-3B" and calls:
            written = [f"<tool_call>\n{json.dumps(c['function'], ensure_ascii=False)}\n</tool_call>" for c in calls]
            message = {**message, "content": "\n".join(filter(None, [message["content"], *written]))}
            del message["tool_calls"]
        if self.template == "trl/gptoss" and calls and message["content"] and "reasoning_content" in message:
            message = {**message, "content": "", "reasoning_content": message["reasoning_content"] + "\n" + message["content"]}
        return message

    def ids(self, text: str) -> list[int]:
        return self.tok(text, add_special_tokens=False)["input_ids"]

    def response(self, context, turn) -> tuple[str, str] | None:
        """The prompt, and what the template writes for the turn behind it, up to the token that ends it."""
        prompt, whole = self.render(context, True), self.render([*context, turn], False)
        if prompt is None or whole is None:
            return None
        begun = next((mark for mark in BEGUN if prompt.endswith(mark)), "")
        header = prompt.removesuffix(begun)
        if not whole.startswith(header):
            return None
        ids = self.ids(whole[len(header):])
        written = self.tok.decode(ids[: next((i + 1 for i, t in enumerate(ids) if t in self.end_ids), len(ids))])
        if written.startswith(begun):
            return prompt, written[len(begun):]
        if begun != "<think>\n":
            return header, written
        # The template leaves out the thoughts that it begins; a model writes them.
        return prompt, "Hm.\n</think>\n\n" + written.removeprefix("<think></think>")

    def trl(self, prompt: str, response: str) -> dict | None:
        if getattr(self.tok, "response_template", None) is None:
            return None
        parsed = parse_response(self.tok, self.ids(response), prefix=self.ids(prompt), tools=TOOLS)
        calls = [c["function"] for c in parsed.get("tool_calls", [])]
        return {
            "content": parsed["content"],
            "reasoning": parsed.get("reasoning_content") or parsed.get("thinking") or "",
            "calls": [[c["name"], c["arguments"]] for c in calls],
        }

    def renderers(self, prompt: str, response: str) -> dict | None:
        if self.renderer is None:
            return None
        parsed = self.renderer.parse_response(self.ids(response), tools=TOOLS, prompt_ids=self.ids(prompt))
        return {
            "content": parsed.content,
            "reasoning": parsed.reasoning_content or "",
            "calls": [[c.name, c.arguments] for c in parsed.tool_calls if c.status == "ok"],
            "malformed": sum(c.status != "ok" for c in parsed.tool_calls),
        }

    def suffix(self, tools) -> str | None:
        """What TRL appends for the results of tools, with a template of its own for training."""
        if self.training is None:
            return None
        stub = SimpleNamespace(
            processing_class=self.tok, _tokenizer=self.tok, _is_vlm=False, chat_template=self.training, chat_template_kwargs={}
        )
        try:
            return self.tok.decode(GRPOTrainer._get_tool_suffix_ids(stub, tools))
        except Exception:
            return None

    def bridge(self, prompt: str, response: str, messages) -> str | None:
        """What `renderers` appends, behind the end token too where the response has none."""
        if self.renderer is None:
            return None
        before = self.ids(prompt), self.ids(response)
        bridged = self.renderer.bridge_to_next_turn(*before, messages, tools=TOOLS)
        return None if bridged is None else self.tok.decode(bridged.token_ids[len(before[0]) + len(before[1]):])


def record(family: Family) -> dict:
    renderings = []
    responses = []
    for context_name, context in CONTEXTS.items():
        for turn_name, turn in TURNS.items():
            # Every turn behind a user's message; a few in other places.
            if context_name != "user" and turn_name not in ("text", "reasoning", "one call", "all"):
                continue
            whole = family.render([*context, turn, *NEXT["user"]], True)
            renderings.append({"context": context_name, "turn": turn_name, "text": whole})
            written = family.response(context, turn)
            if written is not None:
                responses.append({"context": context_name, "turn": turn_name, "prompt": written[0], "response": written[1]})
    prompt = family.render(CONTEXTS["user"], True)
    for name, text in family.by_hand.items():
        if prompt.endswith(("<think>", "<think>\n")):
            text = "Hm.\n</think>\n\n" + text
        for end in ("", family.ends[0]):
            closed = text if any(text.endswith(e) for e in family.ends) else text + end
            responses.append({"turn": f"by hand: {name}{', ended' if end else ''}", "prompt": prompt, "response": closed})
    for response in responses:
        pair = response["prompt"], response["response"]
        response["trl"] = family.trl(*pair)
        response["renderers"] = family.renderers(*pair)
    continuations = []
    for name, messages in NEXT.items():
        turn = TURNS["text and calls" if name == "results" else "text" if name == "user" else "one call"]
        if family.response(CONTEXTS["user"], turn) is None:
            turn = TURNS["one call"]
        written = family.response(CONTEXTS["user"], turn)
        whole = family.render([*CONTEXTS["user"], turn, *messages], True)
        for cut in (False, True) if written else ():
            start, response = written[0], family.ids(written[1])
            # The mark of the next role ends a turn of GLM's: its template writes it only there.
            if response[-1] not in family.end_ids:
                response += family.ids("<|user|>" if name == "user" else "<|observation|>")
            response = family.tok.decode(response[:-1] if cut and response[-1] in family.end_ids else response)
            continuations.append(
                {
                    "next": name, "prompt": start, "response": response,
                    "trl": family.suffix(messages) if name in ("result", "results") and not cut else None,
                    "renderers": family.bridge(start, response, messages),
                    "template": whole[len(start + response):] if whole and whole.startswith(start + response) else None,
                    "refused": whole is None,
                }
            )
    return {
        "template": family.template, "ends": family.ends, "tools": family.tools, "renderings": renderings, "responses": responses,
        "continuations": continuations,
    }  # fmt: skip


def write(path: pathlib.Path, value) -> None:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    path.write_bytes(gzip.compress(text.encode(), mtime=0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--templates", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    args = parser.parse_args()
    templates = {t["name"]: t["template"] for t in json.loads(gzip.decompress(args.templates.read_bytes()))["templates"]}
    tokenizer = byte_tokenizer()
    args.out.mkdir(parents=True, exist_ok=True)
    write(args.out / "tokenizer.json.gz", json.loads(tokenizer.to_str()))
    families = {name: record(Family(tokenizer, templates, name)) for name in FAMILIES}
    # As OpenAI has them: the text tells 2.0 from 2.
    for message in [*TURNS.values(), *(m for context in CONTEXTS.values() for m in context)]:
        for c in message.get("tool_calls", []):
            if not isinstance(c["function"]["arguments"], str):
                c["function"]["arguments"] = json.dumps(c["function"]["arguments"])
    conversations = {"now": NOW.isoformat(), "contexts": CONTEXTS, "turns": TURNS, "next": NEXT, "families": families}
    write(args.out / "conversations.json.gz", conversations)
    count = sum(len(family["responses"]) for family in families.values())
    print(f"{count} responses of {len(families)} models")


if __name__ == "__main__":
    main()
