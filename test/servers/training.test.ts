// Trainings whose completions come from servers: which weights drew what each step is trained on, and what a run says and leaves behind.

import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { GRPOConfig, type GRPOConfigOptions } from "../../lib/grpo/config.js";
import { GRPOTrainer } from "../../lib/grpo/trainer.js";
import type { TrainBatch } from "../../lib/model/learner.js";
import type { LossOptions } from "../../lib/options/loss.js";
import type { RewardBatch } from "../../lib/types.js";
import { clientOf, type Row, toolTokenizer } from "../agents/rollout-bench.js";
import { FakePolicy, type FakeRow, FakeTokenizer, fakeRows } from "../grpo/fake-policy.js";
import { codeOf, InferenceServer } from "../support/inference-server.js";

let folder: string;
let server: InferenceServer;
beforeEach(async () => {
  folder = mkdtempSync(path.join(os.tmpdir(), "grpo-server-training-"));
  server = await new InferenceServer("vllm").start();
});
afterEach(async () => {
  await server.stop();
  rmSync(folder, { recursive: true, force: true });
});

/** Its adapter is its weights as text. */
class ServedPolicy extends FakePolicy {
  /** The code of the weights at each update. */
  readonly codes: number[] = [];

  get code(): number {
    return codeOf(JSON.stringify(this.weights));
  }

  override async savePretrained(directory: string): Promise<void> {
    await super.savePretrained(directory);
    await writeFile(path.join(directory, "weights.txt"), JSON.stringify(this.weights));
    await writeFile(path.join(directory, "adapter_config.json"), "{}");
  }

  override forwardBackward(batch: TrainBatch, loss: LossOptions) {
    this.codes.push(this.code);
    return super.forwardBackward(batch, loss);
  }
}

function trainer(policy: ServedPolicy, options: GRPOConfigOptions = {}, lines: string[] = []) {
  return new GRPOTrainer<FakeRow>({
    model: policy,
    processingClass: new FakeTokenizer(),
    args: new GRPOConfig({
      useVllm: true,
      vllmMode: "server",
      vllmServerBaseUrl: server.url,
      vllmServerTimeout: 5,
      numGenerations: 4,
      maxSteps: 4,
      maxCompletionLength: 16,
      learningRate: 0.01,
      saveStrategy: "no",
      outputDir: folder,
      ...options,
    }),
    rewardFuncs: [({ completionIds }: RewardBatch<FakeRow>) => completionIds.map((ids) => (ids.at(1) ?? 0) % 5)],
    trainDataset: fakeRows(6),
    evalDataset: fakeRows(3),
    output: { write: (text) => lines.push(text) },
  });
}

/** Whether each step was trained on what the weights of its beginning drew. */
function expectOnPolicy(policy: ServedPolicy): void {
  const drawn = policy.batches.map(({ completionIds }) => [...new Set(completionIds.map((ids) => ids[0]))]);
  expect(drawn).toEqual(policy.codes.map((code) => [code]));
}

it("every step is trained on completions of its own weights", async () => {
  const policy = new ServedPolicy();
  await trainer(policy).train();
  expectOnPolicy(policy);
  expect(new Set(policy.codes).size).toBe(4);
  expect(policy.samples).toEqual([]);
});

it("also where the server is started anew in the middle, and evaluations come between", async () => {
  const policy = new ServedPolicy();
  const run = trainer(policy, { evalStrategy: "steps", evalSteps: 1, evalOnStart: true });
  let uploads = 0;
  policy.optimizerStep = async (options) => {
    if (++uploads === 2) await server.restart();
    return FakePolicy.prototype.optimizerStep.call(policy, options);
  };
  await run.train();
  expectOnPolicy(policy);
});

it("a step of several slices and iterations takes old samples of one version", async () => {
  const policy = new ServedPolicy();
  await trainer(policy, { perDeviceTrainBatchSize: 4, stepsPerGeneration: 2, gradientAccumulationSteps: 1 }).train();
  const drawn = policy.batches.map(({ completionIds }) => [...new Set(completionIds.map((ids) => ids[0]))]);
  expect(drawn).toEqual([0, 0, 2, 2].map((step) => [policy.codes[step]]));
});

