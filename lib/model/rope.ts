// Inverse frequencies of rotary position embeddings, from the rope settings of a config.json. Computed in float32 steps in
// the order of transformers' modeling_rope_utils.py, so that logits agree to rounding. Formulas: RoFormer (arXiv 2104.09864)
// and, for "llama3", the Llama 3.1 release.

import { GrpoError } from "../errors.js";
import { isJsonObject, type JsonObject } from "../json.js";
import { show } from "../options.js";

export const ROPE_TYPES: readonly string[] = ["default", "linear", "llama3"];

const DEFAULT_THETA = 10_000;
const f = Math.fround;

/** [headDim / 2] inverse frequencies. `config` is a config.json of transformers 4 (rope_theta, rope_scaling) or 5 (rope_parameters). */
export function ropeInverseFrequencies(config: JsonObject, headDim: number, maxPositions: number): Float32Array {
  const rope = ropeSettings(config);
  const type = rope.rope_type ?? rope.type ?? "default";
  if (typeof type !== "string" || !ROPE_TYPES.includes(type)) {
    throw new GrpoError("UNSUPPORTED_ARCHITECTURE", `config.json: rope type ${show(type)} is not supported.`, {
      hint: `Supported: ${ROPE_TYPES.join(", ")}.`,
    });
  }
  if ((rope.partial_rotary_factor ?? config.partial_rotary_factor ?? 1) !== 1) {
    throw new GrpoError(
      "UNSUPPORTED_ARCHITECTURE",
      "config.json: partial_rotary_factor other than 1 is not supported.",
    );
  }
  const theta = positive(rope, "rope_theta", config.rope_theta ?? DEFAULT_THETA);
  const frequencies = defaultFrequencies(theta, headDim);
  if (type === "linear") {
    const factor = f(positive(rope, "factor"));
    return frequencies.map((frequency) => f(frequency / factor));
  }
  return type === "llama3" ? llama3Frequencies(frequencies, rope, config, maxPositions) : frequencies;
}

function ropeSettings(config: JsonObject): JsonObject {
  const settings = config.rope_scaling ?? config.rope_parameters ?? {};
  if (!isJsonObject(settings)) {
    throw new GrpoError("BAD_CONFIG", `config.json: rope_parameters must be an object, found ${show(settings)}.`);
  }
  const nested = Object.keys(settings).find((key) => isJsonObject(settings[key]));
  if (nested === undefined) return settings;
  throw new GrpoError(
    "UNSUPPORTED_ARCHITECTURE",
    `config.json: rope_parameters of its own for each layer type (${nested}) are not supported.`,
  );
}

/** θ^(−2i/D). */
function defaultFrequencies(theta: number, headDim: number): Float32Array {
  return Float32Array.from({ length: headDim / 2 }, (_, i) => f(1 / f(f(theta) ** f((2 * i) / headDim))));
}

/** Long waves are divided by `factor`, short ones stay, those between are interpolated. */
function llama3Frequencies(
  frequencies: Float32Array,
  rope: JsonObject,
  config: JsonObject,
  maxPositions: number,
): Float32Array {
  const factor = f(positive(rope, "factor"));
  const low = positive(rope, "low_freq_factor");
  const high = positive(rope, "high_freq_factor");
  const original = originalPositions(rope, config, maxPositions);
  if (high <= low) {
    throw new GrpoError("BAD_CONFIG", `config.json: high_freq_factor (${high}) must exceed low_freq_factor (${low}).`);
  }
  return frequencies.map((frequency) => {
    // torch divides a number by a tensor as number · (1 / tensor); the roundings follow it.
    const wavelength = f(f(1 / frequency) * f(2 * Math.PI));
    if (wavelength > f(original / low)) return f(frequency / factor);
    if (wavelength < f(original / high)) return frequency;
    const smooth = f(f(f(f(1 / wavelength) * f(original)) - f(low)) / f(high - low));
    return f(f(f(f(1 - smooth) * frequency) / factor) + f(smooth * frequency));
  });
}

/** transformers lets the config's own field win over the one among the rope settings. */
function originalPositions(rope: JsonObject, config: JsonObject, maxPositions: number): number {
  const outer = config.original_max_position_embeddings;
  if (outer !== undefined && outer !== null) return positive(config, "original_max_position_embeddings");
  return positive(rope, "original_max_position_embeddings", maxPositions);
}

function positive(settings: JsonObject, key: string, fallback?: unknown): number {
  const value = settings[key] ?? fallback;
  if (typeof value === "number" && Number.isFinite(value) && value > 0) return value;
  throw new GrpoError("BAD_CONFIG", `config.json: ${key} must be a positive number, found ${show(value)}.`);
}
