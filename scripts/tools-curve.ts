// Does examples/calculator.ts learn as TRL does with the same model, sums, tool, reward and settings? Runs it with the seeds that were
// recorded of TRL (scripts/baselines/trl_calculator.py), and compares the means of every ten steps:
//
//   npx tsx scripts/tools-curve.ts [--taught runs/taught] [--output runs/tools-curve] [--write docs/tools.md]
//
// A run whose metrics are already in the output folder is not repeated. Exit status 1 when in the last ten steps one side's mean lies
// outside the other's spread.

import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

interface Step {
  readonly reward: number;
  readonly calls: number;
}

const { values: flags } = parseArgs({
  options: {
    taught: { type: "string", default: "runs/taught" },
    output: { type: "string", default: "runs/tools-curve" },
    write: { type: "string" },
  },
});
const here = fileURLToPath(new URL(".", import.meta.url));
/** Steps that are one number. */
const WINDOW = 10;
const MARKERS = ["<!-- tools-curve -->", "<!-- /tools-curve -->"] as const;

const recorded: { settings: { trl: string }; runs: Record<string, Step[]> } = JSON.parse(
  readFileSync(path.join(here, "baselines/trl-calculator.json"), "utf8"),
);
const seeds = Object.keys(recorded.runs);
const sides = [
  { name: `TRL ${recorded.settings.trl}`, runs: Object.values(recorded.runs) },
  { name: "grpo", runs: seeds.map(runExample) },
];

function runExample(seed: string): Step[] {
  const output = path.join(flags.output, `seed-${seed}`);
  const metrics = path.join(output, "metrics.jsonl");
  if (!existsSync(metrics)) {
    const example = path.join(here, "../examples/calculator.ts");
    const args = [example, "--taught", flags.taught, "--seed", seed, "--output", output];
    const tsx = createRequire(import.meta.url).resolve("tsx/cli");
    const { status } = spawnSync(process.execPath, [tsx, ...args], { stdio: ["ignore", "ignore", "inherit"] });
    if (status !== 0) throw new Error(`the example with seed ${seed} ended with status ${status}`);
  }
  const records = readFileSync(metrics, "utf8").trim().split("\n");
  return records
    .map((line) => JSON.parse(line) as Record<string, number | string>)
    .filter(({ type }) => type === "step")
    .map((record) => ({ reward: Number(record.reward), calls: Number(record["tools/call_frequency"]) }));
}

const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;

/** The mean of each run in each window. */
function windows(runs: readonly (readonly Step[])[], key: keyof Step): number[][] {
  const count = Math.min(...runs.map(({ length }) => length)) / WINDOW;
  return Array.from({ length: Math.floor(count) }, (_, i) =>
    runs.map((run) => mean(run.slice(i * WINDOW, (i + 1) * WINDOW).map((step) => step[key]))),
  );
}

function rowOf(name: string, values: readonly (readonly number[])[]): string {
  const cells = values.map((runs) => {
    const [low, high] = [Math.min(...runs), Math.max(...runs)];
    return `${mean(runs).toFixed(2)} (${low.toFixed(2)}–${high.toFixed(2)})`;
  });
  return `| ${name} | ${cells.join(" | ")} |`;
}

const [trl, grpo] = sides.map(({ runs }) => windows(runs, "reward").at(-1) ?? []) as [number[], number[]];
const within = (value: number, runs: readonly number[]) => value >= Math.min(...runs) && value <= Math.max(...runs);
const alike = within(mean(grpo), trl) || within(mean(trl), grpo);

const columns = windows(sides[0]?.runs ?? [], "reward").map((_, i) => `${i * WINDOW + 1}–${(i + 1) * WINDOW}`);
const table = [
  `| steps | ${columns.join(" | ")} |`,
  `|${"---|".repeat(columns.length + 1)}`,
  ...sides.map(({ name, runs }) => rowOf(`reward, ${name}`, windows(runs, "reward"))),
  ...sides.map(({ name, runs }) => rowOf(`calls per completion, ${name}`, windows(runs, "calls"))),
].join("\n");
console.log(table);
if (flags.write !== undefined) {
  const page = readFileSync(flags.write, "utf8");
  const [begin, end] = MARKERS.map((marker) => page.indexOf(marker)) as [number, number];
  if (begin < 0 || end < begin) throw new Error(`expected ${MARKERS.join(" … ")} in ${flags.write}`);
  writeFileSync(flags.write, `${page.slice(0, begin + MARKERS[0].length)}\n${table}\n${page.slice(end)}`);
}
process.exitCode = alike ? 0 : 1;
