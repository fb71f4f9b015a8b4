// What `grpo train` and `grpo sft` each make of a configuration: which keys act, which mean nothing, and the config that comes of them. All
// that reads, checks, documents and runs a configuration asks here.

import type * as Zod from "zod";
import { GRPOConfig } from "../grpo/config.js";
import { type GRPOConfigOptions, schema as grpoSchema } from "../grpo/config-fields.js";
import * as grpoForeign from "../grpo/config-unsupported.js";
import type { JsonObject } from "../json.js";
import type { ForeignOptions } from "../run/read-options.js";
import { SFTConfig } from "../sft/config.js";
import { type SFTConfigOptions, schema as sftSchema } from "../sft/config-fields.js";
import * as sftForeign from "../sft/config-unsupported.js";
import {
  aliases,
  type CommonSettings,
  commonGroups,
  commonSchema,
  ignoredInSampling,
  ignoredKeys,
  type ScriptSettings,
  scriptGroups,
  scriptSchema,
} from "./keys.js";
import type { Notices } from "./notices.js";
import { applyProcesses, applyRewardKeys, leaveOutColocation } from "./processes.js";
import { namedRewards } from "./reward-functions.js";

export type Values = Record<string, unknown>;

/** `Script`: the settings beside the config; `Args`: the config. */
export interface Recipe<Script extends CommonSettings, Args> {
  readonly command: "train" | "sft";
  /** TRL's command with the same keys. */
  readonly trlCommand: string;
  /** Name of the config's class, for messages. */
  readonly config: string;
  readonly fields: () => Zod.ZodObject;
  readonly foreign: ForeignOptions;
  /** Its values are a `Script`. */
  readonly scriptSchema: Zod.ZodObject;
  readonly scriptGroups: Readonly<Record<string, readonly string[]>>;
  /** The same key under another name; a list of one is that one. */
  readonly aliases: Readonly<Record<string, string>>;
  /** Mean nothing here: name → why. */
  readonly ignoredKeys: Readonly<Record<string, string>>;
  /** What the script's keys say to the config, beside what all have in common. */
  readonly apply: (script: Script, config: Values, notices: Notices) => void;
  readonly create: (options: Values) => Args;
  /** JSON Schemas of keys that are not as the config's schema has them, from that schema. */
  readonly refine: (schemas: ReadonlyMap<string, JsonObject>) => ReadonlyMap<string, JsonObject>;
}

export const TRAIN: Recipe<ScriptSettings, GRPOConfig> = {
  command: "train",
  trlCommand: "trl grpo",
  config: "GRPOConfig",
  fields: grpoSchema,
  foreign: grpoForeign,
  scriptSchema,
  scriptGroups,
  aliases,
  ignoredKeys: { ...ignoredInSampling, ...ignoredKeys },
  apply: (script, config, notices) => {
    applyRewardKeys(script, config);
    leaveOutColocation(config, notices);
    applyProcesses(script.num_processes, config, notices);
  },
  create: (options) => new GRPOConfig(options as GRPOConfigOptions),
  refine: (schemas) => {
    // GRPOConfig takes booleans before its schema sees them.
    const { default: fallback, ...choices } = schemas.get("scale_rewards") ?? {};
    const reward = [{ enum: Object.keys(namedRewards) }, { type: "string", pattern: "\\.[cm]?[jt]s(#.*)?$" }];
    return new Map<string, JsonObject>([
      ["scale_rewards", { default: fallback, anyOf: [choices, { type: "boolean" }] }],
      ["reward_funcs", { ...schemas.get("reward_funcs"), items: { anyOf: reward } }],
    ]);
  },
};

const FOR_BENCHMARKS = "it is for open-r1's benchmark jobs; rows have their own system messages";

export const SFT: Recipe<CommonSettings, SFTConfig> = {
  command: "sft",
  trlCommand: "trl sft",
  config: "SFTConfig",
  fields: sftSchema,
  foreign: sftForeign,
  scriptSchema: commonSchema,
  scriptGroups: commonGroups,
  aliases: { ...aliases, max_seq_length: "max_length", dataset_configs: "dataset_config" },
  ignoredKeys: { ...ignoredKeys, system_prompt: FOR_BENCHMARKS },
  apply: ({ num_processes: processes = 1 }, config) => {
    const { gradientAccumulationSteps: accumulation = 1 } = config;
    if (processes > 1) config.gradientAccumulationSteps = Number(accumulation) * processes;
  },
  create: (options) => new SFTConfig(options as SFTConfigOptions),
  refine: (schemas) => {
    const also = (name: string, value: string): [string, JsonObject] => {
      const schema = schemas.get(name) ?? {};
      return [name, { ...schema, enum: [...(Array.isArray(schema.enum) ? (schema.enum as unknown[]) : []), value] }];
    };
    return new Map([also("loss_type", "chunked_nll"), also("packing_strategy", "bfd-requeue")]);
  },
};
