// Writes docs/tree.md: every file of examples/, lib/, native/ and scripts/ with the first sentence of the comment that it opens with; of C++ the
// header speaks for both files. A test compares, so that a file without such a sentence is noticed too.
//
//   npx tsx scripts/docs-tree.ts

import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, extname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
export const treePage = join(root, "docs/tree.md");

const folders = ["examples", "lib", "native", "scripts"];
/** By extension: the text of the comment at the top of a file, with its marks. */
const openings: Readonly<Record<string, RegExp>> = {
  ...Object.fromEntries(
    [".ts", ".mjs", ".cjs", ".js", ".grit", ".cc", ".c", ".h"].map((ext) => [ext, /^(?:#!.*\n)?((?:\/\/.*\n)+)/]),
  ),
  ".css": /^\/\*([\s\S]*?)\*\//,
  ".py": /^(?:#!.*\n)?"""([\s\S]*?)"""/,
};

/** The page as it should be. */
export function treeText(): string {
  const parts = folders.map((folder) => `## ${folder}/\n\n${tables(folder).join("\n")}`);
  const text =
    "What each file does, in the first sentence of its own opening comment. Written by `npx tsx scripts/docs-tree.ts`. How the parts\n" +
    "hang together, and why: [decisions.md](decisions.md).";
  return `# What is where\n\n${text}\n\n${parts.join("\n")}`;
}

function tables(folder: string): string[] {
  const files = readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })
    .map((file) => `${folder}/${file.replaceAll("\\", "/")}`)
    .filter((file) => Object.hasOwn(openings, extname(file)))
    .sort();
  const names = [...new Set(files.map((file) => dirname(file)))].sort();
  return names.map((name) => {
    const members = files.filter((file) => dirname(file) === name);
    const twin = (file: string) => members.includes(file.replace(/\.cc$/, ".h"));
    const rows = members
      .filter((file) => !file.endsWith(".cc") || !twin(file))
      .map((file) => {
        const both = members.includes(file.replace(/\.h$/, ".cc")) && file.endsWith(".h");
        return `| \`${file.slice(name.length + 1)}\`${both ? ", `.cc`" : ""} | ${cell(purpose(file))} |`;
      });
    return `### ${name}\n\n| file | |\n|---|---|\n${rows.join("\n")}\n`;
  });
}

/** The first sentence at the top of a file; throws where there is none. */
export function purpose(file: string): string {
  const [, comment = ""] = openings[extname(file)]?.exec(readFileSync(join(root, file), "utf8")) ?? [];
  const text =
    comment
      .replace(/^\/\/ ?/gm, "")
      .split(/\n\n|\n {2,}/)[0] // what is indented is a formula
      ?.replaceAll("\n", " ")
      .trim() ?? "";
  const [sentence = ""] = /^.*?(?<!\bet al)\.(?=\s|$)/.exec(text) ?? [text];
  if (sentence === "") throw new Error(`${file} should begin with a comment that says what it is for`);
  return sentence.replace(/[.:]$/, "");
}

const cell = (text: string): string => text.replaceAll("|", "\\|").replaceAll("<", "&lt;");

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(treePage, treeText());
