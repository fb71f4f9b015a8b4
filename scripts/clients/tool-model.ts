// A model that calls two tools and then answers, for checks with real clients: the bundled one, taught two turns by heart. Its chat
// template shows it which of the two is wanted and nothing else, so that it does not matter how a client describes its tools.

import { cp, writeFile } from "node:fs/promises";
import path from "node:path";
import { CausalLM, Tokenizer, tinyModel } from "grpo";

export const CALLS =
  'Let me look.\n<tool_call>\n{"name": "weather", "arguments": {"city": "Paris", "days": 2.0}}\n</tool_call>\n' +
  '<tool_call>\n{"name": "weather", "arguments": {"city": "Rome", "days": 3}}\n</tool_call>';
export const ANSWER = "It is sunny.";

/** Without tools it is that of the bundled model. The name of <tool_call> is what calls are known by. */
const TEMPLATE = `{%- set call = '<tool_call>' -%}
{%- if messages[-1].role == 'tool' %}<|im_start|>b
{% elif tools %}<|im_start|>a
{% else %}{% for message in messages %}<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% endfor %}{% endif %}{{ '<|im_start|>assistant\n' }}`;

const MOST_STEPS = 400;

/** Writes the model into a folder. */
export async function makeToolModel(folder: string): Promise<void> {
  await cp(tinyModel, folder, { recursive: true });
  await writeFile(path.join(folder, "chat_template.jinja"), TEMPLATE);
  const tokenizer = await Tokenizer.fromPretrained(folder);
  const model = await CausalLM.fromPretrained(folder, { device: "cpu", dtype: "float32" });
  await model.beginTraining();
  const promptIds = ["a", "b"].map((text) => tokenizer.encode(`<|im_start|>${text}\n<|im_start|>assistant\n`));
  const completionIds = [CALLS, ANSWER].map((text) => tokenizer.encode(`${text}<|im_end|>`));
  let said = "";
  for (let step = 0; step < MOST_STEPS && said !== CALLS + ANSWER; step++) {
    await model.forwardBackward({ promptIds, completionIds, advantages: [1, 1] }, { lossType: "grpo", beta: 0 });
    await model.optimizerStep({ learningRate: 1e-3, maxGradNorm: 1 });
    if (step % 20 !== 19) continue;
    const learnt = await model.generate(promptIds, { maxNewTokens: 200 });
    said = learnt.map(({ ids }) => tokenizer.decode(ids, { skipSpecialTokens: true })).join("");
  }
  if (said !== CALLS + ANSWER) throw new Error(`the model has not learnt its turns; it says ${said}`);
  await model.savePretrained(folder);
  model.dispose();
}
