// Rotary position embeddings from the rope settings of a config.json. Frequencies are computed in float32 steps in the order
// of transformers' modeling_rope_utils.py, so that logits agree to rounding. Formulas: RoFormer (arXiv 2104.09864), YaRN
// (arXiv 2309.00071), LongRoPE (arXiv 2402.13753), and for "llama3" the Llama 3.1 release.

import { show } from "../../checks.js";
import { GrpoError } from "../../errors.js";
import type { JsonObject } from "../../json.js";
import type { NativeRope } from "../../native/native.js";

/** Rope settings of one kind of layer, and what they depend on. */
export interface RopeInput {
  /** rope_type and its keys, rope_theta among them. */
  readonly settings: JsonObject;
  readonly headDim: number;
  /** max_position_embeddings */
  readonly maxPositions: number;
  /** The length before scaling, where the config has it outside the rope settings: transformers lets it win. */
  readonly originalPositions: number | undefined;
}

const TYPES: readonly string[] = ["default", "linear", "dynamic", "yarn", "longrope", "llama3"];

/** What some type reads, and "finetuned", which says nothing about the computation. A type ignores the keys of others. */
const KNOWN_KEYS: readonly string[] = [
  "type",
  "rope_type",
  "rope_theta",
  "partial_rotary_factor",
  "factor",
  "original_max_position_embeddings",
  "attention_factor",
  "beta_fast",
  "beta_slow",
  "mscale",
  "mscale_all_dim",
  "truncate",
  "short_factor",
  "long_factor",
  "low_freq_factor",
  "high_freq_factor",
  "finetuned",
];

const f = Math.fround;

/** Throws BAD_CONFIG for a value that is wrong and UNSUPPORTED_ARCHITECTURE for one that is right but not supported. */
export function makeRope(input: RopeInput): NativeRope {
  const { settings } = input;
  const unknown = Object.keys(settings).find((key) => !KNOWN_KEYS.includes(key) && settings[key] != null);
  if (unknown !== undefined) throw unsupported(`rope setting ${unknown} ${show(settings[unknown])}`);
  const rope = ropeOfType(ropeType(settings), input);
  const usable = (values: Float32Array) => values.every((value) => Number.isFinite(value) && value > 0);
  if (usable(rope.invFreq) && usable(rope.longInvFreq) && Number.isFinite(rope.scaling)) return rope;
  throw badConfig(`the rope settings ${show(settings)} give no finite frequencies`);
}

export function ropeType(settings: JsonObject): string {
  const type = settings.rope_type ?? settings.type ?? "default";
  if (typeof type === "string" && TYPES.includes(type)) return type;
  throw unsupported(`rope type ${show(type)}`, `use one of ${TYPES.join(", ")}`);
}

/** Longest sequence: what scaling "linear", "dynamic" or "yarn" makes of the length that the config names. */
export function scaledLength({ settings, maxPositions, originalPositions }: RopeInput): number {
  const type = ropeType(settings);
  if (type === "linear" || type === "dynamic") return Math.floor(positive(settings, "factor") * maxPositions);
  if (type !== "yarn" || settings.factor == null) return maxPositions;
  const original = originalPositions ?? positive(settings, "original_max_position_embeddings", maxPositions);
  return Math.max(maxPositions, Math.floor(positive(settings, "factor") * original));
}

function ropeOfType(type: string, input: RopeInput): NativeRope {
  const { settings, maxPositions } = input;
  const dim = Math.floor(input.headDim * positive(settings, "partial_rotary_factor", 1));
  if (dim < 1 || dim > input.headDim) {
    throw badConfig(
      `partial_rotary_factor must be above 0 and at most 1, found ${show(settings.partial_rotary_factor)}`,
    );
  }
  const theta = positive(settings, "rope_theta");
  const inverse = baseFrequencies(theta, dim).map((frequency) => f(1 / frequency));
  switch (type) {
    case "linear": {
      const factor = f(positive(settings, "factor"));
      return staticRope(inverse.map((frequency) => f(frequency / factor)));
    }
    case "dynamic":
      // The base grows with exponent dim / (dim − 2).
      if (dim <= 2) throw badConfig(`dynamic rope needs more than 2 rotated dimensions, found ${dim}`);
      return {
        ...staticRope(inverse),
        dynamicFactor: positive(settings, "factor"),
        dynamicLength: maxPositions,
        theta,
      };
    case "yarn":
      return yarnRope(theta, dim, input);
    case "longrope":
      return longRope(theta, dim, input);
    case "llama3":
      return staticRope(llama3Frequencies(inverse, input));
    default:
      return staticRope(inverse);
  }
}

/** A rope that does not depend on the length of the sequence. */
function staticRope(invFreq: Float32Array, scaling = 1): NativeRope {
  const never = { switchLength: 0, longInvFreq: new Float32Array(), longScaling: 1 };
  return { invFreq, scaling, ...never, dynamicFactor: 0, dynamicLength: 0, theta: 0 };
}

/** θ^(2i/d), for i < d / 2, rounded up. */
function baseFrequencies(theta: number, dim: number): Float32Array {
  return Float32Array.from({ length: Math.ceil(dim / 2) }, (_, i) => f(f(theta) ** f((2 * i) / dim)));
}

