// Runs rewards.accuracy on hostile inputs and reports the processor time of the slowest. Exits with 1 if one throws, gives
// something that is no reward, or takes a second.
//
//   npx tsx scripts/accuracy/fuzz.ts [--count 200000] [--seed 1] [--hostile]

import { parseArgs } from "node:util";
import { rewards } from "grpo";
import { type FuzzInput, fuzzInputs, hostileInputs } from "./fuzz-inputs.js";

const { values: flags } = parseArgs({
  options: {
    count: { type: "string", default: "200000" },
    seed: { type: "string", default: "1" },
    hostile: { type: "boolean", default: false }, // every shape at 30,000 characters, and nothing else
  },
});

const LIMIT_MS = 1000;
const times: number[] = [];
const slowest: { ms: number; sort: string; text: string }[] = [];
const results = new Map<string, number>();
let failures = 0;

function run({ sort, solution, completion }: FuzzInput): void {
  const started = process.cpuUsage();
  let outcome: string;
  try {
    outcome = String(rewards.accuracy({ solution: [solution], completions: [completion] })[0]);
  } catch (error) {
    outcome = `threw ${error}`;
  }
  const { user, system } = process.cpuUsage(started);
  const ms = (user + system) / 1000;
  times.push(ms);
  results.set(outcome, (results.get(outcome) ?? 0) + 1);
  if (ms > 50) slowest.push({ ms, sort, text: `${solution.slice(0, 60)} … ${completion.slice(0, 60)}` });
  if (ms <= LIMIT_MS && ["0", "1", "null"].includes(outcome)) return;
  failures++;
  console.log(
    JSON.stringify({ outcome, ms, sort, solution: solution.slice(0, 300), completion: completion.slice(0, 300) }),
  );
}

const inputs = flags.hostile ? hostileInputs() : fuzzInputs(Number(flags.seed), Number(flags.count));
for (const input of inputs) run(input);
times.sort((a, b) => a - b);
slowest.sort((a, b) => b.ms - a.ms);
for (const one of slowest.slice(0, 10)) console.log(`${one.ms.toFixed(0)} ms ${one.sort}: ${one.text}`);
console.log(
  JSON.stringify({
    inputs: times.length,
    failures,
    results: Object.fromEntries(results),
    meanMs: times.reduce((sum, time) => sum + time, 0) / times.length,
    p99Ms: times[Math.floor(times.length * 0.99)],
    maxMs: times.at(-1),
  }),
);
process.exitCode = failures > 0 ? 1 : 0;
