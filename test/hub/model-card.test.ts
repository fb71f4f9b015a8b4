// The model card: its front matter, what it says about a run, and when it gives way to a card by someone else.

import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { parse } from "yaml";
import { hubIdOf, modelCard, type TrainingFacts, writeModelCard } from "../../lib/hub/model-card.js";
import { curveTable, rewardCurve } from "../../lib/hub/reward-curve.js";

const BASE = "Qwen/Qwen2-0.5B-Instruct";
const training: TrainingFacts = {
  method: "GRPO",
  dataset: "AI-MO/NuminaMath-TIR",
  rewardNames: ["accuracy", "format"],
  settings: { "learning rate": 1e-5, steps: 56 },
  curve: [
    { step: 10, reward: 0.1 },
    { step: 20, reward: 0.25, evalReward: 0.3 },
    { step: 30, reward: 0.123456, evalReward: 0.5 },
  ],
};
let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "grpo-card-"));
  await writeFile(path.join(folder, "adapter_config.json"), JSON.stringify({ base_model_name_or_path: BASE }));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const card = () => readFile(path.join(folder, "README.md"), "utf8");

it("says in its front matter what the adapter is for, what it saw and what it reached", async () => {
  await writeModelCard(folder, "ada/math", { training });
  const [, front = ""] = (await card()).split("---\n");
  expect(parse(front)).toEqual({
    base_model: BASE,
    datasets: ["AI-MO/NuminaMath-TIR"],
    library_name: "peft",
    model_name: "math",
    pipeline_tag: "text-generation",
    tags: [`base_model:adapter:${BASE}`, "lora", "grpo", "generated_from_trainer"],
    "model-index": [
      {
        name: "math",
        results: [
          {
            task: { type: "text-generation" },
            dataset: { name: "AI-MO/NuminaMath-TIR", type: "AI-MO/NuminaMath-TIR" },
            metrics: [
              { type: "reward", name: "mean training reward, step 30", value: 0.1235 },
              { type: "eval_reward", name: "mean evaluation reward", value: 0.5 },
            ],
          },
        ],
      },
    ],
  });
});

it("tells how to load it, how it was trained and whom to cite", async () => {
  await writeModelCard(folder, "ada/math", { training });
  const text = await card();
  expect(text).toContain(`PeftModel.from_pretrained(base, "ada/math")`);
  expect(text).toContain(`vllm serve ${BASE} --enable-lora --lora-modules math=ada/math`);
  expect(text).toContain(`CausalLM.fromPretrained("${BASE}", { adapter: "ada/math" })`);
  expect(text).toContain("| step | 10 | 20 | 30 |");
  expect(text).toContain("![Mean reward by training step](reward-curve.svg)");
  expect(text).toContain("| learning rate | 0.00001 |");
  expect(text).toContain("@article{shao2024deepseekmath");
  const svg = await readFile(path.join(folder, "reward-curve.svg"), "utf8");
  expect(svg.match(/<circle/g)).toHaveLength(2);
});

it.each([
  [{ r: 16 }, "--enable-lora --lora-modules"],
  [{ r: 17 }, "--enable-lora --max-lora-rank 32 --lora-modules"],
  [{ r: 8, rank_pattern: { q_proj: 200 } }, "--enable-lora --max-lora-rank 256 --lora-modules"],
])("tells vLLM to make room for the ranks %j", async (ranks, options) => {
  const config = { base_model_name_or_path: BASE, ...ranks };
  await writeFile(path.join(folder, "adapter_config.json"), JSON.stringify(config));
  await writeModelCard(folder, "ada/math");
  expect(await card()).toContain(`vllm serve ${BASE} ${options} math=ada/math`);
});

it("writes rewards with the digits that tell them apart", () => {
  const textsOf = (svg: string) => [...svg.matchAll(/text-anchor="end">([^<]*)/g)].map(([, text]) => text);
  const curve = (...rewards: number[]) => rewards.map((reward, i) => ({ step: i + 1, reward }));
  expect(textsOf(rewardCurve(curve(0.001, 0.004, 0.003))).slice(0, 3)).toEqual(["0.00100", "0.00250", "0.00400"]);
  expect(textsOf(rewardCurve(curve(-2e-7, 6e-7))).slice(0, 3)).toEqual(["-2.00e-7", "2.00e-7", "6.00e-7"]);
  expect(textsOf(rewardCurve(curve(0, 1))).slice(0, 3)).toEqual(["0.00", "0.50", "1.00"]);
  expect(curveTable(curve(0.001, 0.004))).toContain("| mean reward | 0.00100 | 0.00400 |");
  expect(curveTable(curve(0.5, 0.25))).toContain("| mean reward | 0.500 | 0.250 |");
});

it("is about a whole model where there is no adapter", async () => {
  await rm(path.join(folder, "adapter_config.json"));
  await writeFile(path.join(folder, "config.json"), JSON.stringify({ model_type: "qwen2" }));
  await writeModelCard(folder, "ada/merged");
  const text = await card();
  expect(parse(text.split("---\n")[1] ?? "")).toMatchObject({ library_name: "transformers" });
  expect(text).toContain("vllm serve ada/merged");
  expect(text).not.toContain("## Training");
  expect(text).toContain("A causal language model. ");
  await writeModelCard(folder, "ada/merged", { base: BASE });
  expect(await card()).toContain(`base_model: ${BASE}`);
});

it("leaves a card by someone else, and writes its own anew", async () => {
  await writeModelCard(folder, "ada/math");
  await writeModelCard(folder, "ada/math", { training });
  expect(await card()).toContain("## Training");
  await writeFile(path.join(folder, "README.md"), "# mine");
  await writeModelCard(folder, "ada/math", { training });
  expect(await card()).toBe("# mine");
});

it("writes nothing about a folder without a model", async () => {
  const empty = path.join(folder, "empty");
  await mkdir(empty);
  await writeModelCard(empty, "ada/x");
  await expect(readFile(path.join(empty, "README.md"))).rejects.toThrow("ENOENT");
});

it.each(["/home/me/model", "./model", "models/a/b", "gpt2", null, "scripts/assets"])(
  "does not take %s for the Hub id of a base model",
  (name) => expect(hubIdOf(name)).toBeUndefined(),
);

it("draws a flat curve, and one of a single step", () => {
  for (const points of [[{ step: 1, reward: 0.5 }], [1, 2].map((step) => ({ step, reward: 0 }))]) {
    expect(rewardCurve(points)).not.toMatch(/NaN|Infinity/);
  }
});

it("the card of a model that was fine-tuned says so, and cites no paper on GRPO", async () => {
  const facts = { method: "SFT", rewardNames: [], settings: { steps: 3, loss: "nll" }, curve: [] } as const;
  const card = await modelCard("me/model", { kind: "adapter", base: BASE }, facts);
  expect(card).toContain("Trained with SFT by `grpo`");
  expect(card).toMatch(/tags:\n(?: {2}- .*\n)* {2}- sft\n/);
  expect(card).toContain("| loss | nll |");
  expect(card).not.toMatch(/GRPO|reward/);
});
