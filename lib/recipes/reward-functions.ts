// Reward functions by the names that TRL's script and open-r1 have for them, with their settings there, and those of one's own from
// a module. Each keeps the name that its metrics have in Python.

import { GrpoError, nearestName } from "../errors.js";
import { importFunction, isModulePath } from "../modules.js";
import type { CodeOptions } from "../rewards/code/code.js";
import { rewards } from "../rewards/index.js";
import type { AnyRewardFn } from "../types.js";
import type { ScriptSettings } from "./keys.js";
import type { Notice } from "./notices.js";

interface Named {
  /** The name of the function in Python. */
  readonly python: string;
  make(script: ScriptSettings): AnyRewardFn;
}

const OVERLONG = "soft_overlong_punishment_reward";

export const namedRewards: Readonly<Record<string, Named>> = {
  // TRL.
  accuracy_reward: { python: "accuracy_reward", make: () => rewards.accuracy },
  reasoning_accuracy_reward: { python: "reasoning_accuracy_reward", make: () => rewards.reasoningAccuracy },
  think_format_reward: { python: "think_format_reward", make: () => rewards.thinkFormat },
  get_soft_overlong_punishment: {
    python: OVERLONG,
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
  code: { python: "code_reward", make: (script) => rewards.code(graderOptions(script)) },
  binary_code: { python: "binary_code_reward", make: (script) => rewards.binaryCode(graderOptions(script)) },
  ioi_code: { python: "ioi_code_reward", make: ioiCode },
  cf_code: {
    python: "cf_code_reward",
    make: (script) =>
      rewards.cfCode({
        testBatchSize: script.code_eval_test_batch_size,
        scoringMode: script.code_eval_scoring_mode,
        numParallel: script.parallel_code_exec_per_proc,
      }),
  },
  cosine: {
    python: "cosine_scaled_reward",
    make: (script) =>
      rewards.openR1CosineScaled({
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
    python: OVERLONG,
    make: ({ max_completion_len: maxCompletionLength, soft_punish_cache: softPunishCache }) =>
      rewards.softOverlongPunishment({ maxCompletionLength, softPunishCache }),
  },
};

function graderOptions(script: ScriptSettings): CodeOptions {
  const { code_provider: provider, e2b_router_url: e2bRouterUrl, morph_router_url: morphRouterUrl } = script;
  return {
    ...(provider === undefined ? {} : { provider }),
    ...(e2bRouterUrl === undefined ? {} : { e2bRouterUrl }),
    ...(morphRouterUrl === undefined ? {} : { morphRouterUrl }),
    numParallel: script.parallel_code_exec_per_proc,
    enforceSameLanguage: script.enforce_same_language,
  };
}

function ioiCode({ ioi_provider: provider, code_eval_test_batch_size: testBatchSize }: ScriptSettings): AnyRewardFn {
  if (provider === "piston") return rewards.ioiCode({ testBatchSize });
  throw new GrpoError("BAD_OPTION", "ioi_provider: morph is not supported", {
    hint: "leave it out, and name workers of Piston in the environment: PISTON_ENDPOINTS",
  });
}

export interface ResolvedRewards {
  readonly functions: readonly AnyRewardFn[];
  /** Where programs run, for the functions that execute some. */
  readonly notices: readonly Notice[];
}

export async function resolveRewards(script: ScriptSettings): Promise<ResolvedRewards> {
  const { reward_funcs: names = [] } = script;
  if (names.length === 0 && script.reward_model_name_or_path === undefined) {
    const functions = `reward_funcs: names (${Object.keys(namedRewards).join(", ")}) or files (./my-rewards.ts#name)`;
    throw new GrpoError("BAD_OPTION", "which reward functions?", {
      hint: `give ${functions}, or reward_model_name_or_path`,
    });
  }
  const functions: AnyRewardFn[] = [];
  const notices: Notice[] = [];
  for (const name of names) {
    const fn = await resolveReward(name, script);
    functions.push(fn);
    const { executesOn } = fn as { readonly executesOn?: string };
    if (executesOn !== undefined)
      notices.push({ keys: [`reward_funcs ${name}`], text: `programs run on ${executesOn}` });
  }
  return { functions, notices };
}

async function resolveReward(name: string, script: ScriptSettings): Promise<AnyRewardFn> {
  const known = Object.hasOwn(namedRewards, name) ? namedRewards[name] : undefined;
  if (known) return renamed(known.make(script), known.python);
  const [file = "", exported] = name.split("#");
  if (isModulePath(file)) return fromModule(file, exported);
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
  // The new function keeps what the old one has beside its name, such as close().
  return Object.assign(
    Object.defineProperty((batch: never) => fn(batch), "name", { value: name }),
    fn,
  );
}
