// What a CausalLM's weights are at the moment: the base model, adapters by name, full training, the reference. Every change
// runs in the engine's order, and what is known of it here changes with it.

import { at } from "../at.js";
import { GrpoError } from "../errors.js";
import { withJsonKeys } from "../json.js";
import type { NativeDtype, NativeEngine, NativeModules, NativeTensorTable } from "../native/native.js";
import type { EngineQueue } from "./engine-queue.js";
import { type ModelDescription, parameterCount } from "./families/families.js";
import type { ModelFolder } from "./files/model-files.js";
import type { Learner } from "./learner.js";
import { readAdapter } from "./lora/adapter-files.js";
import type { LoraTarget } from "./lora/adapter-tensors.js";
import type { LoraConfig } from "./lora/lora.js";
import { loraDifferences } from "./lora/lora-differences.js";
import { type ResolvedLora, resolveLora } from "./lora/lora-resolve.js";
import type { MemoryModel } from "./memory.js";

export const DEFAULT_ADAPTER = "default";
const DTYPE_BYTES: Readonly<Record<NativeDtype, number>> = { float64: 8, float32: 4, bfloat16: 2, float16: 2 };

export interface ModelFacts extends ModelFolder {
  readonly description: ModelDescription;
  readonly dtype: NativeDtype;
  /** Where the base model came from, for adapter_config.json. */
  readonly source: string | null;
}

interface NamedAdapter {
  readonly resolved: ResolvedLora;
  /** Whether it was read from files or trained before: then it, and not the base, is what training starts from. */
  readonly moved: boolean;
}

export class ModelWeights {
  readonly #queue: EngineQueue;
  #facts: ModelFacts;
  readonly #adapters = new Map<string, NamedAdapter>();
  #active: string | null = null;
  #trainsAll = false;
  /** Whether the engine holds a copy that is the reference. */
  #copiedReference = false;
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
  /** Whether the model itself is trained, and not an adapter. */
  get trainsAll(): boolean {
    return this.#trainsAll;
  }
  /** Whether the reference is no longer what beginTraining would make, so that checkpoints hold it. */
  get mixedReference(): boolean {
    return this.#mixedReference;
  }

