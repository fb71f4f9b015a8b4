// Programs and reward functions of one's own, in JavaScript or TypeScript. Node reads TypeScript itself from version 22.18 on; before,
// tsx does, if the folder of the file has it.

import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { GrpoError } from "./errors.js";

export function isModulePath(file: string): boolean {
  return /\.[cm]?[jt]s$/.test(file);
}

/** The exports of a module. */
export async function importModule(file: string): Promise<Readonly<Record<string, unknown>>> {
  const absolute = existing(file);
  const url = pathToFileURL(absolute).href;
  // Once imported, tsx reads TypeScript for the whole process, so that the module's own imports are those of everyone else.
  if (needsTsx(absolute)) await import(resolveTsx(absolute, "tsx/esm"));
  return import(url);
}

/** One function of a module, and its name: the named one, else the default export (named like the file), or the only one. */
export async function importFunction(
  file: string,
  exported: string | undefined,
): Promise<{ readonly fn: (...args: never[]) => unknown; readonly name: string }> {
  const exports = await importModule(file);
  const functions = Object.keys(exports).filter((key) => typeof exports[key] === "function");
  const only = functions.length === 1 ? functions[0] : undefined;
  const name = exported ?? (functions.includes("default") ? "default" : only);
  const fn = name === undefined ? undefined : exports[name];
  if (typeof fn === "function" && name !== undefined) {
    return { fn: fn as (...args: never[]) => unknown, name: name === "default" ? path.parse(file).name : name };
  }
  const found = functions.length > 0 ? `it exports ${functions.join(", ")}` : "it exports no function";
  throw new GrpoError("BAD_OPTION", `${file} has no function ${name ?? "to choose"}; ${found}`, {
    hint: `name one: ${functions[0] ?? "name"}`,
  });
}

/** What node must be told to run a file, before its name. */
export function loaderArguments(file: string): readonly string[] {
  const absolute = existing(file);
  return needsTsx(absolute) ? ["--import", resolveTsx(absolute, "tsx")] : [];
}

function existing(file: string): string {
  const absolute = path.resolve(file);
  if (existsSync(absolute)) return absolute;
  throw new GrpoError("FILE_NOT_FOUND", `there is no file ${absolute}`);
}

function needsTsx(file: string): boolean {
  return /\.[cm]?ts$/.test(file) && !("typescript" in process.features && process.features.typescript);
}

function resolveTsx(file: string, entry: string): string {
  try {
    return pathToFileURL(createRequire(file).resolve(entry)).href;
  } catch (cause) {
    throw new GrpoError(
      "BAD_INPUT",
      `Node ${process.versions.node} does not read TypeScript, and ${path.dirname(file)} has no tsx`,
      {
        hint: "npm install --save-dev tsx, or use Node 22.18 or later, or JavaScript",
        cause,
      },
    );
  }
}
