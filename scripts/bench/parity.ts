// Does a device compute what the CPU computes? The bundled model with the same adapter on both: logits, greedy completions,
// log-probabilities and gradients, in float32 with tight bounds and in bfloat16 with loose ones; and a run of a few steps.

import path from "node:path";
import { CausalLM, type Device, GRPOConfig, GRPOTrainer, LoraConfig, rewards, Tokenizer } from "grpo";
import { CASES, promptIds } from "./cases.js";
import { TINY } from "./models.js";

export interface Check {
  readonly name: string;
  readonly ok: boolean;
  readonly found: string;
  readonly bound?: string;
}

type Dtype = "float32" | "bfloat16";

/**
 * Largest difference relative to the largest value. float32: sums in another order over a few hundred terms, and TF32 is off.
 * bfloat16: 8 bits of mantissa, some four layers deep; gradients add up over tokens.
 */
const BOUNDS: Readonly<Record<Dtype, { logits: number; logprobs: number; gradients: number }>> = {
  float32: { logits: 1e-4, logprobs: 1e-4, gradients: 1e-3 },
  bfloat16: { logits: 0.05, logprobs: 0.05, gradients: 0.1 },
};

export async function* parityChecks(device: Device): AsyncGenerator<Check> {
  const prompts = await bundledPrompts();
  for (const dtype of ["float32", "bfloat16"] as const) {
    const [there, here] = [await adapted(device, dtype), await adapted("cpu", dtype)];
    yield* compareModels(there, here, prompts, dtype);
    there.dispose();
    here.dispose();
  }
}

/** Completions drawn by recorded steps and by ordinary ones, on the device itself. */
export async function* graphChecks(device: Device): AsyncGenerator<Check> {
  const prompts = await bundledPrompts();
  for (const dtype of ["float32", "bfloat16"] as const) {
    const model = await adapted(device, dtype);
    yield await graphCheck(model, prompts, dtype);
    model.dispose();
  }
}

export async function bundledPrompts(): Promise<number[][]> {
  const bundled = CASES.find(({ model }) => model === "tiny");
  return bundled ? promptIds(bundled, 4) : [];
}

async function adapted(device: Device, dtype: Dtype): Promise<CausalLM> {
  const model = await CausalLM.fromPretrained(TINY, { device, dtype });
  // Both random, so that the adapter changes the logits and both its matrices get gradients.
  model.applyLora(new LoraConfig({ r: 8, targetModules: "all-linear", initLoraWeights: false }), { seed: 7 });
  await model.beginTraining();
  return model;
}

async function* compareModels(
  there: CausalLM,
  here: CausalLM,
  prompts: number[][],
  dtype: Dtype,
): AsyncGenerator<Check> {
  const both = <T>(work: (model: CausalLM) => PromiseLike<T>) => Promise.all([work(there), work(here)]);
  const bounds = BOUNDS[dtype];
  const [logits, expected] = await both((model) => model.forward(prompts));
  yield difference(`${dtype} logits`, logits, expected, bounds.logits);

  const [greedy, reference] = await both((model) => model.generate(prompts, { maxNewTokens: 24, doSample: false }));
  const equal = greedy.filter(({ ids }, i) => ids.join() === reference[i]?.ids.join()).length;
  // In bfloat16 two logits may be equal; then either is right.
  yield {
    name: `${dtype} greedy`,
    ok: dtype === "bfloat16" || equal === prompts.length,
    found: `${equal} of ${prompts.length} equal`,
    bound: dtype === "float32" ? "all" : "none asked",
  };

  const completionIds = reference.map(({ ids }) => ids);
  const batch = { promptIds: prompts, completionIds };
  const [logprobs, theirs] = await both((model) => model.logprobs(batch));
  yield difference(`${dtype} log-probabilities`, logprobs, theirs, bounds.logprobs);

  const advantages = prompts.map((_, i) => (i % 2 === 0 ? 1 : -1));
  const [gradients, wanted] = await both(async (model) => {
    await model.forwardBackward({ ...batch, advantages });
    return model.gradients();
  });
  const names = Object.keys(wanted);
  const empty = new Float32Array();
  const list = (values: Record<string, Float32Array>) => names.map((name) => values[name] ?? empty);
  yield difference(`${dtype} gradients`, list(gradients), list(wanted), bounds.gradients);
}

