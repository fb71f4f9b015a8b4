// The order of the house, held against its imports and includes: what lies below knows nothing of what lies above, and no two files
// need each other. Types count like everything else. docs/decisions.md says why.

import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";
import { describe, expect, it } from "vitest";

const root = fileURLToPath(new URL("..", import.meta.url));

/**
 * From the bottom up, files and folders. Each may use the lines above it and itself, not its neighbours in its line, and nothing that
 * follows.
 */
const layers: readonly (readonly string[])[] = [
  ["lib/errors.ts", "lib/types.ts", "lib/statistics.ts", "lib/sync-file.ts"],
  ["lib/file-kind.ts"],
  [
    "lib/abort.ts",
    "lib/event-queue.ts",
    "lib/at.ts",
    "lib/json.ts",
    "lib/text.ts",
    "lib/checks.ts",
    "lib/lru-cache.ts",
    "lib/modules.ts",
    "lib/package-files.ts",
    "lib/output.ts",
  ],
  ["lib/zod.ts", "lib/end-of-text.ts"],
  // The options of the loss and of the optimizers.
  ["lib/options"],
  // The mirror of the addon; the Hub's files.
  ["lib/native", "lib/hub"],
  // Processes that train together.
  ["lib/distributed"],
  ["lib/setup", "lib/dataset", "lib/tokenizer", "lib/model"],
  ["lib/grammar"],
  ["lib/rewards", "lib/log", "lib/report", "lib/gguf", "lib/chat"],
  ["lib/endpoint"],
  // What any trainer uses that samples, and what any trainer uses.
  ["lib/rollout", "lib/run"],
  // Rollouts of several turns; samplers over inference servers.
  ["lib/agents", "lib/servers"],
  ["lib/grpo", "lib/sft", "lib/eval"],
  ["lib/recipes"],
  ["lib/commands"],
  ["lib/index.ts", "lib/cli.ts"],

  [
    "native/error.h",
    "native/device",
    "native/engine_limits.h",
    "native/random.h",
    "native/pch.h",
    "native/stub",
    "native/graphs",
  ],
  ["native/fields.h"],
  ["native/module_table"],
  ["native/batch.h", "native/model_spec.h"],
  ["native/large_blocks", "native/op_counter", "native/machine_probe", "native/meta_kernels"],
  // Kernels; files of tensors; optimizers over flat buffers.
  ["native/kernels", "native/io", "native/optim", "native/distributed"],
  ["native/model"],
  ["native/rollout", "native/train"],
  ["native/weights"],
  ["native/engine"],
  ["native/binding"],
];

/** Files that need each other and should: a grammar is recursive. */
const circles: readonly (readonly string[])[] = [
  // A cache makes what attends to it.
  ["native/model/decode_attention", "native/model/kv_cache"],
  [
    "lib/rewards/math/latex-atoms.ts",
    "lib/rewards/math/latex-expression.ts",
    "lib/rewards/math/latex-functions.ts",
    "lib/rewards/math/latex-sets.ts",
    "lib/rewards/math/latex.ts",
  ],
];

/** Written while C++ is compiled. */
const generated = ["binding_revision.h"];

type Edges = ReadonlyMap<string, readonly string[]>;

function filesOf(folder: string, pattern: RegExp): string[] {
  return readdirSync(path.join(root, folder), { recursive: true, encoding: "utf8" })
    .map((file) => `${folder}/${file.replaceAll("\\", "/")}`)
    .filter((file) => pattern.test(file))
    .sort();
}

/** The modules of lib/ that each imports, in any form. */
function imports(folder: string): Edges {
  const files = filesOf(folder, /\.ts$/);
  return new Map(
    files.map((file) => {
      const { importedFiles } = ts.preProcessFile(readFileSync(path.join(root, file), "utf8"));
      const relative = importedFiles.map(({ fileName }) => fileName).filter((name) => name.startsWith("."));
      return [file, relative.map((name) => path.posix.join(path.posix.dirname(file), name).replace(/\.js$/, ".ts"))];
    }),
  );
}

