// Texts of strangers (completions, output of programs, templates, rows, file names, answers of servers) cost time by their length, not by
// its square. Each text here is so long that the square of it takes minutes.

import { expect, it } from "vitest";
import { chatFormat } from "../lib/chat/create-chat-format.js";
import { parseJson, splitJson } from "../lib/dataset/exact-json.js";
import { splitAnswer } from "../lib/dataset/ready.js";
import { matching } from "../lib/hub/hub.js";
import { redacted } from "../lib/hub/hub-client.js";
import { patchCode } from "../lib/rewards/code/programs.js";
import { parseFloatStrictly, strip } from "../lib/rewards/code/python-text.js";
import { rewards } from "../lib/rewards/index.js";
import { parseRequirement } from "../lib/setup/requirements.js";
import { trimText } from "../lib/text.js";
import { compileJinja, literalTexts } from "../lib/tokenizer/jinja/template.js";
import { TokenizerBackend } from "../lib/tokenizer/tokenizer-backend.js";

const LENGTH = 300_000;
const LIMIT_MS = 10_000;

/** So many of a text that all together have LENGTH. */
const many = (text: string): string => text.repeat(LENGTH / text.length);
const spaces = many(" ");

const completion = (text: string) => ({ completions: [text] });
const render = (template: string, text: string) => () => compileJinja(template)({ text });

/** A tokenizer of words in which `added` is on top of the vocabulary. */
function backend(added: object, parts: object = {}): TokenizerBackend {
  const flags = { id: 9, normalized: false, special: false };
  return new TokenizerBackend(
    {
      added_tokens: [{ ...flags, ...added }],
      pre_tokenizer: { type: "WhitespaceSplit" },
      model: { type: "WordLevel", vocab: { "<unk>": 0 }, unk_token: "<unk>" },
      ...parts,
    },
    [],
  );
}

const formats = {
  eosTokenIds: [],
  tokenToId: () => undefined,
  decodeStream: () => ({ push: () => "", end: () => "" }),
} as unknown as Parameters<typeof chatFormat>[0];
type Family = NonNullable<Parameters<typeof chatFormat>[1]>["family"];

/** A response read at once, and one character after the other. */
const respond = (family: Family, text: string) => () => {
  const format = chatFormat(formats, { family });
  format.parse(text);
  const stream = format.stream();
  for (const char of text) stream.push(char);
  stream.end();
};

