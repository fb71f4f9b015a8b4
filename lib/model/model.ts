// CausalLM: a language model on the native engine, with or without a LoRA adapter. This class validates, flattens and names;
// every number is computed by the engine, in the order of the calls. Nothing here knows about prompts as text.

import { badOption, checkBoolean, checkNumber, checkOptionNames, checkText } from "../checks.js";
import { endOfTextIds } from "../end-of-text.js";
import { GrpoError } from "../errors.js";
import { readResolved, resolveModelFiles, withTemporaryFolder } from "../hub/hub.js";
import { hubIdOf, writeModelCard } from "../hub/model-card.js";
import { type PushOptions, pushFolder } from "../hub/push.js";
import { isJsonObject, type JsonObject } from "../json.js";
import type {
  NativeDtype,
  NativeEngine,
  NativeLossResult,
  NativeRankOptions,
  NativeSftResult,
  NativeStepResult,
} from "../native/native.js";
import { type LossOptions, rowsPerSliceOf, toNativeLoss } from "../options/loss.js";
import { type OptimizerStepOptions, toNativeOptimizer } from "../options/optimizer.js";
import { type SftLossOptions, toNativeSftLoss } from "../options/sft-loss.js";
import type { TokenIds } from "../types.js";
import { EngineQueue } from "./engine-queue.js";
import { readModelConfig } from "./families/families.js";
import { DEFAULT_SHARD_SIZE, shardBytes } from "./files/shards.js";
import { GeneratedCompletions } from "./generated-completions.js";
import { ownGeneration } from "./generation-config.js";
import type { CheckpointWriter, Learner, SequenceBatch, SupervisedBatch, SupervisedLearner } from "./learner.js";
import { ADAPTER_CONFIG, ADAPTER_WEIGHTS } from "./lora/adapter-files.js";
import { LoraConfig } from "./lora/lora.js";
import {
  checkModelOptions,
  checkName,
  createEngine,
  type FromConfigOptions,
  type FromPretrainedOptions,
  type HubSource,
  hubSource,
  type MergeOptions,
  type ModelSource,
  mergeOptions,
  type SaveMergedOptions,
  type SaveOptions,
  storedDtype,
} from "./model-options.js";
import { flattenBatch, flattenIds, splitFloats } from "./ragged.js";
import { readModel } from "./read-model.js";
import { SampleJob } from "./sample-job.js";
import { SampleStream, type StreamEvent, type StreamOptions } from "./sample-stream.js";
import type { SampleResult } from "./sampled.js";
import {
  type AdapterChoice,
  type GenerateOptions,
  generateToSample,
  type ModelSampleOptions,
  ownSampling,
  type SamplingModel,
  sampleRequest,
} from "./sampling.js";
import { WeightFiles } from "./save.js";
import { type GradientBatch, toNativeBatch, toNativeSftBatch } from "./training-inputs.js";
import { type ModelFacts, ModelWeights } from "./weights.js";

export type { OptimizerStepOptions } from "../options/optimizer.js";
export type {
  FromConfigOptions,
  FromPretrainedOptions,
  HubSource,
  MergeOptions,
  ModelSource,
  SaveMergedOptions,
  SaveOptions,
} from "./model-options.js";
export type { GradientBatch } from "./training-inputs.js";

/** What one `forwardBackward` gives: the loss, and TRL's metrics by name. */
export type LossResult = NativeLossResult;

/** What one `sftForwardBackward` or `sftEvaluate` gives: sums over the tokens of each row that count. */
export type SftLossResult = NativeSftResult;

/** Tools that want one for `await using` need Symbol.asyncDispose, which the oldest supported Node may lack. */
const asyncDispose: typeof Symbol.asyncDispose =
  Symbol.asyncDispose ?? (Symbol.for("Symbol.asyncDispose") as typeof Symbol.asyncDispose);

interface Parts extends ModelFacts {
  readonly device: string;
  readonly dtype: NativeDtype;
  readonly engine: NativeEngine;
  /** What `source` is of, where that is a repository. */
  readonly version: HubSource;
}

