// A LoraConfig as it lies on one model: the description that the engine gets, and every tensor of the adapter with its shape,
// its name in the engine and its names in PEFT's file.

import type { NativeAdapterSpec, NativeLoraInit, NativeLoraTarget, NativeTokenRows } from "../native/native.js";
import { show } from "../options.js";
import type { LinearLayer, ModelDescription } from "./families.js";
import type { LoraConfig, LoraInit } from "./lora.js";
import {
  bad,
  EMBEDDING,
  HEAD,
  leafModules,
  matchModulesToSave,
  matchPatternValues,
  matchTargets,
} from "./lora-targets.js";

const PREFIX = "base_model.model.";

export interface AdapterTensor {
  readonly shape: readonly number[];
  /** PEFT's names. There is a second one where a file keeps a tied tensor twice. */
  readonly fileNames: readonly string[];
}

export interface ResolvedLora {
  readonly config: LoraConfig;
  readonly spec: NativeAdapterSpec;
  /** By the engine's names. */
  readonly tensors: ReadonlyMap<string, AdapterTensor>;
  /**
   * Copies of base weights that PEFT adds to its file for targeted embeddings, by their names there. They are not written
   * here; the engine compares those that it is given with its own.
   */
  readonly baseCopies: ReadonlyMap<string, { readonly name: string; readonly shape: readonly number[] }>;
  /** How many numbers train, and how many of them the base model does not have: PEFT counts biases where they are. */
  readonly parameters: { readonly trainable: number; readonly added: number };
}

/**
 * Throws BAD_OPTION if a name or pattern means nothing on the model, or two options are at odds. `strict`: names beside those
 * that mean something are errors too.
 */
