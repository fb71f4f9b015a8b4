// In a process of its own, because the instruction set is chosen once a process: decodes through the CPU's kernels and through
// the plain path, trains a step, and prints all of it as JSON.

import type { NativeDtype, NativeEngine, NativeSampleRequest } from "../../lib/native/native.js";
import { loadCore } from "../../lib/native/native-loader.js";
import { BATCH, LOSS, REQUEST, rawEngine, rawModel } from "./raw-engine.js";

export interface Decoded {
  readonly ids: number[];
  readonly logprobs: number[];
}

export interface DecodedBothWays {
  readonly dtype: NativeDtype;
  /** Bytes of a number in a pass. */
  readonly computeBytes: number;
  readonly plain: Decoded;
  readonly fast: Decoded;
}

export interface KernelResults {
  readonly instructionSet: string;
  readonly decoded: DecodedBothWays[];
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
  const { computeBytes } = await engine.memory();
  // More rows than a tile, and numbers that do not fill one.
  const request = { ...REQUEST, groupSize: 5, maxNewTokens: 11 };
  const plain = await decode(engine, { ...request, plain: true });
  const fast = await decode(engine, request);
  engine.dispose();
  return { dtype, computeBytes, plain, fast };
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
    loss,
    gradients: Object.fromEntries(gradients.map(([name, values]) => [name, Array.from(values)])),
  };
}

console.log(JSON.stringify(await results()));