export class CausalLM implements Learner, SupervisedLearner {
  readonly generationConfig: JsonObject;
  /** "cpu", "cuda:0", "mps". */
  readonly device: string;
  readonly dtype: NativeDtype;
  /** The ids that end a completion, of generation_config.json or, where there is none, of config.json. */
  readonly eosTokenIds: readonly number[];
  readonly vocabSize: number;
  /** Longest sequence the model can take, prompt and completion together. */
  readonly maxPositions: number;
  readonly #sampling: SamplingModel;
  readonly #queue: EngineQueue;
  readonly #stream: SampleStream;
  readonly #weights: ModelWeights;
  readonly #files: WeightFiles;
  readonly #version: HubSource;

  private constructor(parts: Parts) {
    this.generationConfig = parts.generationConfig;
    this.device = parts.device;
    this.dtype = parts.dtype;
    this.vocabSize = parts.description.native.vocabSize;
    this.maxPositions = parts.description.native.maxPositions;
    const own = ownGeneration(parts);
    this.eosTokenIds = endOfTextIds(parts.config, own.values, own.file);
    const { vocabSize, maxPositions, eosTokenIds } = this;
    this.#sampling = { vocabSize, maxPositions, eosTokenIds, ownGeneration: own };
    this.#queue = new EngineQueue(parts.engine);
    this.#weights = new ModelWeights(this.#queue, parts);
    const { ropes } = parts.description.native;
    this.#stream = new SampleStream(this.#queue, this.#sampling, ropes, (engine, adapter, job) =>
      this.#within(engine, adapter === undefined ? {} : { adapter }, job),
    );
    this.#files = new WeightFiles(this.#queue, this.#weights);
    this.#version = parts.version;
  }

  /** config.json as it was read; after merging an adapter of a tied model's embedding, no longer tied. */
  get config(): JsonObject {
    return this.#weights.facts.config;
  }

  /** How the model is sampled where nothing else is asked, by its own generation_config.json. Throws BAD_CONFIG. */
  get ownSampling(): ReturnType<typeof ownSampling> {
    return ownSampling(this.#sampling.ownGeneration);
  }

  /** The folder or Hub id that the base model was loaded from, and its version there; null for a model of fromConfig. */
  get source(): ModelSource | null {
    const { source } = this.#weights.facts;
    return source === null ? null : { idOrPath: source, ...this.#version };
  }

  /** Loads a model from a folder in Hugging Face's format, or from the Hub. */
  static async fromPretrained(idOrPath: string, options: FromPretrainedOptions = {}): Promise<CausalLM> {
    checkModelOptions("fromPretrained", options);
    const { contents, description, table } = await readModel(idOrPath, options);
    const parts = { ...contents, description, source: idOrPath, version: hubSource(options) };
    const dtype = description.dtype ?? storedDtype(table);
    const model = new CausalLM({ ...parts, ...createEngine(description, dtype, options) });
    try {
      await model.#queue.run((engine) => engine.loadModel(table));
      // Revision and folder are those of the base model; an adapter is another repository.
      const { revision: _, subfolder: __, ...source } = hubSource(options);
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
    if (!isJsonObject(config)) throw new GrpoError("BAD_CONFIG", "fromConfig: expected the content of a config.json");
    const seed = checkNumber("fromConfig", "seed", options.seed ?? 0, { min: 0, integer: true });
    const description = readModelConfig(config);
    const configText = `${JSON.stringify(config, null, 2)}\n`;
    const parts = { config, configText, generationConfig: {}, description, source: null, version: {} };
    const model = new CausalLM({ ...parts, ...createEngine(description, description.dtype, options) });
    await model.#queue.run((engine) => engine.initModel(seed));
    return model;
  }

  /**
   * Adds a fresh adapter. Checked at once; a failure of the engine itself surfaces in the next call that is awaited. A second
   * one needs a name of its own and is used after setAdapter. Returns the model.
   */
  applyLora(config: LoraConfig, options: { readonly seed?: number; readonly name?: string } = {}): this {
    if (!(config instanceof LoraConfig)) {
      throw badOption("applyLora", "config", "a LoraConfig", config, "write new LoraConfig({ … })");
    }
    checkOptionNames("applyLora", options, ["seed", "name"], {
      positional: "write { name: … }",
      names: { adapterName: "write name" },
    });
    const seed = checkNumber("applyLora", "seed", options.seed ?? 42, { min: 0, integer: true });
    this.#weights.addLora(config, seed, checkName("applyLora", options.name));
    return this;
  }

  /** Loads an adapter in PEFT's format, into the one of that name ("default") if there is one of the same shape. */
  async loadAdapter(idOrPath: string, options: HubSource & { readonly name?: string } = {}): Promise<void> {
    this.#queue.checkAlive();
    checkOptionNames("loadAdapter", options, ["revision", "token", "cacheDir", "subfolder", "name"]);
    const { name, ...source } = options;
    const checked = checkName("loadAdapter", name);
    const resolved = await resolveModelFiles(idOrPath, { ...source, patterns: [ADAPTER_CONFIG, ADAPTER_WEIGHTS] });
    await readResolved(resolved, () => this.#weights.loadAdapter(resolved.folder, checked));
  }

  /** The names of all adapters. */
  get adapters(): readonly string[] {
    return this.#weights.adapterNames;
  }

  /** The adapter that computes and trains; null without one. */
  get activeAdapter(): string | null {
    return this.#weights.active;
  }

  /** Makes this adapter the active one: it computes and trains. Throws BAD_INPUT where there is none of that name. */
  setAdapter(name: string): Promise<void> {
    return this.#weights.setAdapter(name);
  }

  /** Another one becomes active if this one is. */
  deleteAdapter(name: string): Promise<void> {
    return this.#weights.deleteAdapter(name);
  }

  /** Writes adapters (the active one) into the weights; unmergeAdapter restores the weights bit for bit. */
  async mergeAdapter(options: MergeOptions = {}): Promise<void> {
    const { adapters, safeMerge } = mergeOptions("mergeAdapter", options);
    await this.#weights.merge(adapters, safeMerge);
  }

  /** Puts back the very weights that `mergeAdapter` changed. */
  unmergeAdapter(): Promise<void> {
    return this.#queue.run((engine) => engine.unmergeAdapters());
  }

  /** Writes adapters (the active one) into the weights for good and forgets all adapters. */
  async mergeAndUnload(options: MergeOptions = {}): Promise<void> {
    const { adapters, safeMerge } = mergeOptions("mergeAndUnload", options);
    await this.#weights.mergeAndUnload(adapters, safeMerge);
  }

  /** Forgets all adapters: the base model again. */
  unload(): Promise<void> {
    return this.#weights.unload();
  }

  /**
   * What a trainer calls before its first step: a model without adapter is trained in full from now on, and the optimizer begins
   * anew, whatever was trained before. With `reference`, the reference policy is fixed as it is now: of a model in full and of an
   * adapter that was loaded or trained before by a copy; of a fresh adapter it is the base model, which needs none. `mixed`:
   * mixReference will be called; only for a model in full.
   */
  async beginTraining(options: { readonly reference?: boolean; readonly mixed?: boolean } = {}): Promise<void> {
    checkOptionNames("beginTraining", options, ["reference", "mixed"]);
    const { reference = false, mixed = false } = options;
    if (mixed && this.adapters.length > 0) {
      throw new GrpoError("BAD_OPTION", "syncRefModel: the reference of an adapter cannot be mixed with the policy", {
        hint: "leave syncRefModel false, or train the model in full: without an adapter",
      });
    }
    await this.#weights.beginTraining(checkBoolean("beginTraining", "reference", reference));
  }

  /** reference ← (1 − alpha) · reference + alpha · policy, for a model that is trained in full (TRL's syncRefModel). */
  async mixReference(alpha: number): Promise<void> {
    await this.#weights.mixReference(checkNumber("mixReference", "alpha", alpha, { min: 0, max: 1 }));
  }

  /** `all` includes the adapters. Nothing is trainable before applyLora, loadAdapter or beginTraining. */
  trainableParameters(): { readonly trainable: number; readonly all: number } {
    return this.#weights.parameters();
  }

  /** What it will have in memory when it is trained, and the memory of its device. */
  memory(): ReturnType<Learner["memory"]> {
    return this.#weights.memory();
  }

  /** Bytes in use on its device, whoever uses them; undefined where that has the host's memory. */
  async deviceBytes(): Promise<number | undefined> {
    if (this.device === "cpu") return undefined;
    const { free, total } = await this.#queue.run((engine) => engine.memory());
    return total === 0 ? undefined : total - free;
  }

  /** Seconds in which the engine had something to do, so far. */
  get busySeconds(): number {
    return this.#queue.busySeconds;
  }

  /** Prints one line, as PEFT does: trainable and all parameters, and the share in percent. */
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
  generate(prompts: readonly TokenIds[], options: GenerateOptions = {}): GeneratedCompletions {
    const { signal, ...request } = generateToSample(prompts, options, this.#sampling);
    const own = new Set((options.stop ?? []).filter((id) => !this.eosTokenIds.includes(id)));
    return new GeneratedCompletions(
      (onGroup, stop) => this.sample(prompts, { ...request, onGroup, signal: stop }),
      own,
      signal,
    );
  }

  /**
   * Completions of one prompt, token by token. Calls meet in one running batch, whatever their options, and a prompt that begins as a
   * sequence before it computes only what is new. Leaving the loop ends the work, as the signal does.
   */
  stream(prompt: TokenIds, options: StreamOptions): AsyncIterable<StreamEvent> {
    return this.#stream.sample(prompt, options);
  }

  /** `groupSize` completions of every prompt; each group is handed to `onGroup` as it finishes. */
  async sample(prompts: readonly TokenIds[], options: ModelSampleOptions): Promise<SampleResult> {
    const request = sampleRequest(prompts, options, this.#sampling);
    const { signal } = options;
    const job = new SampleJob(request, options, this.vocabSize);
    const run = this.#queue.run(
      (engine) =>
        this.#within(engine, options, () => {
          // While another adapter was made the active one, there was nothing to cancel.
          if (signal?.aborted) throw new GrpoError("CANCELLED", "cancelled by the given signal");
          return job.run(engine);
        }),
      signal,
    );
    return job.result(run);
  }

  /**
   * Log-probability of every token of each sequence but its first, which has no context; or, for a batch of prompts and
   * completions, of every completion token. Dropout is off. With `reference`, under the reference policy (see beginTraining).
   */
  async logprobs(
    sequences: readonly TokenIds[] | SequenceBatch,
    options: { readonly temperature?: number; readonly reference?: boolean } & AdapterChoice = {},
  ): Promise<Float32Array[]> {
    checkOptionNames("logprobs", options, ["temperature", "reference", "adapter"]);
    const reference = checkBoolean("logprobs", "reference", options.reference ?? false);
    const temperature = checkNumber("logprobs", "temperature", options.temperature ?? 1, { min: 0, open: true });
    // Before what is sliced below.
    if (!("promptIds" in Object(sequences))) flattenIds("sequence", sequences as readonly TokenIds[], this.vocabSize);
    const pairs: SequenceBatch =
      "promptIds" in sequences
        ? sequences
        : { promptIds: sequences.map((ids) => ids.slice(0, 1)), completionIds: sequences.map((ids) => ids.slice(1)) };
    const batch = flattenBatch(pairs, this.vocabSize);
    this.#checkLengths(pairs);
    const flat = await this.#queue.run((engine) =>
      this.#within(engine, options, () => engine.logprobs(batch, temperature, reference)),
    );
    return splitFloats(flat, batch.completionOffsets);
  }

  completionLogprobs(
    batch: SequenceBatch,
    options: { readonly temperature: number; readonly reference?: boolean },
  ): Promise<Float32Array[]> {
    return this.logprobs(batch, options);
  }

  /** Logits of whole sequences, [length × vocabulary] each: for tests and small inputs. */
  async forward(sequences: readonly TokenIds[], options: AdapterChoice = {}): Promise<Float32Array[]> {
    checkOptionNames("forward", options, ["adapter"]);
    const { ids, offsets } = flattenIds("sequence", sequences, this.vocabSize);
    this.#checkLengths({ promptIds: sequences, completionIds: sequences.map(() => []) });
    const flat = await this.#queue.run((engine) => this.#within(engine, options, () => engine.forward(ids, offsets)));
    return splitFloats(
      flat,
      Array.from(offsets, (offset) => offset * this.vocabSize),
    );
  }

  /** Loss and metrics of a batch; its gradient is added to what the adapter already holds. */
  async forwardBackward(batch: GradientBatch, loss: LossOptions = {}): Promise<LossResult> {
    const options = toNativeLoss(loss);
    const needs = { reference: options.beta > 0, rowsPerSlice: rowsPerSliceOf(loss) };
    const native = toNativeBatch(batch, needs, this.vocabSize);
    this.#checkLengths(batch);
    return this.#queue.run((engine) => engine.forwardBackward(native, options));
  }

  /**
   * The loss of supervised fine-tuning, summed over the tokens of each row that count; its gradient is added to what the adapter
   * already holds.
   */
  async sftForwardBackward(batch: SupervisedBatch, loss: SftLossOptions = {}): Promise<SftLossResult> {
    const where = "sftForwardBackward";
    const options = toNativeSftLoss(where, loss);
    const native = toNativeSftBatch(where, batch, this.vocabSize);
    this.#checkLengths(batch);
    return this.#queue.run((engine) => engine.sftForwardBackward(native, options));
  }

  /** The same numbers without a gradient, dropout off. */
  async sftEvaluate(batch: SupervisedBatch, loss: SftLossOptions = {}): Promise<SftLossResult> {
    const where = "sftEvaluate";
    const options = toNativeSftLoss(where, loss);
    const native = toNativeSftBatch(where, batch, this.vocabSize);
    this.#checkLengths(batch);
    return this.#queue.run((engine) => engine.sftEvaluate(native, options));
  }

  /** Clips the gradient, makes one step of the optimizer, and clears the gradient. Not applied if the gradient is not finite. */
  async optimizerStep(options: OptimizerStepOptions): Promise<NativeStepResult> {
    const step = toNativeOptimizer(options);
    return this.#queue.run((engine) => engine.optimizerStep(step));
  }

  /** From here on the optimizer's steps are of the sum of all ranks' gradients. Waits until all are there. */
  joinRanks(options: NativeRankOptions): Promise<void> {
    return this.#queue.run((engine) => engine.joinRanks(options));
  }

  /** What each rank gives, by rank; every rank calls what waits for the others in the same order. */
  gatherBytes(own: Uint8Array): Promise<Uint8Array[]> {
    return this.#queue.run((engine) => engine.gatherBytes(own));
  }

  /** What is trained becomes what rank 0 has. */
  shareValues(): Promise<void> {
    return this.#queue.run((engine) => engine.shareValues());
  }

  /** Trains alone again. `reason`: told to the other ranks; "": the run is over. */
  leaveRanks(reason: string): Promise<void> {
    return this.#queue.run((engine) => engine.leaveRanks(reason));
  }

  /** Forgets the gradient that `forwardBackward` has added up. */
  zeroGrad(): Promise<void> {
    return this.#queue.run((engine) => engine.zeroGrad());
  }

  /** The gradient of everything that is trained, by the names that it is saved under. */
  async gradients(): Promise<Record<string, Float32Array>> {
    const gradients = await this.#queue.run((engine) => engine.gradients());
    return Object.fromEntries(
      Object.entries(gradients).map(([name, values]) => [this.#weights.fileName(name), values]),
    );
  }

  /**
   * Writes the adapters in PEFT's format if there are any, else the whole model in its dtype. The adapter "default" lies in the
   * folder itself, others in folders of their names. A README.md that is there stays.
   */
  async savePretrained(directory: string, options: SaveOptions = {}): Promise<void> {
    checkText("savePretrained", "directory", directory);
    checkOptionNames("savePretrained", options, ["maxShardSize", "adapters"]);
    const bytes = shardBytes("savePretrained", options.maxShardSize ?? DEFAULT_SHARD_SIZE);
    await this.#files.save(directory, bytes, options.adapters);
  }

  /** Writes the model with the active adapter merged into it, in the model's dtype; the model itself stays as it is. */
  async saveMerged(directory: string, options: SaveMergedOptions = {}): Promise<void> {
    checkText("saveMerged", "directory", directory);
    checkOptionNames("saveMerged", options, ["maxShardSize", "safeMerge"]);
    const bytes = shardBytes("saveMerged", options.maxShardSize ?? DEFAULT_SHARD_SIZE);
    const safe = checkBoolean("saveMerged", "safeMerge", options.safeMerge ?? false);
    await this.#files.saveMerged(directory, bytes, safe);
  }

  /** What is trained, and the optimizer's state. */
  async saveCheckpoint(directory: string): Promise<void> {
    checkText("saveCheckpoint", "directory", directory);
    const write = await this.#files.takeCheckpoint(false);
    await write(directory);
  }

  /**
   * saveCheckpoint in two steps: takes what is trained and the optimizer's state as they are now, and returns what writes them into
   * a folder. With `copy` (the default) they are copied in memory, and the model may go on while they are written; without it, it
   * must not change before that is done.
   */
  takeCheckpoint(options: { readonly copy?: boolean } = {}): Promise<CheckpointWriter> {
    checkOptionNames("takeCheckpoint", options, ["copy"]);
    return this.#files.takeCheckpoint(checkBoolean("takeCheckpoint", "copy", options.copy ?? true));
  }

  /** Loads what saveCheckpoint wrote; later steps are those of a run that never stopped. */
  loadCheckpoint(directory: string): Promise<void> {
    return this.#files.loadCheckpoint(directory);
  }

  /** Uploads what savePretrained writes. Returns the commit's address. */
  async pushToHub(repo: string, options: Omit<PushOptions, "type"> = {}): Promise<string> {
    checkText("pushToHub", "repo", repo);
    checkOptionNames("pushToHub", options, ["token", "private", "branch", "commitMessage"]);
    return withTemporaryFolder(async (folder) => {
      await this.savePretrained(folder);
      await writeModelCard(folder, repo, { base: hubIdOf(this.#weights.facts.source) });
      return pushFolder(repo, folder, { keepExisting: ["README.md"], ...options });
    });
  }

  /** Ends the running call and frees the weights. May be called twice; any other use afterwards is DISPOSED. */
  dispose(): void {
    this.#queue.dispose();
  }

  /** `await using` disposes of the model at the end of the block. */
  async [asyncDispose](): Promise<void> {
    this.dispose();
  }

  /** Within a job, with the adapter that a call asks for. Throws BAD_INPUT where there is none of that name. */
  async #within<T>(engine: NativeEngine, { adapter }: AdapterChoice, job: () => Promise<T>): Promise<T> {
    if (typeof adapter === "string") this.#weights.adapter(adapter);
    return this.#weights.within(engine, adapter, job);
  }

  #checkLengths({ promptIds, completionIds }: SequenceBatch): void {
    const lengths = promptIds.map((ids, i) => ids.length + (completionIds[i]?.length ?? 0));
    const long = lengths.findIndex((length) => length > this.maxPositions);
    if (long < 0) return;
    const found = `sequence ${long} has ${lengths[long]} tokens`;
    throw new GrpoError("BAD_INPUT", `expected at most ${this.maxPositions} tokens, but ${found}`);
  }
}
