// The `grpo` command as a user meets it: dist/cli.js in a process of its own.
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { fakeLibtorch, temporaryFolder } from "./fake-libtorch.js";

const cli = fileURLToPath(new URL("../../dist/cli.js", import.meta.url));

function grpo(args: readonly string[], env: Readonly<Record<string, string>> = {}) {
  return spawnSync(process.execPath, [cli, ...args], { encoding: "utf8", env: { ...process.env, ...env } });
}

test("without arguments and with --help it lists the commands", () => {
  for (const args of [[], ["--help"]]) {
    const { status, stdout } = grpo(args);
    expect(status).toBe(0);
    expect(stdout).toMatch(/setup +fetch libtorch/);
    expect(stdout).toMatch(/doctor +show/);
  }
});

test("an unknown command is refused with the nearest one", () => {
  const { status, stderr } = grpo(["dcotor"]);
  expect(status).toBe(2);
  expect(stderr).toContain('there is no command "dcotor"; did you mean "doctor"?');
  expect(grpo(["constructor"]).status).toBe(2);
});

test("an unknown option is refused with the usage", () => {
  const { status, stderr } = grpo(["setup", "--form", "x"]);
  expect(status).toBe(2);
  expect(stderr).toContain("--form");
  expect(stderr).toContain("usage: grpo setup");
});

test.each([
  [["--cuda", "--flavour", "cpu"], "both given"],
  [["--flavour", "rocm"], '--flavour is "rocm"'],
])("setup refuses %j", (args, reason) => {
  const { status, stderr } = grpo(["setup", ...args]);
  expect(status).toBe(1);
  expect(stderr).toContain("[BAD_OPTION]");
  expect(stderr).toContain(reason);
});

test("doctor loads the engine in a child process and reports success", () => {
  const { status, stdout, stderr } = grpo(["doctor"]);
  expect(stderr).toBe("");
  expect(stdout).toMatch(/engine +\{"torch":"2\.\d+/);
  expect(stdout).toContain("Everything is there");
  expect(status).toBe(0);
});

test("doctor with a broken LIBTORCH ends with the reason and status 1", () => {
  const dir = join(temporaryFolder(), "absent");
  const { status, stdout } = grpo(["doctor"], { LIBTORCH: dir });
  expect(status).toBe(1);
  expect(stdout).toContain(`LIBTORCH is set to ${dir}`);
});

test("doctor reports a libtorch that is found but does not load", () => {
  const dir = fakeLibtorch(temporaryFolder(), "2.13.0+cpu");
  const { status, stdout } = grpo(["doctor"], { LIBTORCH: dir });
  expect(status).toBe(1);
  expect(stdout).toContain("could not be loaded");
  expect(stdout).toContain("[LIBTORCH_LOAD_FAILED]");
});
