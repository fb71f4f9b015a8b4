// llama.cpp as a peer in sampling, through npm's node-llama-cpp, which is installed in a folder of its own and is no
// dependency of this project. One case in a process of its own; the last line is JSON.
//
//   npx tsx scripts/bench/llama-cpp.ts CASE.json

import { readFileSync } from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";

export interface LlamaCase {
  /** The folder whose node_modules has node-llama-cpp. */
  readonly packages: string;
  readonly gguf: string;
  readonly prompts: readonly (readonly number[])[]; // one per row
  readonly maxNewTokens: number;
  readonly warmup: number;
  readonly repeats: number;
  readonly threads: number;
}

/** What is used of node-llama-cpp 3. */
interface Sequence {
  evaluate(tokens: readonly number[], options: object): AsyncGenerator<number>;
  clearHistory(): Promise<void>;
}
interface Llama {
  loadModel(options: { modelPath: string }): Promise<{
    createContext(options: object): Promise<{ getSequence(): Sequence }>;
  }>;
}

const bench = JSON.parse(readFileSync(process.argv[2] ?? "", "utf8")) as LlamaCase;
const entry = path.join(bench.packages, "node_modules/node-llama-cpp/dist/index.js");
const { getLlama } = (await import(pathToFileURL(entry).href)) as { getLlama(options: object): Promise<Llama> };
const llama = await getLlama({ gpu: false, build: "never", logLevel: "error", maxThreads: bench.threads });
const model = await llama.loadModel({ modelPath: bench.gguf });
const longest = Math.max(...bench.prompts.map((prompt) => prompt.length));
const context = await model.createContext({
  sequences: bench.prompts.length,
  contextSize: longest + bench.maxNewTokens + 1,
  batchSize: bench.prompts.length * longest,
  threads: bench.threads,
});
const sequences = bench.prompts.map(() => context.getSequence());

/** Seconds until every row has its first token, and of all further tokens together. */
async function sampleOnce(): Promise<{ first: number; decode: number }> {
  const began = performance.now();
  const rows = bench.prompts.map((prompt, i) => {
    return sequences[i]?.evaluate(prompt, { temperature: 1, topK: 0, topP: 1, minP: 0, yieldEogToken: true });
  });
  await Promise.all(rows.map((row) => row?.next()));
  const prefilled = performance.now();
  await Promise.all(
    rows.map(async (row) => {
      for (let drawn = 1; drawn < bench.maxNewTokens; drawn++) {
        if ((await row?.next())?.done) throw new Error(`llama.cpp ended a completion after ${drawn} tokens`);
      }
    }),
  );
  const ended = performance.now();
  await Promise.all(rows.map((row) => row?.return(undefined)));
  for (const sequence of sequences) await sequence.clearHistory();
  return { first: (prefilled - began) / 1000, decode: (ended - prefilled) / 1000 };
}

const times = [];
for (let i = 0; i < bench.warmup + bench.repeats; i++) {
  const taken = await sampleOnce();
  if (i >= bench.warmup) times.push(taken);
}
console.log(JSON.stringify({ firstToken: times.map(({ first }) => first), decode: times.map(({ decode }) => decode) }));
process.exit(0);