  parameters(): { readonly trainable: number; readonly all: number } {
    const base = parameterCount(this.#facts.description.native);
    if (this.#trainsAll) return { trainable: base, all: base };
    const added = [...this.#adapters.values()].reduce((sum, { resolved }) => sum + resolved.parameters.added, 0);
    return { trainable: this.#current()?.resolved.parameters.trainable ?? 0, all: base + added };
  }

  async memory(): ReturnType<Learner["memory"]> {
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
      mlpTrained: full ? 3 : mlpPairs(current?.resolved.spec.targets ?? [], description.native.modules),
      copiesReference: full || current?.moved === true,
      weightBytes: DTYPE_BYTES[dtype],
      computeBytes: device.computeBytes,
      keptBytes: device.keptBytes,
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
      throw new GrpoError("BAD_INPUT", "this model is trained in full, which leaves no place for an adapter", {
        hint: "load the model again for an adapter",
      });
    }
    if (this.#adapters.has(name)) {
      throw new GrpoError("BAD_INPUT", `this model already has an adapter named ${name}`, {
        hint: "give another name, or delete that one first",
      });
    }
    const resolved = resolveLora(config, this.#facts.description, seed);
    const before = this.#active;
    this.#adapters.set(name, { resolved, moved: false });
    this.#active ??= name;
    this.#queue.defer(
      (engine) => engine.addAdapter(name, resolved.native),
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
    if (known) {
      const who = `the adapter named ${name}`;
      const differences = loraDifferences(adapter, known.resolved, { who, inTraining: false });
      if (differences.length > 0) {
        throw new GrpoError("BAD_ADAPTER", `${folder} was made with ${differences.join("; with ")}`, {
          hint: "load it under another name",
        });
      }
    }
    await this.#loadAdapter(name, adapter, table);
  }

  /** The adapter of a checkpoint into the active one, which must train what was trained there, or as the first one. */
  async loadTrainedAdapter(folder: string): Promise<void> {
    const { adapter, table } = await readAdapter(folder, this.#facts.description);
    const own = this.#current()?.resolved;
    const differences = own ? loraDifferences(adapter, own, { who: "this run", inTraining: true }) : [];
    if (differences.length > 0) {
      throw new GrpoError("BAD_CHECKPOINT", `${folder} was written with ${differences.join("; with ")}`, {
        hint: "give the model an adapter with the LoraConfig that it was written with, or start a new run from its weights",
      });
    }
    await this.#loadAdapter(this.#active ?? DEFAULT_ADAPTER, adapter, table);
  }

  async #loadAdapter(name: string, adapter: ResolvedLora, table: NativeTensorTable): Promise<void> {
    const known = this.#adapters.get(name);
    await this.#queue.run(async (engine) => {
      if (!known) await engine.addAdapter(name, adapter.native);
      try {
        await this.within(engine, this.#active === null ? undefined : name, () => engine.loadSet("adapter", table, 0));
      } catch (error) {
        if (!known) await engine.deleteAdapter(name);
        throw error;
      }
    });
    this.#adapters.set(name, { resolved: known?.resolved ?? adapter, moved: true });
    this.#active ??= name;
  }

  async setAdapter(name: string): Promise<void> {
    this.adapter(name);
    await this.#queue.run((engine) => engine.setAdapter(name));
    this.#active = name;
  }

  async deleteAdapter(name: string): Promise<void> {
    this.adapter(name);
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

  /** Drops all adapters; what was merged into the weights stays there. */
  async unload(): Promise<void> {
    const untied = await this.#queue.run((engine) => engine.dropAdapters());
    this.#forgetAdapters();
    if (untied) this.#facts = untiedFacts(this.#facts);
  }

  /**
   * Readies the model for training, with an optimizer that remembers nothing of a training before. Without an adapter all of the
   * model is trained. With `reference`, what the reference must be is fixed now: the model's weights, or those of an adapter that
   * was loaded or trained before; for a fresh adapter it is the base model.
   */
  async beginTraining(reference: boolean): Promise<void> {
    const trainsAll = this.#adapters.size === 0;
    const active = this.#active;
    const adapter = this.#current();
    const isNew = trainsAll && !this.#trainsAll;
    const moved = await this.#queue.run(async (engine) => {
      if (isNew) await engine.trainAll();
      const moved = trainsAll || adapter?.moved === true || (await engine.optimizerSteps()) > 0;
      // The copy of another adapter must not stay the reference of a fresh one.
      const copies = reference && (moved || this.#copiedReference);
      if (copies) await engine.makeReference();
      this.#copiedReference ||= copies;
      if (trainsAll || adapter) {
        await engine.setOptimizer("");
        await engine.zeroGrad();
      }
      return moved;
    });
    if (active !== null && adapter) this.#adapters.set(active, { ...adapter, moved });
    this.#trainsAll = trainsAll;
    this.#mixedReference = false;
  }

  async mixReference(alpha: number): Promise<void> {
    await this.#queue.run((engine) => engine.mixReference(alpha));
    this.#mixedReference = true;
  }

  /** Takes the reference from a file's tensors, in place of what beginTraining made it. */
  async loadReference(table: NativeTensorTable): Promise<void> {
    await this.#queue.run((engine) => engine.loadSet("reference", table, 0));
    this.#mixedReference = true;
  }

  /**
   * Within a job: runs `job` with another adapter active, null for none and undefined for the one that is; nothing else of this model
   * runs meanwhile.
   */
  async within<T>(engine: NativeEngine, name: string | null | undefined, job: () => Promise<T>): Promise<T> {
    if (name === undefined || name === this.#active) return job();
    await engine.setAdapter(name ?? "");
    try {
      return await job();
    } finally {
      await engine.setAdapter(this.#active ?? "");
    }
  }

  /** Throws BAD_INPUT without an adapter; `what` needed one. */
  activeName(what: string): string {
    this.#queue.checkAlive();
    if (this.#active !== null) return this.#active;
    throw new GrpoError("BAD_INPUT", `${what}: the model has no adapter`, { hint: "call applyLora first" });
  }

  /** Throws BAD_INPUT where there is none of that name. */
  adapter(name: string): NamedAdapter {
    this.#queue.checkAlive();
    const adapter = this.#adapters.get(name);
    if (adapter) return adapter;
    const hint =
      this.#adapters.size === 0
        ? "add one with applyLora or loadAdapter: the model has none"
        : `use one of ${this.adapterNames.join(", ")}`;
    throw new GrpoError("BAD_INPUT", `there is no adapter named ${JSON.stringify(name)}`, { hint });
  }

  #current(): NamedAdapter | undefined {
    return this.#active === null ? undefined : this.#adapters.get(this.#active);
  }

  #chosen(names: readonly string[] | undefined): string[] {
    if (names === undefined) return [this.activeName("merging")];
    for (const name of names) this.adapter(name);
    return [...names];
  }

  #forgetAdapters(): void {
    this.#adapters.clear();
    this.#active = null;
    this.#trainsAll = false;
    this.#copiedReference = false;
    this.#mixedReference = false;
  }
}

/** How many of gate, up and down carry a pair, in whichever layer. */
function mlpPairs(targets: readonly LoraTarget[], { layers }: NativeModules): number {
  const targeted = new Set(targets.map(({ module }) => module));
  const carries = (linear: "gateUp" | "down", part: number) =>
    layers.some(({ feedForward }) => targeted.has(at(feedForward[linear].parts, part).name));
  const { parts } = at(layers, 0).feedForward.gateUp;
  // One part for both, or one for each.
  const inGateUp = parts.filter((_, part) => carries("gateUp", part)).length * (2 / parts.length);
  return inGateUp + (carries("down", 0) ? 1 : 0);
}

/** The facts of a model whose output layer is no longer its embedding. */
export function untiedFacts(facts: ModelFacts): ModelFacts {
  const { description, config, configText } = facts;
  const untied = { tie_word_embeddings: false };
  return {
    ...facts,
    config: { ...config, ...untied },
    configText: withJsonKeys(configText, untied),
    description: { ...description, native: { ...description.native, tieWordEmbeddings: false } },
  };
}