it("the gap to the sampler and the ratios are logged, and the loss gets them", async () => {
  const policy = new ServedPolicy();
  server.offset = 0.25;
  const lines: string[] = [];
  const run = trainer(policy, { loggingSteps: 1 }, lines);
  await run.train();
  const [batch] = policy.batches;
  const shortest = Math.min(...(batch?.completionIds ?? []).map((ids) => ids.length));
  expect(run.state.logHistory[0]).toMatchObject({
    "sampling/sampling_logp_difference/mean": 0.25,
    "sampling/sampling_logp_difference/max": 0.25,
    "sampling/importance_sampling_ratio/max": expect.closeTo(Math.exp(-0.25 * shortest), 6),
  });
  const ratios = batch?.importanceRatios?.map((values) => values[0] ?? Number.NaN);
  expect(ratios).toEqual(batch?.completionIds.map((ids) => expect.closeTo(Math.exp(-0.25 * ids.length), 6)));
  expect(policy.losses[0]).toMatchObject({ sampledElsewhere: true });
  const said = lines.join("").split("\n");
  expect(said.filter((line) => line.includes("sampling and training differ by 0.25 nats a token"))).toHaveLength(1);
  expect(said.find((line) => line.startsWith("server "))).toContain(`vllm 0.32.0 at ${server.url} with tiny`);
});

it("without correction only the gap is logged", async () => {
  const policy = new ServedPolicy();
  const run = trainer(policy, { vllmImportanceSamplingCorrection: false, loggingSteps: 1 });
  await run.train();
  expect(policy.batches[0]).toMatchObject({ importanceRatios: undefined, oldLogprobs: undefined });
  expect(run.state.logHistory[0]).toHaveProperty(["sampling/sampling_logp_difference/mean"]);
  expect(run.state.logHistory[0]).not.toHaveProperty(["sampling/importance_sampling_ratio/mean"]);
});

describe("sampled ahead of the trainer", () => {
  it.each([1, 3])(
    "steps are trained on completions of weights at most %i steps old, each known",
    async (maxStaleness) => {
      const policy = new ServedPolicy();
      await trainer(policy, { maxStaleness, maxSteps: 7 }).train();
      const drawn = policy.batches.map(({ completionIds }) => [...new Set(completionIds.map((ids) => ids[0]))]);
      // The weights that drew are those of the step that completions.jsonl names.
      const records = readFileSync(path.join(folder, "completions.jsonl"), "utf8").trim().split("\n");
      const steps = records.map((line) => JSON.parse(line) as { step: number; policy_steps: number[] });
      expect(drawn).toEqual(policy.codes.map((_, step) => [policy.codes[Math.max(0, step - maxStaleness)]]));
      for (const { step, policy_steps } of steps) {
        expect(new Set(policy_steps)).toEqual(new Set([Math.max(0, step - 1 - maxStaleness)]));
      }
      expect(server.adapters.size).toBe(0);
    },
  );

  it("also where the server is started anew in the middle", async () => {
    const policy = new ServedPolicy();
    const run = trainer(policy, { maxStaleness: 2, maxSteps: 6 });
    let updates = 0;
    policy.optimizerStep = async (options) => {
      if (++updates === 3) await server.restart();
      return FakePolicy.prototype.optimizerStep.call(policy, options);
    };
    await run.train();
    expect(policy.batches).toHaveLength(6);
    for (const [step, { completionIds }] of policy.batches.entries()) {
      const allowed = policy.codes.slice(Math.max(0, step - 2), step + 1);
      for (const ids of completionIds) expect(allowed).toContain(ids[0]);
    }
  });
});

