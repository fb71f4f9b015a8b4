// Which modules of a model a LoraConfig means, by PEFT's rules (tuners_utils.check_target_module_exists and
// _maybe_include_all_linear_layers, other.get_pattern_key, other._set_trainable). A name or pattern that means nothing is an error
// in options that a user writes; in a downloaded adapter it is let pass as PEFT does, since every tensor must find its place.

import { at } from "../../at.js";
import { show } from "../../checks.js";
import { GrpoError } from "../../errors.js";
import type { LinearLayer, ModelDescription } from "../families/families.js";
import { linearLayers, loraModules, tensorsByModule } from "../families/module-table.js";
import type { LoraConfig } from "./lora.js";
import { matchPatterns } from "./python-pattern.js";

/** Every module but the root: those with tensors, and those that contain them. */
function allModules(leaves: Iterable<string>): string[] {
  const names = new Set<string>();
  for (const leaf of leaves) {
    const parts = leaf.split(".");
    for (let end = 1; end <= parts.length; end++) names.add(parts.slice(0, end).join("."));
  }
  return [...names];
}

/** The modules that get a LoRA pair, in the order of the model. Throws BAD_OPTION. */
export function matchTargets(config: LoraConfig, model: ModelDescription, strict: boolean): readonly LinearLayer[] {
  const carriers = loraModules(model.native);
  const names = allModules(tensorsByModule(model.native).keys());
  const excluded = matchExcluded(config, names, strict);
  const targeted = matchTargeted(config, model, names, strict);
  const matched = new Set(names.filter((name) => targeted.has(name) && !excluded.has(name)));
  const found = carriers.filter(({ module }) => matched.delete(module));
  const [unfit] = matched;
  if (unfit !== undefined) {
    throw bad(`targetModules ${show(config.targetModules)} matches ${unfit}, which is not a linear layer`, carriers);
  }
  if (found.length === 0) {
    const left = targeted.size > 0 ? " that excludeModules and modulesToSave leave over" : "";
    throw bad(`targetModules ${show(config.targetModules)} matches no layer${left}`, carriers);
  }
  return found;
}

/** excludeModules, and what modulesToSave names or what lies in it: a module is either adapted or trained in full. */
function matchExcluded(config: LoraConfig, names: readonly string[], strict: boolean): ReadonlySet<string> {
  const { excludeModules: excluded, modulesToSave } = config;
  const matched = new Set(matchNames("excludeModules", excluded ?? [], names));
  if (strict && excluded !== null && matched.size === 0) {
    throw bad(`excludeModules ${show(excluded)} matches no module`);
  }
  for (const name of names) {
    const path = `.${name}.`;
    if (modulesToSave?.some((saved) => path.includes(`.${saved}.`))) matched.add(name);
  }
  return matched;
}

function matchTargeted(
  config: LoraConfig,
  model: ModelDescription,
  names: readonly string[],
  strict: boolean,
): ReadonlySet<string> {
  const targets = config.targetModules ?? model.loraTargets;
  if (targets.length === 0) {
    throw bad(`targetModules must be given: PEFT has no default for ${model.modelType}`, loraModules(model.native));
  }
  if (isAllLinear(targets)) return new Set(linearLayers(model.native).map(({ module }) => module));
  const matched = matchNames("targetModules", targets, names);
  if (typeof targets === "string") return new Set(matched);
  const idle = targets.find((target) => !matched.some((name) => isNamed(name, target)));
  if (strict && idle !== undefined) {
    throw bad(`targetModules names ${show(idle)}, which matches no linear layer`, loraModules(model.native));
  }
  return new Set(inLayers(config, targets, matched, strict));
}

/** PEFT reads the shorthand in any case. */
export function isAllLinear(targets: readonly string[] | string | null): boolean {
  return typeof targets === "string" && targets.toLowerCase() === "all-linear";
}

