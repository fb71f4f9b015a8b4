// From measurements of both sides to the table of targets. What the numbers mean is in docs/benchmarks.md.

import { type BenchCase, CASES } from "./cases.js";
import type { Measurement } from "./measure.js";
import { SHAPES, type ShapeName } from "./models.js";
import { type MachineProbe, median } from "./own-side.js";
import { type PeerMeasurement, TRL_VERSIONS, type TrlVersion } from "./peers.js";

/** The rounds of one case. */
export interface CaseRounds {
  readonly own: readonly Measurement[];
  readonly trl: readonly PeerMeasurement[];
  readonly llama: readonly PeerMeasurement[];
}

export interface Ratio {
  readonly value: number;
  readonly low: number;
  readonly high: number;
}

export interface TargetRow {
  readonly what: string;
  readonly target: string;
  /** To the better of the others. */
  readonly measured: Ratio | undefined;
  readonly met: boolean | undefined;
  /** The median of this side. */
  readonly own: string;
  /** Those of TRL's versions, which were measured; absent: the row compares with something else. */
  readonly trl?: Readonly<Partial<Record<TrlVersion, string>>>;
  /** What else was measured, or where the number comes from. */
  readonly note: string;
}

type Seconds = "step" | "rollout" | "update" | "firstToken";
type Rates = readonly number[];

const flat = <T>(rounds: readonly T[], values: (round: T) => readonly number[] | undefined) =>
  rounds.flatMap((round) => values(round) ?? []);

/** Tokens a second, prompts included. */
function rates(rounds: readonly (Measurement | PeerMeasurement)[]): Rates {
  return flat(rounds, (round) => round.rollout?.map((seconds, i) => (round.tokens?.[i] ?? 0) / seconds));
}

/** Decoded tokens a second without the first, which belongs to the prompt. */
export function decodeRates(rounds: readonly (Measurement | PeerMeasurement)[], bench: BenchCase): Rates {
  const tokens = bench.prompts * bench.groupSize * (bench.maxNewTokens - 1);
  return flat(rounds, (round) => {
    const seconds = round.decode ?? round.rollout?.map((whole, i) => whole - (round.firstToken?.[i] ?? 0));
    return seconds?.map((value) => tokens / value);
  });
}

/** a / b of medians; the spread is that of the extremes on both sides. */
export function ratio(a: Rates, b: Rates): Ratio | undefined {
  if (a.length === 0 || b.length === 0) return undefined;
  return {
    value: median(a) / median(b),
    low: Math.min(...a) / Math.max(...b),
    high: Math.max(...a) / Math.min(...b),
  };
}

const number = (value: number) => (value >= 100 ? value.toFixed(0) : value.toPrecision(3));
const none: CaseRounds = { own: [], trl: [], llama: [] };

type Medians = Pick<TargetRow, "own" | "trl" | "note">;

/** The row of a target that is at least so much, or, without a target, of what was measured. */
function atLeast(what: string, target: number | undefined, measured: Ratio | undefined, medians: Medians): TargetRow {
  if (target === undefined) return { what, target: "none", measured, met: undefined, ...medians };
  return { what, target: `≥ ${target}×`, measured, met: measured && measured.value >= target, ...medians };
}

function atMost(what: string, target: number, measured: Ratio | undefined, medians: Medians): TargetRow {
  return { what, target: `≤ ${target}×`, measured, met: measured && measured.value <= target, ...medians };
}

const text = (values: Rates, unit: string) =>
  values.length > 0 ? `${number(median(values))} ${unit}` : "not measured";

/** What one version of TRL, or llama.cpp, gave in one type. */
interface Peer {
  readonly trl: TrlVersion | undefined;
  readonly dtype: string;
  readonly rates: Rates;
}

function peersOf(
  rounds: readonly PeerMeasurement[],
  values: (round: PeerMeasurement) => readonly number[] | undefined,
): Peer[] {
  const kinds = new Map(rounds.map((round) => [`${round.trl} ${round.dtype}`, round]));
  const peers = [...kinds.values()].map(({ trl, dtype }) => {
    const same = rounds.filter((round) => round.trl === trl && round.dtype === dtype);
    return { trl, dtype, rates: flat(same, values) };
  });
  return peers.filter(({ rates }) => rates.length > 0);
}