export function resolveLora(config: LoraConfig, model: ModelDescription, seed: number, strict = true): ResolvedLora {
  const layers = matchTargets(config, model, strict);
  const targets = resolveTargets(config, layers);
  const { native } = model;
  const tied = native.tieWordEmbeddings;
  const leaves = leafModules(native);
  const saved = modulesToSave(config, tied);
  const fullModules = matchModulesToSave(saved.modules, leaves, strict);
  const tokenRows = resolveTokens(config, tied, native.vocabSize);
  const biases = resolveBiases(config, layers, leaves);
  const spec: NativeAdapterSpec = {
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
  checkOverlaps(config, spec, tied, leaves);
  const tensors = adapterTensors(spec, layers, leaves);
  const biasNames = new Set(biases.map((module) => `${module}.bias`));
  return {
    config,
    spec,
    tensors,
    baseCopies: baseCopies(layers, leaves),
    parameters: countParameters(tensors, biasNames),
  };
}

function resolveTargets(config: LoraConfig, layers: readonly LinearLayer[]): NativeLoraTarget[] {
  const modules = layers.map(({ module }) => module);
  const rankOf = matchPatternValues("rankPattern", config.rankPattern, config.r, modules);
  const alphaOf = matchPatternValues("alphaPattern", config.alphaPattern, config.loraAlpha, modules);
  const { initLoraWeights: init } = config;
  return layers.map(({ module, in: inSize, out }) => {
    const rank = rankOf(module);
    if (module === EMBEDDING && config.useDora) throw bad(`useDora is not supported on ${EMBEDDING}`);
    if (init === "orthogonal" && rank % 2 !== 0 && module !== EMBEDDING) {
      throw bad(`initLoraWeights "orthogonal" needs an even rank, but that of ${module} is ${rank}`);
    }
    const decomposed = typeof init === "string" && /^(pissa|olora)/.test(init) && module !== EMBEDDING;
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
  tied: boolean,
): { readonly modules: readonly string[]; readonly tieOutput: boolean } {
  const modules = [...(wanted ?? [])];
  const named = modules.some((name) => /(^|\.)(embed_tokens|lm_head)$/.test(name));
  if (!ensureWeightTying || !tied || !named) return { modules, tieOutput: false };
  if (!modules.includes(EMBEDDING)) modules.push(EMBEDDING);
  const head = modules.indexOf(HEAD);
  if (head >= 0) modules.splice(head, 1);
  return { modules, tieOutput: true };
}

function resolveTokens(config: LoraConfig, tied: boolean, vocabSize: number): NativeTokenRows[] {
  const { trainableTokenIndices: wanted } = config;
  if (wanted === null) return [];
  const byName = isList(wanted) ? { [EMBEDDING]: wanted } : wanted;
  const rows = new Map<string, readonly number[]>();
  for (const [name, ids] of Object.entries(byName)) {
    const modules = [EMBEDDING, HEAD].filter((module) => module.endsWith(name));
    if (modules.length === 0) throw bad(`trainableTokenIndices names ${show(name)}; expected embed_tokens or lm_head`);
    const beyond = ids.find((id) => id >= vocabSize);
    if (beyond !== undefined) throw bad(`trainableTokenIndices has the token ${beyond}; the model has ${vocabSize}`);
    for (const module of modules) rows.set(module, ids);
  }
  const [embedding, head] = [rows.get(EMBEDDING), rows.get(HEAD)];
  if (tied && embedding !== undefined && head !== undefined) {
    // Of the same tokens one set of rows serves both.
    if (embedding.length === head.length && embedding.every((id, i) => id === head[i])) rows.delete(HEAD);
    else if (config.ensureWeightTying) {
      throw bad("ensureWeightTying needs trainableTokenIndices to be the same for embed_tokens and lm_head");
    }
  }
  return [EMBEDDING, HEAD].flatMap((module) => {
    const ids = rows.get(module);
    return ids === undefined ? [] : [{ module, ids: Int32Array.from(ids) }];
  });
}

function isList(value: readonly number[] | Readonly<Record<string, readonly number[]>>): value is readonly number[] {
  return Array.isArray(value);
}

type Leaves = ReadonlyMap<string, ReadonlyMap<string, readonly number[]>>;

function resolveBiases({ bias }: LoraConfig, layers: readonly LinearLayer[], leaves: Leaves): string[] {
  if (bias === "none") return [];
  const modules = bias === "all" ? [...leaves.keys()] : layers.map(({ module }) => module);
  return modules.filter((module) => leaves.get(module)?.has("bias"));
}

/** PEFT nests its wrappers where options mean the same module; what then trains and is saved is hardly what was meant. */
function checkOverlaps(config: LoraConfig, spec: NativeAdapterSpec, tied: boolean, leaves: Leaves): void {
  const targeted = new Set(spec.targets.map(({ module }) => module));
  const whole = new Set(spec.fullModules);
  const twice = spec.fullModules.find((module) => targeted.has(module));
  if (twice !== undefined) throw bad(`${twice} is meant by targetModules and by modulesToSave`);
  const biased = spec.biases.find((module) => whole.has(module));
  if (biased !== undefined) throw bad(`the bias of ${biased} is meant by bias and by modulesToSave`);
  for (const { module } of spec.tokenRows) {
    const alone = spec.tokenRows.length === 1;
    const follows = tied && module === EMBEDDING && alone ? [EMBEDDING, HEAD] : [module];
    const clash = follows.find((name) => targeted.has(name) || whole.has(name));
    if (clash !== undefined) throw bad(`${clash} is meant by trainableTokenIndices and by another option`);
  }
  if (tied && config.ensureWeightTying && (targeted.has(EMBEDDING) || targeted.has(HEAD))) {
    throw bad("ensureWeightTying is not supported where targetModules means embed_tokens or lm_head");
  }
  if (spec.tieOutput && !leaves.has(EMBEDDING)) throw bad("ensureWeightTying needs an embedding");
}

/** In the order in which the engine lists them: by kind, then by place in the model. */
function adapterTensors(
  spec: NativeAdapterSpec,
  layers: readonly LinearLayer[],
  leaves: Leaves,
): Map<string, AdapterTensor> {
  const tensors = new Map<string, AdapterTensor>();
  const add = (name: string, shape: readonly number[], ...inFile: string[]) => {
    tensors.set(name, { shape, fileNames: (inFile.length > 0 ? inFile : [name]).map((file) => `${PREFIX}${file}`) });
  };
  const targeted = new Set(layers.map(({ module }) => module));
  layers.forEach(({ module, in: inSize, out }, i) => {
    const rank = spec.targets[i]?.rank ?? 0;
    const [a, b] = module === EMBEDDING ? ["lora_embedding_A", "lora_embedding_B"] : ["lora_A.weight", "lora_B.weight"];
    add(`${module}.${a}`, [rank, inSize]);
    add(`${module}.${b}`, [out, rank]);
  });
  if (spec.dora) for (const { module, out } of layers) add(`${module}.lora_magnitude_vector`, [out]);
  for (const { module, ids } of spec.tokenRows) {
    const width = leaves.get(module)?.get("weight")?.[1] ?? 0;
    const name = "trainable_tokens_delta";
    add(`${module}.${name}`, [ids.length, width], `${module}.token_adapter.${name}`);
  }
  for (const module of spec.biases) {
    const file = targeted.has(module) ? `${module}.base_layer.bias` : `${module}.bias`;
    add(`${module}.bias`, leaves.get(module)?.get("bias") ?? [], file);
  }
  for (const module of spec.fullModules) {
    for (const [kind, shape] of leaves.get(module) ?? []) {
      const name = `${module}.${kind}`;
      add(name, shape, ...(spec.tieOutput && module === EMBEDDING ? [name, `${HEAD}.${kind}`] : [name]));
    }
  }
  return tensors;
}

function baseCopies(layers: readonly LinearLayer[], leaves: Leaves): ResolvedLora["baseCopies"] {
  const embeddings = layers.filter(({ module }) => module === EMBEDDING || module === HEAD);
  return new Map(
    embeddings.map(({ module }) => {
      const name = `${module}.base_layer.weight`;
      return [`${PREFIX}${name}`, { name, shape: leaves.get(module)?.get("weight") ?? [] }];
    }),
  );
}

function countParameters(
  tensors: ReadonlyMap<string, AdapterTensor>,
  biases: ReadonlySet<string>,
): { trainable: number; added: number } {
  let [trainable, added] = [0, 0];
  for (const [name, { shape }] of tensors) {
    const size = shape.reduce((product, n) => product * n, 1);
    trainable += size;
    if (!biases.has(name)) added += size;
  }
  return { trainable, added };
}
