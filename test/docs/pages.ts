// The Markdown pages of the project, and what a test may want out of them.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

export const root = fileURLToPath(new URL("../..", import.meta.url));

export interface Page {
  /** Relative to the root. */
  readonly file: string;
  readonly text: string;
}

export function pages(): Page[] {
  const docs = readdirSync(join(root, "docs")).filter((name) => name.endsWith(".md"));
  const files = [
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "scripts/golden/README.md",
    ...docs.map((name) => `docs/${name}`),
  ];
  return files.map((file) => ({ file, text: readFileSync(join(root, file), "utf8") }));
}

export interface Block {
  readonly file: string;
  /** Of the fence, from 1. */
  readonly line: number;
  readonly language: string;
  /** "continues" after the language: it goes on with the program of the block of that language before it. */
  readonly continues: boolean;
  readonly code: string;
}

/** Every fenced block of a page, in order. */
export function blocksOf({ file, text }: Page): Block[] {
  return [...text.matchAll(/^```([^\n]*)\n([\s\S]*?)^```$/gm)].map((match) => {
    const [language = "", ...words] = (match[1] ?? "").trim().split(/\s+/);
    const line = text.slice(0, match.index).split("\n").length;
    return { file, line, language, continues: words.includes("continues"), code: match[2] ?? "" };
  });
}

/** The programs of a page in one language: each block with all that continue it. Lines keep their numbers in the page. */
export function programsOf(page: Page, language: string): Block[] {
  const programs: Block[] = [];
  for (const block of blocksOf(page).filter((one) => one.language === language)) {
    const before = programs.at(-1);
    if (!block.continues || before === undefined) programs.push(block);
    else {
      const gap = block.line - before.line - before.code.split("\n").length + 1;
      programs[programs.length - 1] = { ...before, code: before.code + "\n".repeat(Math.max(gap, 0)) + block.code };
    }
  }
  return programs;
}

/** The fenced blocks of one language. */
export function codeBlocks(text: string, language: string): string[] {
  return blocksOf({ file: "", text })
    .filter((block) => block.language === language)
    .map(({ code }) => code);
}

/** All that stands between single backticks. */
export function inlineCode(text: string): string[] {
  const prose = text.replace(/^```[\s\S]*?^```$/gm, "");
  return [...prose.matchAll(/`([^`\n]+)`/g)].map((match) => match[1] ?? "");
}
