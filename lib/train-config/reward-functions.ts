// Reward functions by the names that TRL's script and open-r1 have for them, with their settings there, and those of one's own from
// a module. Each keeps the name that its metrics have in Python.

import { GrpoError, nearestName } from "../errors.js";
import { importFunction, isModulePath } from "../modules.js";
import { rewards } from "../rewards/index.js";
import type { AnyRewardFn } from "../trainer/config.js";
import type { ScriptSettings } from "./keys.js";

interface Named {
  /** Of the function in Python. */
  readonly python: string;
  make(script: ScriptSettings): AnyRewardFn;
}

const overlong = "soft_overlong_punishment_reward";

export const namedRewards: Readonly<Record<string, Named>> = {
  // TRL.
  accuracy_reward: { python: "accuracy_reward", make: () => rewards.accuracy },
  reasoning_accuracy_reward: { python: "reasoning_accuracy_reward", make: () => rewards.reasoningAccuracy },
  think_format_reward: { python: "think_format_reward", make: () => rewards.thinkFormat },
  get_soft_overlong_punishment: {
    python: overlong,
    make: () => rewards.softOverlongPunishment({ maxCompletionLength: 1280, softPunishCache: 256 }),
  },
  // open-r1.
  accuracy: { python: "accuracy_reward", make: () => rewards.accuracy },
  format: { python: "format_reward", make: () => rewards.answerFormat },
  tag_count: { python: "tag_count_reward", make: () => rewards.tagCount },
  reasoning_steps: { python: "reasoning_steps_reward", make: () => rewards.reasoningSteps },
  length: { python: "len_reward", make: () => rewards.lengthPenalty },
  code_format: {
    python: "code_format_reward",
    make: ({ code_language: language }) => rewards.codeFormat({ language }),
  },
  cosine: {
    python: "cosine_scaled_reward",
    make: (script) =>
      rewards.cosineScaled({
        minValueWrong: script.cosine_min_value_wrong,
        maxValueWrong: script.cosine_max_value_wrong,
        minValueCorrect: script.cosine_min_value_correct,
        maxValueCorrect: script.cosine_max_value_correct,
        maxLength: script.cosine_max_len,
      }),
  },
  repetition_penalty: {
    python: "repetition_penalty_reward",
    make: ({ repetition_n_grams: ngramSize, repetition_max_penalty: maxPenalty }) =>
      rewards.repetitionPenalty({ ngramSize, maxPenalty, unit: "words" }),
  },
  soft_overlong_punishment: {
    python: overlong,
    make: ({ max_completion_len: maxCompletionLength, soft_punish_cache: softPunishCache }) =>
      rewards.softOverlongPunishment({ maxCompletionLength, softPunishCache }),
  },
};

/** open-r1's rewards that send programs to a service, which is another one in every place. */
const executing = ["code", "binary_code", "ioi_code", "cf_code"];

export async function resolveRewards(script: ScriptSettings): Promise<AnyRewardFn[]> {
  const { reward_funcs: names = [] } = script;
  if (names.length === 0 && script.reward_model_name_or_path === undefined) {
    const functions = `reward_funcs: names (${Object.keys(namedRewards).join(", ")}) or files (./my-rewards.ts#name)`;
    throw new GrpoError("BAD_OPTION", "which reward functions?", {
      hint: `give ${functions}, or reward_model_name_or_path`,
    });
  }
  const functions: AnyRewardFn[] = [];
  for (const name of names) functions.push(await resolveReward(name, script, names));
  return functions;
}

async function resolveReward(name: string, script: ScriptSettings, all: readonly string[]): Promise<AnyRewardFn> {
  const known = Object.hasOwn(namedRewards, name) ? namedRewards[name] : undefined;
  if (known) return renamed(known.make(script), known.python);
  const [file = "", exported] = name.split("#");
  if (isModulePath(file)) return fromModule(file, exported);
  if (executing.includes(name)) {
    const instead = all.map((other) => (other === name ? `./my-rewards.ts#${name}` : other)).join(",");
    throw new GrpoError(
      "BAD_OPTION",
      `reward_funcs: ${name} executes what the model writes, for which there is no service here`,
      {
        hint: `give a function of your own in its place: --reward_funcs ${instead}`,
      },
    );
  }
  const near = nearestName(name, Object.keys(namedRewards));
  const hint = near
    ? `did you mean ${near}?`
    : `choose from ${Object.keys(namedRewards).join(", ")}, or give ./my-rewards.ts#name`;
  throw new GrpoError("UNKNOWN_OPTION", `reward_funcs: there is no reward function ${JSON.stringify(name)}`, { hint });
}

/** `file.ts#name`; without a name the default export, or the only one. */
async function fromModule(file: string, exported: string | undefined): Promise<AnyRewardFn> {
  try {
    const { fn, name } = await importFunction(file, exported);
    return renamed(fn as AnyRewardFn, name);
  } catch (error) {
    if (!(error instanceof GrpoError) || error.code !== "BAD_OPTION") throw error;
    const [what] = error.message.split("\n");
    throw new GrpoError("BAD_OPTION", `reward_funcs: ${what}`, { hint: `write ${file}#name`, cause: error });
  }
}

function renamed(fn: AnyRewardFn, name: string): AnyRewardFn {
  // With what it has beside its name, such as close().
  return Object.assign(
    Object.defineProperty((batch: never) => fn(batch), "name", { value: name }),
    fn,
  );
}
