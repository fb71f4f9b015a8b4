// How the weights of a CausalLM are saved and loaded: adapters in PEFT's format, whole models, and what training goes on from
// (what is trained, the optimizer's state, a reference that was mixed). What they are is in weights.ts.

import path from "node:path";
import { show } from "../checks.js";
import { GrpoError } from "../errors.js";
import { hubIdOf, modelCard } from "../hub/model-card.js";
import { withJsonKeys } from "../json.js";
import type { NativeOptimizerName, NativeTensorInfo, NativeTensorSet } from "../native/native.js";
import { isNativeOptimizer } from "../options/optimizer.js";
import { type EngineQueue, toGrpoError } from "./engine-queue.js";
import { matchTensors } from "./families/families.js";
import { outputLayer } from "./families/module-table.js";
import { CONFIG, type FileContent, GENERATION_CONFIG, isFile, writeFiles } from "./files/model-files.js";
import { fileLayout, readHeader, readWeights, tableOf } from "./files/safetensors.js";
import { removeOtherWeights, weightFiles } from "./files/shards.js";
import type { CheckpointWriter } from "./learner.js";
import { ADAPTER_CONFIG, ADAPTER_WEIGHTS, writeAdapterConfig } from "./lora/adapter-files.js";
import { DEFAULT_ADAPTER, type ModelWeights, untiedFacts } from "./weights.js";

const OPTIMIZER_STATE = "optimizer.safetensors";
const REFERENCE_STATE = "reference.safetensors";

/** Tensors of a set as they are listed, metadata of the file, the names of a tensor there, and the adapter that is meant. */
type TensorsToSave = [
  set: NativeTensorSet,
  listed: readonly NativeTensorInfo[],
  metadata?: Record<string, string>,
  namesInFile?: (name: string) => readonly string[],
  adapter?: string | null,
];
type ContentOf = (...tensors: TensorsToSave) => Promise<FileContent>;

export class WeightFiles {
  readonly #queue: EngineQueue;
  readonly #weights: ModelWeights;

  constructor(queue: EngineQueue, weights: ModelWeights) {
    this.#queue = queue;
    this.#weights = weights;
  }

  /** Adapters in PEFT's format, if there are any: the one named "default" in the folder, others in folders of their names. */
  async save(
    directory: string,
    maxBytes: number,
    names: readonly string[] = this.#weights.adapterNames,
  ): Promise<void> {
    if (this.#weights.adapterNames.length === 0) return this.#saveModel(directory, "model", maxBytes);
    for (const name of names) {
      await this.#saveAdapter(name === DEFAULT_ADAPTER ? directory : path.join(directory, name), name);
    }
  }

  async saveMerged(directory: string, maxBytes: number, safe: boolean): Promise<void> {
    if (this.#weights.active === null) {
      throw new GrpoError("BAD_INPUT", "saveMerged: the model has no active adapter", {
        hint: "call applyLora or loadAdapter first, or save the model itself with savePretrained",
      });
    }
    await this.#saveModel(directory, safe ? "safelyMerged" : "merged", maxBytes);
  }

  /** What is trained, and the optimizer's state, as they are now; with `copy` in memory of their own. */
  async takeCheckpoint(copy: boolean): Promise<CheckpointWriter> {
    const content: ContentOf = copy ? (...set) => this.#copied(...set) : async (...set) => this.#writer(...set);
    const trained = this.#weights.trainsAll
      ? await this.#modelFolder("model", content)
      : await this.#adapterFolder(this.#weights.activeName("saveCheckpoint"), content);
    const [steps, optimizer] = await this.#queue.run((engine) =>
      Promise.all([engine.optimizerSteps(), engine.optimizer()]),
    );
    const metadata = { step: String(steps), optimizer };
    const files: Record<string, FileContent> = {
      [OPTIMIZER_STATE]: await content("optimizer", await this.#list("optimizer"), metadata),
    };
    if (this.#weights.mixedReference)
      files[REFERENCE_STATE] = await content("reference", await this.#list("reference"));
    return async (directory) => {
      await trained(directory);
      await writeFiles(directory, files);
    };
  }

  async loadCheckpoint(directory: string): Promise<void> {
    await this.#checkKind(directory);
    if (this.#weights.trainsAll) {
      const table = matchTensors(await readWeights(directory), this.#weights.facts.description.native);
      await this.#queue.run((engine) => engine.loadSet("model", table, 0));
    } else {
      await this.#weights.loadTrainedAdapter(directory);
    }
    const reference = path.join(directory, REFERENCE_STATE);
    if (await isFile(reference)) await this.#weights.loadReference(tableOf([await readHeader(reference)]));
    await this.#loadOptimizer(path.join(directory, OPTIMIZER_STATE));
  }

  /** Whether the folder has of a model what is trained of this one. */
  async #checkKind(directory: string): Promise<void> {
    const [adapter, model] = await Promise.all(
      [ADAPTER_CONFIG, CONFIG].map((name) => isFile(path.join(directory, name))),
    );
    if (adapter === model || model === this.#weights.trainsAll) return;
    const [found, hint] = model
      ? ["a model that was trained in full, this run trains an adapter", "resume with a model without adapter"]
      : ["an adapter, this run trains the model in full", `call applyLora with what ${ADAPTER_CONFIG} says there`];
    throw new GrpoError("BAD_CHECKPOINT", `${directory} holds ${found}`, { hint });
  }

  async #loadOptimizer(file: string): Promise<void> {
    const stored = await readHeader(file);
    const step = Number(stored.metadata.step ?? Number.NaN);
    if (!Number.isSafeInteger(step) || step < 0) {
      throw new GrpoError("BAD_CHECKPOINT", `${file}: metadata names no step`);
    }
    const optimizer = optimizerOf(file, stored.metadata.optimizer);
    await this.#queue.run(async (engine) => {
      await engine.setOptimizer(optimizer);
      await engine.loadSet("optimizer", tableOf([stored]), step);
    });
  }

  async #saveAdapter(directory: string, name: string): Promise<void> {
    const write = await this.#adapterFolder(name, async (...set) => this.#writer(...set));
    await write(directory);
  }

