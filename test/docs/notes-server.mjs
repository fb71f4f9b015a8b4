// An MCP server with two tools, for the page that connects to one.

import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import { StdioServerTransport } from "@modelcontextprotocol/sdk/server/stdio.js";
import { z } from "zod";

const server = new McpServer({ name: "notes", version: "1.0.0" });
const found = { content: [{ type: "text", text: "nothing" }] };
server.registerTool("search_notes", { description: "Searches notes", inputSchema: { query: z.string() } }, () => found);
server.registerTool("add_note", { description: "Adds a note", inputSchema: { text: z.string() } }, () => found);
await server.connect(new StdioServerTransport());
