// An adapter on disk, in PEFT's format: adapter_config.json with the keys of PEFT 0.21 in its order, the names of the tensors
// in adapter_model.safetensors, and the model card. Reading is strict: an option of PEFT that would change the result and is not
// supported is refused by name, and every tensor must find its place. What PEFT passes over is told, and passed over.

import path from "node:path";
import { show } from "../../checks.js";
import { GrpoError } from "../../errors.js";
import { isJsonObject, type JsonObject, readJsonObject } from "../../json.js";
import type { NativeTensorTable } from "../../native/native.js";
import { warn } from "../../output.js";
import { linearLayers, type ModelDescription, shapeText } from "../families/families.js";
import { readHeader, type SafetensorsFile, tableOf } from "../files/safetensors.js";
import { LoraConfig } from "./lora.js";
import { modulesToSave, type ResolvedLora, resolveLora } from "./lora-resolve.js";
import { isAllLinear } from "./lora-targets.js";

export const ADAPTER_CONFIG = "adapter_config.json";
export const ADAPTER_WEIGHTS = "adapter_model.safetensors";

const PEFT_VERSION = "0.21.2";
const HINT = "check that the adapter was saved for this base model";
const MIN_PATHS_TO_SHORTEN = 20;
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

/** Keys that describe the file, were used before training, or mean layers of other kinds: they do not change what the adapter computes. */
const INFORMATIVE: readonly string[] = [
  "auto_mapping",
  "base_model_name_or_path",
  "inference_mode",
  "peft_version",
  "revision",
  "runtime_config",
  "megatron_core",
  "qalora_group_size",
  "fan_in_fan_out",
  "eva_config",
  "corda_config",
  "lora_ga_config",
  "loftq_config",
];

/** Initialisations that need data: what they make are pairs like any others, and loading takes those from the file. */
const DATA_DRIVEN_INITS: readonly unknown[] = ["eva", "lora_ga", "mica"];

/** Keys that LoraConfig takes, under its own names. */
const OPTION_OF: Readonly<Record<string, keyof LoraConfig>> = {
  task_type: "taskType",
  r: "r",
  lora_alpha: "loraAlpha",
  lora_dropout: "loraDropout",
  target_modules: "targetModules",
  exclude_modules: "excludeModules",
  layers_to_transform: "layersToTransform",
  layers_pattern: "layersPattern",
  rank_pattern: "rankPattern",
  alpha_pattern: "alphaPattern",
  use_rslora: "useRslora",
  use_dora: "useDora",
  bias: "bias",
  modules_to_save: "modulesToSave",
  trainable_token_indices: "trainableTokenIndices",
  ensure_weight_tying: "ensureWeightTying",
  init_lora_weights: "initLoraWeights",
};

/** The content of adapter_config.json, as PEFT writes it when it saves a trained adapter. */
export function writeAdapterConfig(config: LoraConfig, model: ModelDescription, baseModel: string | null): string {
  const mapping = { base_model_class: model.architecture, parent_library: model.module };
  const values: JsonObject = {
    ...DEFAULTS,
    ...Object.fromEntries(Object.entries(OPTION_OF).map(([key, option]) => [key, config[option]])),
    target_modules: savedTargets(config, model),
    modules_to_save: savedModules(config, model),
    auto_mapping: config.taskType === null ? mapping : null,
    base_model_name_or_path: baseModel,
    inference_mode: true,
    peft_type: "LORA",
    peft_version: PEFT_VERSION,
  };
  return `${JSON.stringify(values, null, 2)}\n`;
}

/** As PEFT does, "all-linear" is written out, as paths or, from twenty on, as the ends of paths that suffice. */
function savedTargets({ targetModules }: LoraConfig, model: ModelDescription): readonly string[] | string {
  if (!isAllLinear(targetModules)) return targetModules ?? model.loraTargets;
  const paths = linearLayers(model.native).map(({ module }) => module);
  if (paths.length < MIN_PATHS_TO_SHORTEN) return paths;
  return [...new Set(paths.map((path) => path.slice(path.lastIndexOf(".") + 1)))];
}

function savedModules(config: LoraConfig, model: ModelDescription): readonly string[] | null {
  return config.modulesToSave && modulesToSave(config, model.native).modules;
}

/** Reads a folder as PEFT writes it: what the adapter is on this model, and where its tensors lie. Throws BAD_ADAPTER. */
export async function readAdapter(
  folder: string,
  model: ModelDescription,
): Promise<{ readonly adapter: ResolvedLora; readonly table: NativeTensorTable }> {
  const file = path.join(folder, ADAPTER_CONFIG);
  const json = await asBadAdapterFile(readJsonObject(file, "BAD_ADAPTER"));
  const adapter = resolveAdapter(readAdapterConfig(json, file), model, file);
  for (const note of [...unknownKeys(json), ...adapter.idle.map(inFile)]) warn(`${file}: ${note}`);
  const stored = await asBadAdapterFile(readHeader(path.join(folder, ADAPTER_WEIGHTS)));
  return { adapter, table: matchAdapter(stored, adapter) };
}

/** What is wrong with a file of an adapter is wrong with the adapter. */
async function asBadAdapterFile<T>(reading: Promise<T>): Promise<T> {
  try {
    return await reading;
  } catch (cause) {
    if (!(cause instanceof GrpoError)) throw cause;
    const [text = ""] = cause.message.split("\n");
    throw new GrpoError("BAD_ADAPTER", text, {
      cause,
      hint: "give a folder as PEFT's save_pretrained writes it",
    });
  }
}