  async #adapterFolder(name: string, content: ContentOf): Promise<CheckpointWriter> {
    const { resolved } = this.#weights.adapter(name);
    const { description, source } = this.#weights.facts;
    const namesOf = (tensor: string) => resolved.tensors.get(tensor)?.fileNames ?? [];
    const tensors = await this.#queue.run((engine) =>
      this.#weights.within(engine, name, () => engine.tensors("adapter")),
    );
    const weights = await content("adapter", tensors, {}, namesOf, name);
    const config = writeAdapterConfig(resolved.config, description, source);
    return async (directory) => {
      const files: Record<string, FileContent> = { [ADAPTER_WEIGHTS]: weights, [ADAPTER_CONFIG]: config };
      const readme = "README.md";
      if (!(await isFile(path.join(directory, readme)))) {
        const { r, rankPattern } = resolved.config;
        const rank = Math.max(r, ...Object.values(rankPattern));
        files[readme] = await modelCard("path/of/this-folder", { kind: "adapter", base: hubIdOf(source), rank });
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

  /** A folder with one file of weights. */
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
    const { native } = this.#weights.facts.description;
    const ownOutput = tensors.some(({ name }) => name === `${outputLayer(native).module}.weight`);
    const { description, config, configText, generationConfigText, dtype } =
      ownOutput && native.tieWordEmbeddings ? untiedFacts(this.#weights.facts) : this.#weights.facts;
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
  #writer(...[set, listed, metadata, namesInFile, adapter = this.#weights.active]: TensorsToSave): FileContent {
    const { header, names } = fileLayout(listed, metadata, namesInFile);
    return (file) =>
      this.#queue.run((engine) =>
        this.#weights.within(engine, adapter ?? undefined, () => engine.saveSet(set, file, header, names)),
      );
  }

  /** What writes copies of the tensors that are made now, so that no job waits for the writing. */
  async #copied(
    ...[set, listed, metadata, namesInFile, adapter = this.#weights.active]: TensorsToSave
  ): Promise<FileContent> {
    const { header, names } = fileLayout(listed, metadata, namesInFile);
    const copies = await this.#queue.run((engine) =>
      this.#weights.within(engine, adapter ?? undefined, () => engine.copySet(set, names)),
    );
    return (file) =>
      copies.write(file, header).catch((thrown: unknown) => {
        throw toGrpoError(thrown);
      });
  }
}

/** "": it had not made a step. */
function optimizerOf(file: string, name: string | undefined): NativeOptimizerName | "" {
  if (name === "" || isNativeOptimizer(name)) return name;
  throw new GrpoError("BAD_CHECKPOINT", `${file}: metadata names no optimizer that is known, found ${show(name)}`);
}