/** The values of the peer that a lead is measured by. */
function bestOf(peers: readonly Peer[], better: "more" | "less"): Rates {
  const sign = better === "more" ? 1 : -1;
  return peers.toSorted((a, b) => sign * (median(b.rates) - median(a.rates)))[0]?.rates ?? [];
}

function mediansOf(own: Rates, peers: readonly Peer[], unit: string): Medians {
  const inWords = (version: TrlVersion | undefined) =>
    peers
      .filter(({ trl }) => trl === version)
      .map(({ dtype, rates }) => `${text(rates, unit)} in ${dtype}`)
      .join(", ");
  const measured = TRL_VERSIONS.filter((version) => peers.some(({ trl }) => trl === version));
  const llama = inWords(undefined);
  return {
    own: text(own, unit),
    trl: Object.fromEntries(measured.map((version) => [version, inWords(version)])),
    note: llama && `llama.cpp ${llama}`,
  };
}

export function targetRows(results: ReadonlyMap<string, CaseRounds>, probes: readonly MachineProbe[]): TargetRow[] {
  const of = (name: string) => results.get(name) ?? none;
  const faster = (what: string, name: string, key: Seconds, target?: number) => {
    const own = flat(of(name).own, (round) => round[key]);
    const peers = peersOf(of(name).trl, (round) => round[key]);
    return atLeast(what, target, ratio(bestOf(peers, "less"), own), mediansOf(own, peers, "s"));
  };
  const rollout = (what: string, name: string, target: number) => {
    const own = rates(of(name).own);
    const peers = peersOf(of(name).trl, (round) => rates([round]));
    return atLeast(what, target, ratio(own, bestOf(peers, "more")), mediansOf(own, peers, "tokens/s"));
  };
  const memory = (what: string, name: string) => {
    const gigabytes = (round: { readonly peakBytes?: number }) => [(round.peakBytes ?? 0) / 1e9];
    const own = flat(of(name).own, gigabytes);
    const peers = peersOf(of(name).trl, gigabytes);
    return atMost(what, 0.5, ratio(own, bestOf(peers, "less")), mediansOf(own, peers, "GB"));
  };
  return [
    ...["bf16", "fp32"].flatMap((kind) => [
      rollout(`0.5B rollout, ${kind}`, `0.5B step, ${kind}`, 10),
      rollout(`0.5B rollout, lengths spread 1–256, ${kind}`, `0.5B rollout, spread lengths, ${kind}`, 15),
      faster(`0.5B update, ${kind}`, `0.5B step, ${kind}`, "update", 5),
      faster(`0.5B step, ${kind}`, `0.5B step, ${kind}`, "step", 6),
      memory(`0.5B peak memory of the step, ${kind}`, `0.5B step, ${kind}`),
    ]),
    ...[1, 8, 16].map((batch) => decodeRow(of, batch)),
    faster("0.5B first token of one prompt, bf16", "0.5B first token, bf16", "firstToken"),
    faster("SmolLM2 step", "SmolLM2 step", "step", 6),
    memory("SmolLM2 peak memory of the step", "SmolLM2 step"),
    faster("SmolLM2 first token of a prompt of 4,096", "SmolLM2 first token, 4,096 tokens", "firstToken", 3),
    faster("SmolLM2 update, 4 × 2,048 tokens", "SmolLM2 update, 4 × 2,048 tokens", "update", 6),
    memory("SmolLM2 peak memory of that update", "SmolLM2 update, 4 × 2,048 tokens"),
    faster("bundled tiny model, step", "tiny step", "step", 10),
    rollout("1.5B rollout, 16 tokens, bf16", "1.5B step, bf16", 10),
    faster("1.5B update, bf16", "1.5B step, bf16", "update", 5),
    floorRow(of, probes),
    updateFlopsRow(of, probes),
  ];
}

