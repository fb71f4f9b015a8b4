// LoraConfig: LoRA (arXiv 2106.09685) with the options of PEFT 0.21 under their names in camelCase, checked. What they mean on
// a model is lora-targets.ts's business, files are adapter-files.ts's.

import { badOption, checkBoolean, checkNumber, checkOneOf, checkOptionNames, namesOf } from "../../checks.js";
import { GrpoError, isSameName } from "../../errors.js";

/** How a fresh adapter begins; docs/lora.md describes each. */
export type LoraInit = boolean | "gaussian" | "pissa" | `pissa_niter_${number}` | "olora" | "orthogonal";

/** The options of LoraConfig; docs/lora.md describes each. */
export interface LoraOptions {
  /** Only "CAUSAL_LM"; PEFT writes it into adapter_config.json. */
  readonly taskType?: "CAUSAL_LM" | null;
  /** Rank of the update. Default 8. */
  readonly r?: number;
  /** The update is scaled by loraAlpha / r. Default 8. */
  readonly loraAlpha?: number;
  /** Dropout on the adapter's input, in training only. Default 0. */
  readonly loraDropout?: number;
  /**
   * Module names (the full path or its end after a dot), a regular expression for the whole path, or "all-linear". Default:
   * PEFT's for the architecture.
   */
  readonly targetModules?: readonly string[] | string | null;
  /** Modules to leave out, in the same two ways. They win over targetModules. */
  readonly excludeModules?: readonly string[] | string | null;
  /** Only these decoder layers, where targetModules lists names. */
  readonly layersToTransform?: readonly number[] | number | null;
  /** Name of the list of layers that layersToTransform counts in: "layers" in every family here. */
  readonly layersPattern?: readonly string[] | string | null;
  /** Other ranks for modules whose path ends with a name or matches a regular expression. */
  readonly rankPattern?: Readonly<Record<string, number>>;
  /** Another loraAlpha for modules whose path ends with a name or matches a regular expression. */
  readonly alphaPattern?: Readonly<Record<string, number>>;
  /** Scale by loraAlpha / √r instead. Default false. */
  readonly useRslora?: boolean;
  /** Weight-decomposed LoRA (arXiv 2402.09353): a magnitude for every output, and a direction. Default false. */
  readonly useDora?: boolean;
  /** Biases of linear layers to train: of none (default), all, or those of the target modules. */
  readonly bias?: "none" | "all" | "lora_only";
  /** Modules to train in full and to save with the adapter, such as "lm_head", "embed_tokens" or "norm". */
  readonly modulesToSave?: readonly string[] | null;
  /** Rows of the embedding to train: token ids, or ids by module name. */
  readonly trainableTokenIndices?: readonly number[] | Readonly<Record<string, readonly number[]>> | null;
  /** Keep the output layer of a tied model tied to what modulesToSave trains of the embedding. Default false. */
  readonly ensureWeightTying?: boolean;
  /** true (default): A Kaiming-uniform, B zero, so that a fresh adapter changes nothing; false: both random. */
  readonly initLoraWeights?: LoraInit;
}

const SUPPORTED = namesOf<LoraOptions>({
  taskType: true,
  r: true,
  loraAlpha: true,
  loraDropout: true,
  targetModules: true,
  excludeModules: true,
  layersToTransform: true,
  layersPattern: true,
  rankPattern: true,
  alphaPattern: true,
  useRslora: true,
  useDora: true,
  bias: true,
  modulesToSave: true,
  trainableTokenIndices: true,
  ensureWeightTying: true,
  initLoraWeights: true,
});

/** PEFT's other options, by name, so that the answer is "not supported" and not "unknown". */
const UNSUPPORTED: readonly string[] = [
  "fanInFanOut",
  "megatronConfig",
  "megatronCore",
  "loftqConfig",
  "evaConfig",
  "cordaConfig",
  "loraGaConfig",
  "veloraConfig",
  "aloraInvocationTokens",
  "useQalora",
  "qaloraGroupSize",
  "montecloraConfig",
  "layerReplication",
  "runtimeConfig",
  "loraBias",
  "targetParameters",
  "useBdlora",
  "arrowConfig",
  "kasaConfig",
];

