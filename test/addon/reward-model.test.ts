// Reward models of every family against what TRL's trainer takes from them, and what becomes of those that are none.

import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { CausalLM } from "../../lib/model/model.js";
import { rewards } from "../../lib/rewards/index.js";
import type { ModelReward } from "../../lib/rewards/model.js";
import type { Completion, Prompt } from "../../lib/types.js";
import { DEVICE } from "../support/device.js";
import { goldenPath, largestDifference, tinyQwen2 } from "./golden.js";

interface Batch {
  readonly prompts: Prompt[];
  readonly completions: Completion[];
}
interface Golden {
  readonly batches: Readonly<Record<string, Batch>>;
  readonly cases: readonly { model: string; pad: "own" | "none"; form: string; rewards: number[] }[];
}
const golden: Golden = JSON.parse(readFileSync(goldenPath("reward-models.json"), "utf8"));
const families = [...new Set(golden.cases.map(({ model }) => model))];
const signal = new AbortController().signal;
const options = { dtype: "float32", device: DEVICE, threads: 1 } as const;

// Float32 sums in another order than torch's; the rewards are of the order of 1.
const TOLERANCE = 2e-5;

let root: string;
beforeAll(() => {
  root = mkdtempSync(path.join(os.tmpdir(), "grpo-reward-model-"));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

/** A whole folder: config and weights of the fixture, the tokenizer of the bundled model, with its padding token or without. */
function folderOf(model: string, pad: "own" | "none" = "own"): string {
  const folder = path.join(root, `${model}-${pad}`);
  cpSync(goldenPath(`models/reward-${model}`), folder, { recursive: true });
  for (const file of ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"]) {
    cpSync(path.join(tinyQwen2, file), path.join(folder, file));
  }
  if (pad === "none") {
    const file = path.join(folder, "tokenizer_config.json");
    const config = { ...JSON.parse(readFileSync(file, "utf8")), pad_token: null };
    writeFileSync(file, JSON.stringify(config));
  }
  return folder;
}

function batchOf(form: string): Batch {
  const batch = golden.batches[form];
  if (!batch) throw new Error(`no batch ${form}`);
  return batch;
}

describe.each(families)("a reward model of the family %s", (family) => {
  const scores = new Map<string, number[]>();
  beforeAll(async () => {
    for (const pad of ["own", "none"] as const) {
      const judge = await rewards.model(folderOf(family, pad), options);
      for (const form of Object.keys(golden.batches)) {
        scores.set(`${pad} ${form}`, await judge({ ...batchOf(form), signal }));
      }
      judge.dispose();
    }
  });

  test.each(golden.cases.filter(({ model }) => model === family))(
    "gives TRL's rewards for $form, padding token: $pad",
    ({ pad, form, rewards: expected }) => {
      expect(largestDifference(scores.get(`${pad} ${form}`) ?? [], expected)).toBeLessThan(TOLERANCE);
    },
  );
});

describe("a reward model", () => {
  let judge: ModelReward;
  beforeAll(async () => {
    judge = await rewards.model(folderOf("qwen2"), options);
  });
  afterAll(() => judge.dispose());

  test("has the name of its folder, and scores a completion the same in any company", async () => {
    expect(judge.name).toBe("qwen2-own");
    const { prompts, completions } = batchOf("texts");
    const together = await judge({ prompts, completions, signal });
    const reversed = await judge({ prompts: prompts.toReversed(), completions: completions.toReversed(), signal });
    expect(largestDifference(reversed.toReversed(), together)).toBeLessThan(TOLERANCE);
    expect(await judge({ prompts: [], completions: [], signal })).toEqual([]);
  });

  test("refuses to score nothing, stops at the signal, and is gone after dispose", async () => {
    const nothing = { prompts: [""], completions: [""] };
    await expect(judge({ ...nothing, signal })).rejects.toMatchObject({ code: "BAD_INPUT" });
    const batch = batchOf("texts");
    await expect(judge({ ...batch, signal: AbortSignal.abort() })).rejects.toMatchObject({ code: "CANCELLED" });
    const other = await rewards.model(folderOf("llama"), options);
    other.dispose();
    other.dispose();
    await expect(other({ ...batch, signal })).rejects.toMatchObject({ code: "DISPOSED" });
  });
});

test("a language model is no reward model, and the other way round", async () => {
  await expect(rewards.model(tinyQwen2)).rejects.toMatchObject({
    code: "UNSUPPORTED_ARCHITECTURE",
    message: expect.stringContaining("use a checkpoint of Qwen2ForSequenceClassification"),
  });
  await expect(CausalLM.fromPretrained(folderOf("qwen2"))).rejects.toMatchObject({
    code: "UNSUPPORTED_ARCHITECTURE",
    message: expect.stringContaining("use a checkpoint of Qwen2ForCausalLM"),
  });
  const folder = folderOf("qwen2");
  const { architectures: _, ...config } = JSON.parse(readFileSync(path.join(folder, "config.json"), "utf8"));
  writeFileSync(path.join(folder, "config.json"), JSON.stringify({ ...config, hidden_size: 32 }));
  await expect(rewards.model(folder, options)).rejects.toMatchObject({ code: "BAD_CHECKPOINT" });
  await expect(rewards.model(folder, { dtyp: "float32" } as object)).rejects.toMatchObject({ code: "UNKNOWN_OPTION" });
});
