// Does the quickstart learn as TRL does? Runs it with several seeds and compares the mean reward of the last quarter of the
// steps with TRL's recorded runs on the same model, data and settings (scripts/baselines/trl_curve.py), seed by seed:
//
//   npx tsx scripts/learning-curve.ts [--seeds 5] [--output runs/learning-curve] [--write docs/learning-curve.md]
//
// A run whose metrics are already in the output folder is not repeated. Exit status 1 when one side's mean lies outside
// the other's spread.

import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

interface Step {
  readonly reward: number;
  readonly format: number;
  readonly accuracy: number;
  readonly entropy: number;
}

const { values: flags } = parseArgs({
  options: {
    seeds: { type: "string", default: "5" },
    output: { type: "string", default: "runs/learning-curve" },
    write: { type: "string" },
  },
});
const here = fileURLToPath(new URL(".", import.meta.url));

function runQuickstart(seed: number): Step[] {
  const output = path.join(flags.output, `seed-${seed}`);
  const metrics = path.join(output, "metrics.jsonl");
  if (!existsSync(metrics)) {
    const tsx = createRequire(import.meta.url).resolve("tsx/cli");
    const args = [tsx, path.join(here, "../lib/cli.ts"), "quickstart", "--seed", String(seed), "--output", output];
    const { status } = spawnSync(process.execPath, args, { stdio: ["ignore", "ignore", "inherit"] });
    if (status !== 0) throw new Error(`the quickstart with seed ${seed} ended with status ${status}`);
  }
  const records = readFileSync(metrics, "utf8").trim().split("\n");
  return records
    .map((line) => JSON.parse(line) as Record<string, number | string>)
    .filter((record) => record.type === "step")
    .map((record) => ({
      reward: Number(record.reward),
      format: Number(record["rewards/format/mean"]),
      accuracy: Number(record["rewards/accuracy/mean"]),
      entropy: Number(record.entropy),
    }));
}

const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;

function summary(steps: readonly Step[], from: number, to: number): Step {
  const part = steps.slice(Math.round(from * steps.length), Math.round(to * steps.length));
  const column = (key: keyof Step) => mean(part.map((step) => step[key]));
  return {
    reward: column("reward"),
    format: column("format"),
    accuracy: column("accuracy"),
    entropy: column("entropy"),
  };
}

const folder = path.join(here, "baselines");
const baselines = readdirSync(folder)
  .filter((name) => /^trl-curve-all-seed-\d+\.json$/.test(name))
  .sort()
  .map(
    (name) => JSON.parse(readFileSync(path.join(folder, name), "utf8")) as { settings: { trl: string }; rows: Step[] },
  );
const trl = baselines.map(({ rows }) => rows);
const versions = new Set(baselines.map(({ settings }) => settings.trl.replace(/\.0$/, "")));
const grpo = Array.from({ length: Number(flags.seeds) }, (_, i) => runQuickstart(i + 1));

const digits = (value: number) => value.toFixed(3);
const lines: string[] = [];
const quarters = [0, 0.25, 0.5, 0.75];
for (const [side, runs] of [
  [`TRL ${[...versions].join(", ")}`, trl],
  ["grpo", grpo],
] as const) {
  for (const [i, run] of runs.entries()) {
    const rewards = quarters.map((from) => digits(summary(run, from, from + 0.25).reward));
    const last = summary(run, 0.75, 1);
    const parts = [last.format, last.accuracy, last.entropy].map(digits);
    lines.push(`| ${side} | ${i + 1} | ${[...rewards, ...parts].join(" | ")} |`);
  }
}
const last = (runs: readonly Step[][]) => runs.map((run) => summary(run, 0.75, 1).reward);
const spread = (values: readonly number[]) => [Math.min(...values), Math.max(...values)] as const;
const within = (value: number, [low, high]: readonly [number, number]) => value >= low && value <= high;
const [trlLast, grpoLast] = [last(trl), last(grpo)];
const matches = within(mean(grpoLast), spread(trlLast)) || within(mean(trlLast), spread(grpoLast));
const verdict = `Last quarter: TRL ${digits(mean(trlLast))} (${spread(trlLast).map(digits).join(" to ")}), grpo ${digits(
  mean(grpoLast),
)} (${spread(grpoLast).map(digits).join(" to ")}).`;

const page = `# The quickstart's learning curve beside TRL's

Written by \`scripts/learning-curve.ts\`. Same model, data, prompts, rewards and settings; ${grpo[0]?.length} steps of 64
completions; random numbers differ, so curves agree in distribution only. TRL's side is recorded
(\`scripts/baselines/trl_curve.py\`); dropout is active while TRL samples, and is not here.

| | seed | reward, 1st quarter | 2nd | 3rd | last | format, last | accuracy, last | entropy, last |
|---|---|---|---|---|---|---|---|---|
${lines.join("\n")}

${verdict}
`;
console.log(page);
if (flags.write) writeFileSync(flags.write, page);
process.exitCode = matches ? 0 : 1;
