// This side, two versions of TRL with transformers, and llama.cpp in turn on one machine; medians, ratios to the faster of the
// others, and the table of targets. Nothing else may run meanwhile: the load of the machine is recorded beside every number.
//
//   npm run bench:trl -- [--rounds 2] [--minutes 20] [--threads 2] [--case NAME …] [--trl 1.16 …] [--python 1.16=PATH …]
//                        [--smollm2 FOLDER]
//   npm run bench:trl -- --growth     this side's series, into the same page
//   npm run bench:trl -- --report     the table and pages of what is there already
//
// Goes round by round over the cases, cheap ones first, and begins no new run after --minutes. Results are kept in the cache
// after every run; a later call adds to them (--fresh: begins again). Writes docs/benchmarks.md and the README's table
// (--no-write: does not). The last line is JSON.

import { availableParallelism, loadavg } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import type { Device } from "grpo";
import { loadCore } from "../lib/native/native-loader.js";
import { type BenchCase, CASES, GROWTH } from "./bench/cases.js";
import type { Measurement } from "./bench/measure.js";
import { machineProbe, measureApart, type OwnResult, own, row, type Setting } from "./bench/own-side.js";
import {
  componentTable,
  growthTables,
  machine,
  probeLine,
  replacePart,
  shortTable,
  targetTable,
} from "./bench/page.js";
import {
  measureLlama,
  measureTrl,
  type PeerMeasurement,
  pythonWithTrl,
  TRL_VERSIONS,
  type TrlVersion,
} from "./bench/peers.js";
import { keyOf, ResultStore, type Side, version } from "./bench/store.js";
import { type CaseRounds, type TargetRow, targetRows } from "./bench/targets.js";

const { values: flags } = parseArgs({
  options: {
    case: { type: "string", multiple: true },
    side: { type: "string", multiple: true },
    rounds: { type: "string", default: "2" },
    minutes: { type: "string", default: "20" },
    threads: { type: "string", default: String(availableParallelism()) },
    trl: { type: "string", multiple: true },
    python: { type: "string", multiple: true, default: [] },
    "trl-dtype": { type: "string" },
    cache: { type: "string", default: "build/bench" },
    smollm2: { type: "string", default: process.env.GRPO_SMOLLM2 ?? "" },
    growth: { type: "boolean", default: false },
    report: { type: "boolean", default: false },
    fresh: { type: "boolean", default: false },
    "no-write": { type: "boolean", default: false },
  },
});

const places = { cache: flags.cache, smollm2: flags.smollm2 || undefined };
const setting: Setting = { device: "cpu" as Device, threads: Number(flags.threads), places };
const store = new ResultStore(path.join(flags.cache, "results.json"), flags.fresh);
const deadline = Date.now() + Number(flags.minutes) * 60_000;
const commit = version();
const sides = (flags.side ?? ["own", "trl", "llama"]) as readonly Side[];
for (const name of flags.case ?? []) {
  if (!CASES.some((bench) => bench.name === name)) throw new Error(`--case: there is no "${name}"`);
}
const versions = (flags.trl ?? TRL_VERSIONS) as readonly TrlVersion[];
const pythons = new Map(flags.python.map((entry) => entry.split("=", 2) as [TrlVersion, string]));
for (const version of [...versions, ...pythons.keys()]) {
  if (!TRL_VERSIONS.includes(version)) throw new Error(`TRL "${version}": choose from ${TRL_VERSIONS.join(", ")}`);
}
const pythonOf = (version: TrlVersion) => pythonWithTrl(version, pythons.get(version), flags.cache);
const cases = CASES.filter(({ name }) => flags.case?.includes(name) ?? true);

interface Run {
  readonly key: string;
  readonly side: Side;
  readonly label: string;
  run(): Promise<unknown>;
}

function ownRun(bench: BenchCase): Run {
  const key = keyOf("own", bench, { commit, threads: setting.threads });
  return { key, side: "own", label: bench.name, run: () => measureApart(bench, setting) };
}

/** The types that TRL runs in. Its own best is the dtype that this machine multiplies faster in. */
function peerDtypes(bench: BenchCase): readonly string[] {
  if (bench.dtype === "float32") return ["float32"];
  if (flags["trl-dtype"]) return [flags["trl-dtype"]];
  const probe = store.stored.probes[0];
  const faster = probe && probe.gemmGflopsBfloat16 < probe.gemmGflopsFloat32 ? "float32" : bench.dtype;
  return bench.peerDtypes ?? [faster];
}

function trlRun(bench: BenchCase, version: TrlVersion, dtype: string): Run {
  // Lengths that this side drew are part of what is asked of the other one.
  const lengths = bench.lengths === "spread" ? ownResults(bench).at(-1)?.lengths : undefined;
  const rowLengths = lengths ? { rowLengths: lengths } : {};
  const work = { ...bench, dtype: dtype as BenchCase["dtype"] };
  const key = keyOf("trl", work, { trl: version, threads: setting.threads, ...rowLengths });
  const run = async () => {
    if (bench.lengths === "spread" && lengths === undefined) return "this side has not drawn the lengths yet";
    return measureTrl(bench, { version, python: pythonOf(version), dtype, lengths }, setting);
  };
  return { key, side: "trl", label: `${bench.name}, TRL ${version} in ${dtype}`, run };
}

