// An editor on a small program that uses the package: what it shows beside a name, and what the compiler says. The declarations are those
// that are published, dist/*.d.ts.

import { join } from "node:path";
import ts from "typescript";
import { root } from "./pages.js";

/** A program in TypeScript, open in an editor. */
export class Editor {
  readonly #file = join(root, "editor-program.ts");
  readonly #source: string;
  readonly #service: ts.LanguageService;

  constructor(source: string) {
    this.#source = source;
    const { config } = ts.readConfigFile(join(root, "tsconfig.json"), ts.sys.readFile);
    const { options } = ts.parseJsonConfigFileContent({ ...config, include: [], files: [] }, ts.sys, root);
    options.paths = {}; // "grpo" is the package
    options.noUnusedLocals = false;
    const read = (name: string) => (name === this.#file ? source : ts.sys.readFile(name));
    this.#service = ts.createLanguageService({
      ...ts.sys,
      useCaseSensitiveFileNames: () => ts.sys.useCaseSensitiveFileNames,
      getScriptFileNames: () => [this.#file],
      getScriptVersion: () => "1",
      getScriptSnapshot: (name) => {
        const text = read(name);
        return text === undefined ? undefined : ts.ScriptSnapshot.fromString(text);
      },
      getCompilationSettings: () => options,
      getDefaultLibFileName: ts.getDefaultLibFilePath,
      getCurrentDirectory: () => root,
      readFile: read,
      fileExists: (name) => name === this.#file || ts.sys.fileExists(name),
    });
  }

  /** The text that hovering over the place shows below the type, its tags included. */
  hover(position: number): string {
    const info = this.#service.getQuickInfoAtPosition(this.#file, position);
    const tags = (info?.tags ?? []).map(({ name, text }) => `@${name} ${ts.displayPartsToString(text)}`);
    return [ts.displayPartsToString(info?.documentation), ...tags].join("\n").trim();
  }

  /** What is offered behind the text, as names. */
  completions(after: string): string[] {
    const position = this.#source.indexOf(after) + after.length;
    const { entries = [] } = this.#service.getCompletionsAtPosition(this.#file, position, {}) ?? {};
    return entries.map(({ name }) => name);
  }

  /** What the compiler says, by line from 1. */
  errors(): ReadonlyMap<number, string> {
    const found = this.#service.getSemanticDiagnostics(this.#file).map(({ start = 0, messageText }) => {
      const line = this.#source.slice(0, start).split("\n").length;
      return [line, ts.flattenDiagnosticMessageText(messageText, "\n")] as const;
    });
    return new Map(found);
  }
}
