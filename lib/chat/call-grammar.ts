// Calls as each family writes them, as grammars: the names of the tools, and arguments by their schemas. What is written here is what
// read-calls.ts reads.

import { choice, type Expression, separated, sequence, text, until } from "../grammar/expression.js";
import { schemaExpression } from "../grammar/json-schema.js";
import { COMMA, literalValue, member, SPACE } from "../grammar/json-text.js";
import { inOrder } from "../grammar/schema-objects.js";
import { isJsonObject, type JsonObject } from "../json.js";
import type { ChatFamilyName } from "./chat-format.js";

/** A tool that may be called. */
export interface CallableTool {
  readonly name: string;
  /** JSON schema of its arguments, of an object. */
  readonly parameters: JsonObject;
}

export interface CallStyle {
  /** A mark of the family: the token that it is, or its text. */
  readonly mark: (name: string) => Expression;
  /** All of the model's chat templates: some families have two ways. */
  readonly template: string;
}

/** From one to `most` calls, with what is around them. Undefined where the family's calls cannot be written by a grammar, or has none. */
export function callsExpression(
  family: ChatFamilyName,
  tools: readonly CallableTool[],
  most: number,
  style: CallStyle,
): Expression | undefined {
  return FAMILIES[family]?.(tools, most, style);
}

type WriteCalls = (tools: readonly CallableTool[], most: number, style: CallStyle) => Expression;

const FAMILIES: Readonly<Partial<Record<ChatFamilyName, WriteCalls>>> = {
  hermes: (tools, most, { mark }) => {
    const call = sequence(
      mark("<tool_call>"),
      text("\n"),
      anyOf(tools, jsonCall("arguments")),
      text("\n"),
      mark("</tool_call>"),
    );
    return separated(call, text("\n"), 1, most);
  },
  "qwen3-coder": (tools, most, { mark }) => {
    const call = sequence(mark("<tool_call>"), text("\n"), anyOf(tools, xmlCall), text("\n"), mark("</tool_call>"));
    return separated(call, text("\n"), 1, most);
  },
  glm: (tools, most, { mark }) => {
    const call = sequence(
      mark("<tool_call>"),
      anyOf(tools, (tool) => glmCall(tool, mark)),
      mark("</tool_call>"),
    );
    return separated(call, text("\n"), 1, most);
  },
  deepseek: (tools, most, { mark, template }) => {
    const isFenced = template.includes("```json");
    const call = sequence(
      mark("<｜tool▁call▁begin｜>"),
      anyOf(tools, (tool) => deepseekCall(tool, mark("<｜tool▁sep｜>"), isFenced)),
      mark("<｜tool▁call▁end｜>"),
    );
    const between = text(isFenced ? "\n" : "");
    return sequence(mark("<｜tool▁calls▁begin｜>"), separated(call, between, 1, most), mark("<｜tool▁calls▁end｜>"));
  },
  mistral: (tools, most, { mark, template }) => {
    const open = mark("[TOOL_CALLS]");
    if (template.includes("[ARGS]")) {
      const call = (tool: CallableTool) => sequence(text(tool.name), mark("[ARGS]"), argumentsOf(tool));
      return separated(sequence(open, anyOf(tools, call)), sequence(), 1, most);
    }
    const call = anyOf(tools, jsonCall("arguments"));
    return sequence(open, text("["), SPACE, separated(call, COMMA, 1, most), SPACE, text("]"));
  },
  llama3: (tools, most) => separated(anyOf(tools, jsonCall("parameters")), text("; "), 1, most),
  lfm2: (tools, most, { mark }) => {
    const call = sequence(text("["), separated(anyOf(tools, pythonCall), text(", "), 1, most), text("]"));
    return sequence(mark("<|tool_call_start|>"), call, mark("<|tool_call_end|>"));
  },
  "gpt-oss": (tools, _, { mark }) => {
    const call = (tool: CallableTool) =>
      sequence(
        text(` to=functions.${tool.name} `),
        mark("<|constrain|>"),
        text("json"),
        mark("<|message|>"),
        argumentsOf(tool),
      );
    return sequence(mark("<|channel|>"), text("commentary"), anyOf(tools, call));
  },
};

function anyOf(tools: readonly CallableTool[], call: (tool: CallableTool) => Expression): Expression {
  return choice(...tools.map(call));
}

function argumentsOf({ parameters }: CallableTool): Expression {
  return schemaExpression(parameters);
}

const jsonCall = (key: "arguments" | "parameters") => (tool: CallableTool) =>
  sequence(
    text('{"name": '),
    literalValue(tool.name),
    COMMA,
    member(literalValue(key), argumentsOf(tool)),
    SPACE,
    text("}"),
  );

function deepseekCall(tool: CallableTool, separator: Expression, isFenced: boolean): Expression {
  if (!isFenced) return sequence(text(tool.name), separator, argumentsOf(tool));
  return sequence(text("function"), separator, text(`${tool.name}\n\`\`\`json\n`), argumentsOf(tool), text("\n```"));
}

/** `<function=name>` and a `<parameter=key>` for each argument. */
function xmlCall(tool: CallableTool): Expression {
  const end = "\n</parameter>";
  const each = (key: string, schema: unknown) =>
    sequence(text(`\n<parameter=${key}>\n`), plainValue(schema, tool, end, ["</parameter>", "</tool_call>"]));
  return sequence(text(`<function=${tool.name}>`), argumentList(tool, each, sequence()), text("\n</function>"));
}

function glmCall(tool: CallableTool, mark: CallStyle["mark"]): Expression {
  const end = "</arg_value>";
  const each = (key: string, schema: unknown) =>
    sequence(
      mark("<arg_key>"),
      text(key),
      mark("</arg_key>"),
      text("\n"),
      mark("<arg_value>"),
      plainValue(schema, tool, end, ["<arg_key>", "</tool_call>"]),
      text("\n"),
    );
  return sequence(text(`${tool.name}\n`), argumentList(tool, each, sequence()));
}

function pythonCall(tool: CallableTool): Expression {
  const each = (key: string, schema: unknown) => sequence(text(`${key}=`), schemaExpression(schema, tool.parameters));
  return sequence(text(`${tool.name}(`), argumentList(tool, each, text(", ")), text(")"));
}

/** Arguments that the schema names, in its order. */
function argumentList(
  { parameters }: CallableTool,
  write: (key: string, schema: unknown) => Expression,
  separator: Expression,
): Expression {
  const properties = isJsonObject(parameters.properties) ? parameters.properties : {};
  const required = Array.isArray(parameters.required) ? parameters.required : [];
  const list = Object.entries(properties).map(([key, schema]) => {
    return { member: write(key, schema), required: required.includes(key) };
  });
  return inOrder(list, separator);
}

/** A value and its end, in formats that write strings as they are and all else as JSON. */
function plainValue(schema: unknown, { parameters }: CallableTool, end: string, never: readonly string[]): Expression {
  if (!isJsonObject(schema)) return until(end, never);
  if (Array.isArray(schema.enum) && schema.enum.every((value) => typeof value === "string")) {
    return sequence(choice(...schema.enum.map((value) => text(value))), text(end));
  }
  const { type } = schema;
  const isJson = typeof type === "string" && type !== "string";
  if (isJson) return sequence(schemaExpression(schema, parameters), text(end));
  return typeof schema.const === "string" ? text(schema.const + end) : until(end, never);
}
