// The other sides: TRL and transformers in a Python environment for each version, llama.cpp in a folder of npm packages. All are
// made on first use and kept in the cache. A text instead of numbers says why there are none.

import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { type BenchCase, promptIds, SMOLLM2_VOCABULARY, vocabularyOf } from "./cases.js";
import type { LlamaCase } from "./llama-cpp.js";
import { modelFolder, SHAPES } from "./models.js";
import { isMadeUp, output, type Setting } from "./own-side.js";

/** TRL's versions that are measured, the newest first. 1.16 computes the prompt's logits too on a CPU, so it may be the slower one. */
export const TRL_VERSIONS = ["1.16", "1.13"] as const;
export type TrlVersion = (typeof TRL_VERSIONS)[number];

export interface PeerMeasurement {
  /** Absent: llama.cpp. */
  readonly trl?: TrlVersion;
  readonly dtype: string;
  readonly step?: readonly number[];
  readonly rollout?: readonly number[];
  readonly update?: readonly number[];
  readonly firstToken?: readonly number[];
  readonly decode?: readonly number[];
  readonly tokens?: readonly number[];
  readonly peakBytes?: number;
  /** That its allocator held at most, where the device has memory of its own. */
  readonly deviceBytes?: number;
}

const scripts = fileURLToPath(new URL("..", import.meta.url));
/** The CPU build, the same for both. */
const TORCH = "torch==2.13.0+cpu";
/** Those of 1.16 are the versions that the fixtures are made with. */
const PACKAGES: Readonly<Record<TrlVersion, readonly string[]>> = {
  "1.16": ["trl==1.16.0", "peft==0.21.2", "transformers==5.24.0", "gguf==0.19.0"],
  "1.13": ["trl==1.13.0", "peft==0.21.0", "transformers==5.18.0", "gguf==0.19.0"],
};
const NODE_LLAMA_CPP = "3.22.1";

/** A Python with a version of TRL: the given one, or an environment made in the cache with the CPU build of torch. */
export function pythonWithTrl(version: TrlVersion, given: string | undefined, cache: string): string {
  if (given) return given;
  const folder = path.resolve(cache, `python-trl-${version}`);
  const python = path.join(folder, "bin/python");
  const done = path.join(folder, "complete");
  if (existsSync(done)) return python;
  console.error(`making a Python environment with TRL ${version} (about 1 GB) …`);
  const run = (command: string, ...args: string[]) =>
    spawnSync(command, args, { stdio: ["ignore", "inherit", "inherit"] }).status === 0;
  const pip = (...args: string[]) => run(python, "-m", "pip", "install", "--quiet", ...args);
  const made =
    run("python3", "-m", "venv", folder) &&
    (pip("--no-deps", TORCH) || pip("--no-deps", TORCH, "--index-url", "https://download.pytorch.org/whl/cpu")) &&
    pip(...PACKAGES[version]);
  if (!made) {
    throw new Error(
      `the Python environment could not be made; give one that has TRL ${version} with --python ${version}=PATH`,
    );
  }
  writeFileSync(done, "");
  return python;
}

export async function measureTrl(
  bench: BenchCase,
  options: {
    /** Absent: whatever that Python has. */
    readonly version?: TrlVersion;
    readonly python: string;
    readonly dtype: string;
    readonly lengths: readonly number[] | undefined;
  },
  { device, threads, places, random = false }: Setting,
): Promise<PeerMeasurement | string> {
  const made = isMadeUp(bench.model, random) ? { config: SHAPES[bench.model] } : undefined;
  const folder = made ? null : await modelFolder(bench.model, places);
  if (folder === undefined) return "SmolLM2-135M-Instruct is not there";
  mkdirSync(places.cache, { recursive: true });
  const file = path.resolve(places.cache, "trl-case.json");
  const content = {
    ...bench,
    ...made,
    folder,
    device,
    threads,
    dtype: options.dtype,
    promptsPerRepeat: bench.prompts,
    prompts: await promptIds(bench, bench.prompts * (bench.warmup + bench.repeats)),
    rowLengths: options.lengths ?? null,
    endId: bench.lengths === "natural" ? TINY_END : null,
    vocabulary: vocabularyOf(bench) || SMOLLM2_VOCABULARY,
  };
  writeFileSync(file, JSON.stringify(content));
  const line = await output(options.python, [path.join(scripts, "baselines/bench_trl.py"), file], threads);
  const version = options.version === undefined ? {} : { trl: options.version };
  return { ...version, dtype: options.dtype, ...(JSON.parse(line) as object) };
}

const TINY_END = 467;

export async function measureLlama(
  bench: BenchCase,
  python: string,
  { threads, places }: Setting,
): Promise<PeerMeasurement | string> {
  const folder = await modelFolder(bench.model, places);
  if (folder === undefined) return "SmolLM2-135M-Instruct is not there";
  const packages = installLlama(places.cache);
  if (packages === undefined) return `npm could not install node-llama-cpp ${NODE_LLAMA_CPP}`;
  const gguf = path.resolve(places.cache, `${bench.model}.gguf`);
  if (!existsSync(gguf)) await output(python, [path.join(scripts, "baselines/to_gguf.py"), folder, gguf], threads);
  const prompts = (await promptIds(bench, bench.prompts)).flatMap((ids) =>
    Array.from({ length: bench.groupSize }, () => ids),
  );
  const { maxNewTokens, warmup, repeats } = bench;
  const content: LlamaCase = { packages, gguf, prompts, maxNewTokens, warmup, repeats, threads };
  const file = path.resolve(places.cache, "llama-case.json");
  writeFileSync(file, JSON.stringify(content));
  const tsx = createRequire(import.meta.url).resolve("tsx/cli");
  const line = await output(process.execPath, [tsx, path.join(scripts, "bench/llama-cpp.ts"), file], threads);
  return { dtype: "float16", ...(JSON.parse(line) as object) };
}

/** Only the build for this processor: the packages for GPUs are hundreds of megabytes. */
function installLlama(cache: string): string | undefined {
  const folder = path.resolve(cache, "llama");
  if (existsSync(path.join(folder, "node_modules/node-llama-cpp"))) return folder;
  mkdirSync(folder, { recursive: true });
  writeFileSync(path.join(folder, "package.json"), '{ "private": true }\n');
  const binary = `@node-llama-cpp/${process.platform}-${process.arch}@${NODE_LLAMA_CPP}`;
  const args = ["install", "--omit=optional", "--ignore-scripts", "--no-audit", "--no-fund"];
  const packages = [`node-llama-cpp@${NODE_LLAMA_CPP}`, binary];
  const { status } = spawnSync("npm", [...args, ...packages], { cwd: folder, stdio: ["ignore", "ignore", "inherit"] });
  return status === 0 ? folder : undefined;
}
