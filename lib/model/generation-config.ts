// generation_config.json as transformers' generate takes it: what a call leaves open is as the model's own file says. What the
// file asks for and is not done here is refused by name, rather than to answer as another model would.

import { checkNumber, type NumberRange, show } from "../checks.js";
import { GrpoError } from "../errors.js";
import type { JsonObject } from "../json.js";
import { CONFIG, GENERATION_CONFIG, type ModelFolder } from "./files/model-files.js";

/** What a model's own files say about generating, and in which of them it stands, for messages. */
export interface OwnGeneration {
  readonly file: string;
  readonly values: JsonObject;
}

/** Without a generation_config.json, transformers takes the same keys from config.json. */
export function ownGeneration(
  folder: Pick<ModelFolder, "config" | "generationConfig" | "generationConfigText">,
): OwnGeneration {
  return folder.generationConfigText === undefined
    ? { file: CONFIG, values: folder.config }
    : { file: GENERATION_CONFIG, values: folder.generationConfig };
}

/** A number of the file, undefined where it has none. Throws BAD_CONFIG. */
export function ownNumber({ file, values }: OwnGeneration, key: string, range: NumberRange): number | undefined {
  const value = values[key];
  return value == null ? undefined : asBadConfig(() => checkNumber(file, key, value, range));
}

/** What is wrong with a value of the file is no fault of the call. */
export function asBadConfig<T>(read: () => T): T {
  try {
    return read();
  } catch (cause) {
    if (!(cause instanceof GrpoError)) throw cause;
    const [text = ""] = cause.message.split("\n");
    throw new GrpoError("BAD_CONFIG", text, {
      cause,
      hint: "fix the file, or give the option of that name in the call",
    });
  }
}

type Neutral = Readonly<Record<string, readonly unknown[]>>;

/** What is not done here: by key, the values beside null that ask for nothing. */
const UNSUPPORTED: Neutral = {
  num_beams: [1],
  constraints: [],
  force_words_ids: [],
  dola_layers: [],
  forced_bos_token_id: [],
  sequence_bias: [],
  exponential_decay_length_penalty: [],
  guidance_scale: [1],
  encoder_repetition_penalty: [1],
  encoder_no_repeat_ngram_size: [0],
  watermarking_config: [],
  token_healing: [false],
  max_time: [],
};
const UNSUPPORTED_IN_SAMPLING: Neutral = { typical_p: [1], top_h: [], epsilon_cutoff: [0], eta_cutoff: [0] };
const UNSUPPORTED_IN_GREEDY: Neutral = { penalty_alpha: [0] };

/** Throws BAD_CONFIG for what transformers would do with the file and the engine cannot. */
export function refuseUnsupported({ file, values }: OwnGeneration, doSample: boolean): void {
  const refused = { ...UNSUPPORTED, ...(doSample ? UNSUPPORTED_IN_SAMPLING : UNSUPPORTED_IN_GREEDY) };
  for (const [key, neutral] of Object.entries(refused)) {
    const value = values[key];
    if (value == null || neutral.includes(value)) continue;
    throw new GrpoError("BAD_CONFIG", `${file}: ${key} ${show(value)} is not supported`, {
      hint: "load the model from a folder whose file does not have it",
    });
  }
}
