// `push_to_hub` of a configuration, against a Hub on this machine.

import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { readGiven } from "../../lib/recipes/read.js";
import { TRAIN } from "../../lib/recipes/recipe.js";
import { runTraining } from "../../lib/recipes/run.js";
import { resolveSettings } from "../../lib/recipes/settings.js";
import { useHub } from "../support/use-hub.js";

const root = fileURLToPath(new URL("../..", import.meta.url));
const at = useHub();

it("a recipe's model goes to its hub_model_id, at each save and at the end, with a card", async () => {
  const model = join(root, "scripts/assets/tiny-qwen2");
  const recipe = join(root, "test/fixtures/recipes/Qwen2.5-1.5B-Instruct-config_demo.yaml");
  const given = await readGiven(TRAIN, recipe, [
    "--model_name_or_path",
    model,
    "--dataset_name",
    join(model, "train.jsonl"),
    "--use_cpu",
    "--max_steps",
    "1",
    "--max_completion_length",
    "4",
    "--per_device_train_batch_size",
    "4",
    "--log_completions",
    "no",
    "--hub_token",
    at.hub.token,
    "--output_dir",
    join(at.home, "run"),
  ]);
  const printed: string[] = [];
  await runTraining(resolveSettings(TRAIN, given), { write: (text: string) => printed.push(text) });
  const id = "ada/Qwen2.5-1.5B-Open-R1-GRPO";
  expect(at.hub.commits.map(({ summary }) => summary)).toEqual(["Training in progress, epoch 0", "End of training"]);
  expect([...at.hub.filesOf(id).keys()]).toEqual(
    expect.arrayContaining(["README.md", "config.json", "model.safetensors", "tokenizer.json", "metrics.jsonl"]),
  );
  expect(printed.at(-1)).toContain(id);
  expect(printed.join("")).not.toContain(at.hub.token);
});
