// A reward model as a reward function, as TRL feeds one: the conversation in the reward model's own chat template (or prompt
// and completion joined), its own tokenizer, the score at the last token that is not padding.

import path from "node:path";
import { at } from "../at.js";
import { checkOptionNames } from "../checks.js";
import type { JsonObject } from "../json.js";
import { type FromPretrainedOptions, hubSource } from "../model/model-options.js";
import { RewardModel } from "../model/reward-model.js";
import { Tokenizer } from "../tokenizer/tokenizer.js";
import type { Completion, Prompt, RewardBatch } from "../types.js";
import { completionText } from "./per-sample.js";

/** How a reward model is loaded, and with which tokenizer. */
export interface RewardModelOptions extends Omit<FromPretrainedOptions, "adapter"> {
  /** Default: the reward model's own. */
  readonly tokenizer?: Tokenizer;
  /** Variables of the chat template. */
  readonly chatTemplateKwargs?: JsonObject;
}

/** A reward model as a reward function: one score for each completion. */
export interface ModelReward {
  /** Scores of the completions, in their order. */
  (batch: Pick<RewardBatch, "prompts" | "completions" | "signal">): Promise<number[]>;
  /** Frees the weights. */
  dispose(): void;
}

const KNOWN_OPTIONS = [
  "dtype",
  "device",
  "revision",
  "token",
  "cacheDir",
  "subfolder",
  "threads",
  "tokenizer",
  "chatTemplateKwargs",
];

/** Loads a sequence-classification checkpoint with one label, from a folder or the Hub. Its name in logs is the model's. */
export async function model(idOrPath: string, options: RewardModelOptions = {}): Promise<ModelReward> {
  checkOptionNames("rewards.model", options, KNOWN_OPTIONS);
  const { tokenizer: given, chatTemplateKwargs = {}, ...source } = options;
  const tokenizer = given ?? (await Tokenizer.fromPretrained(idOrPath, hubSource(source)));
  const judge = await RewardModel.fromPretrained(idOrPath, source);
  const score = async ({ prompts, completions, signal }: Parameters<ModelReward>[0]): Promise<number[]> => {
    const texts = completions.map((completion, i) =>
      judgedText(tokenizer, at(prompts, i), completion, chatTemplateKwargs),
    );
    return judge.score(
      texts.map((text) => untilLastToken(tokenizer, text)),
      signal,
    );
  };
  const named = Object.defineProperty(score, "name", { value: path.basename(idOrPath) });
  return Object.assign(named, { dispose: () => judge.dispose() });
}

function judgedText(tokenizer: Tokenizer, prompt: Prompt, completion: Completion, variables: JsonObject): string {
  if (typeof prompt === "string") return prompt + completionText(completion);
  const answer = typeof completion === "string" ? [{ role: "assistant", content: completion }] : completion;
  return tokenizer.applyChatTemplate([...prompt, ...answer], variables);
}

/**
 * Ids up to the token whose score counts: the last that is not padding, which is the end of text where the tokenizer has none.
 * Padding at the end of the text itself is passed over as well; of nothing but padding the first token counts.
 */
function untilLastToken(tokenizer: Tokenizer, text: string): number[] {
  const ids = tokenizer.encode(text, { addSpecialTokens: false });
  const padding = tokenizer.padTokenId ?? tokenizer.eosTokenId;
  const last = ids.findLastIndex((id) => id !== padding);
  return ids.slice(0, Math.max(last, 0) + 1);
}
