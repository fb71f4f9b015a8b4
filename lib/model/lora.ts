// LoRA configuration (arXiv 2106.09685) with PEFT's options, and its resolution to the layers of a model by PEFT's matching
// rules (tuners_utils.check_target_module_exists, other.get_pattern_key). Files are adapter-files.ts's business.

import { GrpoError, reasonOf } from "../errors.js";
import type { NativeAdapterSpec, NativeLoraTarget } from "../native/native.js";
import { badOption, checkBoolean, checkNumber, checkOneOf, checkOptionNames, show } from "../options.js";
import { type LinearLayer, linearLayers, type ModelDescription } from "./families.js";

/** PEFT's task types. */
const TASK_TYPES = ["CAUSAL_LM", "SEQ_CLS", "SEQ_2_SEQ_LM", "TOKEN_CLS", "QUESTION_ANS", "FEATURE_EXTRACTION"] as const;

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
   * the family's, q_proj and v_proj.
   */
  readonly targetModules?: readonly string[] | string | null;
  /** Scale by loraAlpha / √r instead. Default false. */
  readonly useRslora?: boolean;
  /** true: A Kaiming-uniform, B zero, so that a fresh adapter changes nothing; false: both random. Default true. */
  readonly initLoraWeights?: boolean;
  /** Only "none". */
  readonly bias?: "none";
  /** Other ranks for modules whose path ends with a name or matches a regular expression. */
  readonly rankPattern?: Readonly<Record<string, number>>;
  /** Likewise for loraAlpha. */
  readonly alphaPattern?: Readonly<Record<string, number>>;
}

const SUPPORTED: readonly (keyof LoraOptions)[] = [
  ...(["taskType", "r", "loraAlpha", "loraDropout", "targetModules", "useRslora", "initLoraWeights", "bias"] as const),
  ...(["rankPattern", "alphaPattern"] as const),
];

/** PEFT's other options, by name, so that the answer is "not supported" and not "unknown". */
const UNSUPPORTED: readonly string[] = [
  ...["excludeModules", "fanInFanOut", "modulesToSave", "layersToTransform", "layersPattern", "megatronConfig"],
  ...["megatronCore", "trainableTokenIndices", "loftqConfig", "evaConfig", "cordaConfig", "loraGaConfig", "useDora"],
  ...["veloraConfig", "aloraInvocationTokens", "useQalora", "qaloraGroupSize", "montecloraConfig", "layerReplication"],
  ...["runtimeConfig", "loraBias", "targetParameters", "useBdlora", "arrowConfig", "kasaConfig", "ensureWeightTying"],
];

const WHERE = "LoraConfig";

export class LoraConfig {
  readonly taskType: "CAUSAL_LM" | null;
  readonly r: number;
  readonly loraAlpha: number;
  readonly loraDropout: number;
  readonly targetModules: readonly string[] | string | null;
  readonly useRslora: boolean;
  readonly initLoraWeights: boolean;
  readonly bias: "none";
  readonly rankPattern: Readonly<Record<string, number>>;
  readonly alphaPattern: Readonly<Record<string, number>>;

  /** Throws UNKNOWN_OPTION or BAD_OPTION, naming the option. */
  constructor(options: LoraOptions = {}) {
    const unsupported = Object.keys(options ?? {}).find((key) => UNSUPPORTED.includes(key));
    if (unsupported !== undefined) {
      throw new GrpoError("BAD_OPTION", `${WHERE}: ${unsupported} is an option of PEFT that is not supported here.`, {
        hint: `Supported: ${SUPPORTED.join(", ")}.`,
      });
    }
    checkOptionNames(WHERE, options, SUPPORTED);
    this.taskType = checkTaskType(options.taskType);
    this.r = checkNumber(WHERE, "r", options.r ?? 8, { min: 1, integer: true });
    this.loraAlpha = checkNumber(WHERE, "loraAlpha", options.loraAlpha ?? 8, { min: 0, open: true });
    this.loraDropout = checkDropout(options.loraDropout ?? 0);
    this.targetModules = checkTargets(options.targetModules ?? null);
    this.useRslora = checkBoolean(WHERE, "useRslora", options.useRslora ?? false);
    const init: unknown = options.initLoraWeights ?? true;
    if (typeof init !== "boolean") throw badOption(WHERE, "initLoraWeights", "true or false", init);
    this.initLoraWeights = init;
    this.bias = checkOneOf(WHERE, "bias", options.bias ?? "none", ["none"]);
    this.rankPattern = checkPattern("rankPattern", options.rankPattern, { min: 1, integer: true });
    this.alphaPattern = checkPattern("alphaPattern", options.alphaPattern, { min: 0, open: true });
  }
}

function checkTaskType(value: unknown): "CAUSAL_LM" | null {
  if (value === undefined || value === null) return null;
  const known = checkOneOf(WHERE, "taskType", value, TASK_TYPES);
  if (known === "CAUSAL_LM") return known;
  throw new GrpoError("BAD_OPTION", `${WHERE}: taskType ${known} is not supported; only CAUSAL_LM is.`);
}

function checkDropout(value: unknown): number {
  const dropout = checkNumber(WHERE, "loraDropout", value, { min: 0 });
  if (dropout < 1) return dropout;
  throw badOption(WHERE, "loraDropout", "at least 0 and below 1", value);
}

