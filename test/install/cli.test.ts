// The `grpo` command as a user meets it: dist/cli.js in a process of its own.
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { findLibtorch } from "../../lib/native/libtorch.js";
import { fakeLibtorch, temporaryFolder } from "./fake-libtorch.js";

const root = fileURLToPath(new URL("../..", import.meta.url));
const cli = join(root, "dist/cli.js");

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

test("the help of a command without options is its name", () => {
  for (const name of ["logout", "whoami"]) expect(grpo([name, "--help"]).stdout).toBe(`usage: grpo ${name}\n`);
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

test.each(["--version", "-v"])("%s prints the version of the package", (flag) => {
  const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version: string };
  expect(grpo([flag])).toMatchObject({ status: 0, stdout: `${version}\n` });
});

test("train --help has every key that acts, with its default, and none that does not", () => {
  const { status, stdout } = grpo(["train", "--help"]);
  expect(status).toBe(0);
  expect(stdout).toMatch(/^ {2}--learning_rate +\S.* \[0\.000001\]$/m);
  expect(stdout).toMatch(/^ {2}--lora_r +Rank of the adapter\. \[16\]$/m);
  expect(stdout).not.toMatch(/--load_in_4bit|--use_liger_kernel/);
});

test.each([
  ["--steps", "-1"],
  ["--steps", "many"],
  ["--problems", "0"],
  ["--seed", ""],
])("quickstart refuses %s %j", (flag, value) => {
  const { status, stderr } = grpo(["quickstart", `${flag}=${value}`]);
  expect(status).toBe(1);
  expect(stderr).toContain(`${flag} must be a whole number`);
});

test("quickstart --steps 0 only measures, and says how it asked", () => {
  const { status, stdout } = grpo(["quickstart", "--steps", "0", "--problems", "2", "--output", temporaryFolder()]);
  expect(status).toBe(0);
  expect(stdout.match(/^before training: .*\nevaluation at step 0 /gm)).toHaveLength(2);
  expect(stdout).not.toMatch(/^ *1\/\d+ /m);
});

test("quickstart ends with commands that go on", () => {
  const output = temporaryFolder();
  const { status, stdout } = grpo(["quickstart", "--steps", "1", "--problems", "2", "--output", output]);
  expect(status).toBe(0);
  expect(stdout.match(/^after training: .*\nevaluation at step 1 /gm)).toHaveLength(2);
  const [, end = ""] = stdout.split("\nNext:\n");
  const [report = "", generate = ""] = [...end.matchAll(/npx grpo (.*)/g)].map(([, line]) => line ?? "");
  expect(grpo(report.replace(/ {2,}.*/, "").split(" ")).status).toBe(0);
  const answered = grpo(generate.replace(/".*"/, "question").split(" "));
  expect(answered.status, answered.stderr).toBe(0);
});

test("a model that is neither a folder nor on the Hub is answered with both", () => {
  const { status, stderr } = grpo(["generate", "--model", "nope", "hi"], { HF_ENDPOINT: "http://localhost:9" });
  expect(status).toBe(1);
  expect(stderr).toContain("cannot reach localhost:9");
  expect(stderr).toContain(`nor is there a folder ${resolve("nope")}`);
});
