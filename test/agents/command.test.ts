// Rollouts that are programs: what they are told, what they print, and how they end.

import { command, type RolloutContext } from "grpo";
import { expect, it } from "vitest";

const context: RolloutContext = {
  row: { question: "é \"quoted\" 'single' $HOME", n: [1, 2] },
  endpoint: { baseURL: "http://127.0.0.1:1/v1", apiKey: "key", model: "tiny", untrainedModel: "tiny:untrained" },
  attempt: 3,
  seed: 41,
  signal: new AbortController().signal,
};

const node = (code: string) => command([process.execPath, "-e", code]);
const readRow = 'const row = JSON.parse(require("fs").readFileSync(0, "utf8"));';

it("gives a program the policy in its environment, and the row on its input", async () => {
  const seen = [
    "OPENAI_BASE_URL",
    "OPENAI_API_KEY",
    "OPENAI_MODEL",
    "GRPO_UNTRAINED_MODEL",
    "GRPO_ATTEMPT",
    "GRPO_SEED",
  ];
  const code = `${readRow} const { ${seen} } = process.env; console.log(JSON.stringify({ reward: 1, row, env: [${seen}] }))`;
  expect(await node(code)(context)).toEqual({
    reward: 1,
    row: context.row,
    env: ["http://127.0.0.1:1/v1", "key", "tiny", "tiny:untrained", "3", "41"],
  });
});

it.each([
  ["console.log('thinking …'); console.log(0.5)", { reward: 0.5 }],
  ["console.log('true\\n\\n')", { reward: true }],
  ["console.log('null')", { reward: null }],
  [`console.log('{"rewards": {"a": 1}}')`, { rewards: { a: 1 } }],
  ["console.error('only a log')", undefined],
  // It does not read its input.
  ["process.stdin.destroy(); console.log(1)", { reward: 1 }],
])("reads the reward from the last line: %s", async (code, expected) => {
  expect(await node(code)(context)).toEqual(expected);
});

it.each([
  ["console.log('done')", "invalid", 'found "done"'],
  ["console.log('[1]')", "invalid", 'found "[1]"'],
  ["console.error('it broke'); process.exit(3)", "exceptions", "ended with code 3: it broke"],
  ["process.kill(process.pid, 'SIGKILL')", "crashes", "was ended by SIGKILL"],
])("says how a program failed: %s", async (code, kind, message) => {
  await expect(node(code)(context)).rejects.toMatchObject({
    code: "ROLLOUT_FAILED",
    kind,
    message: expect.stringContaining(message),
  });
});

it("runs a line in a shell, in a folder, with variables", async () => {
  const line = `echo "$WORD $(basename "$PWD")" >&2; echo 2`;
  expect(await command(line, { cwd: "/tmp", env: { WORD: "here" } })(context)).toEqual({ reward: 2 });
  await expect(command("echo $WORD in $PWD >&2; exit 1", { cwd: "/", env: { WORD: "here" } })(context)).rejects.toThrow(
    "here in /",
  );
  await expect(command("no-such-program-at-all")(context)).rejects.toThrow("ended with code 127");
  await expect(command(["no-such-program-at-all"])(context)).rejects.toThrow("cannot be run");
});

it("ends a program with all that it started when the rollout is over", async () => {
  const stop = new AbortController();
  const line = "trap '' TERM; sleep 30 & echo $! >&2; wait; wait";
  const began = performance.now();
  setTimeout(() => stop.abort(), 300);
  await expect(command(line)({ ...context, signal: stop.signal })).rejects.toMatchObject({ kind: "crashes" });
  expect(performance.now() - began).toBeLessThan(15_000);
});

it("refuses what is no command", () => {
  expect(() => command("")).toThrow("line");
  expect(() => command([])).toThrow("expected a line");
  expect(() => command("x", { folder: "/" } as never)).toThrow("unknown option folder");
});
