// A small real training run with an environment, its tool and rewards of its turns, which can be killed at any of its moments: in the tool,
// in the reward of a turn, in an update. The bundled model calls no tools, so that its first turns are given. As a process: killable-tools.ts
// OUTPUT_DIR [MOMENT]; without a moment it runs to its end and prints how many there were.

import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { Environment, EnvironmentTurn } from "../../lib/agents/environments.js";
import type { GenerationRequest } from "../../lib/endpoint/generator.js";
import { ModelGenerator } from "../../lib/endpoint/model-generator.js";
import { GRPOConfig } from "../../lib/grpo/config.js";
import { GRPOTrainer } from "../../lib/grpo/trainer.js";
import { LoraConfig } from "../../lib/model/lora/lora.js";
import { CausalLM } from "../../lib/model/model.js";
import { Tokenizer } from "../../lib/tokenizer/tokenizer.js";
import { publishedTemplate } from "../support/chat-formats.js";
import { runToMoment } from "../support/killed-at.js";
import { ScriptedGenerator } from "../support/scripted-generator.js";
import { tinyQwen2 } from "./golden.js";

interface Row {
  readonly prompt: { readonly role: string; readonly content: string }[];
  readonly cards: number;
}

const rows: Row[] = [3, 1, 4].map((cards) => ({ prompt: [{ role: "user", content: `${cards} cards?` }], cards }));

/** Counts cards, which takes its time; a turn is as good as it is long. */
class Cards implements Environment<Row> {
  #cards = 0;
  #words = "";

  constructor(readonly watch: (moment: string) => void) {}

  readonly tools = {
    count: {
      inputSchema: { type: "object", properties: { more: { type: "integer" } }, required: ["more"] },
      execute: async ({ more }: { more: number }) => {
        await sleep((this.#cards + more) % 5);
        this.watch("tool");
        return this.#cards + more;
      },
    },
  };

  reset({ cards }: Row): void {
    this.#cards = cards;
    this.#words = "";
  }

  turnReward({ message, results }: EnvironmentTurn): number {
    this.watch("reward of a turn");
    this.#words += message.content;
    return results.length > 0 ? results.length + (message.content.length % 3) : this.#words.length % 5;
  }

  reward(): number {
    return this.#words.length % 7;
  }
}

export async function killableTools(outputDir: string, resume: boolean, watch: (moment: string) => void = () => {}) {
  const tokenizer = await Tokenizer.fromPretrained(tinyQwen2);
  tokenizer.chatTemplate = publishedTemplate("trl/qwen2_5");
  const model = await CausalLM.fromPretrained(tinyQwen2, { dtype: "float32", device: "cpu", threads: 1 });
  model.applyLora(new LoraConfig({ r: 2 }), { seed: 5 });
  const call = ({ seed = 0 }: GenerationRequest) => {
    const text = `${"I ask. ".repeat(seed % 3)}<tool_call>\n{"name": "count", "arguments": {"more": ${seed % 4}}}\n</tool_call>`;
    return tokenizer.encode(`${text}<|im_end|>`, { addSpecialTokens: false });
  };
  const scripted = new ScriptedGenerator(call, tokenizer.eosTokenIds);
  const drawn = new ModelGenerator(model, tokenizer);
  const isFirst = ({ ids }: GenerationRequest) => !tokenizer.decode([...ids]).includes("<tool_response>");
  const trainer = new GRPOTrainer<Row>({
    model,
    sampler: {
      maxPositions: model.maxPositions,
      sample: () => Promise.reject(new Error("turns are drawn one by one")),
      generate: (request: GenerationRequest) => (isFirst(request) ? scripted : drawn).generate(request),
    } as never,
    processingClass: tokenizer,
    args: new GRPOConfig({
      outputDir,
      maxSteps: 4,
      saveSteps: 1,
      loggingSteps: 1,
      logTo: ["jsonl"],
      learningRate: 1e-2,
      perDeviceTrainBatchSize: 2,
      numGenerations: 4,
      stepsPerGeneration: 2,
      maxCompletionLength: 120,
      temperature: 1.5,
    }),
    environmentFactory: () => new Cards(watch),
    trainDataset: rows,
    callbacks: [{ onStepEnd: () => watch("update") }],
    output: { write: () => true },
  });
  await trainer.train({ resumeFromCheckpoint: resume });
  model.dispose();
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const moments = await runToMoment((outputDir, watch) => killableTools(outputDir, false, watch));
  console.log(moments.length);
}
