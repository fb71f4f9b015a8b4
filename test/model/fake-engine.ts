// A native core that computes nothing: it records calls, finishes sampling when told to, and writes files of zeros. For what
// CausalLM does around the engine.

import { writeFile } from "node:fs/promises";
import type {
  NativeAdapterSpec,
  NativeCore,
  NativeEngine,
  NativeGroup,
  NativeTensorInfo,
  NativeTensorTable,
} from "../../lib/native/native.js";

export function nativeError(code: string, message: string, hint?: string): Error {
  return Object.assign(new Error(message), { code, hint });
}

export class FakeEngine implements NativeEngine {
  static readonly all: FakeEngine[] = [];
  readonly calls: string[] = [];
  readonly tables: NativeTensorTable[] = [];
  /** Errors to fail the next call of a verb with. */
  readonly failures = new Map<string, unknown>();
  adapter: NativeTensorInfo[] = [];
  /** What sample waits for before each group. */
  beforeGroup: () => Promise<void> = async () => {};
  cancels = 0;
  disposed = 0;
  #cancelled = false;

  constructor(readonly options: ConstructorParameters<NativeCore["Engine"]>[0]) {
    FakeEngine.all.push(this);
  }

  async #call<T>(name: string, result: T): Promise<T> {
    this.#cancelled = false;
    this.calls.push(name);
    await new Promise((resolve) => setImmediate(resolve));
    const failure = this.failures.get(name);
    this.failures.delete(name);
    if (failure !== undefined) throw failure;
    return result;
  }

  async loadModel(table: NativeTensorTable): Promise<void> {
    this.tables.push(table);
    return this.#call("loadModel", undefined);
  }
  initModel = () => this.#call("initModel", undefined);
  async addAdapter(name: string, spec: NativeAdapterSpec): Promise<void> {
    await this.#call(`addAdapter ${name}`, undefined);
    this.adapter = spec.tensors.map((tensor) => ({ ...tensor, dtype: "F32" }));
  }
  async loadSet(set: string, table: NativeTensorTable, step: number): Promise<void> {
    this.tables.push(table);
    return this.#call(`loadSet ${set} ${step}`, undefined);
  }
  async saveSet(set: string, file: string, header: Uint8Array, names: string[]): Promise<void> {
    await this.#call(`saveSet ${set} ${names.length}`, undefined);
    const infos = await this.#tensors(set);
    const bytes = infos.reduce((sum, { shape }) => sum + shape.reduce((product, n) => product * n, 4), 0);
    await writeFile(file, Buffer.concat([header, Buffer.alloc(bytes)]));
  }
  async copySet(set: string, names: string[]) {
    await this.#call(`copySet ${set} ${names.length}`, undefined);
    return { bytes: 0, write: (file: string, header: Uint8Array) => this.saveSet(set, file, header, names) };
  }
  async #tensors(set: string): Promise<NativeTensorInfo[]> {
    if (set === "adapter") return this.adapter;
    const moments = (tensor: NativeTensorInfo) =>
      [".exp_avg", ".exp_avg_sq"].map((end) => ({ ...tensor, name: tensor.name + end }));
    return set === "optimizer"
      ? this.adapter.flatMap(moments)
      : [{ name: "model.norm.weight", dtype: "F32", shape: [8] }];
  }
  tensors = (set: string) => this.#call(`tensors ${set}`, undefined).then(() => this.#tensors(set));
  optimizerSteps = () => this.#call("optimizerSteps", 7);
  optimizer = () => this.#call("optimizer", "adamw" as const);
  setOptimizer = (name: string) => this.#call(`setOptimizer ${name}`, undefined);
  memory = () => this.#call("memory", { computeBytes: 4, keptBytes: 4, free: 0, reserved: 0, total: 0 });
  deleteAdapter = (name: string) => this.#call(`deleteAdapter ${name}`, undefined);
  setAdapter = (name: string) => this.#call(`setAdapter ${name}`, undefined);
  trainAll = () => this.#call("trainAll", undefined);
  makeReference = () => this.#call("makeReference", undefined);
  mixReference = (alpha: number) => this.#call(`mixReference ${alpha}`, undefined);
  mergeAdapters = (names: string[]) => this.#call(`mergeAdapters ${names.join(" ")}`, undefined);
  unmergeAdapters = () => this.#call("unmergeAdapters", undefined);
  dropAdapters = () => this.#call("dropAdapters", false);
  setAdapterEnabled = (on: boolean) => this.#call(`setAdapterEnabled ${on}`, undefined);
  async sample(request: Parameters<NativeEngine["sample"]>[0], onGroup: (group: NativeGroup) => void) {
    await this.#call("sample", undefined);
    const prompts = request.promptKeys.length;
    for (let prompt = prompts - 1; prompt >= 0; prompt--) {
      await this.beforeGroup();
      if (this.#cancelled) throw nativeError("CANCELLED", "the rollout was cancelled");
      const last = prompt === 0 ? 5 : 9;
      const ids = Int32Array.from({ length: request.groupSize * 2 }, (_, i) => (i % 2 ? last : 1));
      onGroup({
        prompt,
        ids,
        offsets: Int32Array.from({ length: request.groupSize + 1 }, (_, i) => 2 * i),
        logprobs: new Float32Array(ids.length),
        finish: new Uint8Array(request.groupSize),
      });
    }
    return {
      decodeSteps: 2,
      tokens: 2 * prompts,
      prefillTokens: 1,
      knownTokens: 0,
      prefillSeconds: 0,
      decodeSeconds: 0,
    };
  }
  stream = () =>
    this.#call("stream", {
      decodeSteps: 0,
      tokens: 0,
      prefillTokens: 0,
      knownTokens: 0,
      prefillSeconds: 0,
      decodeSeconds: 0,
    });
  enterStream(): void {}
  leaveStream(): void {}
  allowTokens(): void {}
  logprobs = (batch: Parameters<NativeEngine["logprobs"]>[0]) =>
    this.#call(
      "logprobs",
      Float32Array.from(batch.completionIds, (id) => -id),
    );
  forward = (ids: Int32Array) => this.#call("forward", new Float32Array(ids.length * this.options.config.vocabSize));
  forwardBackward(): ReturnType<NativeEngine["forwardBackward"]> {
    const zeros = { entropy: 0, kl: 0, clipLow: 0, clipHigh: 0, clipRegion: 0, clipLowMin: 0, clipHighMax: 0 };
    const rest = { policyLoss: 0.5, phi: 1, logpDifferenceMean: 0, logpDifferenceMax: 0, tokens: 1, microBatches: 1 };
    const counts = { activeEntropy: 0, activeTokens: 1, idleRows: 0 };
    return this.#call("forwardBackward", { loss: 0.5, ...zeros, ...rest, ...counts });
  }
  sftForwardBackward = () => this.#call("sftForwardBackward", this.#sftResult());
  sftEvaluate = () => this.#call("sftEvaluate", this.#sftResult());
  #sftResult() {
    const [loss, entropy, correct] = [Float32Array.of(0.5), Float32Array.of(0), Float32Array.of(1)];
    return { loss, entropy, correct, microBatches: 1 };
  }
  optimizerStep = () => this.#call("optimizerStep", { gradNorm: 1, applied: true });
  zeroGrad = () => this.#call("zeroGrad", undefined);
  joinRanks = () => this.#call("joinRanks", undefined);
  gatherBytes = (own: Uint8Array) => this.#call("gatherBytes", [own]);
  shareValues = () => this.#call("shareValues", undefined);
  leaveRanks = () => this.#call("leaveRanks", undefined);
  gradients = () =>
    this.#call("gradients", { "model.layers.0.self_attn.q_proj.lora_A.weight": Float32Array.of(1) } as Record<
      string,
      Float32Array
    >);
  cancel(): void {
    this.cancels++;
    this.#cancelled = true;
  }
  countOperators = async () => ({ operators: 0, kernels: {}, flops: 0, peakBytes: 0 });
  syncs = () => 0;
  dispose(): void {
    this.disposed++;
  }
}

export const fakeCore: NativeCore = {
  bindingRevision: "",
  Engine: FakeEngine,
  torchVersion: () => "0",
  instructionSet: () => "generic",
  instructionSets: () => ["generic"],
  machineProbe: () => ({ readGBPerSecond: 1, gemmGflopsFloat32: 1, gemmGflopsBfloat16: 1 }),
  devices: () => [{ type: "cpu", count: 1 }],
  tryDevice: () => undefined,
  lossAndGradient: () => ({ loss: 0, logprobs: new Float64Array(), entropy: new Float64Array() }),
  limits: {},
  echo: {
    modelConfig: (config) => config,
    adapterSpec: (spec) => spec,
    tensorTable: (table) => table,
    sampleRequest: (request) => request as Required<typeof request>,
    trainBatch: (batch) => batch as Required<typeof batch>,
    lossOptions: (loss) => loss,
    sftBatch: (batch) => batch as Required<typeof batch>,
    sftOptions: (loss) => loss,
    optimizerOptions: (options) => options as Required<typeof options>,
  },
  multiplyMatrices: () => new Float32Array(),
  samplingProbabilities: () => new Float32Array(),
};
