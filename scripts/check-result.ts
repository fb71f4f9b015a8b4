// Has other programs use a result as docs/using-the-result.md says, and compares their greedy tokens with those computed here: an
// adapter on the base model, the merged model, and GGUF files of it. Each is tried where its program is given.
//
//   npx tsx scripts/check-result.ts --out FOLDER [--model FOLDER] [--adapter FOLDER] [--python PYTHON] [--vllm PYTHON]
//     [--packages FOLDER [--llama-cpp CHECKOUT [--pre NAME]]]
//
// --python is one with transformers and PEFT, --vllm one with vLLM, --packages a folder whose node_modules has node-llama-cpp,
// which loads the files of `grpo gguf`; with --llama-cpp also those of the converter in a checkout of llama.cpp, whose packages
// --python then has. Without --adapter a random one is made. --pre: see scripts/golden/check_result.py. In float32, where the same
// tokens are expected; bfloat16 and Q8_0 must load, and how many of their completions are the same is printed. Exit status 1 when
// a float32 completion differs.

import { spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { CausalLM, LoraConfig, Tokenizer } from "grpo";

interface Check {
  readonly base: string;
  readonly prompts: readonly { readonly text: string; readonly ids: readonly number[] }[];
  readonly maxNewTokens: number;
  readonly completions: readonly (readonly number[])[];
}

/** What is used of node-llama-cpp 3. */
interface Sequence {
  evaluate(tokens: readonly number[], options: object): AsyncGenerator<number>;
  clearHistory(): Promise<void>;
}
interface LlamaModel {
  tokenize(text: string, specialTokens: boolean): number[];
  isEogToken(token: number): boolean;
  createContext(options: object): Promise<{ getSequence(): Sequence }>;
}
interface Llama {
  loadModel(options: { modelPath: string }): Promise<LlamaModel>;
}

const QUESTIONS = [
  "Ada has 5 cards and gets 3 more. How many?",
  "Tell me a story about a café, in 2 or 3 sentences.\n\nNo  more!",
  "What is 12 + 30?",
];
const GGUF_TYPES = ["f32", "bf16", "q8_0"];
/** llama.cpp keeps keys and values as float16 and multiplies them so, which decides near ties otherwise than float32 does. */
const IN_FLOAT32 = {
  flashAttention: false,
  experimentalKvCacheKeyType: "F32",
  experimentalKvCacheValueType: "F32",
};

const here = (name: string) => fileURLToPath(new URL(name, import.meta.url));
const { values: flags } = parseArgs({
  options: {
    out: { type: "string" },
    model: { type: "string", default: here("assets/tiny-qwen2") },
    adapter: { type: "string" },
    python: { type: "string" },
    vllm: { type: "string" },
    "llama-cpp": { type: "string" },
    packages: { type: "string" },
    pre: { type: "string" },
  },
});
if (flags.out === undefined) throw new Error("--out FOLDER is needed");
const out = flags.out;
const check = await writeResult();
let good = true;
if (flags.python !== undefined) good = checkInPython(flags.python, "peft") && good;
if (flags.vllm !== undefined) good = checkInPython(flags.vllm, "vllm") && good;
if (flags.packages !== undefined) good = (await checkGguf(flags.packages)) && good;
process.exit(good ? 0 : 1); // node-llama-cpp keeps a process alive

/** The adapter, the merged model and the completions, in `out`. */
async function writeResult(): Promise<Check> {
  mkdirSync(out, { recursive: true });
  const tokenizer = await Tokenizer.fromPretrained(flags.model);
  await using model = await CausalLM.fromPretrained(flags.model, { device: "cpu", dtype: "float32" });
  if (flags.adapter !== undefined) await model.loadAdapter(flags.adapter);
  else model.applyLora(new LoraConfig({ targetModules: "all-linear", initLoraWeights: false }), { seed: 7 });
  for (const [name, save] of [
    ["adapter", (folder: string) => model.savePretrained(folder)],
    ["merged", (folder: string) => model.saveMerged(folder)],
  ] as const) {
    await save(path.join(out, name));
    await tokenizer.savePretrained(path.join(out, name));
  }
  const prompts = QUESTIONS.map((content) => {
    const text = tokenizer.applyChatTemplate([{ role: "user", content }], { addGenerationPrompt: true });
    return { text, ids: [...tokenizer.encode(text, { addSpecialTokens: false })] };
  });
  const maxNewTokens = 48;
  const answers = await model.generate(
    prompts.map(({ ids }) => ids),
    { doSample: false, maxNewTokens },
  );
  const completions = answers.map(({ ids }) => [...ids]);
  const written = { base: path.resolve(flags.model), prompts, maxNewTokens, completions };
  writeFileSync(path.join(out, "check.json"), JSON.stringify(written));
  return written;
}

function checkInPython(python: string, ...args: string[]): boolean {
  const [program = "", ...rest] = args;
  const script = here("golden/check_result.py");
  return spawnSync(python, [script, program, out, ...rest], { stdio: ["ignore", "inherit", "inherit"] }).status === 0;
}

async function checkGguf(packages: string): Promise<boolean> {
  const writers = [{ name: "grpo gguf", file: (type: string) => path.join(out, `own-${type}.gguf`) }];
  for (const type of GGUF_TYPES) {
    const args = ["--model", path.join(out, "merged"), "--type", type, "--output", path.join(out, `own-${type}.gguf`)];
    const { status } = spawnSync(process.execPath, [here("../dist/cli.js"), "gguf", ...args], { stdio: "inherit" });
    if (status !== 0) return false;
  }
  const checkout = flags["llama-cpp"];
  if (checkout !== undefined) {
    if (flags.python === undefined) throw new Error("--llama-cpp: needs --python");
    const pre = flags.pre === undefined ? [] : ["--pre", flags.pre];
    if (!checkInPython(flags.python, "gguf", "--llama-cpp", checkout, ...pre)) return false;
    writers.push({ name: "the converter", file: (type) => path.join(out, `merged-${type}.gguf`) });
  }
  const entry = path.resolve(packages, "node_modules/node-llama-cpp/dist/index.js");
  const { getLlama } = (await import(pathToFileURL(entry).href)) as { getLlama(options: object): Promise<Llama> };
  // One thread: llama.cpp's wait for each other by spinning, which on a busy machine takes minutes.
  const llama = await getLlama({ gpu: false, build: "never", logLevel: "error", maxThreads: 1 });
  let good = true;
  for (const { name, file } of writers) {
    for (const type of GGUF_TYPES) {
      const equal = await equalCompletions(await llama.loadModel({ modelPath: file(type) }));
      console.log(
        JSON.stringify({ name: `GGUF ${type} of ${name} in llama.cpp`, equal, of: check.completions.length }),
      );
      if (type === "f32") good = equal === check.completions.length && good;
    }
  }
  return good;
}

/** How many prompts have the same tokens in llama.cpp and are answered with the same. */
async function equalCompletions(model: LlamaModel): Promise<number> {
  const context = await model.createContext({ contextSize: 512, ...IN_FLOAT32 });
  const sequence = context.getSequence();
  let equal = 0;
  for (const [i, { text, ids }] of check.prompts.entries()) {
    const found: number[] = [];
    for await (const token of sequence.evaluate(ids, { temperature: 0, yieldEogToken: true })) {
      found.push(token);
      if (found.length === check.maxNewTokens || model.isEogToken(token)) break;
    }
    await sequence.clearHistory();
    const tokens = JSON.stringify(model.tokenize(text, true));
    if (tokens !== JSON.stringify(ids)) console.log(`${tokens}: llama.cpp's tokens of ${JSON.stringify(text)}`);
    else if (JSON.stringify(found) === JSON.stringify(check.completions[i])) equal++;
  }
  return equal;
}
