// Whole trainings by SFTTrainer on the real engine, held against TRL's: the rows as they are prepared and packed, the first gradient, what
// each step logs, an evaluation, and the weights at the end. scripts/golden/sft_runs.py has what they are.

import { describe, expect, it } from "vitest";
import type { CausalLM } from "../../lib/model/model.js";
import { SFTConfig, type SFTConfigOptions } from "../../lib/sft/config.js";
import { SFTTrainer } from "../../lib/sft/trainer.js";
import { prepareData } from "../../lib/sft/training-data.js";
import { Tokenizer } from "../../lib/tokenizer/tokenizer.js";
import { temporaryFolder } from "../model/folders.js";
import { numbers, tinyQwen2 } from "./golden.js";
import {
  type AdapterFixture,
  adapterWeights,
  modelWithAdapter,
  readFixture,
  relativeDifference,
} from "./training-fixtures.js";

type Row = Readonly<Record<string, unknown>>;

interface SftRuns extends AdapterFixture {
  readonly base: SFTConfigOptions;
  readonly chatTemplate: string;
  readonly data: Readonly<Record<string, { readonly train: readonly Row[]; readonly test: readonly Row[] }>>;
  readonly runs: readonly {
    readonly name: string;
    readonly data: string;
    readonly options: SFTConfigOptions;
    readonly prepared: readonly (readonly { readonly ids: readonly number[]; readonly labels: readonly number[] }[])[];
    readonly steps: readonly Readonly<Record<string, number>>[];
    readonly evaluation: Readonly<Record<string, number>>;
  }[];
}

const { json, tensors } = await readFixture<SftRuns>("sft-runs");

/** Sums in another order; of the losses also the digits that TRL's logs keep. */
const TOLERANCE = 1e-5;

function expectNear(actual: Readonly<Record<string, number | undefined>>, expected: Readonly<Record<string, number>>) {
  for (const [name, value] of Object.entries(expected)) {
    expect(Math.abs((actual[name] ?? Number.NaN) - value), `${name}: ${actual[name]}, in TRL ${value}`).toBeLessThan(
      TOLERANCE * Math.max(1, Math.abs(value)),
    );
  }
}

/** The tensors of one run, by the names of the adapter's file. */
function part(index: number, kind: string): Map<string, readonly number[]> {
  const prefix = `${index}.${kind}.`;
  const names = [...tensors.keys()].filter((name) => name.startsWith(prefix));
  return new Map(names.map((name) => [name.slice(prefix.length), numbers(tensors, name)]));
}

function expectTensors(
  actual: ReadonlyMap<string, ArrayLike<number>>,
  expected: ReadonlyMap<string, readonly number[]>,
) {
  expect([...actual.keys()].sort()).toEqual([...expected.keys()].sort());
  for (const [name, values] of expected) {
    expect(relativeDifference(actual.get(name) ?? [], values), name).toBeLessThan(TOLERANCE);
  }
}

/** The model, which remembers the gradient of its first step. */
function withFirstGradient(model: CausalLM): { readonly watched: CausalLM; first(): Record<string, Float32Array> } {
  let first: Record<string, Float32Array> | undefined;
  const watched = new Proxy(model, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name);
      if (typeof value !== "function") return value;
      if (name !== "optimizerStep") return value.bind(target);
      return async (options: Parameters<CausalLM["optimizerStep"]>[0]) => {
        first ??= await target.gradients();
        return target.optimizerStep(options);
      };
    },
  });
  return { watched, first: () => first ?? {} };
}

async function tokenizerFor(options: SFTConfigOptions): Promise<Tokenizer> {
  const tokenizer = await Tokenizer.fromPretrained(tinyQwen2);
  if (options.assistantOnlyLoss) tokenizer.chatTemplate = json.chatTemplate;
  return tokenizer;
}

describe.each(json.runs.map((run, index) => ({ ...run, index })))("$name", (run) => {
  const { train, test } = json.data[run.data] ?? { train: [], test: [] };

  it("prepares and packs the rows as TRL does", async () => {
    const args = new SFTConfig({ ...json.base, ...run.options });
    const tokenizer = await tokenizerFor(run.options);
    if (args.eosToken !== null) tokenizer.eosToken = args.eosToken;
    const { rows } = await prepareData(train, tokenizer, {
      name: "trainDataset",
      args,
      packing: args.packing,
      needed: 0,
    });
    const labelled = rows.map((row) =>
      row.map(({ ids, counts }) => ({
        ids: Array.from(ids),
        labels: Array.from(ids, (id, i) => (counts[i] === 1 ? id : -100)),
      })),
    );
    expect(labelled).toEqual(run.prepared);
  });

  it("has TRL's gradient, logs, evaluation and weights", async () => {
    await using model = await modelWithAdapter(json, tensors);
    const { watched, first } = withFirstGradient(model);
    const trainer = new SFTTrainer({
      model: watched,
      processingClass: await tokenizerFor(run.options),
      args: new SFTConfig({
        ...json.base,
        ...run.options,
        outputDir: await temporaryFolder(),
        saveStrategy: "no",
        logTo: [],
      }),
      trainDataset: train,
      evalDataset: test,
    });
    await trainer.train();
    const { metrics } = await trainer.evaluate();
    const history = trainer.state.logHistory.filter((line) => line.loss !== undefined);
    expect(history).toHaveLength(run.steps.length);
    for (const [step, expected] of run.steps.entries()) expectNear(history[step] ?? {}, expected);
    expectNear(metrics, run.evaluation);
    const clip = Math.min(
      1,
      Number(json.runs[run.index]?.options.maxGradNorm ?? Infinity) / Number(history[0]?.grad_norm),
    );
    const gradient = new Map(
      Object.entries(first()).map(([name, values]) => [name, values.map((value) => value * clip)]),
    );
    expectTensors(gradient, part(run.index, "gradient"));
    const weights = await adapterWeights(model);
    const named = [...weights.keys()].map((name) => [name, numbers(weights, name)] as const);
    expectTensors(new Map(named), part(run.index, "weights"));
  });
});
