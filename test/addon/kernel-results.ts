// In a process of its own, because the instruction set is chosen once a process: decodes through the CPU's kernels and through
// the plain path, trains a step, and prints all of it as JSON.

import { createHash } from "node:crypto";
import { flattenIds } from "../../lib/model/ragged.js";
import type { NativeDtype, NativeEngine, NativeGroup, NativeSampleRequest } from "../../lib/native/native.js";
import { loadCore } from "../../lib/native/native-loader.js";
import {
  ADAMW,
  adapterOf,
  BATCH,
  everyLayer,
  LOSS,
  PROMPTS,
  REQUEST,
  rawEngine,
  rawModel,
  tinyConfig,
} from "./raw-engine.js";

export interface Decoded {
  readonly ids: number[];
  readonly logprobs: number[];
}

export interface DecodedBothWays {
  readonly dtype: NativeDtype;
  readonly plain: Decoded;
  readonly fast: Decoded;
}

export interface KernelResults {
  readonly instructionSet: string;
  readonly decoded: DecodedBothWays[];
  /** A digest of every log-probability, loss and weight of a run, by dtype. */
  readonly run: Record<string, string>;
  readonly loss: number;
  readonly gradients: Record<string, number[]>;
}

async function decode(engine: NativeEngine, request: NativeSampleRequest): Promise<Decoded> {
  const groups: (Decoded & { prompt: number })[] = [];
  await engine.sample(request, ({ prompt, ids, logprobs }) =>
    groups.push({ prompt, ids: Array.from(ids), logprobs: Array.from(logprobs) }),
  );
  groups.sort((a, b) => a.prompt - b.prompt);
  return { ids: groups.flatMap(({ ids }) => ids), logprobs: groups.flatMap(({ logprobs }) => logprobs) };
}

async function decodeBothWays(dtype: NativeDtype): Promise<DecodedBothWays> {
  const engine = await rawModel("cpu", dtype);
  // More rows than a tile, and numbers that do not fill one.
  const request = { ...REQUEST, groupSize: 5, maxNewTokens: 11 };
  const plain = await decode(engine, { ...request, plain: true });
  const fast = await decode(engine, request);
  engine.dispose();
  return { dtype, plain, fast };
}

/** Twenty steps of sampling and training with the pairs of every layer. */
async function digestOfRun(dtype: NativeDtype): Promise<string> {
  const config = await tinyConfig();
  const engine = await rawModel("cpu", dtype, 2);
  await engine.addAdapter("default", adapterOf(config, { targets: everyLayer(config, 8, 4) }));
  const digest = createHash("sha256");
  const add = (values: ArrayLike<number>) => digest.update(Float64Array.from(values));
  for (let step = 0; step < 20; step++) {
    const groups: NativeGroup[] = [];
    await engine.sample({ ...REQUEST, groupSize: 3, maxNewTokens: 14, step }, (group) => groups.push(group));
    groups.sort((a, b) => a.prompt - b.prompt);
    for (const { ids, logprobs } of groups) [ids, logprobs].forEach(add);
    const completions = groups.flatMap(({ ids, offsets }) =>
      Array.from(offsets.subarray(1), (end, i) => Array.from(ids.subarray(offsets[i], end))),
    );
    const batch = {
      ...PROMPTS,
      ...flattened(completions),
      promptOf: Int32Array.from(completions, (_, i) => Math.floor(i / 3)),
      advantages: Float32Array.from(completions, (_, i) => ((i * 5) % 7) - 3),
      sliceOffsets: Int32Array.of(0, completions.length),
    };
    const { loss } = await engine.forwardBackward(batch, { ...LOSS, beta: 0, maxTokensPerMicroBatch: 60 });
    add([loss]);
    for (const gradient of Object.values(await engine.gradients())) add(gradient);
    await engine.optimizerStep({ ...ADAMW, learningRate: 0.01 });
  }
  engine.dispose();
  return digest.digest("hex");
}

function flattened(completions: number[][]) {
  const { ids, offsets } = flattenIds("completion", completions, 512);
  return { completionIds: ids, completionOffsets: offsets };
}

async function results(): Promise<KernelResults> {
  const decoded = [await decodeBothWays("float32"), await decodeBothWays("bfloat16")];
  const engine = await rawEngine("cpu");
  const advantages = Float32Array.from([1, -1, 0.5, 2, -2]);
  const { loss } = await engine.forwardBackward({ ...BATCH, advantages }, { ...LOSS, beta: 0 });
  const gradients = Object.entries(await engine.gradients());
  engine.dispose();
  return {
    instructionSet: loadCore().instructionSet(),
    decoded,
    run: { float32: await digestOfRun("float32"), bfloat16: await digestOfRun("bfloat16") },
    loss,
    gradients: Object.fromEntries(gradients.map(([name, values]) => [name, Array.from(values)])),
  };
}

console.log(JSON.stringify(await results()));
