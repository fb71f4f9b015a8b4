// What a CausalLM's weights are at the moment: the base model, adapters by name, full training, the reference; and how they
// are saved and loaded. Every change runs in the engine's order, and what is known of it here changes with it.

import path from "node:path";
import { GrpoError } from "../errors.js";
import { hubIdOf, modelCard } from "../hub/model-card.js";
import { withJsonKeys } from "../json.js";
import type {
  NativeDtype,
  NativeEngine,
  NativeLoraTarget,
  NativeOptimizerName,
  NativeTensorInfo,
  NativeTensorSet,
  NativeTensorTable,
} from "../native/native.js";
import { show } from "../options.js";
import type { CheckpointWriter, PolicyModel } from "../policy.js";
import { ADAPTER_CONFIG, ADAPTER_WEIGHTS, readAdapter, writeAdapterConfig } from "./adapter-files.js";
import { type EngineQueue, toGrpoError } from "./engine-queue.js";
import { type ModelDescription, matchCheckpoint, parameterCount } from "./families.js";
import type { LoraConfig } from "./lora.js";
import { type ResolvedLora, resolveLora } from "./lora-resolve.js";
import type { MemoryModel } from "./memory.js";
import { CONFIG, type FileContent, GENERATION_CONFIG, isFile, type ModelFolder, writeFiles } from "./model-files.js";
import { fileLayout, readHeader, readWeights, tableOf } from "./safetensors.js";
import { removeOtherWeights, weightFiles } from "./shards.js";
import { OPTIMIZERS } from "./training-inputs.js";

const OPTIMIZER_STATE = "optimizer.safetensors";
const REFERENCE_STATE = "reference.safetensors";
const DEFAULT_ADAPTER = "default";
const DTYPE_BYTES: Readonly<Record<NativeDtype, number>> = { float64: 8, float32: 4, bfloat16: 2, float16: 2 };

export interface ModelFacts extends ModelFolder {
  readonly description: ModelDescription;
  readonly dtype: NativeDtype;
  /** Where the base model came from, for adapter_config.json. */
  readonly source: string | null;
}

/** Tensors of a set as they are listed, metadata of the file, the names of a tensor there, and the adapter that is meant. */
type TensorsToSave = [
  set: NativeTensorSet,
  listed: readonly NativeTensorInfo[],
  metadata?: Record<string, string>,
  namesInFile?: (name: string) => readonly string[],
  adapter?: string | null,
];
type ContentOf = (...tensors: TensorsToSave) => Promise<FileContent>;

interface NamedAdapter {
  readonly resolved: ResolvedLora;
  /** Whether it was read from files: then it, and not the base, is what training starts from. */
  readonly loaded: boolean;
}

export class ModelWeights {
  readonly #queue: EngineQueue;
  #facts: ModelFacts;
  readonly #adapters = new Map<string, NamedAdapter>();
  #active: string | null = null;
  #trainsAll = false;
  /** The reference is no longer what makeReference would make, so checkpoints hold it. */
  #mixedReference = false;

  constructor(queue: EngineQueue, facts: ModelFacts) {
    this.#queue = queue;
    this.#facts = facts;
  }