function checkTargets(value: unknown): readonly string[] | string | null {
  if (value === null) return null;
  if (typeof value === "string" && value !== "") return value;
  const isList = Array.isArray(value) && value.length > 0 && value.every((name) => typeof name === "string");
  if (isList) return [...value];
  throw badOption(WHERE, "targetModules", 'a list of module names, a regular expression, or "all-linear"', value);
}

function checkPattern(
  key: string,
  value: unknown,
  range: Parameters<typeof checkNumber>[3],
): Readonly<Record<string, number>> {
  if (value === undefined || value === null) return {};
  if (typeof value !== "object" || Array.isArray(value)) {
    throw badOption(WHERE, key, "an object of module name → number", value);
  }
  const entries = Object.entries(value).map(([name, number]): [string, number] => {
    return [name, checkNumber(WHERE, `${key}.${name}`, number, range)];
  });
  return Object.fromEntries(entries);
}

/** An adapter as it lies on a model. */
export interface ResolvedLora {
  readonly config: LoraConfig;
  readonly spec: NativeAdapterSpec;
  /** Shape of every adapter tensor by engine name: A [r, in], B [out, r]. */
  readonly shapes: ReadonlyMap<string, readonly number[]>;
  readonly parameters: number;
}

/** Finds the layers that the configuration means. Throws BAD_OPTION if a name or pattern means none. */
export function resolveLora(config: LoraConfig, model: ModelDescription, seed: number): ResolvedLora {
  const layers = matchTargets(config.targetModules ?? model.loraTargets, linearLayers(model.native));
  const rankOf = patternLookup("rankPattern", config.rankPattern, config.r);
  const alphaOf = patternLookup("alphaPattern", config.alphaPattern, config.loraAlpha);
  const shapes = new Map<string, readonly number[]>();
  const targets = layers.map(({ module, in: inSize, out }): NativeLoraTarget => {
    const rank = rankOf(module);
    shapes.set(`${module}.lora_A.weight`, [rank, inSize]);
    shapes.set(`${module}.lora_B.weight`, [out, rank]);
    return { module, rank, scaling: alphaOf(module) / (config.useRslora ? Math.sqrt(rank) : rank) };
  });
  const parameters = [...shapes.values()].reduce((sum, [rows = 0, columns = 0]) => sum + rows * columns, 0);
  const init = config.initLoraWeights ? "default" : "random";
  const none = { initIterations: 0, dora: false, biases: [], fullModules: [], tokenRows: [], tieOutput: false };
  const spec: NativeAdapterSpec = { targets, dropout: config.loraDropout, init, ...none, seed };
  return { config, spec, shapes, parameters };
}

/** The layers that `targets` means, by PEFT's rules, in the order of the model. */
function matchTargets(targets: readonly string[] | string, layers: readonly LinearLayer[]): readonly LinearLayer[] {
  if (typeof targets === "string") {
    // PEFT reads the shorthand in any case, and every other string as a pattern for the whole path.
    if (targets.toLowerCase() === "all-linear") return layers;
    const pattern = pythonPattern("targetModules", `(?:${targets})`, "^", "$");
    const matched = layers.filter(({ module }) => pattern.test(module));
    if (matched.length > 0) return matched;
    const hint = `A string is a regular expression for the whole path, such as ${layers[0]?.module}; ${namesHint(layers)}`;
    throw new GrpoError("BAD_OPTION", `${WHERE}: targetModules ${show(targets)} matches no layer.`, { hint });
  }
  const means = (target: string, module: string) => module === target || module.endsWith(`.${target}`);
  const idle = targets.find((target) => !layers.some(({ module }) => means(target, module)));
  if (idle !== undefined) {
    throw new GrpoError("BAD_OPTION", `${WHERE}: targetModules names ${show(idle)}, which matches no linear layer.`, {
      hint: namesHint(layers),
    });
  }
  return layers.filter(({ module }) => targets.some((target) => means(target, module)));
}

function namesHint(layers: readonly LinearLayer[]): string {
  const names = new Set(layers.map(({ module }) => module.slice(module.lastIndexOf(".") + 1)));
  return `Layers that can carry an adapter: ${[...names].join(", ")}.`;
}

/** The value for a module: of the first pattern that its path ends with, or the fallback. */
function patternLookup(
  option: string,
  patterns: Readonly<Record<string, number>>,
  fallback: number,
): (module: string) => number {
  const compiled = Object.entries(patterns).map(([source, value]) => {
    return { expression: pythonPattern(option, `(?:${source})`, "^(?:.*\\.)?", "$"), value };
  });
  return (module) => compiled.find(({ expression }) => expression.test(module))?.value ?? fallback;
}

/** A pattern of Python's re as a RegExp. Syntax that the two spell differently is translated; other Python-only syntax fails. */
function pythonPattern(option: string, source: string, before: string, after: string): RegExp {
  const translated = source.replace(/\\[AZ]|\\.|\(\?P<|\(\?P=(\w+)\)|\{,(\d+)\}/g, (part, name, limit) => {
    if (part === "\\A") return "^";
    if (part === "\\Z") return "$";
    if (part === "(?P<") return "(?<";
    if (name !== undefined) return `\\k<${name}>`;
    return limit === undefined ? part : `{0,${limit}}`;
  });
  try {
    return new RegExp(`${before}${translated}${after}`);
  } catch (cause) {
    const what = `${option} ${show(source.slice(3, -1))} is not a regular expression that can be used here`;
    throw new GrpoError("BAD_OPTION", `${WHERE}: ${what}: ${reasonOf(cause)}`, { cause });
  }
}
