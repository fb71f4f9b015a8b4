// An adapter on disk, in PEFT's format: adapter_config.json with the keys of PEFT 0.21 in its order, the names of the tensors
// in adapter_model.safetensors, and the model card. Reading is strict: an option that would change the result and is not
// supported is refused by name, and every tensor must find its place.

import { GrpoError } from "../errors.js";
import { isJsonObject, type JsonObject } from "../json.js";
import type { NativeTensorTable } from "../native/native.js";
import { show } from "../options.js";
import { linearLayers, type ModelDescription, shapeText } from "./families.js";
import { LoraConfig, type ResolvedLora, resolveLora } from "./lora.js";
import { type SafetensorsFile, tableOf } from "./safetensors.js";

export const ADAPTER_CONFIG = "adapter_config.json";
export const ADAPTER_WEIGHTS = "adapter_model.safetensors";

const PEFT_VERSION = "0.21.0";
const PREFIX = "base_model.model.";

/** The name in a PEFT file of an engine's adapter tensor ("model.layers.0.self_attn.q_proj.lora_A.weight"). */
export function peftName(nativeName: string): string {
  return `${PREFIX}${nativeName}`;
}

/** Every key that PEFT 0.21 writes, in its (sorted) order, with its default. */
const DEFAULTS: JsonObject = {
  alora_invocation_tokens: null,
  alpha_pattern: {},
  arrow_config: null,
  auto_mapping: null,
  base_model_name_or_path: null,
  bias: "none",
  corda_config: null,
  ensure_weight_tying: false,
  eva_config: null,
  exclude_modules: null,
  fan_in_fan_out: false,
  inference_mode: false,
  init_lora_weights: true,
  kasa_config: null,
  layer_replication: null,
  layers_pattern: null,
  layers_to_transform: null,
  loftq_config: {},
  lora_alpha: 8,
  lora_bias: false,
  lora_dropout: 0,
  lora_ga_config: null,
  megatron_config: null,
  megatron_core: "megatron.core",
  modules_to_save: null,
  monteclora_config: null,
  peft_type: null,
  peft_version: null,
  qalora_group_size: 16,
  r: 8,
  rank_pattern: {},
  revision: null,
  target_modules: null,
  target_parameters: null,
  task_type: null,
  trainable_token_indices: null,
  use_bdlora: null,
  use_dora: false,
  use_qalora: false,
  use_rslora: false,
  velora_config: null,
};

/** Keys that describe the file or were used before training, and do not change what the adapter computes. */
const INFORMATIVE: readonly string[] = [
  ...["auto_mapping", "base_model_name_or_path", "inference_mode", "peft_version", "revision", "runtime_config"],
  ...["megatron_core", "qalora_group_size"],
];

/** Keys that LoraConfig takes, under its own names. */
const OPTION_OF: Readonly<Record<string, string>> = {
  task_type: "taskType",
  r: "r",
  lora_alpha: "loraAlpha",
  lora_dropout: "loraDropout",
  target_modules: "targetModules",
  use_rslora: "useRslora",
  init_lora_weights: "initLoraWeights",
  bias: "bias",
  rank_pattern: "rankPattern",
  alpha_pattern: "alphaPattern",
};

/** The content of adapter_config.json, as PEFT writes it when it saves a trained adapter. */
export function writeAdapterConfig(config: LoraConfig, model: ModelDescription, baseModel: string | null): string {
  const mapping = { base_model_class: model.architecture, parent_library: model.module };
  const values: JsonObject = {
    ...DEFAULTS,
    ...Object.fromEntries(Object.entries(OPTION_OF).map(([key, option]) => [key, Reflect.get(config, option)])),
    target_modules: savedTargets(config, model),
    auto_mapping: config.taskType === null ? mapping : null,
    base_model_name_or_path: baseModel,
    inference_mode: true,
    peft_type: "LORA",
    peft_version: PEFT_VERSION,
  };
  return `${JSON.stringify(values, null, 2)}\n`;
}

