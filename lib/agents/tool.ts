// A tool as its author writes it, and as the model is told of it. The tools of the AI SDK are such tools; those of an MCP server become
// some in mcp.ts.

import { show } from "../checks.js";
import { GrpoError } from "../errors.js";
import { isJsonObject, type JsonObject } from "../json.js";
import { zod } from "../zod.js";

/** What a call of a tool is told beside its arguments, under the names and types of the AI SDK. */
export interface ToolCallOptions {
  /** The id of the call, unique in its conversation. */
  readonly toolCallId: string;
  /** The conversation up to the call, as messages of this library. */
  readonly messages: readonly unknown[];
  /** Aborted when the call takes too long or the run is stopped. Always there. */
  readonly abortSignal?: AbortSignal | undefined;
}

/** A function that the model may call between its turns. */
export interface Tool {
  /** Not needed in an object of tools, whose keys are the names. */
  readonly name?: string | undefined;
  /** What the model is told of it. */
  readonly description?: string | undefined;
  /**
   * The arguments: a schema of zod 4, a JSON schema of type "object", or what the AI SDK's jsonSchema() gives. Default: none. A schema
   * that can check, as zod's can, does, and may change the arguments.
   */
  readonly inputSchema?: unknown;
  /**
   * Runs the tool. What it returns, or its promise, is the result: text as it is, anything else as Python's str() writes it, which is
   * what TRL does. What it throws is an error that the model reads.
   */
  execute?(input: never, options: ToolCallOptions): unknown;
}

/** Tools by name, as the AI SDK has them, or a list of tools with names. */
export type Tools = readonly Tool[] | Readonly<Record<string, Tool>>;

/** What a schema can say of arguments: Standard Schema's `validate`, which zod, valibot and others have. */
export type CheckInput = (input: unknown) => Promise<{ readonly value: unknown } | { readonly problem: string }>;

/** A tool that was checked. */
export interface ReadyTool {
  readonly name: string;
  readonly description: string;
  /** JSON schema of an object. */
  readonly parameters: JsonObject;
  readonly checkInput: CheckInput | undefined;
  readonly execute: (input: unknown, options: ToolCallOptions) => unknown;
}

/** Throws BAD_OPTION, naming the tool, for what no model could call. */
export function readyTools(where: string, tools: Tools): ReadyTool[] {
  const named = Array.isArray(tools)
    ? (tools as readonly Tool[]).map((tool, i) => [tool?.name, tool, `${where}[${i}]`] as const)
    : Object.entries(tools).map(([name, tool]) => [name, tool, `${where}.${name}`] as const);
  const ready = named.map(([name, tool, place]) => readyTool(name, tool, place));
  const twice = ready.find(({ name }, i) => ready.findIndex((other) => other.name === name) < i);
  if (twice !== undefined) throw new GrpoError("BAD_OPTION", `${where}: two tools are called "${twice.name}"`);
  return ready;
}

/** The tool as OpenAI describes a function, which is what chat templates read. */
export function describeTool({ name, description, parameters }: ReadyTool): JsonObject {
  return { type: "function", function: { name, description, parameters } };
}

function readyTool(name: string | undefined, tool: Tool, place: string): ReadyTool {
  if (typeof name !== "string" || name === "") {
    throw new GrpoError("BAD_OPTION", `${place}: expected a tool with a name, found ${show(tool)}`, {
      hint: "write { name, description, inputSchema, execute }, or give an object of tools by name",
    });
  }
  const { description = "", inputSchema } = tool;
  if (typeof tool.execute !== "function") {
    throw new GrpoError("BAD_OPTION", `${place}: the tool "${name}" has no function execute`, {
      hint: "give it one: nobody else can answer its calls",
    });
  }
  return {
    name,
    description,
    parameters: parametersOf(inputSchema, `${place}: inputSchema of the tool "${name}"`),
    checkInput: checkOf(inputSchema),
    execute: (input, options) => tool.execute?.(input as never, options),
  };
}

function parametersOf(schema: unknown, where: string): JsonObject {
  const json = schema === undefined ? { type: "object", properties: {} } : jsonSchemaOf(schema);
  if (isJsonObject(json) && json.type === "object") return json;
  throw new GrpoError("BAD_OPTION", `${where} describes no object of arguments, found ${show(json ?? schema)}`, {
    hint: "give z.object({ … }) of zod 4, or a JSON schema of type object",
  });
}

function jsonSchemaOf(schema: unknown): unknown {
  // A schema of zod, of whichever copy.
  if (isJsonObject(schema) && "_zod" in schema) {
    const { $schema: _, ...json } = zod().toJSONSchema(schema as never, { io: "input" });
    return json;
  }
  if (isJsonObject(schema) && "jsonSchema" in schema) return schema.jsonSchema;
  return schema;
}

/** Undefined where the schema only describes. */
function checkOf(schema: unknown): CheckInput | undefined {
  if (!isJsonObject(schema)) return undefined;
  const standard = schema["~standard"];
  if (isJsonObject(standard) && typeof standard.validate === "function") {
    const validate = standard.validate as (input: unknown) => Promise<StandardResult> | StandardResult;
    return async (input) => {
      const result = await validate(input);
      return result.issues === undefined
        ? { value: result.value }
        : { problem: result.issues.map(issueText).join("; ") };
    };
  }
  // The AI SDK's jsonSchema(schema, { validate }).
  if ("jsonSchema" in schema && typeof schema.validate === "function") {
    const validate = schema.validate as (input: unknown) => Promise<SdkResult> | SdkResult;
    return async (input) => {
      const result = await validate(input);
      return result.success ? { value: result.value } : { problem: result.error.message };
    };
  }
  return undefined;
}

type SdkResult =
  | { readonly success: true; readonly value: unknown }
  | { readonly success: false; readonly error: Error };

interface Issue {
  readonly message: string;
  readonly path?: readonly unknown[] | undefined;
}

interface StandardResult {
  readonly value?: unknown;
  readonly issues?: readonly Issue[] | undefined;
}

/** "city: expected string, …". */
function issueText({ message, path = [] }: Issue): string {
  const keys = path.map((key) => String(isJsonObject(key) ? key.key : key));
  return keys.length === 0 ? message : `${keys.join(".")}: ${message}`;
}
