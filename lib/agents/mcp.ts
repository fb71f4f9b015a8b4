// The tools of an MCP server as tools of a trainer, through a client of @modelcontextprotocol/sdk that the caller has connected. Only the
// two methods that are needed are named here, so that the package is needed by nobody else.

import { GrpoError } from "../errors.js";
import type { JsonObject } from "../json.js";
import type { Tool, ToolCallOptions } from "./tool.js";

/** What is asked of a client; that of @modelcontextprotocol/sdk is one. */
export interface McpClient {
  /** A page of the server's tools. */
  listTools(params?: { cursor?: string }): Promise<{
    readonly tools: readonly {
      readonly name: string;
      readonly description?: string | undefined;
      readonly inputSchema: object;
    }[];
    readonly nextCursor?: string | undefined;
  }>;
  /** Calls a tool; the result has parts, of which those with a text are read. */
  callTool(
    params: { name: string; arguments?: Record<string, unknown> },
    resultSchema?: undefined,
    options?: { signal?: AbortSignal; timeout?: number },
  ): Promise<unknown>;
}

/** Which tools of a server become tools of the trainer. */
export interface McpToolsOptions {
  /** Tools by name. Default: all. */
  readonly only?: readonly string[];
}

/** As long as setTimeout can: the trainer's toolTimeout is what ends a call. */
const NO_TIMEOUT = 2 ** 31 - 1;

/**
 * The tools that the server lists now. A result is the text of its parts; one that the server marks as an error is an error that the model
 * reads. Throws BAD_OPTION for a name in `only` that the server does not have; rejects as the client does.
 */
export async function mcpTools(client: McpClient, { only }: McpToolsOptions = {}): Promise<Tool[]> {
  const listed = await listAll(client);
  const missing = only?.find((name) => !listed.some((tool) => tool.name === name));
  if (missing !== undefined) {
    throw new GrpoError("BAD_OPTION", `mcpTools: the server has no tool "${missing}"`, {
      hint: `use some of ${listed.map(({ name }) => name).join(", ")}`,
    });
  }
  const wanted = listed.filter(({ name }) => only === undefined || only.includes(name));
  return wanted.map(({ name, description, inputSchema }) => ({
    name,
    description,
    inputSchema,
    execute: (input: JsonObject, options: ToolCallOptions) => callTool(client, name, input, options),
  }));
}

type Listed = Awaited<ReturnType<McpClient["listTools"]>>["tools"][number];

async function listAll(client: McpClient): Promise<Listed[]> {
  const tools: Listed[] = [];
  let cursor: string | undefined;
  do {
    const page = await client.listTools(cursor === undefined ? {} : { cursor });
    tools.push(...page.tools);
    cursor = page.nextCursor;
  } while (cursor !== undefined);
  return tools;
}

async function callTool(
  client: McpClient,
  name: string,
  input: JsonObject,
  { abortSignal }: ToolCallOptions,
): Promise<string> {
  const how = { timeout: NO_TIMEOUT, ...(abortSignal && { signal: abortSignal }) };
  const result = await client.callTool({ name, arguments: { ...input } }, undefined, how);
  const { content = [], isError } = result as { readonly content?: readonly Part[]; readonly isError?: boolean };
  const text = content.map((part) => textOf(part, name)).join("\n");
  if (isError) throw new Error(text);
  return text;
}

interface Part {
  readonly type: string;
  readonly text?: string;
  readonly resource?: { readonly text?: string };
}

function textOf({ type, text, resource }: Part, name: string): string {
  const found = text ?? resource?.text;
  if (found !== undefined) return found;
  throw new Error(`Tool ${name} returned a part of type ${type}, and the model reads text.`);
}
