// The generated parts of docs/benchmarks.md and README.md, between their markers.

import { readFileSync, writeFileSync } from "node:fs";
import { arch, cpus, platform, totalmem } from "node:os";
import { fileURLToPath } from "node:url";
import type { Components } from "./components.js";
import type { OwnResult } from "./own-side.js";
import { median, short } from "./own-side.js";
import { TRL_VERSIONS } from "./peers.js";
import type { Stored } from "./store.js";
import type { Ratio, TargetRow } from "./targets.js";

const FEATURES = ["avx2", "fma", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "bf16"];

/** The machine without its name. */
export function machine(threads: number): string {
  const memory = `${Math.round(totalmem() / 2 ** 30)} GiB`;
  const found = processorFlags();
  const features = FEATURES.filter((name) => found.has(name));
  const processor = (cpus()[0]?.model ?? "unknown processor").trim();
  return `${processor}, ${cpus().length} cores, ${threads} threads used, ${memory}, ${platform()} ${arch()} (${features.join(", ")})`;
}

function processorFlags(): Set<string> {
  try {
    const flags = readFileSync("/proc/cpuinfo", "utf8").match(/^(?:flags|Features)\s*:(.*)$/m)?.[1] ?? "";
    return new Set(flags.trim().split(/\s+/));
  } catch {
    return new Set();
  }
}

export function ratioText(ratio: Ratio | undefined): string {
  if (ratio === undefined) return "not measured";
  const range = ratio.low === ratio.high ? "one run" : `${short(ratio.low)}–${short(ratio.high)}`;
  return `${short(ratio.value)}× (${range})`;
}

const verdict = (row: TargetRow) => (row.met === undefined ? "–" : row.met ? "yes" : "no");

export function targetTable(rows: readonly TargetRow[]): string {
  const head = ["what", "target", "measured", "met", "grpo", ...TRL_VERSIONS.map((version) => `TRL ${version}`), ""];
  const lines = rows.map((row) => {
    const peers = TRL_VERSIONS.map((version) => row.trl?.[version] ?? (row.trl ? "not measured" : ""));
    return [row.what, row.target, ratioText(row.measured), verdict(row), row.own, ...peers, row.note];
  });
  const [names, ...cells] = [head, ...lines].map((line) => `| ${line.join(" | ")} |`);
  return [names, `|${"---|".repeat(head.length)}`, ...cells].join("\n");
}

/** What was measured in float32 on both sides, for the README: a ratio between two types would say little of either. */
export function shortTable(rows: readonly TargetRow[]): string {
  const lines = rows
    .filter(({ what, measured }) => measured && what.endsWith(", fp32"))
    .map(({ what, measured, own, trl }) => {
      const peers = TRL_VERSIONS.flatMap((version) => (trl?.[version] ? [`TRL ${version} ${trl[version]}`] : []));
      return `| ${what} | ${ratioText(measured)} | ${[`grpo ${own}`, ...peers].join(", ")} |`;
    });
  if (lines.length === 0) return "To be measured.";
  return ["| float32 on the CPU | grpo to the faster TRL | medians |", "|---|---|---|", ...lines].join("\n");
}

export function probeLine({ probes }: Stored): string {
  if (probes.length === 0) return "not measured";
  const range = (values: readonly number[]) =>
    `${short(median(values))} (${short(Math.min(...values))}–${short(Math.max(...values))})`;
  return [
    `reading memory ${range(probes.map((probe) => probe.readGBPerSecond))} GB/s`,
    `matrix products ${range(probes.map((probe) => probe.gemmGflopsFloat32))} GFLOP/s in float32`,
    `${range(probes.map((probe) => probe.gemmGflopsBfloat16))} in bfloat16`,
  ].join(", ");
}

export function growthTables(series: Readonly<Record<string, readonly OwnResult[]>>): string {
  const tables = Object.entries(series).map(([name, results]) => {
    const memory = results.some((result) => result.rolloutPeakBytes);
    const head = memory
      ? "loaded, MB | peak of the rollout | peak of the update"
      : "tokens/s | decode step, ms | peak, MB";
    const lines = results.map((result) => {
      const megabytes = (bytes: number | undefined) => ((bytes ?? 0) / 1e6).toFixed(0);
      const cells = memory
        ? [result.loadedBytes, result.rolloutPeakBytes, result.updatePeakBytes].map(megabytes)
        : [
            (result.tokensPerSecond?.median ?? 0).toFixed(0),
            (1000 * (result.decodeStep?.median ?? 0)).toFixed(1),
            megabytes(result.peakBytes),
          ];
      return `| ${result.name} | ${cells.join(" | ")} |`;
    });
    return [`### ${name}`, "", `| | ${head} |`, "|---|---|---|---|", ...lines].join("\n");
  });
  return tables.join("\n\n");
}

/** Bytes by component of the cases that were measured with them; undefined without any. */
export function componentTable(results: readonly OwnResult[]): string | undefined {
  const rows = results.flatMap(({ name, peakBytes, components }) =>
    components ? [{ name, peakBytes, components }] : [],
  );
  const names = Object.keys(rows[0]?.components ?? {}) as (keyof Components)[];
  if (names.length === 0) return undefined;
  const megabytes = (bytes: number) => Math.round(bytes / 1e6);
  const lines = rows.map(({ name, peakBytes, components }) => {
    const cells = [...names.map((part) => components[part]), peakBytes].map(megabytes);
    return `| ${name} | ${cells.join(" | ")} |`;
  });
  return [`| MB | ${names.join(" | ")} | peak |`, `|---|${"---|".repeat(names.length + 1)}`, ...lines].join("\n");
}

/** Replaces what stands between `<!-- name -->` and `<!-- /name -->` in a page of the project. */
export function replacePart(page: string, name: string, text: string): void {
  const file = fileURLToPath(new URL(`../../${page}`, import.meta.url));
  const [open, close] = [`<!-- ${name} -->`, `<!-- /${name} -->`];
  const before = readFileSync(file, "utf8");
  const [from, to] = [before.indexOf(open), before.indexOf(close)];
  if (from < 0 || to < from) throw new Error(`${page} has no part ${open} … ${close}`);
  writeFileSync(file, `${before.slice(0, from + open.length)}\n${text}\n${before.slice(to)}`);
}