/** PEFT's task types. */
const TASK_TYPES = ["CAUSAL_LM", "SEQ_CLS", "SEQ_2_SEQ_LM", "TOKEN_CLS", "QUESTION_ANS", "FEATURE_EXTRACTION"] as const;

const WHERE = "LoraConfig";

/** PEFT's LoraConfig: its options in camelCase, with its defaults and checks. docs/lora.md describes each. */
export class LoraConfig {
  readonly taskType: "CAUSAL_LM" | null;
  readonly r: number;
  readonly loraAlpha: number;
  readonly loraDropout: number;
  readonly targetModules: readonly string[] | string | null;
  readonly excludeModules: readonly string[] | string | null;
  readonly layersToTransform: readonly number[] | number | null;
  readonly layersPattern: readonly string[] | string | null;
  readonly rankPattern: Readonly<Record<string, number>>;
  readonly alphaPattern: Readonly<Record<string, number>>;
  readonly useRslora: boolean;
  readonly useDora: boolean;
  readonly bias: "none" | "all" | "lora_only";
  readonly modulesToSave: readonly string[] | null;
  readonly trainableTokenIndices: readonly number[] | Readonly<Record<string, readonly number[]>> | null;
  readonly ensureWeightTying: boolean;
  readonly initLoraWeights: LoraInit;

  /** Throws UNKNOWN_OPTION or BAD_OPTION, naming the option. */
  constructor(options: LoraOptions = {}) {
    const unsupported = UNSUPPORTED.find((name) => Object.keys(options ?? {}).some((key) => isSameName(key, name)));
    if (unsupported !== undefined) {
      throw new GrpoError("BAD_OPTION", `${WHERE}: ${unsupported} is an option of PEFT that is not supported here`, {
        hint: `leave it out; the options are ${SUPPORTED.join(", ")}`,
      });
    }
    checkOptionNames(WHERE, options, SUPPORTED, {
      positional: "write { r: …, loraAlpha: … }",
      names: { rank: "write r", alpha: "write loraAlpha", dropout: "write loraDropout", target: "write targetModules" },
    });
    this.taskType = checkTaskType(options.taskType);
    this.r = checkNumber(WHERE, "r", options.r ?? 8, RANK);
    this.loraAlpha = checkNumber(WHERE, "loraAlpha", options.loraAlpha ?? 8, ALPHA);
    this.loraDropout = checkDropout(options.loraDropout ?? 0);
    this.targetModules = checkNames("targetModules", options.targetModules, 'or "all-linear"');
    this.excludeModules = checkNames("excludeModules", options.excludeModules);
    this.layersToTransform = checkLayers(options.layersToTransform);
    this.layersPattern = checkNames("layersPattern", options.layersPattern);
    this.rankPattern = checkPattern("rankPattern", options.rankPattern, RANK);
    this.alphaPattern = checkPattern("alphaPattern", options.alphaPattern, ALPHA);
    this.useRslora = checkBoolean(WHERE, "useRslora", options.useRslora ?? false);
    this.useDora = checkBoolean(WHERE, "useDora", options.useDora ?? false);
    this.bias = checkOneOf(WHERE, "bias", options.bias ?? "none", ["none", "all", "lora_only"]);
    this.modulesToSave = checkModulesToSave(options.modulesToSave);
    this.trainableTokenIndices = checkTokens(options.trainableTokenIndices);
    this.ensureWeightTying = checkBoolean(WHERE, "ensureWeightTying", options.ensureWeightTying ?? false);
    this.initLoraWeights = checkInit(options.initLoraWeights ?? true);
    this.#checkTogether();
  }

  #checkTogether(): void {
    const { layersToTransform, layersPattern, targetModules } = this;
    if (layersPattern !== null && layersToTransform === null) {
      throw new GrpoError("BAD_OPTION", `${WHERE}: layersPattern acts only together with layersToTransform`);
    }
    if (layersToTransform !== null && typeof targetModules === "string") {
      throw new GrpoError("BAD_OPTION", `${WHERE}: layersToTransform needs targetModules to be a list of names`, {
        hint: "name the layers in the regular expression itself",
      });
    }
  }
}

type NumberRange = Parameters<typeof checkNumber>[3];
const RANK: NumberRange = { min: 1, integer: true };
const ALPHA: NumberRange = { min: 0, open: true };
const INDEX: NumberRange = { min: 0, integer: true };

