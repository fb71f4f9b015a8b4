// Does a device give the same numbers twice? The same seed, twice from the files on: completions with their log-probabilities,
// gradients, and an adapter after optimizer steps, to the bit.

import { CausalLM, type Device, LoraConfig } from "grpo";
import { TINY } from "../bench/models.js";
import { bundledPrompts, type Check } from "../bench/parity.js";

type Dtype = "float32" | "bfloat16";
type Numbers = Readonly<
  Record<"completions" | "log-probabilities" | "gradients" | "weights after two steps", number[]>
>;

export async function* determinismChecks(device: Device): AsyncGenerator<Check> {
  const prompts = await bundledPrompts();
  for (const dtype of ["float32", "bfloat16"] as const) {
    const [first, second] = [await numbersOf(device, dtype, prompts), await numbersOf(device, dtype, prompts)];
    for (const name of Object.keys(first) as (keyof Numbers)[]) {
      const [once, again] = [first[name], second[name]];
      const equal = once.filter((value, i) => Object.is(value, again[i])).length;
      const ok = equal === once.length && once.length === again.length && once.length > 0;
      yield { name: `${dtype} ${name}, twice`, ok, found: `${equal} of ${once.length} equal`, bound: "all" };
    }
  }
}

async function numbersOf(device: Device, dtype: Dtype, prompts: number[][]): Promise<Numbers> {
  const model = await CausalLM.fromPretrained(TINY, { device, dtype });
  try {
    model.applyLora(new LoraConfig({ r: 8, targetModules: "all-linear", initLoraWeights: false }), { seed: 7 });
    await model.beginTraining();
    const { groups } = await model.sample(prompts, { groupSize: 4, maxNewTokens: 48, topP: 0.95, seed: 3 });
    const ordered = [...groups].sort((a, b) => a.prompt - b.prompt);
    const completions = ordered.flatMap((group) => group.completions);
    const batch = {
      promptIds: ordered.flatMap((group) => group.completions.map(() => prompts[group.prompt] ?? [])),
      completionIds: completions.map(({ ids }) => [...ids]),
      advantages: completions.map((_, i) => (i % 2 === 0 ? 1 : -1)),
    };
    const logprobs = await model.logprobs(batch);
    const gradients: number[] = [];
    for (let step = 0; step < 2; step++) {
      await model.forwardBackward(batch);
      gradients.push(...flat(await model.gradients()));
      await model.optimizerStep({ learningRate: 1e-3 });
    }
    return {
      completions: completions.flatMap((completion) => [...completion.ids, ...completion.logprobs]),
      "log-probabilities": logprobs.flatMap((row) => [...row]),
      gradients,
      "weights after two steps": (await model.logprobs(batch)).flatMap((row) => [...row]),
    };
  } finally {
    model.dispose();
  }
}

function flat(tensors: Readonly<Record<string, Float32Array>>): number[] {
  return Object.keys(tensors)
    .sort()
    .flatMap((name) => [...(tensors[name] ?? [])]);
}
