// CausalLM: a language model on the native engine, with or without a LoRA adapter. This class validates, flattens and names;
// every number is computed by the engine, in the order of the calls. Nothing here knows about prompts as text.

import path from "node:path";
import { GrpoError } from "../errors.js";
import { resolveModelFiles, withTemporaryFolder } from "../hub/hub.js";
import { hubIdOf, modelCard, writeModelCard } from "../hub/model-card.js";
import { type PushOptions, pushFolder } from "../hub/push.js";
import { isJsonObject, type JsonObject } from "../json.js";
import type {
  NativeDtype,
  NativeEngine,
  NativeGroup,
  NativeLossResult,
  NativeStepResult,
  NativeStepTokens,
  NativeTensorSet,
} from "../native/native.js";
import { checkNumber, checkOptionNames } from "../options.js";
import type { PolicyModel, SampledGroup, SampleResult, SequenceBatch, TokenIds } from "../policy.js";
import { ADAPTER_CONFIG, ADAPTER_WEIGHTS, readAdapter, writeAdapterConfig } from "./adapter-files.js";
import { EngineQueue } from "./engine-queue.js";
import { type ModelDescription, matchCheckpoint, parameterCount, readModelConfig } from "./families.js";
import { Generation } from "./generation.js";
import { LoraConfig } from "./lora.js";
import { type ResolvedLora, resolveLora } from "./lora-resolve.js";
import { type LossOptions, toNativeLoss } from "./loss.js";
import {
  CONFIG,
  eosTokenIds,
  type FileContent,
  GENERATION_CONFIG,
  isFile,
  readModelFolder,
  WEIGHTS,
  writeFiles,
} from "./model-files.js";
import {
  createEngine,
  type FromConfigOptions,
  type FromPretrainedOptions,
  type HubSource,
  hubSource,
} from "./model-options.js";
import { flattenBatch, flattenIds, splitFloats } from "./ragged.js";
import { buildHeader, inFileOrder, readHeader, readWeights } from "./safetensors.js";
import {
  type DrawnToken,
  type GenerateOptions,
  generateToSample,
  type ModelSampleOptions,
  sampledGroup,
  sampleRequest,
} from "./sampling.js";
import { type GradientBatch, type OptimizerStepOptions, toNativeAdamW, toNativeBatch } from "./training-inputs.js";

export type { FromConfigOptions, FromPretrainedOptions, HubSource } from "./model-options.js";

export type { GradientBatch, OptimizerStepOptions } from "./training-inputs.js";

export type LossResult = NativeLossResult;

/** Tools that want one for `await using` need Symbol.asyncDispose, which the oldest supported Node may lack. */
const asyncDispose: typeof Symbol.asyncDispose =
  Symbol.asyncDispose ?? (Symbol.for("Symbol.asyncDispose") as typeof Symbol.asyncDispose);

const OPTIMIZER_STATE = "optimizer.safetensors";
const FILE_DTYPE: Readonly<Record<string, NativeDtype>> = {
  ...{ F32: "float32", BF16: "bfloat16", F16: "float16", F64: "float64" },
};

interface Parts {
  readonly config: JsonObject;
  readonly generationConfig: JsonObject;
  readonly description: ModelDescription;
  readonly device: string;
  readonly dtype: NativeDtype;
  /** Where the base model came from, for adapter_config.json. */
  readonly source: string | null;
  readonly engine: NativeEngine;
}

export class CausalLM implements PolicyModel {
  /** config.json as it was read. */
  readonly config: JsonObject;
  readonly generationConfig: JsonObject;
  /** "cpu", "cuda:0", "mps". */
  readonly device: string;
  readonly dtype: NativeDtype;
  readonly eosTokenIds: readonly number[];
  readonly vocabSize: number;
  /** Longest sequence the model can take, prompt and completion together. */
  readonly maxPositions: number;
  readonly #description: ModelDescription;
  readonly #source: string | null;
  readonly #queue: EngineQueue;
  #adapter: ResolvedLora | undefined;

