// The tools that a checkout works with: the names of the npm scripts, and the lint rule that is this project's own.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const root = fileURLToPath(new URL("../..", import.meta.url));

/** Commands of npm that have hooks too. */
const npmCommands = [
  "install",
  "pack",
  "prepare",
  "publish",
  "restart",
  "start",
  "stop",
  "test",
  "uninstall",
  "version",
];

test("npm runs no script before or after another, but the compiler before it packs", () => {
  const { scripts } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { scripts: object };
  const hooks = [...Object.keys(scripts), ...npmCommands].flatMap((name) => [`pre${name}`, `post${name}`]);
  expect(Object.keys(scripts).filter((name) => hooks.includes(name))).toEqual(["prepack"]);
});

test("the lint refuses the spread of a literal, and none of what is not known before", () => {
  const refused = [
    "export const a = { ...{ x: 1, y: 2 }, z: 3 };",
    "export const b = { ...({ x: 1 } satisfies object) };",
    'export const c = [...["x", "y"], "z"];',
    'export const d = [...(["x", "y"] as const)];',
    "export const e = Math.max(...[1, 2]);",
  ];
  const accepted = [
    "export const f = (given: object) => ({ ...given, x: 1 });",
    "export const g = (given?: object) => ({ ...(given ? { x: 1 } : {}), ...(given && { y: 2 }) });",
    'export const h = [...["x", "y"].map((name) => name.length), 1];',
  ];
  const folder = mkdtempSync(join(tmpdir(), "grpo-lint-"));
  try {
    // A project of its own: Biome runs no plugins on what comes from a pipe.
    const { plugins } = JSON.parse(readFileSync(join(root, "biome.json"), "utf8")) as { plugins: readonly string[] };
    const settings = { plugins: plugins.map((plugin) => join(root, plugin)) };
    writeFileSync(join(folder, "biome.json"), JSON.stringify(settings));
    writeFileSync(join(folder, "lines.ts"), [...refused, ...accepted].join("\n"));
    const biome = createRequire(import.meta.url).resolve("@biomejs/biome/bin/biome");
    const args = [biome, "lint", "--reporter=github", "lines.ts"];
    const { stdout, status } = spawnSync(process.execPath, args, { cwd: folder, encoding: "utf8" });
    const found = [...stdout.matchAll(/\bline=(\d+).*spreads a literal/g)].map(([, line]) => Number(line));
    expect(found).toEqual(refused.map((_, i) => i + 1));
    expect(status).toBe(1);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
