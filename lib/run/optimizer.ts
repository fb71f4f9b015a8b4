// The optimizer that the options name, as transformers names them, with what it has of its own.

import { GrpoError } from "../errors.js";
import { type NativeOptimizerName, nativeName, type OptimName, optimizerOf, ownOptions } from "../options/optimizer.js";

interface OptimConfig {
  readonly optim: OptimName;
  readonly optimArgs: string | Readonly<Record<string, unknown>> | null;
}

/** The name under which checkpoints and the engine know it. */
export function nativeOptimizer(args: OptimConfig): NativeOptimizerName {
  const { optimizer, ...own } = optimizerOptions(args);
  return nativeName(optimizer, own);
}

/** What does not change from step to step. Throws BAD_OPTION or UNKNOWN_OPTION for optimArgs that mean nothing. */
export function optimizerOptions({ optim, optimArgs }: OptimConfig, where = "optimArgs") {
  const optimizer = optimizerOf(optim);
  return { optimizer, ...ownOptions(where, optimizer, readOptimArgs(optimArgs, where)) };
}

/** "momentum=0.9,nesterov=true" as transformers writes it, or an object. */
function readOptimArgs(args: OptimConfig["optimArgs"], where: string): Readonly<Record<string, unknown>> {
  if (args === null || typeof args === "object") return args ?? {};
  const pairs = args.replaceAll(" ", "").split(",");
  return Object.fromEntries(
    pairs.map((pair) => {
      const [name = "", value, more] = pair.split("=");
      if (value !== undefined && more === undefined) return [name, readValue(value)];
      throw new GrpoError("BAD_OPTION", `${where} "${args}" is not a list of name=value`);
    }),
  );
}

function readValue(text: string): unknown {
  if (/^(true|false)$/i.test(text)) return text.toLowerCase() === "true";
  const number = Number(text);
  return text === "" || Number.isNaN(number) ? text : number;
}