function checkTaskType(value: unknown): "CAUSAL_LM" | null {
  if (value === undefined || value === null) return null;
  const known = checkOneOf(WHERE, "taskType", value, TASK_TYPES);
  if (known === "CAUSAL_LM") return known;
  throw new GrpoError("BAD_OPTION", `${WHERE}: taskType ${known} is not supported; only CAUSAL_LM is`);
}

function checkDropout(value: unknown): number {
  const dropout = checkNumber(WHERE, "loraDropout", value, { min: 0 });
  if (dropout < 1) return dropout;
  throw badOption(WHERE, "loraDropout", "at least 0 and below 1", value);
}

function isNameList(value: unknown): value is string[] {
  return Array.isArray(value) && value.length > 0 && value.every((name) => typeof name === "string" && name !== "");
}

/** A list of names or one string; `more` names what else is allowed. */
function checkNames(key: string, value: unknown, more = ""): readonly string[] | string | null {
  if (value === undefined || value === null) return null;
  if (typeof value === "string" && value !== "") return value;
  if (isNameList(value)) return [...value];
  throw badOption(WHERE, key, `a list of module names${more === "" ? " or" : ","} a regular expression${more}`, value);
}

function checkModulesToSave(value: unknown): readonly string[] | null {
  if (value === undefined || value === null || (Array.isArray(value) && value.length === 0)) return null;
  if (isNameList(value)) return [...value];
  throw badOption(WHERE, "modulesToSave", "a list of module names", value);
}

function checkLayers(value: unknown): readonly number[] | number | null {
  if (value === undefined || value === null || (Array.isArray(value) && value.length === 0)) return null;
  if (Array.isArray(value)) return value.map((layer) => checkNumber(WHERE, "layersToTransform", layer, INDEX));
  return checkNumber(WHERE, "layersToTransform", value, INDEX);
}

function checkPattern(key: string, value: unknown, range: NumberRange): Readonly<Record<string, number>> {
  if (value === undefined || value === null) return {};
  if (typeof value !== "object" || Array.isArray(value)) {
    throw badOption(WHERE, key, "an object of module name → number", value);
  }
  const entries = Object.entries(value).map(([name, number]): [string, number] => {
    return [name, checkNumber(WHERE, `${key}.${name}`, number, range)];
  });
  return Object.fromEntries(entries);
}

function checkTokens(value: unknown): LoraConfig["trainableTokenIndices"] {
  if (value === undefined || value === null) return null;
  if (Array.isArray(value)) return checkTokenIds("trainableTokenIndices", value);
  if (typeof value !== "object") {
    throw badOption(
      WHERE,
      "trainableTokenIndices",
      "a list of token ids, or an object of module name → token ids",
      value,
    );
  }
  const entries = Object.entries(value).map(([name, ids]): [string, readonly number[]] => {
    return [name, checkTokenIds(`trainableTokenIndices.${name}`, ids)];
  });
  if (entries.length > 0) return Object.fromEntries(entries);
  throw badOption(WHERE, "trainableTokenIndices", "given for one module at least", value);
}

function checkTokenIds(key: string, value: unknown): readonly number[] {
  if (!Array.isArray(value) || value.length === 0) throw badOption(WHERE, key, "a list of token ids", value);
  const ids = value.map((id) => checkNumber(WHERE, key, id, INDEX));
  const seen = new Set<number>();
  for (const id of ids) {
    if (seen.has(id)) throw new GrpoError("BAD_OPTION", `${WHERE}: ${key} has the token ${id} twice`);
    seen.add(id);
  }
  return ids;
}

function checkInit(value: unknown): LoraInit {
  if (typeof value === "boolean") return value;
  const named = (["gaussian", "pissa", "olora", "orthogonal"] as const).find((name) => name === value);
  if (named !== undefined) return named;
  const iterations = typeof value === "string" ? /^pissa_niter_(\d{1,4})$/.exec(value)?.[1] : undefined;
  if (iterations !== undefined && Number(iterations) > 0) return `pissa_niter_${Number(iterations)}`;
  const allowed = "true, false, gaussian, pissa, pissa_niter_N (N from 1), olora or orthogonal";
  throw badOption(WHERE, "initLoraWeights", allowed, value);
}
