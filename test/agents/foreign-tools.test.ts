// Tools of others: those of the AI SDK as they are, and those of an MCP server through its client.

import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { InMemoryTransport } from "@modelcontextprotocol/sdk/inMemory.js";
import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import { jsonSchema, tool } from "ai";
import { afterAll, describe, expect, it } from "vitest";
import { z } from "zod";
import { callTools } from "../../lib/agents/call-tools.js";
import { type McpClient, mcpTools } from "../../lib/agents/mcp.js";
import { describeTool, readyTools, type Tools } from "../../lib/agents/tool.js";

/** The results of calls, in their order. */
async function results(
  tools: Tools,
  ...calls: readonly (readonly [string, Record<string, unknown>])[]
): Promise<string[]> {
  const ready = readyTools("tools", tools);
  const called = calls.map(([name, values], i) => ({ id: `call_${i}`, function: { name, arguments: values } }));
  const outcomes = await callTools(called, {
    tools: new Map(ready.map((one) => [one.name, one])),
    messages: [],
    timeout: 5,
    signal: new AbortController().signal,
  });
  return outcomes.map(({ message, failed }) => (failed ? `failed: ${message.content}` : message.content));
}

describe("tools of the AI SDK", () => {
  const tools = {
    weather: tool({
      description: "The weather in a city",
      inputSchema: z.object({ city: z.string().describe("Where"), unit: z.enum(["C", "F"]).default("C") }),
      execute: async ({ city, unit }, { toolCallId, abortSignal }) =>
        `${city}: 20 ${unit} ${toolCallId} ${abortSignal?.aborted}`,
    }),
    double: tool({
      inputSchema: jsonSchema<{ n: number }>(
        { type: "object", properties: { n: { type: "number" } }, required: ["n"] },
        {
          validate: (value) => {
            const { n } = value as { n: unknown };
            return typeof n === "number"
              ? { success: true, value: { n } }
              : { success: false, error: new Error("n is no number") };
          },
        },
      ),
      execute: ({ n }) => ({ doubled: 2 * n }),
    }),
  };

  it("are described to the model by their schemas", () => {
    expect(readyTools("tools", tools).map(describeTool)).toEqual([
      {
        type: "function",
        function: {
          name: "weather",
          description: "The weather in a city",
          parameters: {
            type: "object",
            properties: {
              city: { type: "string", description: "Where" },
              unit: { type: "string", enum: ["C", "F"], default: "C" },
            },
            required: ["city"],
          },
        },
      },
      {
        type: "function",
        function: {
          name: "double",
          description: "",
          parameters: { type: "object", properties: { n: { type: "number" } }, required: ["n"] },
        },
      },
    ]);
  });

  it("are called with what their schemas make of the arguments", async () => {
    const found = await results(tools, ["weather", { city: "Oslo" }], ["double", { n: 4 }], ["double", { n: "x" }]);
    expect(found).toEqual([
      "Oslo: 20 C call_0 false",
      "{'doubled': 8}",
      "failed: {'error': 'double() got invalid arguments: n is no number'}",
    ]);
  });
});

describe("tools of an MCP server", async () => {
  const server = new McpServer({ name: "test", version: "1" });
  server.registerTool("greet", { description: "Greets", inputSchema: { name: z.string() } }, async ({ name }) => ({
    content: [
      { type: "text", text: `Hello, ${name}` },
      { type: "text", text: "Bye" },
    ],
  }));
  server.registerTool("fail", { description: "Fails" }, async () => {
    throw new Error("no luck");
  });
  server.registerTool("picture", { description: "Draws" }, async () => ({
    content: [{ type: "image", data: "AAAA", mimeType: "image/png" }],
  }));
  const client = new Client({ name: "trainer", version: "1" });
  const [ours, theirs] = InMemoryTransport.createLinkedPair();
  await Promise.all([server.connect(theirs), client.connect(ours)]);
  afterAll(() => client.close());

  it("are listed with their schemas, and answer with their texts", async () => {
    const tools = await mcpTools(client);
    expect(tools.map(({ name, description }) => [name, description])).toEqual([
      ["greet", "Greets"],
      ["fail", "Fails"],
      ["picture", "Draws"],
    ]);
    const found = await results(tools, ["greet", { name: "Ada" }], ["fail", {}], ["picture", {}], ["greet", {}]);
    expect(found).toEqual([
      "Hello, Ada\nBye",
      "failed: {'error': 'no luck'}",
      "failed: {'error': 'Tool picture returned a part of type image, and the model reads text.'}",
      `failed: {'error': "greet() missing 1 required positional argument: 'name'"}`,
    ]);
  });

  it("may be some of them", async () => {
    expect((await mcpTools(client, { only: ["greet"] })).map(({ name }) => name)).toEqual(["greet"]);
    await expect(mcpTools(client, { only: ["nope"] })).rejects.toThrow('the server has no tool "nope"');
  });

  it("are listed page by page, and calls end with their signal", async () => {
    const asked: unknown[] = [];
    const paged: McpClient = {
      listTools: async ({ cursor } = {}) => ({
        tools: [{ name: cursor === undefined ? "a" : "b", inputSchema: { type: "object" } }],
        nextCursor: cursor === undefined ? "more" : undefined,
      }),
      callTool: async (params, _, options) => {
        asked.push([params, options?.signal instanceof AbortSignal]);
        return { content: [] };
      },
    };
    const tools = await mcpTools(paged);
    expect(tools.map(({ name }) => name)).toEqual(["a", "b"]);
    expect(await results(tools, ["b", {}])).toEqual([""]);
    expect(asked).toEqual([[{ name: "b", arguments: {} }, true]]);
  });
});
