// Writes gold and completion pairs made from real MATH solutions: the whole solution is the gold, and a completion is its
// answer, rewritten and framed. label.py then says what math_verify makes of each.
//
//   npx tsx scripts/accuracy/pairs.ts --data math/test.parquet --out pairs.jsonl [--seed 1] [--count 2]

import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { loadDataset } from "grpo";
import { framed, randomSource, rewritings } from "./rewrites.js";

const { values: flags } = parseArgs({
  options: {
    data: { type: "string" },
    out: { type: "string" },
    seed: { type: "string", default: "1" },
    count: { type: "string", default: "2" }, // right-looking and wrong-looking rewritings of each answer
  },
});
if (!flags.data || !flags.out) throw new Error("give --data <MATH parquet or JSONL file> and --out <file.jsonl>");

/** The content of the last \boxed{…} or of \boxed x, as MATH's solutions write it. */
function boxedAnswer(solution: string): string | undefined {
  const start = solution.lastIndexOf("\\boxed");
  if (start < 0) return undefined;
  const open = start + "\\boxed".length;
  if (solution[open] !== "{") return solution.slice(open).trim().split(/[\s$]/)[0];
  let depth = 0;
  for (let i = open; i < solution.length; i++) {
    if (solution[i] === "{") depth++;
    if (solution[i] === "}" && --depth === 0) return solution.slice(open + 1, i).trim();
  }
  return undefined;
}

const rows = await loadDataset<{ solution: string }>(flags.data, { split: "train" });
const random = randomSource(Number(flags.seed));
const solutions = [...rows].map((row) => row.solution);
const lines: string[] = [];
for (const [row, gold] of solutions.entries()) {
  const answer = boxedAnswer(gold);
  if (answer === undefined) continue;
  const another = boxedAnswer(solutions[Math.floor(random() * solutions.length)] ?? "") ?? "3";
  const list = rewritings(answer, random, Number(flags.count));
  if (random() < 0.3) list.push({ kind: "another", answer: another });
  for (const rewriting of list) {
    const { frame, completion } = framed(rewriting.answer, random);
    lines.push(JSON.stringify({ row, kind: rewriting.kind, frame, gold, completion }));
  }
}
writeFileSync(flags.out, `${lines.join("\n")}\n`);
console.log(JSON.stringify({ pairs: lines.length, out: flags.out }));