/** A list holds full paths or ends of them; a string is a pattern for the whole path. */
function matchNames(option: string, wanted: readonly string[] | string, names: readonly string[]): readonly string[] {
  if (typeof wanted !== "string") return names.filter((name) => wanted.some((target) => isNamed(name, target)));
  const [matches = []] = matchPatterns(option, "whole", [wanted], names);
  return names.filter((_, i) => matches[i]);
}

function isNamed(name: string, target: string): boolean {
  return name === target || name.endsWith(`.${target}`);
}

/** What layersToTransform leaves of the matched modules. A target that is the full path is meant whatever its layer. */
function inLayers(
  { layersToTransform, layersPattern }: LoraConfig,
  targets: readonly string[],
  matched: readonly string[],
  strict: boolean,
): readonly string[] {
  if (layersToTransform === null) return matched;
  const layers = typeof layersToTransform === "number" ? [layersToTransform] : layersToTransform;
  const layerOf = (name: string) => Number(/^model\.layers\.(\d+)\./.exec(name)?.[1] ?? -1);
  const lists = typeof layersPattern === "string" ? [layersPattern] : layersPattern;
  const inList = lists === null ? [] : matchPatterns("layersPattern", "layers", lists, matched);
  const idle = layers.find((layer) => !matched.some((name) => layerOf(name) === layer));
  if (strict && idle !== undefined) throw bad(`layersToTransform names layer ${idle}, which has no target module`);
  return matched.filter((name, i) => {
    if (targets.includes(name)) return true;
    return layers.includes(layerOf(name)) && (lists === null || inList.some((matches) => matches[i]));
  });
}

type PatternOption = "rankPattern" | "alphaPattern";

/** For each pattern of the option that no module matches, words that say so. */
export function idlePatterns(option: PatternOption, config: LoraConfig, modules: readonly string[]): string[] {
  const patterns = Object.keys(config[option]);
  const matches = matchPatterns(option, "end", patterns, modules);
  return patterns
    .filter((_, p) => !matches[p]?.includes(true))
    .map((pattern) => `${option} ${show(pattern)} matches none of the target modules`);
}

/** The value for each module: of the first pattern that the end of its path matches, or the fallback. */
export function matchPatternValues(
  option: PatternOption,
  patterns: Readonly<Record<string, number>>,
  fallback: number,
  modules: readonly string[],
): (module: string) => number {
  const entries = Object.entries(patterns);
  const matches = matchPatterns(option, "end", Object.keys(patterns), modules);
  const values = modules.map((_, m) => entries[matches.findIndex((row) => row[m])]?.[1]);
  return (module) => values[modules.indexOf(module)] ?? fallback;
}

/**
 * The modules with tensors that PEFT's modules_to_save means, in the order of the model. A name means every module whose path
 * ends with it, dot or not ("norm" means input_layernorm too), and everything in it.
 */
export function matchModulesToSave(
  wanted: readonly string[],
  leaves: ReadonlyMap<string, unknown>,
  strict: boolean,
): string[] {
  const roots = allModules(leaves.keys()).filter((name) => wanted.some((end) => name.endsWith(end)));
  const idle = wanted.find((end) => !roots.some((name) => name.endsWith(end)));
  if (strict && idle !== undefined) throw bad(`modulesToSave names ${show(idle)}, which matches no module`);
  return [...leaves.keys()].filter((leaf) => roots.some((root) => leaf === root || leaf.startsWith(`${root}.`)));
}

/** BAD_OPTION; `carriers` for a hint that names what could be meant. */
export function bad(what: string, carriers?: readonly LinearLayer[]): GrpoError {
  const names = new Set(carriers?.map(({ module }) => module.slice(module.lastIndexOf(".") + 1)));
  const hint =
    carriers === undefined
      ? {}
      : {
          hint:
            `a list holds full paths or their ends, a string is a regular expression for the whole path; ` +
            `layers that can carry an adapter: ${[...names].join(", ")}, such as ${at(carriers, 1).module}`,
        };
  return new GrpoError("BAD_OPTION", `LoraConfig: ${what}`, hint);
}