/** Reads adapter_config.json; `file` is for messages. Missing keys have PEFT's defaults. Throws BAD_ADAPTER. */
export function readAdapterConfig(json: JsonObject, file: string): LoraConfig {
  if (json.peft_type !== "LORA") throw bad(file, `peft_type must be "LORA", found ${show(json.peft_type)}`);
  for (const [key, value] of Object.entries(json)) {
    if (key === "peft_type" || INFORMATIVE.includes(key) || Object.hasOwn(OPTION_OF, key)) continue;
    if (isOff(value) || !Object.hasOwn(DEFAULTS, key)) continue;
    throw bad(file, `${key} is ${show(value)}, which is not supported`);
  }
  const options = Object.entries(OPTION_OF).flatMap(([key, option]) => {
    const value = json[key];
    return value === undefined || value === null ? [] : [[option, optionValue(option, value)]];
  });
  return asBadAdapter(file, () => new LoraConfig(Object.fromEntries(options)));
}

/** PEFT reads the names of some initialisations in any case. */
function optionValue(option: keyof LoraConfig, value: unknown): unknown {
  if (option !== "initLoraWeights" || typeof value !== "string") return value;
  return DATA_DRIVEN_INITS.includes(value) ? true : value.toLowerCase();
}

/** Trainers add keys of their own, which PEFT passes over. */
function unknownKeys(json: JsonObject): string[] {
  return Object.entries(json)
    .filter(([key, value]) => !Object.hasOwn(DEFAULTS, key) && !INFORMATIVE.includes(key) && !isOff(value))
    .map(([key, value]) => `${key} ${show(value)} is not an option of PEFT; it is ignored`);
}

/** The layers of the model that the adapter in `file` means. Throws BAD_ADAPTER. */
export function resolveAdapter(config: LoraConfig, model: ModelDescription, file: string): ResolvedLora {
  return asBadAdapter(file, () => resolveLora(config, model, 0, false));
}

/** An option that is wrong is named as the file has it. */
function asBadAdapter<T>(file: string, read: () => T): T {
  try {
    return read();
  } catch (cause) {
    if (!(cause instanceof GrpoError)) throw cause;
    const [text = ""] = cause.message.replace(/^LoraConfig: /, "").split("\n");
    throw new GrpoError("BAD_ADAPTER", `${file}: ${inFile(text)}`, { cause, hint: HINT });
  }
}

/** A message about options, with their names in the file. */
function inFile(text: string): string {
  return Object.entries(OPTION_OF).reduce((message, [key, option]) => {
    return message.replace(new RegExp(`\\b${option}\\b`, "g"), key);
  }, text);
}

/** Every option is off in one of these ways by default, in PEFT's older and newer versions alike. */
function isOff(value: unknown): boolean {
  if (value === null || value === false) return true;
  if (Array.isArray(value)) return value.length === 0;
  return isJsonObject(value) && Object.keys(value).length === 0;
}

/** The stored tensors under the engine's names. Every one must be expected, and every expected one stored. */
export function matchAdapter(stored: SafetensorsFile, adapter: ResolvedLora): NativeTensorTable {
  const { file } = stored;
  const table = tableOf([stored]);
  const named = table.tensors.map((tensor) => ({ ...tensor, name: plainName(tensor.name) }));
  const names = new Set(named.map(({ name }) => name));
  if (names.size < named.length) throw bad(file, "it has a tensor under two names, with and without .default");
  const expected = [...adapter.tensors].flatMap(([name, { shape, fileNames }]) => {
    return fileNames.map((fileName, copy): [string, Expected] => [fileName, { name, shape, isCopy: copy > 0 }]);
  });
  const missing = expected.filter(([fileName]) => !names.has(fileName));
  if (missing.length > 0) {
    const more = missing.length > 1 ? ` and ${missing.length - 1} more` : "";
    throw bad(file, `tensor ${missing[0]?.[0]}${more} missing`);
  }
  const places = new Map<string, Expected>([...adapter.baseCopies, ...expected]);
  const tensors = named.flatMap((tensor) => {
    const place = places.get(tensor.name);
    if (place === undefined)
      throw bad(file, `tensor ${tensor.name} does not belong to anything that ${ADAPTER_CONFIG} names`);
    if (shapeText(place.shape) !== shapeText(tensor.shape)) {
      const found = `expected shape ${shapeText(place.shape)}, found ${shapeText(tensor.shape)}`;
      throw bad(file, `tensor ${tensor.name}: ${found}`);
    }
    if (!["F32", "BF16", "F16", "F64"].includes(tensor.dtype)) {
      throw bad(file, `tensor ${tensor.name}: dtype ${tensor.dtype} is not supported`);
    }
    return place.isCopy ? [] : [{ ...tensor, name: place.name }];
  });
  return { files: table.files, tensors };
}

/** PEFT also takes the names that its modules have in memory, where the adapter "default" is a level of its own. */
function plainName(name: string): string {
  return name.replace(/(\.lora_\w+)\.default(\.weight)?$/, "$1$2").replace(/(\.lora_magnitude_vector)\.weight$/, "$1");
}

interface Expected {
  readonly name: string;
  readonly shape: readonly number[];
  /** PEFT keeps a tied tensor under both of its names, with the same content. */
  readonly isCopy?: boolean;
}

function bad(file: string, what: string): GrpoError {
  return new GrpoError("BAD_ADAPTER", `${file}: ${what}`, { hint: HINT });
}
