// Compares greedy completions of a model with recorded ones of transformers, token by token:
//
//   npx tsx scripts/check-greedy.ts --model FOLDER [--fixture test/fixtures/golden/smollm2-greedy.json] [--dtype float32]
//
// A real model does not travel with this project; scripts/golden/smollm2.py says how the fixture was made. Exit status 1
// when a completion differs.

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { CausalLM } from "grpo";

interface Fixture {
  readonly maxNewTokens: number;
  readonly stopIds: readonly number[];
  readonly rows: readonly { promptIds: number[]; completionIds: number[]; margin: number }[];
}

const { values: flags } = parseArgs({
  options: {
    model: { type: "string" },
    fixture: {
      type: "string",
      default: fileURLToPath(new URL("../test/fixtures/golden/smollm2-greedy.json", import.meta.url)),
    },
    dtype: { type: "string", default: "float32" },
  },
});
if (!flags.model) throw new Error("--model: the folder of the model that the fixture was made with");

const fixture = JSON.parse(readFileSync(flags.fixture, "utf8")) as Fixture;
const model = await CausalLM.fromPretrained(flags.model, { dtype: flags.dtype as "float32" });
const started = performance.now();
const completions = await model.generate(
  fixture.rows.map((row) => row.promptIds),
  { maxNewTokens: fixture.maxNewTokens, doSample: false, stop: [...fixture.stopIds] },
);
const seconds = (performance.now() - started) / 1000;

let equal = 0;
for (const [i, { completionIds, margin }] of fixture.rows.entries()) {
  const found = [...(completions[i]?.ids ?? [])];
  const first = completionIds.findIndex((id, t) => id !== found[t]);
  if (first === -1 && found.length === completionIds.length) equal++;
  else console.log(`completion ${i}: differs at token ${first} (smallest margin of the logits there: ${margin})`);
}
console.log(JSON.stringify({ equal, of: fixture.rows.length, seconds: Number(seconds.toFixed(1)) }));
model.dispose();
process.exitCode = equal === fixture.rows.length ? 0 : 1;
