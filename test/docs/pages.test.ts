// What the pages say, held against the project: links and paths lead somewhere, commands exist, the tables of options are
// those of the code.
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";
import { configurationPage } from "../../scripts/docs-config.js";
import { expectedRows, writtenRows } from "../../scripts/docs-models.js";
import { codeBlocks, inlineCode, pages, root } from "./pages.js";

test("every link to a file of the project leads to one", () => {
  const links = pages().flatMap(({ file, text }) =>
    [...text.matchAll(/\]\(([^)\s]+)\)/g)]
      .map((match) => (match[1] ?? "").split("#")[0] ?? "")
      .filter((target) => target !== "" && !/^[a-z]+:/.test(target))
      .map((target) => ({ file, target, found: existsSync(join(root, dirname(file), target)) })),
  );
  expect(links.length).toBeGreaterThan(5);
  expect(links.filter(({ found }) => !found)).toEqual([]);
});

test("every path that is named exists", () => {
  const named = pages().flatMap(({ file, text }) =>
    inlineCode(text)
      .filter((code) => /^(lib|native|scripts|test|docs)\/[\w./-]*$/.test(code))
      .map((path) => ({ file, path, found: existsSync(join(root, path)) })),
  );
  expect(named.length).toBeGreaterThan(5);
  expect(named.filter(({ found }) => !found)).toEqual([]);
});

test("every npm script and every grpo command that is named exists", () => {
  const scripts = Object.keys(JSON.parse(readFileSync(join(root, "package.json"), "utf8")).scripts);
  const { stdout: help } = spawnSync(process.execPath, [join(root, "dist/cli.js"), "--help"], { encoding: "utf8" });
  const commands = [...help.matchAll(/^ {2}(\w+)/gm)].map((match) => match[1] ?? "");
  for (const { file, text } of pages()) {
    const code = [...inlineCode(text), ...codeBlocks(text, "sh")].join("\n");
    for (const [, script = ""] of code.matchAll(/npm run ([\w:]+)/g)) {
      expect(scripts, `npm run ${script} in ${file}`).toContain(script);
    }
    for (const [, command = ""] of code.matchAll(/npx grpo (\w+)/g)) {
      expect(commands, `grpo ${command} in ${file}`).toContain(command);
    }
  }
});

test("the tables of options are those of the code (else: npx tsx scripts/docs-config.ts)", () => {
  expect(readFileSync(join(root, "docs/configuration.md"), "utf8")).toBe(configurationPage());
});

test("the table of models has every row that is tested (else: npx tsx scripts/docs-models.ts)", () => {
  expect(writtenRows()).toEqual(expectedRows());
});
