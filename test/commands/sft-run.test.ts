// `grpo sft` from end to end with the bundled model: what becomes of the keys of open-r1's recipes and of TRL's YAML, and a run.

import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { sftCommand } from "../../lib/commands/sft.js";
import { tinyModel } from "../../lib/package-files.js";
import { noticeText } from "../../lib/recipes/notices.js";
import { readGiven } from "../../lib/recipes/read.js";
import { SFT } from "../../lib/recipes/recipe.js";
import { runSft } from "../../lib/recipes/run-sft.js";
import { resolveSettings } from "../../lib/recipes/settings.js";

const work = mkdtempSync(join(tmpdir(), "grpo-sft-"));
afterAll(() => rmSync(work, { recursive: true, force: true }));

let files = 0;
function yaml(text: string): string {
  const file = join(work, `${files++}.yaml`);
  writeFileSync(file, text);
  return file;
}

const settings = async (text: string, line: readonly string[] = []) =>
  resolveSettings(SFT, await readGiven(SFT, yaml(text), line));

/** With the keys, old names among them, that open-r1's recipes for supervised fine-tuning have. */
const RECIPE = `
model_name_or_path: some/model
model_revision: main
torch_dtype: bfloat16
attn_implementation: flash_attention_2
chat_template: "{% for m in messages %}{{ m.content }}{% endfor %}"
dataset_name: some/data
dataset_configs:
- all
dataset_num_proc: 48
eos_token: <|im_end|>
bf16: true
do_eval: false
eval_strategy: 'no'
gradient_accumulation_steps: 2
gradient_checkpointing: true
gradient_checkpointing_kwargs:
  use_reentrant: false
hub_model_id: some-name
hub_strategy: every_save
learning_rate: 1.0e-05
log_level: info
logging_steps: 1
logging_strategy: steps
lr_scheduler_type: cosine_with_min_lr
lr_scheduler_kwargs:
  min_lr_rate: 0.1
packing: true
max_seq_length: 256
max_steps: -1
num_train_epochs: 1
output_dir: data/some-name
overwrite_output_dir: true
per_device_eval_batch_size: 1
per_device_train_batch_size: 2
push_to_hub: false
report_to:
- none
save_strategy: "epoch"
save_total_limit: 1
seed: 42
system_prompt: "for benchmarks"
use_liger: true
warmup_ratio: 0.05
`;

describe("a configuration", () => {
  it("of open-r1's keys is read whole, with what means nothing here in a notice", async () => {
    const { script, args, notices } = await settings(RECIPE);
    expect(script).toMatchObject({ dtype: "bfloat16", dataset_config: "all", use_peft: false });
    expect(args).toMatchObject({
      packing: true,
      maxLength: 256,
      learningRate: 1e-5,
      warmupSteps: 0.05,
      eosToken: "<|im_end|>",
      gradientCheckpointing: true,
    });
    const notice = noticeText(notices) ?? "";
    for (const key of ["attn_implementation", "use_liger", "system_prompt", "dataset_num_proc"]) {
      expect(notice).toContain(key);
    }
  });

  it("counts the processes that it was written for, and takes TRL's names of values", async () => {
    const { args } = await settings(
      `${RECIPE}\nnum_processes: 4\nloss_type: chunked_nll\npacking_strategy: bfd-requeue\n`,
    );
    expect(args).toMatchObject({ gradientAccumulationSteps: 8, lossType: "nll", packingStrategy: "bfd_split" });
  });

  it("has no keys of another trainer, and no unknown ones", async () => {
    const refusal = (text: string) => settings(RECIPE + text).then(String, (error: Error) => error.message);
    expect(await refusal("reward_funcs: [accuracy]\n")).toContain('unknown key "reward_funcs"');
    expect(await refusal("max_lenght: 8\n")).toContain("did you mean max_length?");
    expect(await refusal("max_length: many\n")).toContain("max_length");
    expect(await refusal("label_smoothing_factor: 0.1\n")).toContain("label_smoothing_factor 0.1 is not supported yet");
    expect(await refusal("load_in_4bit: true\n")).toContain("load_in_4bit true is not supported");
  });

  it("is listed key by key in the help", () => {
    expect(sftCommand.usage).toMatch(/--assistant_only_loss +Only what the assistant writes counts/);
    expect(sftCommand.usage).toMatch(/--max_length .*\[1024\]/);
    expect(sftCommand.usage).not.toContain("--num_generations");
  });
});

describe("a run", () => {
  it("trains, evaluates, saves and can be resumed by the command that it names", async () => {
    const rows = Array.from({ length: 12 }, (_, i) => {
      return {
        messages: [
          { role: "user", content: `${i} + 1?` },
          { role: "assistant", content: `${i + 1}` },
        ],
      };
    });
    const data = join(work, "rows.jsonl");
    writeFileSync(data, rows.map((row) => JSON.stringify(row)).join("\n"));
    const output = join(work, "out");
    const own = [
      "--model_name_or_path",
      tinyModel,
      "--dataset_name",
      data,
      "--output_dir",
      output,
      "--max_length",
      "64",
    ];
    const line = [...own, "--dataset_configs", "null", "--chat_template", "null", "--torch_dtype", "float32"];
    const more = ["--use_peft", "--do_eval", "--dataset_test_split", "train", "--max_steps", "3"];
    const text = RECIPE.replace("dataset_configs:\n- all\n", "");
    const parts: string[] = [];
    await runSft(await settings(text, [...line, ...more]), { write: (part: string) => parts.push(part) });
    const printed = parts.join("");
    expect(printed).toMatch(/data {5}12 rows, packed \("bfd"\) into \d rows; \d+ tokens/);
    expect(printed).toContain("trained to step 3");
    expect(printed).toMatch(/evaluation at step 3 {2}loss \d/);
    expect(existsSync(join(output, "adapter_model.safetensors"))).toBe(true);
    const [record] = readFileSync(join(output, "metrics.jsonl"), "utf8").split("\n");
    expect(JSON.parse(record ?? "")).toMatchObject({ data: { read: 12, masked: 0 } });
  });
});