  get facts(): ModelFacts {
    return this.#facts;
  }
  get active(): string | null {
    return this.#active;
  }
  get adapterNames(): string[] {
    return [...this.#adapters.keys()];
  }

  parameters(): { readonly trainable: number; readonly all: number } {
    const base = parameterCount(this.#facts.description.native);
    if (this.#trainsAll) return { trainable: base, all: base };
    const added = [...this.#adapters.values()].reduce((sum, { resolved }) => sum + resolved.parameters.added, 0);
    return { trainable: this.#current()?.resolved.parameters.trainable ?? 0, all: base + added };
  }

  async memory(): ReturnType<PolicyModel["memory"]> {
    const { description, dtype } = this.#facts;
    const full = this.#adapters.size === 0;
    const current = this.#current();
    const device = await this.#queue.run((engine) => engine.memory());
    const parameters = parameterCount(description.native);
    const adapters = [...this.#adapters.values()].reduce((sum, { resolved }) => sum + resolved.parameters.added, 0);
    const model: MemoryModel = {
      shape: description.native,
      parameters,
      adapters,
      full,
      trained: full ? parameters : (current?.resolved.parameters.trainable ?? 0),
      mlpTrained: full ? 3 : mlpPairs(current?.resolved.spec.targets ?? []),
      copiesReference: full || current?.loaded === true,
      weightBytes: DTYPE_BYTES[dtype],
      computeBytes: device.computeBytes,
      device: device.total === 0 ? "cpu" : "other",
    };
    return { model, device, dropout: (current?.resolved.config.loraDropout ?? 0) > 0 };
  }

  /** The name under which a trained tensor is saved. */
  fileName(name: string): string {
    return this.#current()?.resolved.tensors.get(name)?.fileNames[0] ?? name;
  }

  addLora(config: LoraConfig, seed: number, name: string = DEFAULT_ADAPTER): void {
    this.#queue.checkAlive();
    if (this.#trainsAll) {
      throw new GrpoError("BAD_INPUT", "This model is trained in full, which leaves no place for an adapter.", {
        hint: "Load the model again for an adapter.",
      });
    }
    if (this.#adapters.has(name)) {
      throw new GrpoError("BAD_INPUT", `This model already has an adapter named ${name}.`, {
        hint: "Give another name, or delete that one first.",
      });
    }
    const resolved = resolveLora(config, this.#facts.description, seed);
    const before = this.#active;
    this.#adapters.set(name, { resolved, loaded: false });
    this.#active ??= name;
    this.#queue.defer(
      (engine) => engine.addAdapter(name, resolved.spec),
      () => {
        this.#adapters.delete(name);
        if (this.#active === name) this.#active = before;
      },
    );
  }

  /** Into the adapter of that name if there is one, which must then have the same tensors. */
  async loadAdapter(folder: string, name: string = DEFAULT_ADAPTER): Promise<void> {
    const { adapter, table } = await readAdapter(folder, this.#facts.description);
    const known = this.#adapters.get(name);
    if (known && !sameTensors(known.resolved, adapter)) {
      throw new GrpoError("BAD_ADAPTER", `${folder}: the adapter named ${name} has another configuration.`, {
        hint: "Load it under another name.",
      });
    }
    await this.#queue.run(async (engine) => {
      if (!known) await engine.addAdapter(name, adapter.spec);
      try {
        await this.#with(engine, name, () => engine.loadSet("adapter", table, 0));
      } catch (error) {
        if (!known) await engine.deleteAdapter(name);
        throw error;
      }
    });
    this.#adapters.set(name, { resolved: known?.resolved ?? adapter, loaded: true });
    this.#active ??= name;
  }

  async setAdapter(name: string): Promise<void> {
    this.#require(name);
    await this.#queue.run((engine) => engine.setAdapter(name));
    this.#active = name;
  }

  async deleteAdapter(name: string): Promise<void> {
    this.#require(name);
    const next = this.#active === name ? (this.adapterNames.find((other) => other !== name) ?? null) : this.#active;
    await this.#queue.run(async (engine) => {
      await engine.deleteAdapter(name);
      await engine.setAdapter(next ?? "");
    });
    this.#adapters.delete(name);
    this.#active = next;
  }

  async merge(names: readonly string[] | undefined, safe: boolean): Promise<void> {
    const merged = this.#chosen(names);
    await this.#queue.run((engine) => engine.mergeAdapters(merged, { safe }));
  }

  async mergeAndUnload(names: readonly string[] | undefined, safe: boolean): Promise<void> {
    const merged = this.#chosen(names);
    const untied = await this.#queue.run(async (engine) => {
      await engine.mergeAdapters(merged, { safe });
      return engine.dropAdapters();
    });
    this.#forgetAdapters();
    if (untied) this.#facts = untiedFacts(this.#facts);
  }

  /** Without adapters as before they came; what is merged stays. */
  async unload(): Promise<void> {
    const untied = await this.#queue.run((engine) => engine.dropAdapters());
    this.#forgetAdapters();
    if (untied) this.#facts = untiedFacts(this.#facts);
  }

  /**
   * Readies the model for training. Without an adapter all of it is trained. With `reference`, what the reference must be is
   * fixed now: the model's or the loaded adapter's weights; for a fresh adapter it is the base model.
   */
  async beginTraining(reference: boolean): Promise<void> {
    const trainsAll = this.#adapters.size === 0;
    const loaded = this.#current()?.loaded === true;
    const isNew = trainsAll && !this.#trainsAll;
    await this.#queue.run(async (engine) => {
      if (isNew) await engine.trainAll();
      const moved = trainsAll || loaded || (await engine.optimizerSteps()) > 0;
      if (reference && moved) await engine.makeReference();
    });
    this.#trainsAll = trainsAll;
    this.#mixedReference = false;
  }

  async mixReference(alpha: number): Promise<void> {
    await this.#queue.run((engine) => engine.mixReference(alpha));
    this.#mixedReference = true;
  }