/** Fast dimensions stay, slow ones are divided by `factor`, with a linear ramp between the two. */
function yarnRope(theta: number, dim: number, input: RopeInput): NativeRope {
  const { settings } = input;
  const original = originalLength(input);
  const factor = settings.factor === null ? input.maxPositions / original : positive(settings, "factor");
  const [low, high] = yarnRange(theta, dim, original, settings);
  const base = baseFrequencies(theta, dim);
  const invFreq = base.map((frequency, i) => {
    const ramp = Math.min(Math.max(f(f(i - f(low)) / f(high - low)), 0), 1);
    const keep = f(1 - ramp);
    const interpolated = f(1 / f(f(factor) * frequency));
    return f(f(interpolated * f(1 - keep)) + f(f(1 / frequency) * keep));
  });
  return staticRope(invFreq, yarnAttentionFactor(settings, factor));
}

/** The dimensions that turn `beta_fast` and `beta_slow` times within the original length: the ends of the ramp. */
function yarnRange(theta: number, dim: number, original: number, settings: JsonObject): [number, number] {
  const dimension = (turns: number) => (dim * Math.log(original / (turns * 2 * Math.PI))) / (2 * Math.log(theta));
  let low = dimension(truthy(settings, "beta_fast", 32));
  let high = dimension(truthy(settings, "beta_slow", 1));
  const truncate = settings.truncate ?? true;
  if (typeof truncate !== "boolean") throw badConfig(`truncate must be true or false, found ${show(truncate)}`);
  if (truncate) [low, high] = [Math.floor(low), Math.ceil(high)];
  [low, high] = [Math.max(low, 0), Math.min(high, dim - 1)];
  return [low, low === high ? high + 0.001 : high];
}

function yarnAttentionFactor(settings: JsonObject, factor: number): number {
  if (settings.attention_factor != null) return positive(settings, "attention_factor");
  const scale = (mscale: number) => (factor <= 1 ? 1 : 0.1 * mscale * Math.log(factor) + 1);
  const [mscale, allDim] = [truthy(settings, "mscale", 0), truthy(settings, "mscale_all_dim", 0)];
  return mscale !== 0 && allDim !== 0 ? scale(mscale) / scale(allDim) : scale(1);
}

/** One list of divisors up to the original length, another beyond; the attention factor is the same. */
function longRope(theta: number, dim: number, input: RopeInput): NativeRope {
  const { settings } = input;
  const original = originalLength(input);
  const base = baseFrequencies(theta, dim);
  const divided = (key: string): Float32Array => {
    const divisors = settings[key];
    if (!Array.isArray(divisors) || divisors.length !== base.length) {
      throw badConfig(`${key} must be a list of ${base.length} numbers, found ${show(divisors)}`);
    }
    return base.map((frequency, i) => f(1 / f(f(positive(divisors, i, undefined, `${key}[${i}]`)) * frequency)));
  };
  const scaling = longAttentionFactor(settings, original, input.maxPositions);
  const short = staticRope(divided("short_factor"), scaling);
  return { ...short, switchLength: original, longInvFreq: divided("long_factor"), longScaling: scaling };
}

function longAttentionFactor(settings: JsonObject, original: number, maxPositions: number): number {
  if (settings.attention_factor != null) return positive(settings, "attention_factor");
  const factor = positive(settings, "factor", maxPositions / original);
  return factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(original));
}

/** Long waves are divided by `factor`, short ones stay, those between are interpolated. */
function llama3Frequencies(frequencies: Float32Array, input: RopeInput): Float32Array {
  const { settings } = input;
  const factor = f(positive(settings, "factor"));
  const low = positive(settings, "low_freq_factor");
  const high = positive(settings, "high_freq_factor");
  const original = originalLength(input);
  if (high <= low) throw badConfig(`high_freq_factor (${high}) must exceed low_freq_factor (${low})`);
  return frequencies.map((frequency) => {
    // torch divides a number by a tensor as number · (1 / tensor); the roundings follow it.
    const wavelength = f(f(1 / frequency) * f(2 * Math.PI));
    if (wavelength > f(original / low)) return f(frequency / factor);
    if (wavelength < f(original / high)) return frequency;
    const smooth = f(f(f(f(1 / wavelength) * f(original)) - f(low)) / f(high - low));
    return f(f(f(f(1 - smooth) * frequency) / factor) + f(smooth * frequency));
  });
}

function originalLength({ settings, originalPositions, maxPositions }: RopeInput): number {
  return originalPositions ?? positive(settings, "original_max_position_embeddings", maxPositions);
}

/** Python's `value or fallback`. */
function truthy(settings: JsonObject, key: string, fallback: number): number {
  return settings[key] === 0 || settings[key] == null ? fallback : positive(settings, key);
}

function positive(settings: object, key: string | number, fallback?: number, name = key): number {
  const value: unknown = Reflect.get(settings, key) ?? fallback;
  if (typeof value === "number" && Number.isFinite(value) && value > 0) return value;
  throw badConfig(`${name} must be a positive number, found ${show(value)}`);
}

function badConfig(what: string): GrpoError {
  return new GrpoError("BAD_CONFIG", `config.json: ${what}`);
}

function unsupported(what: string, hint?: string): GrpoError {
  return new GrpoError("UNSUPPORTED_ARCHITECTURE", `config.json: ${what} is not supported`, hint ? { hint } : {});
}
