// A LoraConfig as it lies on one model: which modules it means, what the engine gets, and the tensors of the adapter.

import { atKey } from "../../at.js";
import { show } from "../../checks.js";
import type { NativeAdapterSpec, NativeLoraInit, NativeModelConfig, NativeTokenRows } from "../../native/native.js";
import type { LinearLayer, ModelDescription } from "../families/families.js";
import {
  elementCount,
  embeddingLayer,
  type ModuleTensors,
  outputLayer,
  tensorsByModule,
} from "../families/module-table.js";
import {
  type AdapterSpec,
  type AdapterTensor,
  adapterTensors,
  baseCopies,
  type LoraTarget,
  nativeAdapter,
} from "./adapter-tensors.js";
import type { LoraConfig, LoraInit } from "./lora.js";
import { bad, idlePatterns, matchModulesToSave, matchPatternValues, matchTargets } from "./lora-targets.js";

export interface ResolvedLora {
  readonly config: LoraConfig;
  readonly spec: AdapterSpec;
  readonly native: NativeAdapterSpec;
  /** By the engine's names. */
  readonly tensors: ReadonlyMap<string, AdapterTensor>;
  /**
   * Copies of base weights that PEFT adds to its file for embeddings, by their names there. They are not written here; the
   * engine compares those that it is given with its own.
   */
  readonly baseCopies: ReadonlyMap<string, { readonly name: string; readonly shape: readonly number[] }>;
  /** How many numbers train, and how many of them the base model does not have: PEFT counts biases where they are. */
  readonly parameters: { readonly trainable: number; readonly added: number };
  /** What rankPattern and alphaPattern say of no module, in words; let pass unless names are strict. */
  readonly idle: readonly string[];
}

/**
 * Throws BAD_OPTION if a name or pattern means nothing on the model, or two options are at odds. `strict`: names beside those
 * that mean something are errors too.
 */
export function resolveLora(config: LoraConfig, model: ModelDescription, seed: number, strict = true): ResolvedLora {
  const layers = matchTargets(config, model, strict);
  const { native } = model;
  const modules = layers.map(({ module }) => module);
  const idle = [...idlePatterns("rankPattern", config, modules), ...idlePatterns("alphaPattern", config, modules)];
  if (strict && idle[0] !== undefined) throw bad(idle[0]);
  const targets = resolveTargets(config, layers, native);
  const owners = tensorsByModule(native);
  const saved = modulesToSave(config, native);
  const fullModules = matchModulesToSave(saved.modules, owners, strict);
  const tokenRows = resolveTokens(config, native);
  const biases = resolveBiases(config, layers, owners);
  const spec: AdapterSpec = {
    targets,
    dropout: config.loraDropout,
    ...resolveInit(config.initLoraWeights),
    dora: config.useDora,
    biases,
    fullModules,
    tokenRows,
    tieOutput: saved.tieOutput,
    seed,
  };
  checkOverlaps(config, spec, native);
  const tensors = adapterTensors(spec, native);
  return {
    config,
    spec,
    native: nativeAdapter(spec, tensors),
    tensors,
    baseCopies: baseCopies(spec, native),
    parameters: countParameters(spec, tensors),
    idle,
  };
}

function resolveTargets(config: LoraConfig, layers: readonly LinearLayer[], model: NativeModelConfig): LoraTarget[] {
  const modules = layers.map(({ module }) => module);
  const rankOf = matchPatternValues("rankPattern", config.rankPattern, config.r, modules);
  const alphaOf = matchPatternValues("alphaPattern", config.alphaPattern, config.loraAlpha, modules);
  const { initLoraWeights: init } = config;
  const embedding = embeddingLayer(model).module;
  return layers.map(({ module, in: inSize, out }) => {
    const rank = rankOf(module);
    if (module === embedding && config.useDora) throw bad(`useDora is not supported on ${embedding}`);
    if (init === "orthogonal" && rank % 2 !== 0 && module !== embedding) {
      throw bad(`initLoraWeights "orthogonal" needs an even rank, but that of ${module} is ${rank}`);
    }
    const decomposed = typeof init === "string" && /^(pissa|olora)/.test(init) && module !== embedding;
    if (decomposed && rank > Math.min(inSize, out)) {
      throw bad(
        `initLoraWeights ${show(init)} allows ${module} a rank of at most ${Math.min(inSize, out)}, found ${rank}`,
      );
    }
    return { module, rank, scaling: alphaOf(module) / (config.useRslora ? Math.sqrt(rank) : rank) };
  });
}

function resolveInit(init: LoraInit): { init: NativeLoraInit; initIterations: number } {
  if (typeof init === "boolean") return { init: init ? "default" : "random", initIterations: 0 };
  const iterations = /^pissa_niter_(\d+)$/.exec(init)?.[1];
  if (iterations !== undefined) return { init: "pissa", initIterations: Number(iterations) };
  return { init: init as Exclude<typeof init, `pissa_niter_${number}`>, initIterations: 0 };
}

