// Measures this side: rollouts, updates, whole optimizer steps, the first token, and memory, on the shapes and models of
// bench/cases.ts. Each case runs in a process of its own. The last line is JSON.
//
//   npx tsx scripts/bench.ts --list
//   npx tsx scripts/bench.ts --case "0.5B update, bf16" --case "0.5B rollout, bf16" [--rounds 3] [--threads 2]
//   npx tsx scripts/bench.ts --growth [--series batch]
//
// Shapes with random weights are written into --cache once. SmolLM2-135M-Instruct is a folder: --smollm2 or GRPO_SMOLLM2.

import { availableParallelism } from "node:os";
import { parseArgs } from "node:util";
import type { Device } from "grpo";
import { CASES, GROWTH, OWN_CASES } from "./bench/cases.js";
import { type MeasureRequest, measure } from "./bench/measure.js";
import { machineProbe, measureApart, type OwnResult, own, row } from "./bench/own-side.js";

const { values: flags } = parseArgs({
  options: {
    case: { type: "string", multiple: true },
    list: { type: "boolean", default: false },
    growth: { type: "boolean", default: false },
    series: { type: "string", multiple: true },
    rounds: { type: "string", default: "1" },
    threads: { type: "string", default: String(availableParallelism()) },
    device: { type: "string", default: "cpu" },
    cache: { type: "string", default: "build/bench" },
    smollm2: { type: "string", default: process.env.GRPO_SMOLLM2 ?? "" },
    child: { type: "string" },
  },
});

if (flags.child) {
  console.log(JSON.stringify(await measure(JSON.parse(flags.child) as MeasureRequest)));
} else if (flags.list) {
  for (const { name } of [...CASES, ...OWN_CASES]) console.log(name);
  for (const [name, cases] of Object.entries(GROWTH)) {
    console.log(`series ${name}: ${cases.map((bench) => bench.name).join(" · ")}`);
  }
} else {
  await run();
}

function chosen() {
  if (flags.growth || flags.series) {
    return Object.entries(GROWTH).flatMap(([name, cases]) =>
      flags.series === undefined || flags.series.includes(name) ? cases : [],
    );
  }
  const all = [...CASES, ...OWN_CASES];
  for (const name of flags.case ?? []) {
    if (!all.some((bench) => bench.name === name)) throw new Error(`--case: there is no "${name}"; see --list`);
  }
  return flags.case ? all.filter(({ name }) => flags.case?.includes(name)) : CASES;
}

async function run() {
  const places = { cache: flags.cache, smollm2: flags.smollm2 || undefined };
  const setting = { device: flags.device as Device, threads: Number(flags.threads), places };
  const probes = [machineProbe(setting)];
  const results: OwnResult[] = [];
  for (const bench of chosen()) {
    const measurements = [];
    for (let round = 0; round < Number(flags.rounds); round++) {
      const measured = await measureApart(bench, setting);
      if (typeof measured === "string") {
        console.log(`${bench.name}: not measured: ${measured}`);
        break;
      }
      measurements.push(measured);
    }
    if (measurements.length === 0) continue;
    results.push(own(bench, measurements));
    console.log(row(results.at(-1) as OwnResult));
  }
  probes.push(machineProbe(setting));
  console.log(JSON.stringify({ device: setting.device, threads: setting.threads, probes, results }));
}