  /** Adapters in PEFT's format, if there are any: the one named "default" in the folder, others in folders of their names. */
  async save(directory: string, maxBytes: number, names: readonly string[] = this.adapterNames): Promise<void> {
    if (this.#adapters.size === 0) return this.#saveModel(directory, "model", maxBytes);
    for (const name of names) {
      await this.#saveAdapter(name === DEFAULT_ADAPTER ? directory : path.join(directory, name), name);
    }
  }

  async saveMerged(directory: string, maxBytes: number, safe: boolean): Promise<void> {
    if (this.#active === null) {
      throw new GrpoError("BAD_INPUT", "saveMerged: the model has no active adapter.", {
        hint: "Call applyLora or loadAdapter first, or save the model itself with savePretrained.",
      });
    }
    await this.#saveModel(directory, safe ? "safelyMerged" : "merged", maxBytes);
  }

  /** What is trained, and the optimizer's state, as they are now; with `copy` in memory of their own. */
  async takeCheckpoint(copy: boolean): Promise<CheckpointWriter> {
    const content: ContentOf = copy ? (...set) => this.#copied(...set) : async (...set) => this.#writer(...set);
    const trained = this.#trainsAll
      ? await this.#modelFolder("model", content)
      : await this.#adapterFolder(this.#activeName("saveCheckpoint"), content);
    const [steps, optimizer] = await this.#queue.run((engine) =>
      Promise.all([engine.optimizerSteps(), engine.optimizer()]),
    );
    const metadata = { step: String(steps), optimizer };
    const files: Record<string, FileContent> = {
      [OPTIMIZER_STATE]: await content("optimizer", await this.#list("optimizer"), metadata),
    };
    if (this.#mixedReference) files[REFERENCE_STATE] = await content("reference", await this.#list("reference"));
    return async (directory) => {
      await trained(directory);
      await writeFiles(directory, files);
    };
  }

  async loadCheckpoint(directory: string): Promise<void> {
    if (this.#trainsAll) {
      const table = matchCheckpoint(await readWeights(directory), this.#facts.description.native);
      await this.#queue.run((engine) => engine.loadSet("model", table, 0));
    } else {
      await this.loadAdapter(directory, this.#active ?? DEFAULT_ADAPTER);
    }
    const reference = path.join(directory, REFERENCE_STATE);
    if (await isFile(reference)) {
      await this.#loadState("reference", reference);
      this.#mixedReference = true;
    }
    await this.#loadState("optimizer", path.join(directory, OPTIMIZER_STATE));
  }

  async #loadState(set: "optimizer" | "reference", file: string): Promise<void> {
    const stored = await readHeader(file);
    const step = set === "optimizer" ? Number(stored.metadata.step ?? Number.NaN) : 0;
    if (!Number.isSafeInteger(step) || step < 0) {
      throw new GrpoError("BAD_CHECKPOINT", `${file}: metadata names no step.`);
    }
    const table: NativeTensorTable = tableOf([stored]);
    const optimizer = set === "optimizer" ? optimizerOf(file, stored.metadata.optimizer) : "";
    await this.#queue.run(async (engine) => {
      if (optimizer !== "") await engine.setOptimizer(optimizer);
      await engine.loadSet(set, table, step);
    });
  }

  async #saveAdapter(directory: string, name: string): Promise<void> {
    const write = await this.#adapterFolder(name, async (...set) => this.#writer(...set));
    await write(directory);
  }