/** Against the best of transformers, in each version and dtype that was measured, and llama.cpp. */
function decodeRow(of: (name: string) => CaseRounds, batch: number): TargetRow {
  const bench = CASES.find(({ name }) => name === `SmolLM2 decode, batch ${batch}`) as BenchCase;
  const { own, trl, llama } = of(bench.name);
  const mine = decodeRates(own, bench);
  const peers = peersOf([...trl, ...llama], (round) => decodeRates([round], bench));
  const measured = ratio(mine, bestOf(peers, "more"));
  const medians = mediansOf(mine, peers, "tokens/s");
  return atLeast(`SmolLM2 decode, batch ${batch}, vs the best peer`, batch === 1 ? 1.3 : 5, measured, medians);
}

/** Parameters of the linear layers, without the output layer; and of that. */
function parameters(shape: ShapeName): { layers: number; head: number } {
  const value = (key: string) => Number((SHAPES[shape] as Record<string, unknown>)[key]);
  const [c, f, heads, kv] = ["hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads"].map(
    value,
  );
  const attention = 2 * (c ?? 0) ** 2 * (1 + (kv ?? 0) / (heads ?? 1));
  const layers = value("num_hidden_layers") * (attention + 3 * (c ?? 0) * (f ?? 0));
  return { layers, head: (c ?? 0) * value("vocab_size") };
}

const best = (probes: readonly MachineProbe[], key: keyof MachineProbe) =>
  Math.max(0, ...probes.map((probe) => probe[key]));
const fastestGemm = (probes: readonly MachineProbe[]) =>
  Math.max(best(probes, "gemmGflopsFloat32"), best(probes, "gemmGflopsBfloat16"));

/** A decode step reads all weights once and multiplies each with every row. */
function floorRow(of: (name: string) => CaseRounds, probes: readonly MachineProbe[]): TargetRow {
  const name = "0.5B rollout, spread lengths, bf16";
  const { own } = of(name);
  const steps = flat(own, (round) => round.decode?.map((seconds, i) => seconds / (round.decodeSteps?.[i] ?? 1)));
  const { layers, head } = parameters("qwen2-0.5b");
  const read = (2 * (layers + head)) / (best(probes, "readGBPerSecond") * 1e9);
  const rows = median(flat(own, (round) => [round.lengths.reduce((a, b) => a + b, 0) / Math.max(...round.lengths)]));
  const multiply = (2 * rows * (layers + head)) / (fastestGemm(probes) * 1e9);
  const floor = Math.max(read, multiply);
  const measured = steps.length > 0 && probes.length > 0 ? ratio(steps, [floor]) : undefined;
  const note = measured
    ? `${number(rows)} rows a step on average; reading takes ${number(1000 * read)} ms, multiplying ${number(1000 * multiply)} ms`
    : "";
  const milliseconds = steps.map((seconds) => 1000 * seconds);
  return atMost("0.5B decode step vs the floor of the machine", 1.3, measured, { own: text(milliseconds, "ms"), note });
}

/** Forward and backward of every token through frozen layers, and the output layer on completion tokens. */
function updateFlopsRow(of: (name: string) => CaseRounds, probes: readonly MachineProbe[]): TargetRow {
  const bench = CASES.find(({ name }) => name === "0.5B step, bf16") as BenchCase;
  const update = flat(of(bench.name).own, (round) => round.update);
  const { layers, head } = parameters("qwen2-0.5b");
  const completion = bench.prompts * bench.groupSize * bench.maxNewTokens;
  const flops = 4 * layers * (bench.prompts * bench.promptTokens + completion) + 4 * head * completion;
  const speeds = update.map((seconds) => flops / seconds / 1e9);
  const measured = speeds.length > 0 && probes.length > 0 ? ratio(speeds, [fastestGemm(probes)]) : undefined;
  const note = measured ? `the probe's best ${number(fastestGemm(probes))} GFLOP/s` : "";
  return atLeast("0.5B update, all of it, vs the GEMM probe", 0.7, measured, { own: text(speeds, "GFLOP/s"), note });
}
