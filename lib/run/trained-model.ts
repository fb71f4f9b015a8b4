// Who is trained, and its tokenizer: as they were given to the trainer, or loaded from an id or a folder when they are first needed,
// since a constructor cannot wait. As in TRL: the model in float32 unless modelInitKwargs says otherwise, the tokenizer from where the
// model is from, and a fresh adapter of peftConfig that is a function of the config's seed.

import path from "node:path";
import { badOption } from "../checks.js";
import { GrpoError } from "../errors.js";
import type { Optimizable } from "../model/learner.js";
import type { LoraConfig } from "../model/lora/lora.js";
import { CausalLM, type ModelSource } from "../model/model.js";
import { checkModelOptions, type FromPretrainedOptions, hubSource } from "../model/model-options.js";
import { Tokenizer } from "../tokenizer/tokenizer.js";
import type { FieldTypes } from "../zod.js";
import type { Trained } from "./loop-options.js";

/** How a trainer opens a model that it is given by its id or folder. */
export const modelFields = ({ z, optional }: FieldTypes) => ({
  /** Options of CausalLM.fromPretrained for a model that the trainer loads itself; its dtype is float32 unless they say otherwise. Default null. */
  modelInitKwargs: optional(
    z.custom<Omit<FromPretrainedOptions, "token">>((value) => typeof value === "object", "an object of options"),
  ),
});

export interface ModelArgs {
  readonly seed: number;
  readonly modelInitKwargs: Omit<FromPretrainedOptions, "token"> | null;
}

/** Throws BAD_OPTION for options that cannot be. `config`: the name of the class. */
export function checkModelInit(config: string, { modelInitKwargs }: Pick<ModelArgs, "modelInitKwargs">): void {
  if (modelInitKwargs === null) return;
  const where = `${config}: modelInitKwargs`;
  checkModelOptions(where, modelInitKwargs);
  if (!Object.hasOwn(modelInitKwargs, "token")) return;
  throw new GrpoError("BAD_OPTION", `${where}: a token would be written into the files of the run`, {
    hint: "log in with: grpo login, or set HF_TOKEN",
  });
}

/** Where a model is from, or is to be loaded from; null where nobody knows. */
function sourceOf(model: unknown): ModelSource | null {
  if (typeof model === "string") return { idOrPath: model };
  return model instanceof CausalLM ? model.source : null;
}

/** TRL's name of an output folder that nobody named: after the model. */
export function defaultOutputDir(model: unknown, trainer: string): { readonly outputDir?: string } {
  const source = sourceOf(model);
  return source === null ? {} : { outputDir: `${path.basename(source.idOrPath)}-${trainer}` };
}

export interface GivenModel<Model, Reader> {
  readonly model: Model | string;
  readonly processingClass?: Reader;
  readonly peftConfig?: LoraConfig;
}

/** `Model` and `Reader` are what the trainer asks of a model and of a tokenizer. */
export class TrainedModel<Model extends Optimizable, Reader extends Trained["tokenizer"]> implements Trained {
  readonly #trainer: string;
  readonly #args: ModelArgs;
  readonly #source: ModelSource | null;
  readonly #isGiven: boolean;
  #model: Model | CausalLM | undefined;
  #tokenizer: Reader | Tokenizer | undefined;
  /** An adapter that the model is still to get. */
  #lora: LoraConfig | undefined;
  #loading: Promise<void> | undefined;

  /**
   * `trainer`: the name of the class, for messages. Throws BAD_OPTION for a tokenizer that is missing, and for an adapter that the model
   * cannot have.
   */
  constructor(trainer: string, { model, processingClass, peftConfig }: GivenModel<Model, Reader>, args: ModelArgs) {
    const source = sourceOf(model);
    if (!processingClass && source === null) {
      const missing = "processingClass is missing, and the model does not say where it is from";
      throw new GrpoError("BAD_OPTION", `${trainer}: ${missing}`, {
        hint: "give processingClass: await Tokenizer.fromPretrained(id)",
      });
    }
    if (peftConfig && typeof model !== "string") checkBare(trainer, model);
    this.#trainer = trainer;
    this.#args = args;
    this.#source = source;
    this.#isGiven = typeof model !== "string";
    this.#model = typeof model === "string" ? undefined : model;
    this.#tokenizer = processingClass;
    this.#lora = peftConfig;
  }

  /** What was said about loading a model that was given. As in TRL, it is ignored with a word. */
  get notes(): readonly string[] {
    const ignored = this.#isGiven && this.#args.modelInitKwargs !== null;
    return ignored ? ["modelInitKwargs has no effect: the model was loaded before"] : [];
  }

  /** Whether nothing is to be loaded. */
  get isLoaded(): boolean {
    return this.#model !== undefined && this.#tokenizer !== undefined;
  }

  /** Throws BAD_INPUT before it is loaded. */
  get model(): Model | CausalLM {
    return this.#model ?? notLoaded("model");
  }

  /** Throws BAD_INPUT before it is loaded. */
  get tokenizer(): Reader | Tokenizer {
    return this.#tokenizer ?? notLoaded("tokenizer");
  }

  /** Puts the adapter of peftConfig on a model that was given, once. */
  adapt(): void {
    if (this.#model !== undefined) this.#addLora(this.#model);
  }

  /** Loads what is not there yet. What failed may be tried again. */
  async load(): Promise<void> {
    if (this.isLoaded || this.#source === null) return;
    this.#loading ??= this.#load(this.#source).finally(() => {
      this.#loading = undefined;
    });
    await this.#loading;
  }

  /** The tokenizer first: one that is missing is found before the weights are read. */
  async #load({ idOrPath, ...version }: ModelSource): Promise<void> {
    const { modelInitKwargs } = this.#args;
    const options = this.#model === undefined ? { ...version, ...modelInitKwargs } : version;
    this.#tokenizer ??= await Tokenizer.fromPretrained(idOrPath, hubSource(options));
    if (this.#model !== undefined) return;
    const model = await CausalLM.fromPretrained(idOrPath, { dtype: "float32", ...options });
    try {
      this.#addLora(model);
      this.#model = model;
    } catch (error) {
      model.dispose();
      throw error;
    }
  }

  #addLora(model: Model | CausalLM): void {
    if (this.#lora === undefined) return;
    checkBare(this.#trainer, model).applyLora(this.#lora, { seed: this.#args.seed });
    this.#lora = undefined;
  }
}

/** The model, once it can have the adapter of peftConfig. As TRL, no second one beside an adapter that is there. */
function checkBare(trainer: string, model: unknown): CausalLM {
  if (!(model instanceof CausalLM)) throw badOption(trainer, "model", "a CausalLM where peftConfig is given", model);
  if (model.adapters.length === 0) return model;
  throw new GrpoError("BAD_OPTION", `${trainer}: peftConfig is given, and the model has an adapter already`, {
    hint: "leave peftConfig out to train that adapter, or merge it first: await model.mergeAndUnload()",
  });
}

function notLoaded(what: string): never {
  throw new GrpoError("BAD_INPUT", `the ${what} of this trainer is not loaded yet`, {
    hint: "await trainer.load() first; train() and evaluate() do so too",
  });
}
