// `grpo sft`: a run of supervised fine-tuning from its settings: data, tokenizer and model, the cheap mistakes first; then the trainer.

import { LossyOutput, type Output } from "../output.js";
import { SFTTrainer } from "../sft/trainer.js";
import { loadRows } from "./data.js";
import { noticeText } from "./notices.js";
import { adapterOf, loadTokenizer, openModel, resumeHint, runToEnd, setEnvironment } from "./parts.js";
import type { SftSettings } from "./settings.js";

export async function runSft({ script, args, notices }: SftSettings, stdout: Output = process.stdout): Promise<void> {
  const output = new LossyOutput(stdout);
  setEnvironment(script);
  const notice = noticeText(notices);
  if (notice !== undefined) output.write(notice);
  const lora = adapterOf(script);
  const { train, test } = await loadRows(script, args.evalStrategy !== "no" || script.do_eval, args.seed);
  const tokenizer = await loadTokenizer(script);
  const model = await openModel(script, lora, args.seed);
  try {
    const trainer = new SFTTrainer({
      model,
      processingClass: tokenizer,
      args,
      output,
      resumeHint,
      trainDataset: train,
      ...(test === undefined ? {} : { evalDataset: test }),
    });
    await runToEnd(trainer, model, tokenizer, script, output);
  } finally {
    model.dispose();
  }
}
