// The modules of a model as data: names, parts and shapes of its linear layers, norms, embedding and output layer. The engine
// builds its layers by this table; checkpoints, adapters, merging and errors go by it too. A family that names its modules
// otherwise, or cuts them otherwise, is another table.

import { at } from "../../at.js";
import type {
  NativeLayerModules,
  NativeLinear,
  NativeLinearPart,
  NativeModelConfig,
  NativeModules,
  NativeNorm,
} from "../../native/native.js";

/** Which modules a layer has, where the sizes do not say it. */
export interface LayerStructure {
  readonly qkvBias: boolean;
  /** Whether o_proj has a bias. */
  readonly outputBias: boolean;
  readonly mlpBias: boolean;
  /** The checkpoint keeps q, k, v in one module qkv_proj and gate, up in one gate_up_proj (Phi-3). */
  readonly fusedProjections: boolean;
  /** "head": RMSNorm over each head's D (Qwen3, Gemma 3); "full": over all heads, H·D (OLMo 2). */
  readonly qkNorm: "none" | "head" | "full";
  /** A norm before attention and one before the MLP (all but OLMo 2). */
  readonly preNorms: boolean;
  /** A norm on the output of attention and one on that of the MLP (Gemma 2 and 3, OLMo 2). */
  readonly postNorms: boolean;
}

export type ModelSizes = Pick<
  NativeModelConfig,
  "hiddenSize" | "intermediateSize" | "numLayers" | "numHeads" | "numKvHeads" | "headDim" | "vocabSize"
>;

/** The table of a language model under the names of the Llama family, which most others share. */
export function makeModules(sizes: ModelSizes, structure: LayerStructure): NativeModules {
  const { hiddenSize: C, vocabSize: V } = sizes;
  const layers = Array.from({ length: sizes.numLayers }, (_, i) => makeLayer(`model.layers.${i}`, sizes, structure));
  return {
    embedding: { name: "model.embed_tokens", rows: V, size: C },
    layers,
    norm: { name: "model.norm", size: C },
    output: { parts: [{ name: "lm_head", out: V }], in: C, bias: false },
  };
}

/** The same model with a score for each of `labels` in place of the distribution over tokens. */
export function withScoreHead(modules: NativeModules, labels: number): NativeModules {
  return { ...modules, output: { parts: [{ name: "score", out: labels }], in: modules.norm.size, bias: false } };
}

function makeLayer(layer: string, sizes: ModelSizes, structure: LayerStructure): NativeLayerModules {
  const { hiddenSize: C, intermediateSize: F, headDim: D, numHeads: H, numKvHeads: K } = sizes;
  const { preNorms, postNorms, qkNorm } = structure;
  const norm = (exists: boolean, name: string, size = C): NativeNorm | null =>
    exists ? { name: `${layer}.${name}`, size } : null;
  const headNorm = (name: string, heads: number) =>
    norm(qkNorm !== "none", `self_attn.${name}`, qkNorm === "full" ? heads * D : D);
  /** Parts of these names and sizes, or one fused part. */
  const parts = (fused: string, apart: Readonly<Record<string, number>>): NativeLinearPart[] => {
    if (!structure.fusedProjections)
      return Object.entries(apart).map(([name, out]) => ({ name: `${layer}.${name}`, out }));
    return [{ name: `${layer}.${fused}`, out: Object.values(apart).reduce((sum, out) => sum + out, 0) }];
  };
  const projections = { "self_attn.q_proj": H * D, "self_attn.k_proj": K * D, "self_attn.v_proj": K * D };
  return {
    attention: {
      before: norm(preNorms, "input_layernorm"),
      after: norm(postNorms, "post_attention_layernorm"),
      qkv: { parts: parts("self_attn.qkv_proj", projections), in: C, bias: structure.qkvBias },
      qNorm: headNorm("q_norm", H),
      kNorm: headNorm("k_norm", K),
      output: { parts: [{ name: `${layer}.self_attn.o_proj`, out: C }], in: H * D, bias: structure.outputBias },
    },
    feedForward: {
      // Where outputs are normed too, the norm before the MLP has a name of its own.
      before: norm(preNorms, postNorms ? "pre_feedforward_layernorm" : "post_attention_layernorm"),
      after: norm(postNorms, "post_feedforward_layernorm"),
      gateUp: {
        parts: parts("mlp.gate_up_proj", { "mlp.gate_proj": F, "mlp.up_proj": F }),
        in: C,
        bias: structure.mlpBias,
      },
      down: { parts: [{ name: `${layer}.mlp.down_proj`, out: C }], in: F, bias: structure.mlpBias },
    },
  };
}

/** A module that can carry an adapter: y [out] = W x [in], and of an embedding x is a token's one-hot. */
export interface LinearLayer {
  readonly module: string;
  readonly in: number;
  readonly out: number;
  readonly bias: boolean;
}

/** Every linear layer of the decoder blocks, in the order of the model. */
export function linearLayers({ modules }: NativeModelConfig): LinearLayer[] {
  return modules.layers.flatMap(({ attention, feedForward }) =>
    [attention.qkv, attention.output, feedForward.gateUp, feedForward.down].flatMap(layersOf),
  );
}

function layersOf({ parts, in: inSize, bias }: NativeLinear): LinearLayer[] {
  return parts.map(({ name, out }) => ({ module: name, in: inSize, out, bias }));
}

/** The output layer, which of a tied model has no tensor of its own. */
export function outputLayer({ modules }: NativeModelConfig): LinearLayer {
  return at(layersOf(modules.output), 0);
}

export function embeddingLayer({ modules }: NativeModelConfig): LinearLayer {
  const { name, rows, size } = modules.embedding;
  return { module: name, in: rows, out: size, bias: false };
}

/** The modules that can carry a LoRA pair, in the order of the model. */
export function loraModules(config: NativeModelConfig): readonly LinearLayer[] {
  return [embeddingLayer(config), ...linearLayers(config), outputLayer(config)];
}

/** Shapes of the tensors that a module owns, under their names in it. */
export type ModuleTensors = ReadonlyMap<"weight" | "bias", readonly number[]>;

/** Every module that owns tensors, in the order of the model; the output layer also where it is the embedding. */
export function tensorsByModule(config: NativeModelConfig): Map<string, ModuleTensors> {
  const { embedding, layers, norm } = config.modules;
  const norms = layers.flatMap(({ attention, feedForward }) => [
    attention.before,
    attention.after,
    feedForward.before,
    feedForward.after,
    attention.qNorm,
    attention.kNorm,
  ]);
  const owners = new Map<string, ModuleTensors>();
  const add = (module: string, weight: readonly number[], bias?: readonly number[]) =>
    owners.set(module, new Map([["weight", weight], ...(bias === undefined ? [] : [["bias", bias] as const])]));
  const addLinear = ({ module, in: inSize, out, bias }: LinearLayer) =>
    add(module, [out, inSize], bias ? [out] : undefined);
  add(embedding.name, [embedding.rows, embedding.size]);
  for (const layer of linearLayers(config)) addLinear(layer);
  for (const { name, size } of [...norms, norm].filter((found) => found !== null)) add(name, [size]);
  addLinear(outputLayer(config));
  return owners;
}

export function elementCount(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}