  async #adapterFolder(name: string, content: ContentOf): Promise<CheckpointWriter> {
    const { resolved } = this.#require(name);
    const { description, source } = this.#facts;
    const namesOf = (tensor: string) => resolved.tensors.get(tensor)?.fileNames ?? [];
    const tensors = await this.#queue.run((engine) => this.#with(engine, name, () => engine.tensors("adapter")));
    const weights = await content("adapter", tensors, {}, namesOf, name);
    const config = writeAdapterConfig(resolved.config, description, source);
    return async (directory) => {
      const files: Record<string, FileContent> = { [ADAPTER_WEIGHTS]: weights, [ADAPTER_CONFIG]: config };
      const readme = "README.md";
      if (!(await isFile(path.join(directory, readme)))) {
        files[readme] = await modelCard("path/of/this-folder", { kind: "adapter", base: hubIdOf(source) });
      }
      await writeFiles(directory, files);
    };
  }

  async #saveModel(directory: string, set: "model" | "merged" | "safelyMerged", maxBytes: number): Promise<void> {
    const tensors = await this.#list(set);
    await this.#writeModel(
      directory,
      tensors,
      weightFiles(tensors, maxBytes, (part) => this.#writer(set, part)),
    );
  }

  /** In one file of weights. */
  async #modelFolder(set: "model", content: ContentOf): Promise<CheckpointWriter> {
    const tensors = await this.#list(set);
    const weights = await content(set, tensors);
    return (directory) =>
      this.#writeModel(
        directory,
        tensors,
        weightFiles(tensors, Number.MAX_SAFE_INTEGER, () => weights),
      );
  }

  async #writeModel(
    directory: string,
    tensors: readonly NativeTensorInfo[],
    weights: Readonly<Record<string, FileContent>>,
  ): Promise<void> {
    const ownOutput = tensors.some(({ name }) => name === "lm_head.weight");
    const { description, config, configText, generationConfigText, dtype } =
      ownOutput && this.#facts.description.native.tieWordEmbeddings ? untiedFacts(this.#facts) : this.#facts;
    const dtypeKey = "torch_dtype" in config && !("dtype" in config) ? "torch_dtype" : "dtype";
    const changes = { architectures: [description.architecture], [dtypeKey]: dtype };
    await writeFiles(directory, {
      ...weights,
      [CONFIG]: withJsonKeys(configText, changes),
      ...(generationConfigText === undefined ? {} : { [GENERATION_CONFIG]: generationConfigText }),
    });
    await removeOtherWeights(directory, Object.keys(weights));
  }

  #list(set: NativeTensorSet): Promise<NativeTensorInfo[]> {
    return this.#queue.run((engine) => engine.tensors(set));
  }

  /** Writes tensors of a set to one file, each under its names there; `adapter` is made the active one for that long. */
  #writer(...[set, listed, metadata, namesInFile, adapter = this.#active]: TensorsToSave): FileContent {
    const { header, names } = fileLayout(listed, metadata, namesInFile);
    return (file) =>
      this.#queue.run((engine) => this.#with(engine, adapter, () => engine.saveSet(set, file, header, names)));
  }

  /** The same of copies that are made now; writing them keeps no job waiting. */
  async #copied(...[set, listed, metadata, namesInFile, adapter = this.#active]: TensorsToSave): Promise<FileContent> {
    const { header, names } = fileLayout(listed, metadata, namesInFile);
    const copies = await this.#queue.run((engine) => this.#with(engine, adapter, () => engine.copySet(set, names)));
    return (file) =>
      copies.write(file, header).catch((thrown: unknown) => {
        throw toGrpoError(thrown);
      });
  }

  /** Runs `job` with another adapter active; nothing else of this model runs meanwhile. */
  async #with<T>(engine: NativeEngine, name: string | null, job: () => Promise<T>): Promise<T> {
    if (name === null || name === (this.#active ?? name)) return job();
    await engine.setAdapter(name);
    try {
      return await job();
    } finally {
      await engine.setAdapter(this.#active ?? "");
    }
  }

  #current(): NamedAdapter | undefined {
    return this.#active === null ? undefined : this.#adapters.get(this.#active);
  }

  #activeName(what: string): string {
    this.#queue.checkAlive();
    if (this.#active !== null) return this.#active;
    throw new GrpoError("BAD_INPUT", `${what}: the model has no adapter.`, { hint: "Call applyLora first." });
  }

  #chosen(names: readonly string[] | undefined): string[] {
    if (names === undefined) return [this.#activeName("merging")];
    for (const name of names) this.#require(name);
    return [...names];
  }

  #require(name: string): NamedAdapter {
    this.#queue.checkAlive();
    const adapter = this.#adapters.get(name);
    if (adapter) return adapter;
    const hint = this.#adapters.size === 0 ? "The model has none." : `It has: ${this.adapterNames.join(", ")}.`;
    throw new GrpoError("BAD_INPUT", `There is no adapter named ${JSON.stringify(name)}.`, { hint });
  }

  #forgetAdapters(): void {
    this.#adapters.clear();
    this.#active = null;
    this.#trainsAll = false;
    this.#mixedReference = false;
  }
}

/** How many of gate, up and down carry a pair. */
function mlpPairs(targets: readonly NativeLoraTarget[]): number {
  const names = targets.filter(({ module }) => module.includes(".mlp.")).map(({ module }) => module.split(".mlp.")[1]);
  return [...new Set(names)].reduce((count, name) => count + (name === "gate_up_proj" ? 2 : 1), 0);
}

/** "": it had not made a step. */
function optimizerOf(file: string, name: string | undefined): NativeOptimizerName | "" {
  const known = ["", "sgd_momentum", ...OPTIMIZERS] as const;
  const found = known.find((optimizer) => optimizer === name);
  if (found !== undefined) return found;
  throw new GrpoError("BAD_CHECKPOINT", `${file}: metadata names no optimizer that is known, found ${show(name)}.`);
}

function untiedFacts(facts: ModelFacts): ModelFacts {
  const { description, config, configText } = facts;
  const untied = { tie_word_embeddings: false };
  return {
    ...facts,
    config: { ...config, ...untied },
    configText: withJsonKeys(configText, untied),
    description: { ...description, native: { ...description.native, tieWordEmbeddings: false } },
  };
}

function sameTensors(a: ResolvedLora, b: ResolvedLora): boolean {
  const shape = ({ spec }: ResolvedLora) =>
    JSON.stringify({ ...spec, dropout: 0, init: "", initIterations: 0, seed: 0 });
  return shape(a) === shape(b);
}
