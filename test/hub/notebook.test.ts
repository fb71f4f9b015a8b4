// The guide's notebook as it stands, from loadDataset to pushToHub, and what it left on the Hub.

import { readFile } from "node:fs/promises";
import path from "node:path";
import { expect, it, vi } from "vitest";
import { CausalLM, loadDataset, Tokenizer } from "../../lib/index.js";
import { DATA, MODEL, PUSHED, runNotebook, serveNotebook } from "../support/notebook.js";
import { useHub } from "../support/use-hub.js";

const at = useHub();

it("runs unchanged, and what it pushed loads again", async () => {
  await serveNotebook(at.hub);
  const folder = path.join(at.home, "notebook");
  const { stdout } = await runNotebook(at.hub, folder);
  expect(stdout).toContain('Dataset({ features: ["problem", "solution", "messages"], numRows: 65 })');
  expect(stdout).toMatch(/^1\/1 {2}reward 0\.\d{3}/m);
  const pushed = at.hub.filesOf(PUSHED);
  expect([...pushed.keys()].filter((name) => name !== ".gitattributes").sort()).toEqual([
    "README.md",
    "adapter_config.json",
    "adapter_model.safetensors",
    "chat_template.jinja",
    "tokenizer.json",
    "tokenizer_config.json",
  ]);
  for (const name of ["adapter_config.json", "adapter_model.safetensors", "tokenizer.json"]) {
    expect(pushed.get(name)?.equals(await readFile(path.join(folder, "qwen2-0.5b-grpo-math", name))), name).toBe(true);
  }
  expect(pushed.get("README.md")?.toString()).toContain(`base_model: ${MODEL}`);
  expect(at.hub.leakedTokens).toEqual([]);

  vi.stubEnv("HF_TOKEN", at.hub.token);
  const tokenizer = await Tokenizer.fromPretrained(PUSHED);
  expect(tokenizer.padToken).toBe(tokenizer.eosToken);
  const model = await CausalLM.fromPretrained(MODEL, { adapter: PUSHED });
  expect(model.trainableParameters().trainable).toBe(14_336);
  model.dispose();
  expect((await loadDataset(DATA, { split: "test" })).length).toBe(240);
});
