// Whether an environment of `verifiers` trains as it is: scripts/verifiers/sums.py, in one turn and with a tool between turns, by chat
// completions and by the client that sends ids and gets ids. --python is a Python with verifiers, renderers and uv.
//
//   npx tsx scripts/check-verifiers.ts --python PYTHON [--steps 2] [--rollouts 8] [--model build/verifiers-model] [--only "a tool, ids"]
//
// Every rollout starts a program, which starts another: some seconds of a core each.

import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { isDeepStrictEqual, parseArgs } from "node:util";
import { CausalLM, command, GRPOConfig, GRPOTrainer, LoraConfig, type RewardBatch, Tokenizer } from "grpo";
import { makeSumModel } from "./verifiers/sum-model.js";

const { values } = parseArgs({
  options: {
    python: { type: "string", default: "python3" },
    steps: { type: "string", default: "2" },
    rollouts: { type: "string", default: "8" },
    model: { type: "string", default: "build/verifiers-model" },
    only: { type: "string" },
  },
});
const folder = path.resolve(values.model);
const scripts = fileURLToPath(new URL("verifiers/", import.meta.url));
const python = path.resolve(values.python);
const TASKS = 4;
const ANSWERS = 4;
let failures = 0;

const CASES = [
  { name: "one turn, chat completions", calculator: false, client: [] },
  { name: "a tool, chat completions", calculator: true, client: [] },
  { name: "one turn, ids", calculator: false, client: ["qwen3", folder] },
  { name: "a tool, ids", calculator: true, client: ["qwen3", folder] },
] as const;

if (!existsSync(path.join(folder, "model.safetensors"))) await makeSumModel(folder, TASKS);
for (const one of CASES) if (values.only === undefined || one.name === values.only) await checkCase(one);
process.exitCode = failures > 0 ? 1 : 0;

async function checkCase({ name, calculator, client }: (typeof CASES)[number]): Promise<void> {
  const outputDir = await mkdtemp(path.join(tmpdir(), "grpo-check-verifiers-"));
  let [rollouts, unequal] = [0, 0];
  /** Of no weight: whether the environment has seen the ids that are trained on. */
  function sameIds({ rolloutResults = [], completionIds }: RewardBatch): number[] {
    rollouts += completionIds.length;
    return rolloutResults.map((result, i) => {
      const trained = completionIds[i] ?? [];
      const seen = (result as { ids: number[] }).ids;
      const same = seen.length === 0 || isDeepStrictEqual(seen.slice(-trained.length), trained);
      unequal += same ? 0 : 1;
      return Number(same);
    });
  }
  const trainer = new GRPOTrainer({
    model: await CausalLM.fromPretrained(folder, { device: "cpu", dtype: "float32" }),
    processingClass: await Tokenizer.fromPretrained(folder),
    peftConfig: new LoraConfig({ targetModules: "all-linear" }),
    args: new GRPOConfig({
      outputDir,
      maxSteps: Number(values.steps),
      perDeviceTrainBatchSize: Number(values.rollouts),
      numGenerations: ANSWERS,
      maxCompletionLength: 96,
      learningRate: 1e-3,
      loggingSteps: 1,
      rolloutConcurrency: 4,
      rewardWeights: [0],
      saveStrategy: "no",
    }),
    trainDataset: Array.from({ length: TASKS }, (_, task) => ({
      prompt: `task ${task}`,
      task,
      taskset: { id: "sums", task: { calculator } },
    })),
    rewardFuncs: sameIds,
    rollout: command([python, path.join(scripts, "play.py"), ...client], {
      env: { PYTHONPATH: scripts, PATH: `${path.dirname(python)}:${process.env.PATH}` },
    }),
  });
  await trainer.train();
  const steps = trainer.state.logHistory.filter(({ reward }) => reward !== undefined);
  const all = (metric: string) => steps.reduce((sum, record) => sum + (record[metric] ?? 0), 0);
  const rewards = steps.map(({ reward }) => reward?.toFixed(2)).join(", ");
  const turns = steps.map((record) => record["rollout/turns"]?.toFixed(2)).join(", ");
  console.log(`     ${rollouts} rollouts, ${all("tokens/sampled")} tokens; rewards ${rewards}; turns ${turns}`);
  check(`${name}: every token is trained on`, all("tokens/trained"), all("tokens/sampled"));
  check(`${name}: no turn begins a sample of its own`, all("rollout/forked") + all("rollout/realigned"), 0);
  check(`${name}: the same ids on both sides`, unequal, 0);
  check(`${name}: turns behind results`, all("rollout/continued") > 0, calculator);
  await rm(outputDir, { recursive: true, force: true });
}

function check(name: string, found: unknown, expected: unknown): void {
  const same = isDeepStrictEqual(found, expected);
  if (!same) failures++;
  console.log(`${same ? "ok  " : "FAIL"} ${name}${same ? "" : `: expected ${expected}, found ${found}`}`);
}
