// The ids that end a text, as a model's files name them: read here for the model and for its tokenizer, so that both end at
// the same.

import { show } from "./checks.js";
import { GrpoError } from "./errors.js";
import type { JsonObject } from "./json.js";

/**
 * Those of generation_config.json; where a folder has none, those of config.json. Ids that the model has no token for (-1, or
 * beyond its vocabulary) never come and are left out, as in transformers. Throws BAD_CONFIG; `source` is for the message.
 */
export function endOfTextIds(config: JsonObject, generationConfig: JsonObject | undefined, source: string): number[] {
  const ids = tokenIdList(generationConfig ?? config, "eos_token_id", source);
  const { vocab_size: size } = config;
  return typeof size === "number" ? ids.filter((id) => id < size) : ids;
}

/** The ids of one key, a number or a list; -1 in some files says that there is none. Throws BAD_CONFIG. */
export function tokenIdList(config: JsonObject, key: string, source: string): number[] {
  const value = config[key] ?? [];
  const ids: readonly unknown[] = Array.isArray(value) ? value : [value];
  const whole = ids.filter((id): id is number => Number.isInteger(id));
  if (whole.length === ids.length) return whole.filter((id) => id >= 0);
  throw new GrpoError("BAD_CONFIG", `${source}: ${key} must be a token id or a list of them, found ${show(value)}`);
}
