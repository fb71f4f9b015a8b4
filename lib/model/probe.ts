// A small step of training on one device: a made-up model of two layers, LoRA, one group, loss, backward, optimizer. What
// `grpo doctor` runs, in a child process, before it says that a device works.

import { loadCore } from "../native/native-loader.js";
import type { Device } from "./device.js";
import { LoraConfig } from "./lora/lora.js";
import { CausalLM } from "./model.js";

export interface DeviceProbe {
  readonly device: string;
  /** Milliseconds of the step; undefined where it failed. */
  readonly stepMs?: number;
  readonly error?: string;
}

export interface EngineProbe {
  readonly torch: string;
  /** Which kernels a CPU runs, and those that it could. */
  readonly instructionSet: string;
  readonly instructionSets: readonly string[];
  readonly devices: readonly DeviceProbe[];
}

const TINY_MODEL = {
  architectures: ["Qwen2ForCausalLM"],
  model_type: "qwen2",
  hidden_size: 32,
  intermediate_size: 64,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  vocab_size: 64,
  max_position_embeddings: 64,
  rms_norm_eps: 1e-6,
  rope_theta: 10000,
  tie_word_embeddings: true,
  hidden_act: "silu",
  eos_token_id: 1,
};

export async function probeEngine(): Promise<EngineProbe> {
  const core = loadCore();
  const devices: DeviceProbe[] = [];
  for (const { type, count } of core.devices()) {
    for (let i = 0; i < count; i++) devices.push(await probeDevice(deviceName(type, i)));
  }
  return {
    torch: core.torchVersion(),
    instructionSet: core.instructionSet(),
    instructionSets: core.instructionSets(),
    devices,
  };
}

function deviceName(type: string, index: number): Device {
  if (type === "cuda") return `cuda:${index}`;
  return type === "mps" ? "mps" : "cpu";
}

async function probeDevice(device: Device): Promise<DeviceProbe> {
  const started = performance.now();
  try {
    await trainOneStep(device);
    return { device, stepMs: Math.round(performance.now() - started) };
  } catch (error) {
    return { device, error: error instanceof Error ? error.message : String(error) };
  }
}

async function trainOneStep(device: Device): Promise<void> {
  const model = await CausalLM.fromConfig(TINY_MODEL, { device, dtype: "float32", seed: 1 });
  try {
    model.applyLora(new LoraConfig({ r: 4, loraAlpha: 8, targetModules: ["q_proj", "v_proj"] }), { seed: 1 });
    const prompt = [5, 6, 7];
    const options = { maxNewTokens: 4, numReturnSequences: 2, temperature: 1, seed: 1 };
    const completions = await model.generate([prompt], options);
    const completionIds = completions.map(({ ids }) => ids);
    await model.forwardBackward({ promptIds: [prompt, prompt], completionIds, advantages: [1, -1] });
    await model.optimizerStep({ learningRate: 1e-3, maxGradNorm: 1 });
  } finally {
    model.dispose();
  }
}