function llamaRun(bench: BenchCase): Run {
  const key = keyOf("llama", bench, { threads: setting.threads });
  const run = () => measureLlama(bench, pythonOf(TRL_VERSIONS[0]), setting);
  return { key, side: "llama", label: `${bench.name}, llama.cpp`, run };
}

function measured<T>(key: string): T[] {
  return store.results(key).flatMap(({ result }) => (typeof result === "string" ? [] : [result as T]));
}
const ownResults = (bench: BenchCase) => measured<Measurement>(ownRun(bench).key);
const trlRuns = (bench: BenchCase, of: readonly TrlVersion[]) =>
  of.flatMap((version) => peerDtypes(bench).map((dtype) => trlRun(bench, version, dtype)));

/** One after the other: what the other side is asked for may be known only when this side has run. */
function* runsOf(bench: BenchCase): Generator<Run> {
  if (sides.includes("own")) yield ownRun(bench);
  if (sides.includes("trl")) yield* trlRuns(bench, versions);
  if (sides.includes("llama") && bench.llama) yield llamaRun(bench);
}

/** True when it ran. A side that fails is written down as not measured, and the others go on. */
async function once({ key, side, label, run }: Run, round: number): Promise<boolean> {
  // What failed is tried again.
  if (measured(key).length > round || Date.now() > deadline) return false;
  const began = Date.now();
  const load = loadavg()[0] ?? 0;
  const result = await run().catch((error: unknown) => `failed: ${error instanceof Error ? error.message : error}`);
  store.add({ key, side, result, at: new Date().toISOString(), load });
  const seconds = Math.round((Date.now() - began) / 1000);
  console.log(`${label}: ${typeof result === "string" ? `not measured, ${result}` : "done"} (${seconds} s)`);
  return true;
}

async function compare(): Promise<void> {
  for (let round = 0; round < Number(flags.rounds) && Date.now() < deadline; round++) {
    store.addProbe(machineProbe(setting));
    for (const bench of cases) for (const run of runsOf(bench)) await once(run, round);
  }
  store.addProbe(machineProbe(setting));
}

async function grow(): Promise<void> {
  for (const bench of Object.values(GROWTH).flat()) await once(ownRun(bench), 0);
}

function report(): void {
  const results = new Map<string, CaseRounds>(
    CASES.map((bench) => {
      const trl = trlRuns(bench, TRL_VERSIONS).flatMap(({ key }) => measured<PeerMeasurement>(key));
      const llama = bench.llama ? measured<PeerMeasurement>(llamaRun(bench).key) : [];
      return [bench.name, { own: ownResults(bench), trl, llama }];
    }),
  );
  const targets = targetRows(results, store.stored.probes);
  const lines = CASES.flatMap((bench) => (ownResults(bench).length > 0 ? [own(bench, ownResults(bench))] : []));
  const series: Record<string, OwnResult[]> = {};
  for (const [name, list] of Object.entries(GROWTH)) {
    const there = list.flatMap((bench) => (ownResults(bench).length > 0 ? [own(bench, ownResults(bench))] : []));
    if (there.length > 0) series[name] = there;
  }
  for (const line of lines) console.log(row(line));
  console.log(`\nMachine: ${machine(setting.threads)}\nProbes: ${probeLine(store.stored)}\n`);
  console.log(targetTable(targets));
  if (Object.keys(series).length > 0) console.log(`\n${growthTables(series)}`);
  const components = componentTable(lines);
  if (components) console.log(`\n${components}`);
  if (!flags["no-write"]) {
    write(targets, series);
    replacePart("docs/benchmarks.md", "memory", components ?? "Not measured.");
  }
  console.log(
    JSON.stringify({ commit, threads: setting.threads, targets, probes: store.stored.probes, own: lines, series }),
  );
}

function write(targets: readonly TargetRow[], series: Readonly<Record<string, readonly OwnResult[]>>): void {
  const { entries } = store.stored;
  const dates = entries.map(({ at }) => at).sort();
  const failures = entries.flatMap(({ side, result }) => (typeof result === "string" ? [`${side}: ${result}`] : []));
  const about = [
    `Machine: ${machine(setting.threads)}. libtorch ${loadCore().torchVersion()}, Node ${process.version}.`,
    `Measured ${dates[0]?.slice(0, 16)} to ${dates.at(-1)?.slice(0, 16)} UTC with native+lib ${commit};`,
    `load of the machine before the runs, the benchmark's own included: ${Math.min(...entries.map(({ load }) => load)).toFixed(1)} to ${Math.max(...entries.map(({ load }) => load)).toFixed(1)}.`,
    `Probes: ${probeLine(store.stored)}.`,
    ...new Set(failures.map((failure) => `Not measured: ${failure}.`)),
  ];
  const growth = Object.keys(series).length > 0 ? growthTables(series) : "Not measured.";
  replacePart("docs/benchmarks.md", "targets", `${about.join("\n")}\n\n${targetTable(targets)}`);
  replacePart("docs/benchmarks.md", "growth", growth);
  replacePart("README.md", "benchmarks", shortTable(targets));
}

if (flags.growth) await grow();
else if (!flags.report) await compare();
report();
