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
  const files = ["README.md", "CHANGELOG.md", "scripts/golden/README.md", ...docs.map((name) => `docs/${name}`)];
  return files.map((file) => ({ file, text: readFileSync(join(root, file), "utf8") }));
}

/** The fenced blocks of one language. */
export function codeBlocks(text: string, language: string): string[] {
  return [...text.matchAll(new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\``, "gm"))].map(
    (match) => match[1] ?? "",
  );
}

/** All that stands between single backticks. */
export function inlineCode(text: string): string[] {
  const prose = text.replace(/^```[\s\S]*?^```/gm, "");
  return [...prose.matchAll(/`([^`\n]+)`/g)].map((match) => match[1] ?? "");
}
