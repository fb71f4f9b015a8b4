// The form that a request asks its answer to have: a JSON schema, a pattern, one of several texts, or a call of a tool; in the fields of
// OpenAI's protocols and in vLLM's.

import type { ChatTool } from "../chat/chat-format.js";
import { ebnfExpression } from "../grammar/ebnf.js";
import { choice, type Expression, text } from "../grammar/expression.js";
import { schemaExpression } from "../grammar/json-schema.js";
import { OBJECT } from "../grammar/json-text.js";
import { regexExpression } from "../grammar/regex.js";
import { isJsonObject, type JsonObject } from "../json.js";
import type { ZodModule } from "../zod.js";
import { ApiError, badField, unsupportedField } from "./api-error.js";

/** What a text may be. */
export interface TextForm {
  /** The field that asks for it. */
  readonly field: string;
  /** The same for the same texts. */
  readonly key: string;
  readonly write: () => Expression;
}

/** Calls that must come. */
export interface CallForm {
  readonly tools: readonly ChatTool[];
  readonly most: number;
}

/** The fields that ask for a form, in OpenAI's names and vLLM's. */
export const formFields = (z: ZodModule) => ({
  response_format: z.looseObject({ type: z.string() }).nullish(),
  structured_outputs: z.looseObject({}).nullish(),
  guided_json: z.unknown().optional(),
  guided_regex: z.string().nullish(),
  guided_choice: z.array(z.string()).min(1).nullish(),
  guided_grammar: z.string().nullish(),
});

/** Values of them that have been checked, or texts of the Responses API in the place of the first. */
export interface FormFields {
  readonly response_format?: JsonObject | null | undefined;
  readonly structured_outputs?: JsonObject | null | undefined;
  readonly guided_json?: unknown;
  readonly guided_regex?: string | null | undefined;
  readonly guided_choice?: readonly string[] | null | undefined;
  readonly guided_grammar?: string | null | undefined;
}

/** Characters of a schema or a grammar. */
const MOST_CHARACTERS = 256 * 1024;
/** Calls of a turn that must call. */
const MOST_CALLS = 64;

/** The form of the text that a request asks for; undefined where it asks for none. Throws 400. */
export function textFormOf(fields: FormFields, formatField = "response_format"): TextForm | undefined {
  const { response_format: format, structured_outputs: structured } = fields;
  const forms = [
    ...(format == null ? [] : [formatForm(format, formatField)]),
    ...(structured == null ? [] : structuredForms(structured)),
    ...Object.entries(GUIDED).flatMap(([field, kind]) => {
      const value = Reflect.get(fields, field);
      return value === undefined || value === null ? [] : [formOf(field, kind, value)];
    }),
  ].filter((form) => form !== undefined);
  const [first, second] = forms;
  if (second !== undefined) throw badField(second.field, `the answer has a form already, by ${first?.field}`);
  return first;
}

type FormKind = "json" | "json_object" | "regex" | "choice" | "grammar";

const GUIDED: Readonly<Record<string, FormKind>> = {
  guided_json: "json",
  guided_regex: "regex",
  guided_choice: "choice",
  guided_grammar: "grammar",
};

function formatForm(format: JsonObject, field: string): TextForm | undefined {
  switch (format.type) {
    case "text":
      return undefined;
    case "json_object":
      return formOf(field, "json_object", true);
    case "json_schema": {
      // The Responses API has the schema beside the type, chat one level further in.
      const inner = isJsonObject(format.json_schema) ? format.json_schema : format;
      if (inner.schema === undefined || inner.schema === null) {
        throw badField(`${field}.json_schema.schema`, "a JSON schema is expected here, found none");
      }
      return formOf(field, "json", inner.schema);
    }
    default:
      throw unsupportedField(
        `${field}.type`,
        `text, json_object and json_schema are, found ${JSON.stringify(format.type)}`,
      );
  }
}

const STRUCTURED: readonly FormKind[] = ["json", "regex", "choice", "grammar", "json_object"];

function structuredForms(structured: JsonObject): TextForm[] {
  return Object.entries(structured).flatMap(([name, value]) => {
    if (value === null || value === undefined || value === false) return [];
    const field = `structured_outputs.${name}`;
    const kind = STRUCTURED.find((known) => known === name);
    if (kind === undefined) throw unsupportedField(field, `${STRUCTURED.join(", ")} are`);
    return [formOf(field, kind, value)];
  });
}

function formOf(field: string, kind: FormKind, value: unknown): TextForm {
  const key = JSON.stringify([kind, value]);
  if (key.length > MOST_CHARACTERS)
    throw badField(field, `at most ${MOST_CHARACTERS} characters are read, found ${key.length}`);
  return { field, key, write: () => EXPRESSIONS[kind](value, field) };
}

const EXPRESSIONS: Readonly<Record<FormKind, (value: unknown, field: string) => Expression>> = {
  // Clients of vLLM also give schemas as texts.
  json: (value, field) => schemaExpression(typeof value === "string" ? parsed(value, field) : value),
  json_object: () => OBJECT,
  regex: (value, field) => regexExpression(textOf(value, field)),
  choice: (value, field) => {
    if (!Array.isArray(value) || value.length === 0) throw badField(field, "a list of texts is expected here");
    return choice(...value.map((option) => text(textOf(option, field))));
  },
  grammar: (value, field) => ebnfExpression(textOf(value, field)),
};

function textOf(value: unknown, field: string): string {
  if (typeof value === "string") return value;
  throw badField(field, `a text is expected here, found ${JSON.stringify(value)?.slice(0, 80)}`);
}

function parsed(schema: string, field: string): unknown {
  try {
    return JSON.parse(schema);
  } catch (cause) {
    throw new ApiError(400, "invalid_value", `${field}: the text is no JSON schema`, { param: field, cause });
  }
}

/** The calls that a tool_choice asks for; undefined where the model may choose. Throws 400. */
export function callFormOf(tools: readonly ChatTool[], choice: unknown, parallelCalls: boolean): CallForm | undefined {
  if (choice === undefined || choice === null || choice === "auto" || choice === "none") return undefined;
  if (choice === "required") {
    if (tools.length === 0) throw badField("tool_choice", '"required" needs tools');
    return { tools, most: parallelCalls ? MOST_CALLS : 1 };
  }
  const name = calledName(choice);
  if (name === undefined) {
    throw unsupportedField("tool_choice", '"auto", "none", "required" and a function are');
  }
  const named = tools.filter((tool) => nameOf(tool) === name);
  if (named.length === 0) throw badField("tool_choice", `there is no tool ${JSON.stringify(name)}`);
  return { tools: named.slice(0, 1), most: 1 };
}

/** Chat has the name one level further in than the Responses API. */
function calledName(choice: unknown): string | undefined {
  if (!isJsonObject(choice) || choice.type !== "function") return undefined;
  const { name } = isJsonObject(choice.function) ? choice.function : choice;
  return typeof name === "string" ? name : undefined;
}

function nameOf(tool: ChatTool): unknown {
  return isJsonObject(tool.function) ? tool.function.name : tool.name;
}
