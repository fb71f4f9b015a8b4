// The `grpo` command as a user meets it: dist/cli.js in a process of its own.
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { findLibtorch } from "../../lib/native/libtorch.js";
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

test("doctor runs a training step on every device in a child process and says what to do next", () => {
  const { status, stdout, stderr } = grpo(["doctor"]);
  expect(stderr).toBe("");
  expect(stdout).toMatch(/^system +\S+-\S+/m);
  expect(stdout).toMatch(/^libtorch +2\.\d+\.\d+\+/m);
  expect(stdout).toMatch(/^instructions +(\w+) of generic(, \w+)*$/m);
  expect(stdout).toMatch(/^cpu +a training step works \(\d+ ms\)$/m);
  expect(stdout.trim().split("\n").at(-1)).toMatch(/^→ /);
  expect(status).toBe(0);
});

test("doctor --json gives programs the same, and the status tells them whether it works", () => {
  const { status, stdout } = grpo(["doctor", "--json"]);
  expect(JSON.parse(stdout)).toMatchObject({
    ok: true,
    node: process.version,
    host: { platform: process.platform, arch: process.arch, memoryTotal: expect.any(Number) },
    libtorch: { version: expect.stringMatching(/^2\./), flavour: expect.any(String) },
    core: expect.stringContaining("grpo-core"),
    engine: { devices: expect.arrayContaining([{ device: "cpu", stepMs: expect.any(Number) }]) },
    next: expect.any(String),
  });
  expect(status).toBe(0);
});

test("doctor shows which instruction set was chosen", () => {
  const { stdout } = grpo(["doctor", "--json"], { GRPO_INSTRUCTION_SET: "generic" });
  expect(JSON.parse(stdout)).toMatchObject({
    ok: true,
    engine: { instructionSet: "generic", instructionSets: expect.arrayContaining(["generic"]) },
  });
});

test("doctor refuses an instruction set that the processor does not have, and names those it has", () => {
  const { status, stdout } = grpo(["doctor"], { GRPO_INSTRUCTION_SET: "avx1024" });
  expect(status).toBe(1);
  expect(stdout).toMatch(/GRPO_INSTRUCTION_SET is "avx1024"; this processor has kernels for: generic.* \[BAD_OPTION\]/);
  expect(stdout).toMatch(/→ set GRPO_INSTRUCTION_SET to one of these, or unset it/);
});

test("doctor with a broken LIBTORCH ends with the command that mends it and status 1", () => {
  const dir = join(temporaryFolder(), "absent");
  const { status, stdout } = grpo(["doctor"], { LIBTORCH: dir });
  expect(status).toBe(1);
  expect(stdout).toContain(`LIBTORCH is set to ${dir}`);
  expect(stdout).toMatch(/→ point LIBTORCH at .*npx grpo setup/);
});

test("doctor reports a libtorch that is found but does not load, once", () => {
  const dir = fakeLibtorch(temporaryFolder(), findLibtorch().version); // a version that a core was built for
  const { status, stdout } = grpo(["doctor"], { LIBTORCH: dir });
  expect(status).toBe(1);
  expect(stdout.match(/could not be loaded/g)).toHaveLength(1);
  expect(stdout).toContain("[LIBTORCH_LOAD_FAILED]");
  expect(stdout).toMatch(/→ run `npx grpo setup --force`/);
});

test("doctor --json names what is wrong by its code", () => {
  const { status, stdout } = grpo(["doctor", "--json"], { LIBTORCH: fakeLibtorch(temporaryFolder(), "2.5.1+cpu") });
  expect(status).toBe(1);
  expect(JSON.parse(stdout)).toMatchObject({ ok: false, problem: { code: "LIBTORCH_UNSUPPORTED" } });
});

test("quickstart refuses targets that it does not know before it loads anything", () => {
  const { status, stderr } = grpo(["quickstart", "--targets", "none"]);
  expect(status).toBe(1);
  expect(stderr).toContain('--targets is "none"; expected all or qv');
});
