// Where the package lies, in a checkout and installed. The only file that may ask for its own address: what is published is
// bundled, and there other modules have no place of their own.

import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { GrpoError } from "./errors.js";

const PACKAGE_NAME = "grpo";

const thisFile = fileURLToPath(import.meta.url);

/** The folder of package.json. */
export const packageRoot = findRoot(path.dirname(thisFile));

/**
 * The folder of the tiny chat model that comes with the package (0.85 million parameters, sums in words), for a first run without a
 * download: a model, its tokenizer, and the problems `train.jsonl` and `test.jsonl` with the columns `problem` and `solution`.
 */
export const tinyModel = path.join(packageRoot, "scripts/assets/tiny-qwen2");

/** Of package.json. */
export const packageVersion = manifestOf(packageRoot)?.version;

/** Whether this is the repository, where commands are those of package.json. */
export const isCheckout = existsSync(path.join(packageRoot, "tsconfig.json"));

/** Loads CommonJS modules and addons as this package finds them. */
export const packageRequire = createRequire(path.join(packageRoot, "package.json"));

/** A file that starts a process of its own, by its path in lib/: the TypeScript where that is what runs, else what is built. */
export function entryFile(name: string): string {
  return thisFile.endsWith(".ts")
    ? path.join(packageRoot, "lib", `${name}.ts`)
    : path.join(packageRoot, "dist", `${name}.js`);
}

/** Upwards from this file; and where that is part of a program's bundle, from there among the installed packages. */
function findRoot(start: string): string {
  for (let folder = start; ; folder = path.dirname(folder)) {
    if (isPackage(folder)) return folder;
    const installed = path.join(folder, "node_modules", PACKAGE_NAME);
    if (isPackage(installed)) return installed;
    if (folder === path.dirname(folder)) break;
  }
  throw new GrpoError(
    "FILE_NOT_FOUND",
    `the files of the package ${PACKAGE_NAME} are not there; looked upwards from ${start}`,
    {
      hint:
        `install ${PACKAGE_NAME} where the bundle runs, and leave it out of the bundle ` +
        `(esbuild: --external:${PACKAGE_NAME}; Next.js: serverExternalPackages: ["${PACKAGE_NAME}"])`,
    },
  );
}

function isPackage(folder: string): boolean {
  return manifestOf(folder)?.name === PACKAGE_NAME;
}

function manifestOf(folder: string): { readonly name?: unknown; readonly version?: unknown } | undefined {
  const file = path.join(folder, "package.json");
  return existsSync(file) ? JSON.parse(readFileSync(file, "utf8")) : undefined;
}