/** As PEFT does, "all-linear" is written out: other readers do not know it. */
function savedTargets({ targetModules }: LoraConfig, model: ModelDescription): readonly string[] | string {
  if (typeof targetModules !== "string" || targetModules.toLowerCase() !== "all-linear") {
    return targetModules ?? model.loraTargets;
  }
  return [...new Set(linearLayers(model.native).map(({ module }) => module.slice(module.lastIndexOf(".") + 1)))];
}

/** Reads adapter_config.json; `file` is for messages. Missing keys have PEFT's defaults. Throws BAD_ADAPTER. */
export function readAdapterConfig(json: JsonObject, file: string): LoraConfig {
  if (json.peft_type !== "LORA") throw bad(file, `peft_type must be "LORA", found ${show(json.peft_type)}`);
  for (const [key, value] of Object.entries(json)) {
    if (key === "peft_type" || INFORMATIVE.includes(key) || Object.hasOwn(OPTION_OF, key)) continue;
    if (isOff(value)) continue;
    throw bad(file, `${key} is ${show(value)}, which is not supported`);
  }
  const options = Object.entries(OPTION_OF).flatMap(([key, option]) => {
    const value = key === "init_lora_weights" ? initialisation(json[key], file) : json[key];
    return value === undefined || value === null ? [] : [[option, value]];
  });
  return asBadAdapter(file, () => new LoraConfig(Object.fromEntries(options)));
}

/** The layers of the model that the adapter in `file` means. Throws BAD_ADAPTER. */
export function resolveAdapter(config: LoraConfig, model: ModelDescription, file: string): ResolvedLora {
  return asBadAdapter(file, () => resolveLora(config, model, 0));
}

function asBadAdapter<T>(file: string, read: () => T): T {
  try {
    return read();
  } catch (cause) {
    if (!(cause instanceof GrpoError)) throw cause;
    throw new GrpoError("BAD_ADAPTER", `${file}: ${cause.message}`, { cause });
  }
}

/** Every option that we do not know is off in one of these ways by default, in PEFT's older and newer versions alike. */
function isOff(value: unknown): boolean {
  if (value === null || value === false) return true;
  if (Array.isArray(value)) return value.length === 0;
  return isJsonObject(value) && Object.keys(value).length === 0;
}

/** How the weights began does not matter once they are stored, unless the base model was changed with them (PiSSA and its kin). */
function initialisation(value: unknown, file: string): boolean | undefined {
  if (value === undefined || typeof value === "boolean") return value;
  if (value === "gaussian") return true;
  throw bad(file, `init_lora_weights is ${show(value)}, which is not supported`);
}

/** The stored tensors under the engine's names. Every one must be expected, and every expected one stored. */
export function matchAdapter(stored: SafetensorsFile, adapter: ResolvedLora): NativeTensorTable {
  const { file } = stored;
  const missing = [...adapter.shapes.keys()].filter((name) => !stored.tensors.has(peftName(name)));
  if (missing.length > 0) {
    const more = missing.length > 1 ? ` and ${missing.length - 1} more` : "";
    throw bad(file, `tensor ${peftName(missing[0] ?? "")}${more} missing`);
  }
  const table = tableOf([stored]);
  const tensors = table.tensors.map((tensor) => {
    const name = tensor.name.startsWith(PREFIX) ? tensor.name.slice(PREFIX.length) : tensor.name;
    const shape = tensor.name.startsWith(PREFIX) ? adapter.shapes.get(name) : undefined;
    if (shape === undefined) throw bad(file, `tensor ${tensor.name} belongs to no target module of ${ADAPTER_CONFIG}`);
    if (shapeText(shape) !== shapeText(tensor.shape)) {
      throw bad(file, `tensor ${tensor.name}: expected shape ${shapeText(shape)}, found ${shapeText(tensor.shape)}`);
    }
    if (!["F32", "BF16", "F16", "F64"].includes(tensor.dtype)) {
      throw bad(file, `tensor ${tensor.name}: dtype ${tensor.dtype} is not supported`);
    }
    return { ...tensor, name };
  });
  return { files: table.files, tensors };
}

function bad(file: string, what: string): GrpoError {
  return new GrpoError("BAD_ADAPTER", `${file}: ${what}.`, {
    hint: "Check that the adapter was saved for this base model.",
  });
}