  private constructor(parts: Parts) {
    this.config = parts.config;
    this.generationConfig = parts.generationConfig;
    this.device = parts.device;
    this.dtype = parts.dtype;
    this.vocabSize = parts.description.native.vocabSize;
    this.maxPositions = parts.description.native.maxPositions;
    this.eosTokenIds = eosTokenIds(parts.config, parts.generationConfig, this.vocabSize);
    this.#description = parts.description;
    this.#source = parts.source;
    this.#queue = new EngineQueue(parts.engine);
  }

  /** Loads a model from a folder in Hugging Face's format, or from the Hub. */
  static async fromPretrained(idOrPath: string, options: FromPretrainedOptions = {}): Promise<CausalLM> {
    const known = ["dtype", "device", "revision", "token", "cacheDir", "adapter", "threads"];
    checkOptionNames("fromPretrained", options, known);
    const { folder } = await resolveModelFiles(idOrPath, hubSource(options));
    const { config, generationConfig } = await readModelFolder(folder);
    const description = readModelConfig(config);
    const table = matchCheckpoint(await readWeights(folder), description.native);
    const stored = FILE_DTYPE[table.tensors[0]?.dtype ?? ""];
    const parts = { config, generationConfig, description, source: idOrPath };
    const model = new CausalLM({ ...parts, ...createEngine(description, description.dtype ?? stored, options) });
    try {
      await model.#queue.run((engine) => engine.loadModel(table));
      // The revision names a commit of the base model; an adapter is another repository.
      const { revision: _, ...source } = hubSource(options);
      if (options.adapter !== undefined) await model.loadAdapter(options.adapter, source);
      return model;
    } catch (error) {
      model.dispose();
      throw error;
    }
  }

  /** A model with random weights, for tests and benchmarks. `config` is the content of a config.json. */
  static async fromConfig(config: JsonObject, options: FromConfigOptions = {}): Promise<CausalLM> {
    checkOptionNames("fromConfig", options, ["dtype", "device", "seed", "threads"]);
    if (!isJsonObject(config)) throw new GrpoError("BAD_CONFIG", "fromConfig: expected the content of a config.json.");
    const seed = checkNumber("fromConfig", "seed", options.seed ?? 0, { min: 0, integer: true });
    const description = readModelConfig(config);
    const parts = { config, generationConfig: {}, description, source: null };
    const model = new CausalLM({ ...parts, ...createEngine(description, description.dtype, options) });
    await model.#queue.run((engine) => engine.initModel(seed));
    return model;
  }

