// `grpo login`: takes a token from the keyboard (not shown), from a pipe, or from --token, and saves it once the Hub has
// accepted it.
import { createInterface } from "node:readline/promises";
import { Writable } from "node:stream";
import { parseArgs } from "node:util";
import { hubUrl, tokenPath } from "../hub/hub-env.js";
import { login } from "../hub/login.js";
import type { Command } from "./command.js";

export const loginCommand: Command = {
  usage: "[--token <token>]",

  async run(args) {
    const { values } = parseArgs({ args: [...args], options: { token: { type: "string" } } });
    const { name } = await login({ token: values.token ?? (await readToken()) });
    console.log(`Logged in as ${name}; the token is in ${tokenPath()}.`);
    return 0;
  },
};

async function readToken(): Promise<string> {
  const terminal = process.stdin.isTTY === true;
  if (terminal) process.stderr.write(`Token from ${hubUrl()}/settings/tokens (not shown): `);
  // Echoes what is typed to nowhere.
  const output = new Writable({ write: (_chunk, _encoding, done) => done() });
  const lines = createInterface({ input: process.stdin, output, terminal });
  try {
    for await (const line of lines) return line.trim();
    return "";
  } finally {
    lines.close();
    if (terminal) process.stderr.write("\n");
  }
}
