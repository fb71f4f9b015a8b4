// Piston and open-r1's routers over HTTP, as far as rewards for programs talk to them.

import { spawnSync } from "node:child_process";
import type { Server } from "node:http";
import { address, listen, readBody, sendJson } from "./http.js";

export interface PistonRequest {
  readonly language: string;
  readonly files: readonly { readonly name: string; readonly content: string }[];
  readonly run_timeout: number;
}

export interface FakePiston {
  readonly server: Server;
  readonly url: string;
  readonly requests: PistonRequest[];
  /** Statuses for the next requests, in place of an answer. */
  readonly failures: number[];
}

/** A worker whose answer to a test is the test's own input, as JSON. */
export async function fakePiston(answer = (request: PistonRequest): unknown => inputOf(request)): Promise<FakePiston> {
  const requests: PistonRequest[] = [];
  const failures: number[] = [];
  const server = await listen(async (request, response) => {
    if (request.url !== "/api/v2/execute") return sendJson(response, 404, { message: "no such page" });
    const body = JSON.parse((await readBody(request)).toString()) as PistonRequest;
    requests.push(body);
    const failure = failures.shift();
    return failure === undefined
      ? sendJson(response, 200, answer(body))
      : sendJson(response, failure, { message: "no" });
  });
  return { server, url: `${address(server)}/api/v2`, requests, failures };
}

function inputOf({ files }: PistonRequest): unknown {
  return JSON.parse(files.find(({ name }) => name === "input.txt")?.content ?? "{}");
}

export interface RouterRequest {
  readonly scripts: readonly string[];
  readonly languages: readonly string[];
  readonly timeout: number;
  readonly request_timeout: number;
}

/** What a sandbox does with a cell: the value of its last expression. */
const cell = `import ast, sys
tree = ast.parse(sys.stdin.read())
last = ast.Expression(tree.body.pop().value)
names = {}
exec(compile(tree, "cell", "exec"), names)
print(repr(eval(compile(last, "cell", "eval"), names)), end="")`;

/** The value of a script, run by this machine's python3. */
export function cellValue(script: string): string {
  return spawnSync("python3", ["-c", cell], { input: script, encoding: "utf8" }).stdout;
}

export async function fakeRouter(answer: (body: RouterRequest) => unknown): Promise<{ server: Server; url: string }> {
  const server = await listen(async (request, response) => {
    if (request.url !== "/execute_batch") return sendJson(response, 404, {});
    return sendJson(response, 200, answer(JSON.parse((await readBody(request)).toString()) as RouterRequest));
  });
  return { server, url: address(server) };
}

const starts = (command: string): boolean => spawnSync(command, ["--version"]).status === 0;

export const hasPython = starts("python3");
export const hasCompiler = starts("g++");
/** For the name of a test that needs one of them. */
export const needs = (has: boolean, what: string): string => (has ? "" : ` (skipped: this machine has no ${what})`);

export function said(texts: readonly string[]): { role: string; content: string }[][] {
  return texts.map((content) => [{ role: "assistant", content }]);
}

export const block = (code: string, language = "python"): string => `\`\`\`${language}\n${code}\n\`\`\``;
