// One policy: the log-probabilities that a rollout gives its tokens beside those that training computes for them, in a table.
//   npx tsx scripts/check-policy.ts MODEL... [--dtype float32,bfloat16] [--threads 1,2,3] [--adapter]
// Rows and prompts of many lengths; every difference should be 0.

import path from "node:path";
import { parseArgs } from "node:util";
import { CausalLM, LoraConfig } from "../lib/index.js";
import type { NativeDtype } from "../lib/native/native.js";

/** Prompts, completions of each, and the tokens of the longest prompt; the others are shorter by one each. */
const SHAPES = [
  [1, 1, 10],
  [1, 1, 159],
  [1, 2, 64],
  [1, 8, 160],
  [4, 8, 33],
  [3, 2, 501],
  [1, 3, 2000],
] as const;

interface Gap {
  readonly tokens: number;
  readonly mean: number;
  readonly most: number;
  readonly differ: number;
}

function prompts(count: number, longest: number, vocabulary: number): number[][] {
  return Array.from({ length: count }, (_, p) =>
    Array.from({ length: Math.max(1, longest - p) }, (_, i) => (i * 7919 + p * 104729 + 3) % vocabulary),
  );
}

async function gapOf(model: CausalLM, [count, groupSize, longest]: readonly [number, number, number]): Promise<Gap> {
  const asked = prompts(count, Math.min(longest, model.maxPositions - 48), model.vocabSize);
  const { groups } = await model.sample(asked, { groupSize, maxNewTokens: 48, temperature: 0.9, seed: 3 });
  const pairs = groups.flatMap((group) =>
    group.completions.map((completion) => ({ prompt: asked[group.prompt] ?? [], completion })),
  );
  const trained = await model.logprobs(
    {
      promptIds: pairs.map(({ prompt }) => prompt),
      completionIds: pairs.map(({ completion }) => Array.from(completion.ids)),
    },
    { temperature: 0.9 },
  );
  const gaps = pairs.flatMap(({ completion }, i) =>
    Array.from(completion.logprobs, (logprob, t) => Math.abs(logprob - (trained[i]?.[t] ?? Number.NaN))),
  );
  return {
    tokens: gaps.length,
    mean: gaps.reduce((sum, gap) => sum + gap, 0) / gaps.length,
    most: Math.max(...gaps),
    differ: gaps.filter((gap) => gap !== 0).length,
  };
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      dtype: { type: "string", default: "float32,bfloat16" },
      threads: { type: "string", default: "1,2,3" },
      adapter: { type: "boolean", default: false },
    },
  });
  console.log("| model | dtype | threads | prompts × completions, tokens | tokens | mean | most | that differ |");
  console.log("|---|---|---|---|---|---|---|---|");
  for (const folder of positionals) {
    for (const dtype of values.dtype.split(",") as NativeDtype[]) {
      for (const threads of values.threads.split(",").map(Number)) {
        const model = await CausalLM.fromPretrained(folder, { dtype, device: "cpu", threads });
        if (values.adapter)
          model.applyLora(new LoraConfig({ r: 8, targetModules: "all-linear", initLoraWeights: false }));
        for (const shape of SHAPES) {
          const { tokens, mean, most, differ } = await gapOf(model, shape);
          const name = [path.basename(folder), dtype, threads, `${shape[0]} × ${shape[1]}, ${shape[2]}`];
          console.log(`| ${[...name, tokens, mean.toExponential(1), most.toExponential(1), differ].join(" | ")} |`);
        }
        model.dispose();
      }
    }
  }
}

await main();
