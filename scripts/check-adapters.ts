// Trains an adapter of every kind of test/fixtures/golden/adapter-variants.json for three steps, and saves it, the merged model
// and the logits; likewise whole models trained in full. scripts/golden/check_adapter.py then loads all of it with PEFT and
// transformers and compares.
//
//   npx tsx scripts/check-adapters.ts --out FOLDER && python3 scripts/golden/check_adapter.py --all FOLDER

import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { CausalLM } from "grpo";
import type { JsonObject } from "../lib/json.js";
import { readAdapterConfig } from "../lib/model/lora/adapter-files.js";

const golden = (name: string) => fileURLToPath(new URL(`../test/fixtures/golden/${name}`, import.meta.url));
const MODELS_IN_FULL = ["qwen2-random", "llama-random-tied", "family-gemma3", "family-phi3", "family-olmo2"];
// Each model here has less than 200 kB, so this cuts it into several files.
const SHARD_SIZE = "20KB";
const STEPS = 3;

interface Check {
  readonly name: string;
  readonly base: string;
  readonly trainable: number;
  readonly all: number;
  readonly ids: readonly (readonly number[])[];
  readonly logits: readonly (readonly number[])[];
}

const { values } = parseArgs({ options: { out: { type: "string" } } });
if (values.out === undefined) throw new Error("--out FOLDER is needed");
const out = values.out;
const checks: Check[] = [];
for (const variant of JSON.parse(readFileSync(golden("adapter-variants.json"), "utf8")).variants) {
  checks.push(await checkAdapter(variant.name, variant.base, variant.options));
}
for (const name of MODELS_IN_FULL) checks.push(await checkWholeModel(name));
writeFileSync(path.join(out, "checks.json"), JSON.stringify(checks));
console.log(`${checks.length} written to ${out}`);

async function checkAdapter(name: string, base: string, options: JsonObject): Promise<Check> {
  const folder = makeFolder(name);
  await using model = await CausalLM.fromPretrained(golden(`models/${base}`), { dtype: "float32", device: "cpu" });
  const defaults = { peft_type: "LORA", task_type: "CAUSAL_LM", r: 4, lora_alpha: 6 };
  model.applyLora(readAdapterConfig({ ...defaults, ...options }, name), { seed: 7 });
  await train(model);
  await model.savePretrained(path.join(folder, "adapter"));
  await model.saveMerged(path.join(folder, "merged"), { maxShardSize: SHARD_SIZE });
  return { name, base: golden(`models/${base}`), ...model.trainableParameters(), ...(await logitsOf(model)) };
}

async function checkWholeModel(name: string): Promise<Check> {
  const folder = makeFolder(`full-${name}`);
  await using model = await CausalLM.fromPretrained(golden(`models/${name}`), { dtype: "float32", device: "cpu" });
  await model.beginTraining();
  await train(model);
  await model.savePretrained(path.join(folder, "model"), { maxShardSize: SHARD_SIZE });
  const base = golden(`models/${name}`);
  return { name: `full-${name}`, base, ...model.trainableParameters(), ...(await logitsOf(model)) };
}

function makeFolder(name: string): string {
  const folder = path.join(out, name);
  mkdirSync(folder, { recursive: true });
  return folder;
}

/** Three steps towards some completions and away from others: enough to move every kind of tensor. */
async function train(model: CausalLM): Promise<void> {
  const ids = sequences(model.vocabSize);
  const batch = { promptIds: ids.map((row) => row.slice(0, 2)), completionIds: ids.map((row) => row.slice(2)) };
  const advantages = ids.map((_, i) => (i % 2 === 0 ? 1 : -1));
  for (let step = 0; step < STEPS; step++) {
    await model.forwardBackward({ ...batch, advantages });
    await model.optimizerStep({ learningRate: 0.02 });
  }
}

async function logitsOf(model: CausalLM): Promise<Pick<Check, "ids" | "logits">> {
  const ids = sequences(model.vocabSize);
  const logits = await model.forward(ids);
  return { ids, logits: logits.map((row) => Array.from(row)) };
}

/** Fixed and without pattern; every id of the vocabulary but the first three, of which models make special use. */
function sequences(vocabSize: number): number[][] {
  let state = 12_345;
  const next = () => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
    return 3 + (state % (vocabSize - 3));
  };
  return [5, 9, 17, 24].map((length) => Array.from({ length }, next));
}