  /** Adds a fresh adapter. Checked at once; a failure of the engine itself surfaces in the next call that is awaited. */
  applyLora(config: LoraConfig, options: { readonly seed?: number } = {}): void {
    this.#queue.checkAlive();
    checkOptionNames("applyLora", options, ["seed"]);
    if (!(config instanceof LoraConfig)) {
      throw new GrpoError("BAD_OPTION", "applyLora: expected a LoraConfig.", { hint: "Pass new LoraConfig({ … })." });
    }
    if (this.#adapter) {
      throw new GrpoError("BAD_INPUT", "This model already has an adapter.", { hint: "Load the base model again." });
    }
    const seed = checkNumber("applyLora", "seed", options.seed ?? 42, { min: 0, integer: true });
    const adapter = resolveLora(config, this.#description, seed);
    this.#adapter = adapter;
    const onFailure = () => {
      if (this.#adapter === adapter) this.#adapter = undefined;
    };
    this.#queue.defer((engine) => engine.addAdapter("default", adapter.spec), onFailure);
  }

  /** `all` includes the adapter. Without an adapter nothing is trainable. */
  trainableParameters(): { readonly trainable: number; readonly all: number } {
    const { trainable, added } = this.#adapter?.parameters ?? { trainable: 0, added: 0 };
    return { trainable, all: parameterCount(this.#description.native) + added };
  }

  printTrainableParameters(): void {
    const { trainable, all } = this.trainableParameters();
    const [a, b] = [trainable.toLocaleString("en-US"), all.toLocaleString("en-US")];
    const percent = ((100 * trainable) / all).toFixed(4);
    console.log(`trainable params: ${a} || all params: ${b} || trainable%: ${percent}`);
  }

  /** Runs `fn` with the adapter off: the base model, which is the reference policy. Calls from elsewhere meanwhile see it off too. */
  async disableAdapter<T>(fn: () => Promise<T>): Promise<T> {
    await this.#queue.run((engine) => engine.setAdapterEnabled(false));
    try {
      return await fn();
    } finally {
      await this.#queue.run((engine) => engine.setAdapterEnabled(true));
    }
  }

  /** Completions of prompts of token ids. Await it for all, in the order of the prompts; or iterate it for each as it finishes. */
  generate(prompts: readonly TokenIds[], options: GenerateOptions = {}): Generation {
    const { signal, ...request } = generateToSample(prompts, options, this.generationConfig, this);
    const own = new Set((options.stop ?? []).filter((id) => !this.eosTokenIds.includes(id)));
    return new Generation((onGroup, stop) => this.sample(prompts, { ...request, onGroup, signal: stop }), own, signal);
  }

  /** `groupSize` completions of every prompt; each group is handed to `onGroup` as it finishes. */
  async sample(prompts: readonly TokenIds[], options: ModelSampleOptions): Promise<SampleResult> {
    const request = sampleRequest(prompts, options, this);
    const groups: SampledGroup[] = [];
    let thrown: { readonly error: unknown } | undefined;
    const stats = await this.#queue
      .run((engine) => {
        const guarded = (listen: () => void) => {
          if (thrown) return;
          try {
            listen();
          } catch (error) {
            // The engine has nobody to throw to.
            thrown = { error };
            engine.cancel();
          }
        };
        const onGroup = (native: NativeGroup) =>
          guarded(() => {
            const group = sampledGroup(native);
            groups[group.prompt] = group;
            options.onGroup?.(group);
          });
        const { onToken } = options;
        if (onToken === undefined) return engine.sample(request, onGroup);
        return engine.sample(request, onGroup, (step) => guarded(() => forEachToken(step, onToken)));
      }, options.signal)
      .catch((error: unknown) => {
        throw thrown ? thrown.error : error;
      });
    if (thrown) throw thrown.error;
    return { groups, stats };
  }

  /**
   * Log-probability of every token of each sequence but its first, which has no context; or, for a batch of prompts and
   * completions, of every completion token. Dropout is off.
   */
  async logprobs(
    sequences: readonly TokenIds[] | SequenceBatch,
    options: { readonly temperature?: number } = {},
  ): Promise<Float32Array[]> {
    checkOptionNames("logprobs", options, ["temperature"]);
    const temperature = checkNumber("logprobs", "temperature", options.temperature ?? 1, { min: 0, open: true });
    const pairs: SequenceBatch =
      "promptIds" in sequences
        ? sequences
        : { promptIds: sequences.map((ids) => ids.slice(0, 1)), completionIds: sequences.map((ids) => ids.slice(1)) };
    const batch = flattenBatch(pairs.promptIds, pairs.completionIds, this.vocabSize);
    this.#checkLengths(pairs);
    const flat = await this.#queue.run((engine) => engine.logprobs(batch, temperature));
    return splitFloats(flat, batch.completionOffsets);
  }

  completionLogprobs(batch: SequenceBatch, options: { readonly temperature: number }): Promise<Float32Array[]> {
    return this.logprobs(batch, options);
  }

  /** Logits of whole sequences, [length × vocabulary] each: for tests and small inputs. */
  async forward(sequences: readonly TokenIds[]): Promise<Float32Array[]> {
    const { ids, offsets } = flattenIds("sequence", sequences, this.vocabSize);
    this.#checkLengths({ promptIds: sequences, completionIds: sequences.map(() => []) });
    const flat = await this.#queue.run((engine) => engine.forward(ids, offsets));
    return splitFloats(
      flat,
      Array.from(offsets, (offset) => offset * this.vocabSize),
    );
  }

  /** Loss and metrics of a batch; its gradient is added to what the adapter already holds. */
  async forwardBackward(batch: GradientBatch, loss: LossOptions = {}): Promise<LossResult> {
    const options = toNativeLoss(loss);
    const native = toNativeBatch(batch, options.beta > 0, this.vocabSize);
    this.#checkLengths(batch);
    return this.#queue.run((engine) => engine.forwardBackward(native, options));
  }

  /** Clips the gradient, makes one AdamW step, and clears the gradient. Not applied if the gradient is not finite. */
  async optimizerStep(options: OptimizerStepOptions): Promise<NativeStepResult> {
    const step = toNativeAdamW(options);
    return this.#queue.run((engine) => engine.optimizerStep(step));
  }

  zeroGrad(): Promise<void> {
    return this.#queue.run((engine) => engine.zeroGrad());
  }

  /** The adapter's gradient, by the names of PEFT's files. */
  async gradients(): Promise<Record<string, Float32Array>> {
    const gradients = await this.#queue.run((engine) => engine.gradients());
    const named = (name: string) => this.#adapter?.tensors.get(name)?.fileNames[0] ?? name;
    return Object.fromEntries(Object.entries(gradients).map(([name, values]) => [named(name), values]));
  }

  /** Writes the adapter in PEFT's format if there is one, else the whole model. A README.md that is there stays. */
  async savePretrained(directory: string): Promise<void> {
    const adapter = this.#adapter;
    if (adapter === undefined) return this.#saveModel(directory);
    const files: Record<string, FileContent> = {
      [ADAPTER_WEIGHTS]: await this.#setWriter("adapter", (name) => adapter.tensors.get(name)?.fileNames ?? [name]),
      [ADAPTER_CONFIG]: writeAdapterConfig(adapter.config, this.#description, this.#source),
    };
    const readme = "README.md";
    if (!(await isFile(path.join(directory, readme)))) {
      files[readme] = modelCard("path/of/this-folder", { kind: "adapter", base: hubIdOf(this.#source) });
    }
    await writeFiles(directory, files);
  }

  /** Loads an adapter in PEFT's format. A model that has one already takes only one of the same shape. */
  async loadAdapter(idOrPath: string, source: HubSource = {}): Promise<void> {
    this.#queue.checkAlive();
    checkOptionNames("loadAdapter", source, ["revision", "token", "cacheDir"]);
    const patterns = [ADAPTER_CONFIG, ADAPTER_WEIGHTS];
    const { folder } = await resolveModelFiles(idOrPath, { ...source, patterns });
    const { adapter, table } = await readAdapter(folder, this.#description);
    if (this.#adapter === undefined) {
      await this.#queue.run((engine) => engine.addAdapter("default", adapter.spec));
      this.#adapter = adapter;
    } else if (!sameTargets(this.#adapter, adapter)) {
      throw new GrpoError("BAD_ADAPTER", `${folder}: the model already has an adapter of another configuration.`, {
        hint: "Load the base model again, then this adapter.",
      });
    }
    await this.#queue.run((engine) => engine.loadSet("adapter", table, 0));
  }

  /** The adapter and the optimizer's state. */
  async saveCheckpoint(directory: string): Promise<void> {
    this.#requireAdapter("saveCheckpoint");
    await this.savePretrained(directory);
    const steps = await this.#queue.run((engine) => engine.optimizerSteps());
    const write = await this.#setWriter("optimizer", (name) => [name], { step: String(steps) });
    await writeFiles(directory, { [OPTIMIZER_STATE]: write });
  }

  /** Takes both back; later steps are those of a run that never stopped. */
  async loadCheckpoint(directory: string): Promise<void> {
    await this.loadAdapter(directory);
    const stored = await readHeader(path.join(directory, OPTIMIZER_STATE));
    const step = Number(stored.metadata.step ?? Number.NaN);
    if (!Number.isSafeInteger(step) || step < 0) {
      throw new GrpoError("BAD_CHECKPOINT", `${stored.file}: metadata names no step.`);
    }
    const tensors = [...stored.tensors.values()].map((tensor) => ({ ...tensor, file: 0 }));
    await this.#queue.run((engine) => engine.loadSet("optimizer", { files: [stored.file], tensors }, step));
  }

  /** Uploads what savePretrained writes. Returns the commit's address. */
  async pushToHub(repo: string, options: Omit<PushOptions, "type"> = {}): Promise<string> {
    checkOptionNames("pushToHub", options, ["token", "private", "branch", "commitMessage"]);
    return withTemporaryFolder(async (folder) => {
      await this.savePretrained(folder);
      await writeModelCard(folder, repo, { base: hubIdOf(this.#source) });
      return pushFolder(repo, folder, { keepExisting: ["README.md"], ...options });
    });
  }

  /** Ends the running call and frees the weights. May be called twice; any other use afterwards is DISPOSED. */
  dispose(): void {
    this.#queue.dispose();
  }

  async [asyncDispose](): Promise<void> {
    this.dispose();
  }

  async #saveModel(directory: string): Promise<void> {
    const dtypeKey = "torch_dtype" in this.config && !("dtype" in this.config) ? "torch_dtype" : "dtype";
    const config = { ...this.config, architectures: [this.#description.architecture], [dtypeKey]: this.dtype };
    const generation = Object.keys(this.generationConfig).length > 0;
    await writeFiles(directory, {
      [WEIGHTS]: await this.#setWriter("model", (name) => [name]),
      [CONFIG]: `${JSON.stringify(config, null, 2)}\n`,
      ...(generation ? { [GENERATION_CONFIG]: `${JSON.stringify(this.generationConfig, null, 2)}\n` } : {}),
    });
  }

  async #setWriter(
    set: NativeTensorSet,
    namesInFile: (name: string) => readonly string[],
    metadata: Record<string, string> = {},
  ): Promise<FileContent> {
    const listed = await this.#queue.run((engine) => engine.tensors(set));
    const stored = listed.flatMap((tensor) =>
      namesInFile(tensor.name).map((name) => ({ ...tensor, name, source: tensor.name })),
    );
    const tensors = inFileOrder(stored);
    const names = tensors.map(({ source }) => source);
    const header = buildHeader(tensors, metadata);
    return (file) => this.#queue.run((engine) => engine.saveSet(set, file, header, names));
  }

  #requireAdapter(what: string): void {
    this.#queue.checkAlive();
    if (this.#adapter) return;
    throw new GrpoError("BAD_INPUT", `${what}: the model has no adapter.`, { hint: "Call applyLora first." });
  }

  #checkLengths({ promptIds, completionIds }: SequenceBatch): void {
    const lengths = promptIds.map((ids, i) => ids.length + (completionIds[i]?.length ?? 0));
    const long = lengths.findIndex((length) => length > this.maxPositions);
    if (long < 0) return;
    const found = `sequence ${long} has ${lengths[long]} tokens`;
    throw new GrpoError("BAD_INPUT", `Expected at most ${this.maxPositions} tokens, but ${found}.`);
  }
}

function forEachToken({ prompts, samples, ids }: NativeStepTokens, onToken: (token: DrawnToken) => void): void {
  for (const [i, id] of ids.entries()) onToken({ prompt: prompts[i] ?? 0, sample: samples[i] ?? 0, id });
}

function sameTargets(a: ResolvedLora, b: ResolvedLora): boolean {
  const shape = ({ spec }: ResolvedLora) =>
    JSON.stringify({ ...spec, dropout: 0, init: "", initIterations: 0, seed: 0 });
  return shape(a) === shape(b);
}
