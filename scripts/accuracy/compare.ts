// Compares rewards.accuracy with the labels that label.py wrote, and prints agreement, false positives and time.
//
//   npx tsx scripts/accuracy/compare.ts --in labelled.jsonl [--show 40] [--kind mixed]

import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { rewards } from "grpo";

const { values: flags } = parseArgs({
  options: {
    in: { type: "string" },
    show: { type: "string", default: "0" },
    kind: { type: "string" },
    skip: { type: "string" }, // kinds to leave out, separated by commas
  },
});
if (!flags.in) throw new Error("give --in <labelled.jsonl>");

interface Case {
  readonly kind: string;
  readonly frame?: string;
  readonly gold: string;
  readonly completion: string;
  readonly label: number | null;
  readonly goldParsed: string;
  readonly answerParsed: string;
}

const skipped = flags.skip?.split(",") ?? [];
const cases = readFileSync(flags.in, "utf8")
  .split("\n")
  .filter((line) => line !== "")
  .map((line) => JSON.parse(line) as Case)
  .filter(({ kind }) => (!flags.kind || kind === flags.kind) && !skipped.includes(kind));

const times: number[] = [];
const wrong: (Case & { ours: number | null; read: string })[] = [];
const byKind = new Map<string, { cases: number; differ: number }>();
let [negatives, falsePositives] = [0, 0];
for (const one of cases) {
  let read = "";
  const started = process.cpuUsage();
  const [ours = null] = rewards.accuracy({
    completions: [one.completion],
    solution: [one.gold],
    logExtra: (column, values) => {
      if (column !== "solution") read += `${values[0]} `;
    },
  });
  const { user, system } = process.cpuUsage(started);
  times.push((user + system) / 1000);
  const kind = byKind.get(one.kind) ?? { cases: 0, differ: 0 };
  byKind.set(one.kind, kind);
  kind.cases++;
  if (one.label === 0) negatives++;
  if (one.label === 0 && ours === 1) falsePositives++;
  if (ours === one.label) continue;
  kind.differ++;
  wrong.push({ ...one, ours, read });
}
times.sort((a, b) => a - b);
for (const one of wrong.slice(0, Number(flags.show))) {
  console.log(
    `${one.kind}/${one.frame ?? ""} python ${one.label} ours ${one.ours}\n  gold …${JSON.stringify(one.gold.slice(-110))}\n` +
      `  answer …${JSON.stringify(one.completion.slice(-110))}\n  python ${one.goldParsed.slice(0, 150)} | ${one.answerParsed.slice(0, 150)}\n  ours   ${one.read.slice(0, 300)}`,
  );
}
const differing = [...byKind].filter(([, { differ }]) => differ > 0).sort((a, b) => b[1].differ - a[1].differ);
console.log(differing.map(([kind, { cases: n, differ }]) => `${kind} ${differ}/${n}`).join("; "));
console.log(
  JSON.stringify({
    cases: cases.length,
    agreement: 1 - wrong.length / cases.length,
    falsePositives: falsePositives / Math.max(1, negatives),
    positivesMissed: wrong.filter(({ label, ours }) => label === 1 && ours !== 1).length,
    meanMs: times.reduce((sum, time) => sum + time, 0) / times.length,
    p99Ms: times[Math.floor(times.length * 0.99)],
    maxMs: times.at(-1),
  }),
);