const opening = "<think>\n\n</think>\n<answer>\n";
const cases: Readonly<Record<string, () => unknown>> = {
  "output of a program with space inside": () => strip(`x${spaces}x`),
  "output of a sandbox that is nearly a number": () => parseFloatStrictly(`${many("1")}x`),
  "a program that ends in backslashes, almost": () => patchCode(`${many("\\")}x`, "python"),
  "a program with imports without end": () => patchCode(many("from fractions import ("), "python"),
  "a program with imports on one line": () => patchCode(many("from fractions import x, "), "python"),
  "a program with an import and then space": () => patchCode(`from fractions import${spaces}x`, "python"),
  "a program that logs in without end": () => patchCode(many("os  getlogin  "), "python"),
  "a completion with many answers": () =>
    rewards.answerFormat(completion(`<think>\n${many("\n</think>\n<answer>\n")}`)),
  "a completion with many fences": () => rewards.codeFormat()(completion(opening + many("```python "))),
  "a completion with many closed fences": () =>
    rewards.codeFormat()(completion(opening + many("```python```\n</answer>."))),
  "a completion with many thoughts": () => rewards.thinkFormat(completion(many("<think>"))),
  "a completion with many digits": () => rewards.reasoningSteps(completion(`Step ${many("1")}`)),
  "a completion with many tags": () => rewards.tagCount(completion(many("<think>\n"))),
  "a response of spaces": respond("hermes", `x${spaces}x`),
  "a response with many beginnings of marks": respond("hermes", many("<tool_ca")),
  "a response with many marks": respond("hermes", many("<think></think><tool_call></tool_call>")),
  "a response with a call without end": respond("hermes", `<tool_call>${many('{"')}`),
  "a response with a call of quotes": respond("llama3", `{"name": "f", "parameters": "${many('\\"')}`),
  "a response with many beginnings of calls": respond("llama3", many('{ "name": "a')),
  "a response with many parameters": respond(
    "qwen3-coder",
    `<tool_call><function=f>${many("<parameter=a>")}</tool_call>`,
  ),
  "a response with many keys": respond("glm", `<tool_call>f${many("<arg_key>a</arg_key> ")}</tool_call>`),
  "a response with many brackets": respond("lfm2", `<|tool_call_start|>[f(a=${many("[")}<|tool_call_end|>`),
  "a response with many quotes in a call": respond("gemma4", `<|tool_call>call:f{a:${many('"')}}<tool_call|>`),
  "a response with many bare keys": respond("gemma4", `<|tool_call>call:f{${many("a:{")}}<tool_call|>`),
  "a response with many lists of calls": respond("mistral", `[TOOL_CALLS]${many("[TOOL_CALLS]f[ARGS]{}")}`),
  "a response with many headers": respond("gpt-oss", many("<|channel|>x ")),
  "a response with many fences": respond(
    "deepseek",
    `<｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n${many("``` ")}<｜tool▁call▁end｜>`,
  ),
  "trim in a template": render("{{ text | trim }}", `x${spaces}x`),
  "strip, lstrip and rstrip in a template": render(
    "{{ text.strip() }}{{ text.rstrip() }}{{ text.lstrip() }}",
    `x${spaces}x`,
  ),
  "strip of given characters in a template": render("{{ text.strip('ab') }}", `x${many("ab")}x`),
  "split at white space in a template": render(
    "{{ text.split() | length }}{{ text.split(none, 1) | length }}",
    many("a  "),
  ),
  "a format of a template": render("{{ text % 1 }}", `%${many("0")}`),
  "format() of a template": render("{{ text.format(1) }}", many("{0")),
  "title, splitlines and int in a template": render(
    "{{ text | title }}{{ text.splitlines() | length }}{{ text | int }}",
    `${many("1 ")}x`,
  ),
  "space before a tag of a template": () => compileJinja(`x${spaces}x{%- if true %}{% endif %}`),
  "space in tags of a template": () => compileJinja(many("{%  ")),
  "the texts of a template": () => literalTexts(`${many("{{ 'a' }}b")}`),
  "a normalizer that strips": () =>
    backend({ content: "<m>" }, { normalizer: { type: "Strip" } }).encode(`x${spaces}x`, false),
  "a token that takes space on its left": () =>
    backend({ content: "<m>", lstrip: true }, { post_processor: { type: "ByteLevel" } }).encode(
      `${spaces}x<m>${spaces}<m>`,
      false,
    ),
  "a token of space that takes space on its right": () => backend({ content: " ", rstrip: true }).encode(spaces, false),
  "a file name and a pattern of many stars": () =>
    matching([`${"a".repeat(200)}c`], [`${"*a".repeat(40)}b`, `${"**/".repeat(40)}b`]),
  "a pattern of many brackets": () => matching(["a"], [many("[")]),
  "an answer of the Hub with many addresses": () => redacted(many("http://x")),
  "a row of gsm8k with many marks": () => splitAnswer(`${many("####\t")}\n${many("\n#### x")}\nx`),
  "a row of JSON with many quotes": () => parseJson(`"${many('\\"')}NaN`, "row 1", { names: true }),
  "rows of JSON with many quotes": () => splitJson(many('\\"')),
  "what a wheel asks for": () => parseRequirement(`a [${spaces}] ( ${spaces} ;${spaces}(`),
};

it.each(Object.entries(cases))("%s", (_, run) => {
  const started = performance.now();
  try {
    run();
  } catch {
    // Refusing is as good an answer; only the time counts.
  }
  expect(performance.now() - started).toBeLessThan(LIMIT_MS);
});

it("cuts whole characters from the ends of a text", () => {
  const set = new Set("a😀");
  const goes = (char: string) => set.has(char);
  expect(trimText("a😀a\udc00x\ud83d😀", goes)).toBe("\udc00x\ud83d");
  expect([trimText("aax", goes, "end"), trimText("xa😀", goes, "start"), trimText("a😀", goes)]).toEqual([
    "aax",
    "xa😀",
    "",
  ]);
});
