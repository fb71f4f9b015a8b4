// What the pages say, held against the project: links and paths lead somewhere, commands exist, the tables of options are
// those of the code.
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";
import { configurationPage, GRPO, SFT } from "../../scripts/docs-config.js";
import { memoryPage } from "../../scripts/docs-memory.js";
import { expectedRows, writtenRows } from "../../scripts/docs-models.js";
import { treePage, treeText } from "../../scripts/docs-tree.js";
import { trlPage, trlPageText } from "../../scripts/docs-trl.js";
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

test("the index has every page", () => {
  const index = readFileSync(join(root, "docs/README.md"), "utf8");
  const listed = [...index.matchAll(/\]\(([\w-]+\.md)\)/g)].map((match) => `docs/${match[1]}`);
  const files = pages().map(({ file }) => file);
  expect(listed.toSorted()).toEqual(files.filter((file) => /^docs\/(?!README)/.test(file)).toSorted());
});

test("no page has the marks of a merge", () => {
  const marked = pages().filter(({ text }) => /^(<{7}|={7}|>{7})( |$)/m.test(text));
  expect(marked.map(({ file }) => file)).toEqual([]);
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
  for (const config of [GRPO, SFT]) {
    expect(readFileSync(config.page, "utf8")).toBe(configurationPage(config));
  }
});

test("what became of TRL's options is in the page for those who come from it (else: npx tsx scripts/docs-trl.ts)", () => {
  const page = trlPageText();
  expect(readFileSync(trlPage, "utf8")).toBe(page);
  const { trainer } = JSON.parse(readFileSync(join(root, "test/fixtures/golden/trl-config.json"), "utf8"));
  const [, table = ""] = /^## GRPOTrainer\n([\s\S]*?)^## /m.exec(page) ?? [];
  const named = [...table.matchAll(/^\| `(\w+)` \|/gm)].map((match) => match[1]);
  expect(named).toEqual(trainer);
});

test("the table of models has every row that is tested (else: npx tsx scripts/docs-models.ts)", () => {
  expect(writtenRows()).toEqual(expectedRows());
});

test("every error code, and no other, has an entry in the page on troubleshooting", () => {
  const read = (file: string) => readFileSync(join(root, file), "utf8");
  const codes = [...read("lib/errors.ts").matchAll(/^ {2}\| "([A-Z_]+)"/gm)].map((match) => match[1] ?? "");
  expect(codes.length).toBeGreaterThan(20);
  const headings = [...read("docs/troubleshooting.md").matchAll(/^### ([A-Z_]+)$/gm)].map((match) => match[1] ?? "");
  expect(headings.toSorted()).toEqual(codes.toSorted());
});

test("the engine throws no code but those", () => {
  const known = readFileSync(join(root, "lib/errors.ts"), "utf8");
  const files = readdirSync(join(root, "native"), { recursive: true, encoding: "utf8" }).filter((file) =>
    /\.(cc|h)$/.test(file),
  );
  const thrown = files.flatMap((file) => {
    const text = readFileSync(join(root, "native", file), "utf8");
    return [...text.matchAll(/(?:EngineError\(|return \{|\? |: )"([A-Z]+(?:_[A-Z]+)+|INTERNAL|DISPOSED|CANCELLED)"/g)];
  });
  const codes = new Set(thrown.map((match) => match[1] ?? ""));
  expect(codes.size).toBeGreaterThan(5);
  expect([...codes].filter((code) => !known.includes(`| "${code}"`))).toEqual([]);
});

test("the tables of memory are what the estimate gives (else: npx tsx scripts/docs-memory.ts)", () => {
  expect(readFileSync(join(root, "docs/memory.md"), "utf8")).toBe(memoryPage());
});

test("the list of files is that of the checkout (else: npx tsx scripts/docs-tree.ts)", () => {
  expect(readFileSync(treePage, "utf8")).toBe(treeText());
});

test("the README's list of folders has every folder of lib/ and native/, and no other", () => {
  const [, table = ""] = /^## What is where\n([\s\S]*?)^## /m.exec(readFileSync(join(root, "README.md"), "utf8")) ?? [];
  const listed = inlineCode(table).filter((path) => /^(lib|native)\/.+\/$/.test(path));
  const there = ["lib", "native"].flatMap((parent) =>
    readdirSync(join(root, parent), { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => `${parent}/${entry.name}/`),
  );
  expect(listed.toSorted()).toEqual(there.toSorted());
});
