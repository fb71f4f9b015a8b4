// Rollouts of one's own on the real engine: what is trained is what was drawn, as if the batch had been built by hand, and a run that was
// killed in the middle of them equals one that was not.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import {
  CausalLM,
  GRPOConfig,
  GRPOTrainer,
  type GRPOTrainerOptions,
  LoraConfig,
  type Sample,
  type Sampler,
  Tokenizer,
  tinyModel,
} from "grpo";
import { expect, it } from "vitest";
import { listCheckpoints } from "../../lib/run/checkpoint.js";
import { DEVICE } from "../support/device.js";
import { type CardRow, cardRows, type Drawn, judged, killableRollouts } from "./killable-rollouts.js";

/** The weights after one step, and what rollouts returned in it. */
async function oneStep(options: Partial<GRPOTrainerOptions<CardRow>>) {
  const model = await CausalLM.fromPretrained(tinyModel, { dtype: "float32", device: DEVICE, threads: 1 });
  model.applyLora(new LoraConfig({ r: 2, initLoraWeights: false }), { seed: 5 });
  const folder = await mkdtemp(path.join(tmpdir(), "grpo-recorded-"));
  try {
    const trainer = new GRPOTrainer<CardRow>({
      model,
      processingClass: await Tokenizer.fromPretrained(tinyModel),
      args: new GRPOConfig({
        outputDir: folder,
        maxSteps: 1,
        perDeviceTrainBatchSize: 8,
        numGenerations: 4,
        maxCompletionLength: 8,
        temperature: 1.5,
        beta: 0.1,
        learningRate: 1e-2,
        saveStrategy: "no",
        logTo: [],
        loggingSteps: 1,
      }),
      trainDataset: [...cardRows],
      ...options,
    });
    await trainer.train();
    await model.savePretrained(folder);
    const weights = await readFile(path.join(folder, "adapter_model.safetensors"));
    return { weights: weights.toString("base64"), logged: trainer.state.logHistory[0] };
  } finally {
    model.dispose();
    await rm(folder, { recursive: true });
  }
}

it("trains on recorded turns as on a batch that is built by hand, bit for bit", async () => {
  const drawn: { question: string; attempt: number; turns: readonly Drawn[]; reward: number }[] = [];
  const recorded = await oneStep({
    rollout: async (context) => {
      const { reward, drawn: turns } = await judged(context);
      drawn.push({ question: JSON.stringify(context.row.prompt), attempt: context.attempt, turns, reward });
      return { reward };
    },
  });
  expect(recorded.logged?.["tokens/trained"]).toBe(
    drawn.flatMap(({ turns }) => turns.flatMap(({ ids }) => ids)).length,
  );
  drawn.sort((a, b) => a.attempt - b.attempt);
  const byHand: Sampler = {
    maxPositions: 1024,
    async sample(prompts, { onGroup }, rows = []) {
      const groups = prompts.map((_, prompt) => {
        const question = JSON.stringify((rows[prompt] as CardRow).prompt);
        const own = drawn.filter((rollout) => rollout.question === question);
        const completions = own.map(({ turns, reward }) => ({
          samples: [sampleOf(turns)],
          completion: String(reward),
        }));
        return { prompt, completions };
      });
      for (const group of groups) onGroup?.(group);
      return { groups };
    },
  };
  const built = await oneStep({
    sampler: byHand,
    rewardFuncs: [({ completions }) => completions.map((reward) => Number(reward))],
  });
  expect(recorded.logged?.grad_norm).toBeGreaterThan(0);
  expect(built.logged).toMatchObject({ loss: recorded.logged?.loss, kl: recorded.logged?.kl });
  expect(built.weights).toBe(recorded.weights);
});

/** What lies between two turns was given. */
function sampleOf([first, second]: readonly Drawn[]): Sample {
  if (first === undefined || second === undefined) throw new Error("expected two turns");
  const held = [...first.prompt, ...first.ids];
  expect(second.prompt.slice(0, held.length)).toEqual(held);
  const given = second.prompt.slice(held.length);
  const completionIds = [...first.ids, ...given, ...second.ids];
  return {
    promptIds: first.prompt,
    completionIds,
    samplingLogprobs: new Float32Array(completionIds.length),
    lossMask: Uint8Array.from([...first.ids.map(() => 1), ...given.map(() => 0), ...second.ids.map(() => 1)]),
    finishReason: "eos",
  };
}

it("killed in a request, in a tool or after an update, and resumed, equals a run never killed", async () => {
  const folder = await mkdtemp(path.join(tmpdir(), "grpo-killed-"));
  const script = fileURLToPath(new URL("./killable-rollouts.ts", import.meta.url));
  const run = async (outputDir: string, ...moment: string[]) => {
    const child = spawn(process.execPath, ["--import", "tsx", script, outputDir, ...moment]);
    const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr), once(child, "close")]);
    return { stdout, stderr, signal: child.signalCode };
  };
  try {
    const whole = path.join(folder, "whole");
    const { stdout, stderr } = await run(whole);
    expect(stderr).toBe("");
    const moments = Number(stdout);
    expect(moments).toBe(3 * (4 * 3 + 1));
    const expected = await outcomeOf(whole);
    for (const moment of [5, 12, 20, moments - 3]) {
      const outputDir = path.join(folder, String(moment));
      expect((await run(outputDir, String(moment))).signal).toBe("SIGKILL");
      const saved = await listCheckpoints(outputDir);
      await killableRollouts(outputDir, saved.length > 0);
      expect(await outcomeOf(outputDir), `killed at moment ${moment}`).toEqual(expected);
    }
  } finally {
    await rm(folder, { recursive: true });
  }
});

/** The trained weights, and each step's completions as they were drawn last. */
async function outcomeOf(outputDir: string) {
  const weights = await readFile(path.join(outputDir, "checkpoint-3", "adapter_model.safetensors"));
  const lines = (await readFile(path.join(outputDir, "completions.jsonl"), "utf8")).trimEnd().split("\n");
  const drawn = new Map<string, string>();
  for (const line of lines.filter((one) => one.endsWith("}"))) {
    const { step, index } = JSON.parse(line);
    drawn.set(`${step} ${index}`, line);
  }
  return { weights: weights.toString("base64"), drawn: [...drawn].sort(([a], [b]) => a.localeCompare(b)) };
}
