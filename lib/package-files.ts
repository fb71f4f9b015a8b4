// Where the package lies, in a checkout and installed. The only file that may ask for its own address: what is published is
// bundled, and there other modules have no place of their own.

import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { fileURLToPath } from "node:url";

const thisFile = fileURLToPath(import.meta.url);

/** The folder of package.json. */
export const packageRoot = findRoot(path.dirname(thisFile));

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

function findRoot(folder: string): string {
  if (existsSync(path.join(folder, "package.json"))) return folder;
  return findRoot(path.dirname(folder));
}
