// A machine where nothing has been set up yet: the package loads, what needs no engine works, and the first thing that
// does need it says which command to run.
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { temporaryFolder } from "./fake-libtorch.js";

const root = fileURLToPath(new URL("../..", import.meta.url));
const dist = (file: string) => JSON.stringify(join(root, "dist", file));

/** Runs a module in a process of its own, with no libtorch anywhere, and gives what it printed. */
function run(code: string): string {
  const { LIBTORCH: _, VIRTUAL_ENV: __, CONDA_PREFIX: ___, ...rest } = process.env;
  const env = { ...rest, GRPO_CACHE: temporaryFolder() };
  const child = spawnSync(process.execPath, ["--input-type=module", "-e", code], { encoding: "utf8", env });
  expect(child.stderr).toBe("");
  expect(child.status).toBe(0);
  return child.stdout.trim();
}

/** Milliseconds of processor time that the import itself took: those of the clock say more about the machine's other work. */
function importTime(): number {
  const code = `
    const before = process.cpuUsage();
    await import(${dist("index.js")});
    const { user, system } = process.cpuUsage(before);
    console.log((user + system) / 1000);`;
  return Number(run(code));
}

test("the package loads in less than 150 ms", () => {
  expect(Math.min(...Array.from({ length: 5 }, importTime))).toBeLessThan(150);
});

test("what one entry point throws is an instance of the other's classes", () => {
  const code = `
    import { GrpoError, rewards } from ${dist("index.js")};
    import { parse } from ${dist("rewards/math/index.js")};
    import { rewards as same } from ${dist("rewards/index.js")};
    import { findLibtorch } from ${dist("native/libtorch.js")};
    try { findLibtorch({ LIBTORCH: "/none" }) } catch (error) { console.log(error instanceof GrpoError, error.name) }
    try { parse("1", { parsingTimeuot: 1 }) } catch (error) { console.log(error instanceof GrpoError) }
    console.log(rewards === same, rewards.thinkFormat.name);`;
  expect(run(code)).toBe("true GrpoError\ntrue\ntrue thinkFormat");
});

test("grpo/math and loadDataset work", () => {
  const file = JSON.stringify(join(root, "scripts/assets/tiny-qwen2/test.jsonl"));
  const code = `
    import { parse, verify } from ${dist("rewards/math/index.js")};
    import { loadDataset, rewards } from ${dist("index.js")};
    const rows = await loadDataset(${file}, { split: "train" });
    console.log(verify(parse("$\\\\frac12$"), parse("$0.5$")), rows.length > 0, typeof rewards.accuracy);`;
  expect(run(code)).toBe("true true function");
});

test("the first thing that needs the engine is a typed error with the command that mends it", () => {
  const code = `
    import { CausalLM, GrpoError } from ${dist("index.js")};
    try { await CausalLM.fromPretrained(${JSON.stringify(join(root, "scripts/assets/tiny-qwen2"))}) }
    catch (error) { console.log(error instanceof GrpoError, error.code, error.hint) }`;
  expect(run(code)).toMatch(/^true LIBTORCH_NOT_FOUND run `npx grpo setup`/);
});