it("rollouts draw their turns on the servers, also ahead of the trainer, each turn from the newest weights", async () => {
  const policy = new ServedPolicy();
  const tokenizer = await toolTokenizer();
  const run = new GRPOTrainer<Row>({
    model: policy,
    processingClass: tokenizer,
    args: new GRPOConfig({
      useVllm: true,
      vllmMode: "server",
      vllmServerBaseUrl: server.url,
      maxStaleness: 1,
      perDeviceTrainBatchSize: 4,
      gradientAccumulationSteps: 1,
      numGenerations: 4,
      maxSteps: 4,
      maxCompletionLength: 16,
      learningRate: 0.01,
      loggingSteps: 1,
      saveStrategy: "no",
      outputDir: folder,
    }),
    rollout: async (context) => {
      const { chat } = clientOf(context);
      const first = (await chat({ messages: [{ role: "user", content: context.row.prompt }] })).message;
      const again = { role: "user", content: "Sure?" };
      await chat({ messages: [{ role: "user", content: context.row.prompt }, first, again] });
      return { reward: context.attempt % 2 };
    },
    trainDataset: [0, 1, 2].map((n) => ({ prompt: `question ${n}`, n })),
    output: { write: () => true },
  });
  await run.train();
  expect(policy.batches).toHaveLength(4);
  expect(policy.codes).toHaveLength(4);
  const records = readFileSync(path.join(folder, "completions.jsonl"), "utf8").trim().split("\n");
  for (const line of records) {
    const { step, ids, loss_mask, policy_steps } = JSON.parse(line) as Record<
      "ids" | "loss_mask" | "policy_steps",
      number[]
    > & { step: number };
    const drawn = policy_steps.filter((_, i) => loss_mask[i] === 1);
    expect(drawn.length).toBeGreaterThan(0);
    for (const policyStep of drawn) expect([0, 1]).toContain(step - 1 - policyStep);
    // Every drawn turn begins with the code of the weights that its tokens name.
    for (const [i, counts] of loss_mask.entries()) {
      if (counts === 0) expect(policy_steps[i]).toBe(-1);
      else if (loss_mask[i - 1] !== 1) expect(ids[i]).toBe(policy.codes[policy_steps[i] ?? -1]);
    }
  }
  expect(server.adapters.size).toBe(0);
});

it("a run leaves no adapter on the server, and may be followed by another", async () => {
  const policy = new ServedPolicy();
  const shared = path.join(folder, "shared");
  const run = trainer(policy, { vllmSharedFolder: shared });
  await run.train();
  expect([...server.adapters.keys(), ...readdirSync(shared)]).toEqual([]);
  policy.weights = [1, 2, 3, 4];
  const { completions } = await run.evaluate();
  expect(completions).toHaveLength(3 * 4);
  expect(server.adapters.size).toBe(0);
});

describe("what contradicts", () => {
  const config = (options: GRPOConfigOptions) => () => new GRPOConfig(options);

  it("is refused: bounds, a loss that corrects by itself, two samplers", () => {
    const servers = { useVllm: true, vllmMode: "server" } as const;
    expect(config({ vllmImportanceSamplingClipMin: 3 })).toThrow("is not below vllmImportanceSamplingClipMax 3");
    expect(config({ vllmImportanceSamplingMode: "token_truncate", vllmImportanceSamplingClipMax: null })).toThrow(
      "has no bound to truncate at",
    );
    expect(config({ ...servers, lossType: "vespo" })).toThrow('lossType "vespo" weighs sequences by itself');
    expect(config({ lossType: "vespo" })).not.toThrow();
    expect(config({ ...servers, lossType: "vespo", vllmImportanceSamplingMode: "token_mask" })).not.toThrow();
    expect(config({ ...servers, vllmStructuredOutputsRegex: "a+" })).not.toThrow();
    expect(config({ vllmStructuredOutputsRegex: "a+" })).not.toThrow();
    const policy = new ServedPolicy();
    const two = () =>
      new GRPOTrainer({
        model: policy,
        sampler: policy,
        processingClass: new FakeTokenizer(),
        args: new GRPOConfig({ ...servers, outputDir: folder }),
        rewardFuncs: [() => []],
        trainDataset: fakeRows(2),
      });
    expect(two).toThrow("useVllm asks for another");
  });

  it("TRL's mode in the trainer's process is the engine that is here, and the plan says so", () => {
    expect(new GRPOConfig({ useVllm: true }).notes).toEqual([expect.stringContaining('vllmMode "colocate"')]);
    expect(new GRPOConfig({ vllmImportanceSamplingCap: 2 }).vllmImportanceSamplingClipMax).toBe(2);
  });
});

it("a server that is not there ends the run with what to do", async () => {
  await server.stop();
  await expect(trainer(new ServedPolicy(), { vllmServerTimeout: 0.3 }).train()).rejects.toMatchObject({
    code: "SERVER_ERROR",
    hint: expect.stringContaining("start the server first"),
  });
});
