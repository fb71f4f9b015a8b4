// How a model is opened: the options of fromPretrained and fromConfig, and the native engine that they ask for.

import type { NativeDtype, NativeEngine } from "../native/native.js";
import { loadCore } from "../native/native-loader.js";
import { checkNumber, checkOneOf } from "../options.js";
import { type Device, resolveDevice } from "./device.js";
import { toGrpoError } from "./engine-queue.js";
import type { ModelDescription } from "./families.js";

export interface HubSource {
  /** Branch, tag or commit on the Hub. Default "main". */
  readonly revision?: string;
  readonly token?: string;
  readonly cacheDir?: string;
}

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

export interface FromConfigOptions {
  /** Default: the config's, else float32. */
  readonly dtype?: NativeDtype | "auto";
  readonly device?: Device;
  /** The random weights are a function of it. Default 0. */
  readonly seed?: number;
  readonly threads?: number;
}

const DTYPES = ["auto", "bfloat16", "float16", "float32", "float64"] as const;

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
  const device = resolveDevice(options.device ?? "auto", core.devices());
  try {
    return { engine: new core.Engine({ config: description.native, device, dtype, threads }), device, dtype };
  } catch (error) {
    throw toGrpoError(error);
  }
}

/** The part of the options that says where to look on the Hub. */
export function hubSource({ revision, token, cacheDir }: HubSource): HubSource {
  return {
    ...(revision === undefined ? {} : { revision }),
    ...(token === undefined ? {} : { token }),
    ...(cacheDir === undefined ? {} : { cacheDir }),
  };
}
