// The tensors of an adapter, listed once: the engine makes its parameters by this list, and PEFT's files are written and read
// by it. A spec says which modules of a model carry what; the shapes come from the table of modules.

import { atKey } from "../../at.js";
import type { NativeAdapterSpec, NativeLoraInit, NativeModelConfig, NativeTokenRows } from "../../native/native.js";
import { embeddingLayer, loraModules, outputLayer, tensorsByModule } from "../families/module-table.js";

/** PEFT's prefix of every name in an adapter's file. */
const PREFIX = "base_model.model.";

/** One LoRA pair on one module: y += scaling · dropout(x) Aᵀ Bᵀ. */
export interface LoraTarget {
  /** "model.layers.0.self_attn.q_proj", "lm_head" or "model.embed_tokens" */
  readonly module: string;
  readonly rank: number; // R
  /** alpha / r, or alpha / √r. */
  readonly scaling: number;
}

/** What an adapter adds to a model, or puts in place of its tensors. */
export interface AdapterSpec {
  readonly targets: readonly LoraTarget[];
  readonly dropout: number;
  readonly init: NativeLoraInit;
  /** "pissa": iterations of the randomized decomposition; 0: the full one. */
  readonly initIterations: number;
  /** A magnitude for every row of a targeted weight. */
  readonly dora: boolean;
  /** Linear layers whose bias is trained. */
  readonly biases: readonly string[];
  /** Modules trained in full, PEFT's modules_to_save. */
  readonly fullModules: readonly string[];
  readonly tokenRows: readonly NativeTokenRows[];
  /** For a tied model: what is trained of the embedding in full is also the output layer's (PEFT's ensure_weight_tying). */
  readonly tieOutput: boolean;
  readonly seed: number;
}

export interface AdapterTensor {
  readonly shape: readonly number[];
  /** PEFT's names. There is a second one where a file keeps a tied tensor twice. */
  readonly fileNames: readonly string[];
}

/** The tensors of such an adapter by the engine's names. Throws INTERNAL for a module that is not in the table. */
export function adapterTensors(spec: AdapterSpec, config: NativeModelConfig): Map<string, AdapterTensor> {
  const embedding = embeddingLayer(config).module;
  const head = outputLayer(config).module;
  const owners = tensorsByModule(config);
  const carriers = new Map(loraModules(config).map((layer) => [layer.module, layer]));
  const tensors = new Map<string, AdapterTensor>();
  const add = (name: string, shape: readonly number[], inFile: readonly string[] = [name]) =>
    tensors.set(name, { shape, fileNames: inFile.map((file) => `${PREFIX}${file}`) });
  for (const { module, rank } of spec.targets) {
    const { in: inSize, out } = atKey(carriers, module);
    const [a, b] = module === embedding ? ["lora_embedding_A", "lora_embedding_B"] : ["lora_A.weight", "lora_B.weight"];
    add(`${module}.${a}`, [rank, inSize]);
    add(`${module}.${b}`, [out, rank]);
    if (spec.dora) add(`${module}.lora_magnitude_vector`, [out]);
  }
  for (const { module, ids } of spec.tokenRows) {
    const name = "trainable_tokens_delta";
    add(`${module}.${name}`, [ids.length, config.hiddenSize], [`${module}.token_adapter.${name}`]);
  }
  const targeted = new Set(spec.targets.map(({ module }) => module));
  for (const module of spec.biases) {
    const inFile = targeted.has(module) ? `${module}.base_layer.bias` : `${module}.bias`;
    add(`${module}.bias`, atKey(atKey(owners, module), "bias"), [inFile]);
  }
  for (const module of spec.fullModules) {
    for (const [kind, shape] of atKey(owners, module)) {
      const tied = spec.tieOutput && module === embedding ? [`${head}.${kind}`] : [];
      add(`${module}.${kind}`, shape, [`${module}.${kind}`, ...tied]);
    }
  }
  return tensors;
}

/**
 * Copies of base weights that PEFT adds to its file for embeddings (save_embedding_layers), by their names there: the engine's
 * name and the shape of each. A tensor of the adapter that has one of these names comes first.
 */
export function baseCopies(
  { targets }: AdapterSpec,
  config: NativeModelConfig,
): Map<string, { readonly name: string; readonly shape: readonly number[] }> {
  const targeted = new Set(targets.map(({ module }) => module));
  const { rows, size } = config.modules.embedding;
  return new Map(
    [embeddingLayer(config), outputLayer(config)].map(({ module }) => {
      const name = `${module}.base_layer.weight`;
      return [`${PREFIX}${targeted.has(module) ? name : `${module}.weight`}`, { name, shape: [rows, size] }];
    }),
  );
}

/** What the engine gets of it. */
export function nativeAdapter(spec: AdapterSpec, tensors: ReadonlyMap<string, AdapterTensor>): NativeAdapterSpec {
  return {
    tensors: [...tensors].map(([name, { shape }]) => ({ name, shape: [...shape] })),
    pairs: spec.targets.map(({ module, scaling }) => ({ module, scaling })),
    dropout: spec.dropout,
    init: spec.init,
    initIterations: spec.initIterations,
    tokenRows: [...spec.tokenRows],
    tieOutput: spec.tieOutput,
    seed: spec.seed,
  };
}
