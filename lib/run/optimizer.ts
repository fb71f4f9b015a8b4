// The optimizer that the options name, as transformers names them, and the numbers of its step.

import { GrpoError } from "../errors.js";
import type { OptimizerStepOptions } from "../model/learner.js";
import type { NativeOptimizerName } from "../native/native.js";
import { checkBoolean, checkNumber, checkOneOf, checkOptionNames } from "../options.js";

type Optimizer = NonNullable<OptimizerStepOptions["optimizer"]>;

/** By transformers' names; muon is torch's. */
export const OPTIM_NAMES = {
  adamw_torch_fused: "adamw",
  adamw_torch: "adamw",
  adamw_8bit: "adamw_8bit",
  adamw_bnb_8bit: "adamw_8bit",
  sgd: "sgd",
  adafactor: "adafactor",
  muon: "muon",
} as const satisfies Record<string, Optimizer>;

interface OptimConfig {
  readonly optim: keyof typeof OPTIM_NAMES;
  readonly optimArgs: string | Readonly<Record<string, unknown>> | null;
}

/** The name under which checkpoints and the engine know it. */
export function nativeOptimizer(args: OptimConfig): NativeOptimizerName {
  const { optimizer, momentum = 0 } = optimizerOptions(args);
  return optimizer === "sgd" && momentum > 0 ? "sgd_momentum" : optimizer;
}

/** What does not change from step to step. Throws BAD_OPTION or UNKNOWN_OPTION for optimArgs that mean nothing. */
export function optimizerOptions({ optim, optimArgs }: OptimConfig, where = "optimArgs") {
  const optimizer = OPTIM_NAMES[optim];
  return { optimizer, ...ownOptions(optimizer, readOptimArgs(optimArgs, where), where) };
}

function ownOptions(optimizer: Optimizer, given: Readonly<Record<string, unknown>>, where: string) {
  const share = (name: string, fallback: number) =>
    checkNumber(where, name, given[name] ?? fallback, { min: 0, max: 1 });
  const flag = (name: string, fallback: boolean) => checkBoolean(where, name, given[name] ?? fallback);
  if (optimizer === "sgd") {
    checkOptionNames(where, given, ["momentum", "dampening", "nesterov"]);
    const nesterov = flag("nesterov", false);
    const [momentum, dampening] = [share("momentum", 0), share("dampening", 0)];
    if (nesterov && (momentum === 0 || dampening !== 0)) {
      throw new GrpoError("BAD_OPTION", `${where}: nesterov needs a momentum and no dampening`);
    }
    return { momentum, dampening, nesterov };
  }
  if (optimizer === "muon") {
    checkOptionNames(where, given, ["momentum", "nesterov", "ns_steps", "adjust_lr_fn"]);
    const adjust = given.adjust_lr_fn ?? "match_rms_adamw";
    return {
      momentum: share("momentum", 0.95),
      nesterov: flag("nesterov", true),
      newtonSchulzSteps: checkNumber(where, "ns_steps", given.ns_steps ?? 5, { min: 1, integer: true }),
      matchAdamW: checkOneOf(where, "adjust_lr_fn", adjust, ["match_rms_adamw", "original"]) === "match_rms_adamw",
    };
  }
  checkOptionNames(where, given, []);
  return {};
}

/** "momentum=0.9,nesterov=true" as transformers writes it, or an object. */
function readOptimArgs(args: OptimConfig["optimArgs"], where: string): Readonly<Record<string, unknown>> {
  if (args === null || typeof args === "object") return args ?? {};
  const pairs = args.replaceAll(" ", "").split(",");
  return Object.fromEntries(
    pairs.map((pair) => {
      const [name = "", value, more] = pair.split("=");
      if (value !== undefined && more === undefined) return [name, readValue(value)];
      throw new GrpoError("BAD_OPTION", `${where} "${args}" is no list of name=value`);
    }),
  );
}

function readValue(text: string): unknown {
  if (/^(true|false)$/i.test(text)) return text.toLowerCase() === "true";
  const number = Number(text);
  return text === "" || Number.isNaN(number) ? text : number;
}