/**
 * modules_to_save as PEFT has it in the end: to keep a tied model tied it trains the embedding, and leaves the output layer to
 * follow (LoraModel._add_modules_to_save_to_tie).
 */
export function modulesToSave(
  { modulesToSave: wanted, ensureWeightTying }: LoraConfig,
  model: NativeModelConfig,
): { readonly modules: readonly string[]; readonly tieOutput: boolean } {
  const modules = [...(wanted ?? [])];
  const named = modules.some((name) => /(^|\.)(embed_tokens|lm_head)$/.test(name));
  if (!ensureWeightTying || !model.tieWordEmbeddings || !named) return { modules, tieOutput: false };
  const embedding = embeddingLayer(model).module;
  if (!modules.includes(embedding)) modules.push(embedding);
  const head = modules.indexOf(outputLayer(model).module);
  if (head >= 0) modules.splice(head, 1);
  return { modules, tieOutput: true };
}

function resolveTokens(config: LoraConfig, model: NativeModelConfig): NativeTokenRows[] {
  const { trainableTokenIndices: wanted } = config;
  if (wanted === null) return [];
  const { tieWordEmbeddings: tied, vocabSize } = model;
  const ends = [embeddingLayer(model).module, outputLayer(model).module] as const;
  const byName = isList(wanted) ? { [ends[0]]: wanted } : wanted;
  const rows = new Map<string, readonly number[]>();
  for (const [name, ids] of Object.entries(byName)) {
    const modules = ends.filter((module) => module.endsWith(name));
    if (modules.length === 0) throw bad(`trainableTokenIndices names ${show(name)}; expected embed_tokens or lm_head`);
    const beyond = ids.find((id) => id >= vocabSize);
    if (beyond !== undefined) throw bad(`trainableTokenIndices has the token ${beyond}; the model has ${vocabSize}`);
    for (const module of modules) rows.set(module, ids);
  }
  const [embedding, head] = [rows.get(ends[0]), rows.get(ends[1])];
  if (tied && embedding !== undefined && head !== undefined) {
    // Where both have the same tokens, one set of rows serves both.
    if (embedding.length === head.length && embedding.every((id, i) => id === head[i])) rows.delete(ends[1]);
    else if (config.ensureWeightTying) {
      throw bad("ensureWeightTying needs trainableTokenIndices to be the same for embed_tokens and lm_head");
    }
  }
  return ends.flatMap((module) => {
    const ids = rows.get(module);
    return ids === undefined ? [] : [{ module, ids: Int32Array.from(ids) }];
  });
}

function isList(value: readonly number[] | Readonly<Record<string, readonly number[]>>): value is readonly number[] {
  return Array.isArray(value);
}

function resolveBiases(
  { bias }: LoraConfig,
  layers: readonly LinearLayer[],
  owners: ReadonlyMap<string, ModuleTensors>,
): string[] {
  if (bias === "none") return [];
  const modules = bias === "all" ? [...owners.keys()] : layers.map(({ module }) => module);
  return modules.filter((module) => atKey(owners, module).has("bias"));
}

/** PEFT nests its wrappers where options mean the same module; what then trains and is saved is hardly what was meant. */
function checkOverlaps(config: LoraConfig, spec: AdapterSpec, model: NativeModelConfig): void {
  const { tieWordEmbeddings: tied } = model;
  const [embedding, head] = [embeddingLayer(model).module, outputLayer(model).module];
  const targeted = new Set(spec.targets.map(({ module }) => module));
  const whole = new Set(spec.fullModules);
  const twice = spec.fullModules.find((module) => targeted.has(module));
  if (twice !== undefined) throw bad(`${twice} is named by both targetModules and modulesToSave`);
  const biased = spec.biases.find((module) => whole.has(module));
  if (biased !== undefined) throw bad(`the bias of ${biased} is trained by both bias and modulesToSave`);
  for (const { module } of spec.tokenRows) {
    const alone = spec.tokenRows.length === 1;
    const follows = tied && module === embedding && alone ? [embedding, head] : [module];
    const clash = follows.find((name) => targeted.has(name) || whole.has(name));
    if (clash !== undefined) throw bad(`${clash} is named by both trainableTokenIndices and another option`);
  }
  if (tied && config.ensureWeightTying && (targeted.has(embedding) || targeted.has(head))) {
    throw bad("ensureWeightTying is not supported where targetModules matches embed_tokens or lm_head");
  }
}

function countParameters(
  spec: AdapterSpec,
  tensors: ReadonlyMap<string, AdapterTensor>,
): { trainable: number; added: number } {
  const biases = new Set(spec.biases.map((module) => `${module}.bias`));
  let [trainable, added] = [0, 0];
  for (const [name, { shape }] of tensors) {
    trainable += elementCount(shape);
    if (!biases.has(name)) added += elementCount(shape);
  }
  return { trainable, added };
}
