// How a model is opened: the options of fromPretrained and fromConfig, and the native engine that they ask for.

import { badOption, checkBoolean, checkNumber, checkOneOf, checkOptionNames, namesOf } from "../checks.js";
import type { NativeDtype, NativeEngine, NativeTensorTable } from "../native/native.js";
import { loadCore } from "../native/native-loader.js";
import { type Device, resolveDevice } from "./device.js";
import { toGrpoError } from "./engine-queue.js";
import type { ModelDescription } from "./families/families.js";
import type { ShardSize } from "./files/shards.js";

/** Which version and which folder of a Hub repository, with which token and cache. */
export interface HubSource {
  /** Branch, tag or commit on the Hub. Default "main". */
  readonly revision?: string;
  /** Default: HF_TOKEN, or the token saved by a login. */
  readonly token?: string;
  /** Where downloads are kept. Default: HF_HUB_CACHE, or the "hub" folder in HF_HOME. */
  readonly cacheDir?: string;
  /** Folder in the repository or folder that holds the files. Default: they lie at its top. */
  readonly subfolder?: string;
}

/** Where a model was loaded from. */
export interface ModelSource extends HubSource {
  readonly idOrPath: string;
}

/** How a model is loaded: type, device, adapter, and where on the Hub. */
export interface FromPretrainedOptions extends HubSource {
  /** "auto": the checkpoint's own. */
  readonly dtype?: NativeDtype | "auto";
  /** "auto": the first accelerator that works, else the CPU. */
  readonly device?: Device;
  /** A PEFT folder or Hub id to go on from. */
  readonly adapter?: string;
  /** CPU threads of the engine. Default: libtorch's own choice. */
  readonly threads?: number;
}

const FROM_PRETRAINED_OPTIONS = namesOf<FromPretrainedOptions>({
  dtype: true,
  device: true,
  revision: true,
  token: true,
  cacheDir: true,
  subfolder: true,
  adapter: true,
  threads: true,
});

/** Throws UNKNOWN_OPTION for a name that fromPretrained does not know; `where` is whose option it is. */
export function checkModelOptions(where: string, options: object): void {
  checkOptionNames(where, options, FROM_PRETRAINED_OPTIONS, {
    positional: 'write { dtype: "bfloat16" }',
    names: {
      torchDtype: "write dtype",
      deviceMap: "write device: the whole model is on one",
      attnImplementation: "leave it out: attention is the engine's own",
      trustRemoteCode: "leave it out: code from a model's repository never runs",
      quantizationConfig: "leave it out: weights are not quantised",
      loadIn4bit: "leave it out: weights are not quantised",
      loadIn8bit: "leave it out: weights are not quantised",
      lowCpuMemUsage: "leave it out: weights are read from a memory map",
      localFilesOnly: "leave it out, and set HF_HUB_OFFLINE=1",
      useCache: "leave it out: sampling always uses a key-value cache",
    },
  });
}

/** Type, device and seed of a model with random weights. */
export interface FromConfigOptions {
  /** Default: the config's, else float32. */
  readonly dtype?: NativeDtype | "auto";
  /** "auto": the first accelerator that works, else the CPU. Default "auto". */
  readonly device?: Device;
  /** The random weights are a function of it. Default 0. */
  readonly seed?: number;
  /** CPU threads of the engine. Default: libtorch's own choice. */
  readonly threads?: number;
}

/** How an adapter is merged into the weights. */
export interface MergeOptions {
  /** Names, in this order. Default: the active adapter. */
  readonly adapters?: readonly string[];
  /** Round the update to the model's dtype before adding it, and refuse results that are not finite. Default false. */
  readonly safeMerge?: boolean;
}

/** How a model is written. */
export interface SaveOptions {
  /** Largest file, in bytes or as in "5GB". Default "50GB". */
  readonly maxShardSize?: ShardSize;
  /** Names of the adapters to save. Default: all. */
  readonly adapters?: readonly string[];
}

/** How a merged model is written. */
export type SaveMergedOptions = Pick<SaveOptions, "maxShardSize"> & Pick<MergeOptions, "safeMerge">;

const DTYPES = ["auto", "bfloat16", "float16", "float32", "float64"] as const;

const FILE_DTYPES: Readonly<Record<string, NativeDtype>> = {
  F32: "float32",
  BF16: "bfloat16",
  F16: "float16",
  F64: "float64",
};

/** The type in which a checkpoint stores its first tensor. */
export function storedDtype({ tensors }: NativeTensorTable): NativeDtype | undefined {
  return FILE_DTYPES[tensors[0]?.dtype ?? ""];
}

/** `ownDtype` is what "auto" means for this model. */
export function createEngine(
  description: ModelDescription,
  ownDtype: NativeDtype | undefined,
  options: FromConfigOptions,
): { engine: NativeEngine; device: string; dtype: NativeDtype } {
  const asked = checkOneOf("CausalLM", "dtype", options.dtype ?? "auto", DTYPES);
  const dtype = asked === "auto" ? (ownDtype ?? "float32") : asked;
  const threads = checkNumber("CausalLM", "threads", options.threads ?? 0, { min: 0, integer: true });
  const core = loadCore();
  const device = resolveDevice(options.device ?? "auto", core);
  try {
    return { engine: new core.Engine({ config: description.native, device, dtype, threads }), device, dtype };
  } catch (error) {
    throw toGrpoError(error);
  }
}

/** The part of the options that says where to look on the Hub. */
export function hubSource({ revision, token, cacheDir, subfolder }: HubSource): HubSource {
  return {
    ...(revision === undefined ? {} : { revision }),
    ...(token === undefined ? {} : { token }),
    ...(cacheDir === undefined ? {} : { cacheDir }),
    ...(subfolder === undefined ? {} : { subfolder }),
  };
}

export function mergeOptions(
  where: string,
  options: MergeOptions,
): { readonly adapters: readonly string[] | undefined; readonly safeMerge: boolean } {
  checkOptionNames(where, options, ["adapters", "safeMerge"]);
  const { adapters } = options;
  const isList = adapters === undefined || (Array.isArray(adapters) && adapters.length > 0);
  if (!isList) throw badOption(where, "adapters", "a list of adapter names", adapters);
  return { adapters, safeMerge: checkBoolean(where, "safeMerge", options.safeMerge ?? false) };
}

/** An adapter's name is also that of a folder. */
export function checkName(where: string, name: string | undefined): string | undefined {
  if (name === undefined || (typeof name === "string" && /^\w[\w.-]*$/.test(name))) return name;
  throw badOption(where, "name", "letters, digits, '_', '-' and '.'", name);
}