async function graphCheck(model: CausalLM, prompts: number[][], dtype: Dtype): Promise<Check> {
  const options = { groupSize: 4, maxNewTokens: 80, temperature: 1, topP: 0.9, seed: 3 };
  const [ordinary, recorded] = [
    await model.sample(prompts, options),
    await model.sample(prompts, { ...options, graphCapture: true }),
  ];
  const ids = ({ groups }: typeof ordinary) =>
    groups.flatMap(({ completions }) => completions.map((completion) => completion.ids.join()));
  const theirs = ids(recorded);
  const equal = ids(ordinary).filter((own, i) => own === theirs[i]).length;
  const seconds = [ordinary, recorded].map(({ stats }) => `${stats.decodeSeconds.toFixed(3)} s`).join(" and ");
  return {
    // In bfloat16 sums over more zeros may round elsewhere, and one draw that differs changes all that follow.
    name: `${dtype} graphCapture`,
    ok: equal >= theirs.length * (dtype === "float32" ? 1 : 0.5),
    found: `${equal} of ${theirs.length} completions equal, decoded in ${seconds} without and with it`,
    bound: dtype === "float32" ? "all" : "half",
  };
}

function difference(
  name: string,
  found: readonly Float32Array[],
  expected: readonly Float32Array[],
  bound: number,
): Check {
  let [largest, size, compared] = [0, 0, 0];
  expected.forEach((values, i) => {
    values.forEach((value, j) => {
      const other = found[i]?.[j] ?? Number.NaN;
      largest = Number.isNaN(other) ? Number.POSITIVE_INFINITY : Math.max(largest, Math.abs(other - value));
      size = Math.max(size, Math.abs(value));
      compared++;
    });
  });
  const relative = size > 0 ? largest / size : largest;
  const text = `${relative.toExponential(1)} of the largest of ${compared} numbers`;
  return { name, ok: compared > 0 && relative <= bound, found: text, bound: bound.toExponential(0) };
}

/** Eight steps with a reward that short runs can raise: fewer tokens. */
export async function trainingCheck(device: Device, outputDir: string): Promise<Check> {
  const model = await CausalLM.fromPretrained(TINY, { device, dtype: "bfloat16" });
  model.applyLora(new LoraConfig({ r: 8, loraAlpha: 32, targetModules: "all-linear" }), { seed: 1 });
  const problems = ["What is 17 + 25?", "What is 40 - 13?", "What is 6 + 9?", "What is 80 + 11?"];
  const trainer = new GRPOTrainer({
    model,
    processingClass: await Tokenizer.fromPretrained(TINY),
    args: new GRPOConfig({
      outputDir,
      maxSteps: 8,
      perDeviceTrainBatchSize: 16,
      numGenerations: 8,
      maxCompletionLength: 32,
      learningRate: 1e-3,
      saveSteps: 4,
      loggingSteps: 1,
      logTo: ["jsonl"],
      seed: 1,
    }),
    rewardFuncs: rewards.perSample(function short({ completionIds }) {
      return -completionIds.length / 32;
    }),
    trainDataset: problems.map((content) => ({ prompt: [{ role: "user", content }] })),
  });
  const { globalStep } = await trainer.train();
  const norms = trainer.state.logHistory.flatMap((entry) => entry.grad_norm ?? []);
  const adapter = path.join(outputDir, "after");
  await model.savePretrained(adapter);
  model.dispose();
  // What was trained there must load and answer on the CPU.
  const again = await CausalLM.fromPretrained(TINY, { device: "cpu", dtype: "float32", adapter });
  const [answer] = await again.generate([[1, 2, 3]], { maxNewTokens: 4, doSample: false });
  again.dispose();
  const finite = norms.length > 0 && norms.every((norm) => Number.isFinite(norm) && norm > 0);
  return {
    name: "eight training steps",
    ok: globalStep === 8 && finite && answer !== undefined,
    found: `${globalStep} steps, gradient norms ${norms.map((norm) => norm.toPrecision(2)).join(" ")}`,
  };
}