/** The headers of native/ that each file includes, beside it or from native/. */
function includes(): Edges {
  const files = filesOf("native", /\.(h|cc|c)$/);
  return new Map(
    files.map((file) => {
      const text = readFileSync(path.join(root, file), "utf8");
      const names = [...text.matchAll(/^#include "([^"]+)"/gm)].map(([, name = ""]) => name);
      const found = names
        .filter((name) => !generated.includes(name))
        .map((name) => {
          const beside = path.posix.join(path.posix.dirname(file), name);
          return files.includes(beside) ? beside : `native/${name}`;
        });
      return [file, found];
    }),
  );
}

const graphs = { "lib/": imports("lib"), "native/": includes() };

/** The line of a file, and its entry there; the longest entry that fits. */
function placeOf(file: string): { readonly layer: number; readonly entry: string } | undefined {
  const fits = (entry: string) => file === entry || file.startsWith(`${entry}/`) || file.startsWith(`${entry}.`);
  const places = layers.flatMap((line, layer) => line.filter(fits).map((entry) => ({ layer, entry })));
  return places.sort((a, b) => b.entry.length - a.entry.length)[0];
}

/** Whether a file may use another. */
function mayUse(user: string, used: string): boolean {
  const [from, to] = [placeOf(user), placeOf(used)];
  return from !== undefined && to !== undefined && (from.entry === to.entry || to.layer < from.layer);
}

/** Sets of nodes each of which reaches every other (Tarjan's strongly connected components), of at least two. */
function circlesOf(edges: Edges): string[][] {
  const order = new Map<string, number>();
  const lowest = new Map<string, number>();
  const open: string[] = [];
  const found: string[][] = [];
  const visit = (node: string): number => {
    const own = order.size;
    order.set(node, own);
    open.push(node);
    let low = own;
    for (const next of edges.get(node) ?? []) {
      if (!order.has(next)) low = Math.min(low, visit(next));
      else if (open.includes(next)) low = Math.min(low, lowest.get(next) ?? order.get(next) ?? low);
    }
    lowest.set(node, low);
    if (low === own) {
      const circle = open.splice(open.indexOf(node));
      if (circle.length > 1) found.push(circle.sort());
    }
    return low;
  };
  for (const node of edges.keys()) if (!order.has(node)) visit(node);
  return found.sort();
}

/** A header and its source are one: what either includes, both need. */
function byUnit(edges: Edges): Edges {
  const unit = (file: string) => file.replace(/\.(h|cc|c)$/, "");
  const merged = new Map<string, string[]>();
  for (const [file, used] of edges) {
    const own = unit(file);
    merged.set(own, [...(merged.get(own) ?? []), ...used.map(unit).filter((other) => other !== own)]);
  }
  return merged;
}

describe.each(Object.entries(graphs))("%s", (folder, edges) => {
  it("has every file in a layer", () => {
    expect([...edges.keys()].filter((file) => placeOf(file) === undefined)).toEqual([]);
    expect(edges.size).toBeGreaterThan(50);
  });

  it("imports downwards only", () => {
    const upward = [...edges].flatMap(([file, used]) =>
      used.filter((other) => !mayUse(file, other)).map((other) => `${file} → ${other}`),
    );
    expect(upward).toEqual([]);
  });

  it("has no circles but those that are meant", () => {
    expect(circlesOf(folder === "native/" ? byUnit(edges) : edges)).toEqual(
      circles.filter(([first]) => first?.startsWith(folder)),
    );
  });
});

it("every layer has files", () => {
  const files = Object.values(graphs).flatMap((edges) => [...edges.keys()]);
  const entries = new Set(files.map((file) => placeOf(file)?.entry));
  expect(layers.flat().filter((entry) => !entries.has(entry))).toEqual([]);
});

it("a trainer without rollouts and rewards gets its run from below them", () => {
  const used = [...imports("test/run").values()].flat().filter((file) => file.startsWith("lib/"));
  expect(used.length).toBeGreaterThan(5);
  expect(used.filter((file) => /^lib\/(rewards|rollout|grpo)\//.test(file))).toEqual([]);
});
