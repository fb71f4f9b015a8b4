// The README.md of a repository that a model is pushed to: front matter that the Hub and PEFT read, how to load it, what it
// was trained on and how its reward grew, and whom to cite. Made from what is in the folder and, after a training run, from
// its history.

import { existsSync } from "node:fs";
import { readFile, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { curveTable, type RewardPoint, rewardCurve } from "./reward-curve.js";

/** What a training run adds to a card. */
export interface TrainingFacts {
  /** What it was trained with. */
  readonly method: "GRPO" | "SFT";
  /** Hub id of the training data. */
  readonly dataset?: string | undefined;
  readonly rewardNames: readonly string[];
  /** Rows of a table, in order. */
  readonly settings: Readonly<Record<string, string | number>>;
  /** One for each logged step. */
  readonly curve: readonly RewardPoint[];
}

const CARD = "README.md";
const CURVE = "reward-curve.svg";

export interface CardFacts {
  /** Hub id of the model that a whole model came from; an adapter names its own. */
  readonly base?: string | undefined;
  readonly training?: TrainingFacts;
}

/** The line that every card from here has; who removes it keeps the card from being written anew. */
const MARK = "<!-- Written by grpo, and written anew by later pushes: remove this line to keep what you change. -->";

/** Writes README.md (and the curve beside it) into a folder that is to be pushed as `repo`; one by someone else stays. */
export async function writeModelCard(folder: string, repo: string, facts: CardFacts = {}): Promise<void> {
  const { training } = facts;
  const card = path.join(folder, CARD);
  const present = await readFile(card, "utf8").catch(() => MARK);
  const weights = present.includes(MARK) ? await readWeights(folder, facts.base) : undefined;
  if (weights === undefined) return;
  const curve = training && training.curve.length > 1 ? rewardCurve(training.curve) : undefined;
  if (curve !== undefined) await writeFile(path.join(folder, CURVE), curve);
  // The file may be a link to one that is in use elsewhere.
  await rm(card, { force: true });
  await writeFile(card, await modelCard(repo, weights, training));
}

export interface CardWeights {
  readonly kind: "adapter" | "model";
  /** Hub id of the model that was trained; undefined for one from a local folder, which the Hub refuses. */
  readonly base: string | undefined;
  /** The largest rank of an adapter. */
  readonly rank?: number | undefined;
}

async function readWeights(folder: string, base: string | undefined): Promise<CardWeights | undefined> {
  const adapter = await readJson(path.join(folder, "adapter_config.json"));
  if (adapter) return { kind: "adapter", base: hubIdOf(adapter.base_model_name_or_path), rank: largestRank(adapter) };
  const config = await readJson(path.join(folder, "config.json"));
  return config && { kind: "model", base: base ?? hubIdOf(config._name_or_path) };
}

function largestRank({ r, rank_pattern: pattern }: Record<string, unknown>): number | undefined {
  const ranks = [r, ...Object.values(pattern ?? {})].filter((rank) => typeof rank === "number");
  return ranks.length === 0 ? undefined : Math.max(...ranks);
}

async function readJson(file: string): Promise<Record<string, unknown> | undefined> {
  try {
    return JSON.parse(await readFile(file, "utf8")) as Record<string, unknown>;
  } catch {
    return undefined;
  }
}

/** The name of a model if it is one on the Hub, and not of a folder here. */
export function hubIdOf(name: unknown): string | undefined {
  const isId = typeof name === "string" && /^[\w-][\w.-]*\/[\w.-]+$/.test(name);
  return isId && !existsSync(name) ? name : undefined;
}

/** `repo` is the name to load it by: a Hub id, or a folder. */
export async function modelCard(repo: string, weights: CardWeights, training?: TrainingFacts): Promise<string> {
  const { stringify } = await import("yaml");
  const name = repo.split("/").at(-1) ?? repo;
  const { base, kind } = weights;
  const origin = base && `[${base}](https://huggingface.co/${base})`;
  const subject = {
    adapter: `A LoRA adapter for ${origin ?? "a model that was in a local folder"}`,
    model: origin ? `A fine-tuned version of ${origin}` : "A causal language model",
  };
  const data = training?.dataset
    ? `, trained on [${training.dataset}](https://huggingface.co/datasets/${training.dataset})`
    : "";
  const sections = [
    `---\n${stringify(frontMatter(name, weights, training))}---`,
    MARK,
    `# ${name}`,
    `${subject[kind]}${data}. Trained ${training === undefined ? "" : `with ${training.method} `}by \`grpo\`, from TypeScript.`,
    ...howToLoad(repo, weights),
    ...(training ? trainingSections(training) : []),
    ...(training?.method === "GRPO" ? citation() : []),
  ];
  return `${sections.join("\n\n")}\n`;
}

function frontMatter(name: string, { kind, base }: CardWeights, training: TrainingFacts | undefined): object {
  const dataset = training?.dataset;
  const last = training?.curve.at(-1);
  const metrics = [
    ...(last ? [{ type: "reward", name: `mean training reward, step ${last.step}`, value: round(last.reward) }] : []),
    ...(last?.evalReward === undefined
      ? []
      : [{ type: "eval_reward", name: "mean evaluation reward", value: round(last.evalReward) }]),
  ];
  const data = { name: dataset ?? "training data", type: dataset ?? "unknown" };
  const results = [{ task: { type: "text-generation" }, dataset: data, metrics }];
  return {
    ...(base ? { base_model: base } : {}),
    ...(dataset ? { datasets: [dataset] } : {}),
    library_name: kind === "adapter" ? "peft" : "transformers",
    model_name: name,
    pipeline_tag: "text-generation",
    tags: [
      ...(base && kind === "adapter" ? [`base_model:adapter:${base}`] : []),
      ...(kind === "adapter" ? ["lora"] : []),
      // Of weights alone nobody knows how they were trained: then it is the name of the program.
      training?.method.toLowerCase() ?? "grpo",
      "generated_from_trainer",
    ],
    ...(metrics.length > 0 ? { "model-index": [{ name, results }] } : {}),
  };
}

/** The ranks that vLLM makes room for; the first is its default. */
const VLLM_RANKS: readonly number[] = [16, 32, 64, 128, 256, 320, 512];

function vllmOptions(rank: number): string {
  const room = VLLM_RANKS.find((size) => size >= rank);
  return room === undefined || room === VLLM_RANKS[0] ? "--enable-lora" : `--enable-lora --max-lora-rank ${room}`;
}

function howToLoad(repo: string, { kind, base, rank = 0 }: CardWeights): string[] {
  const model = base ?? "path/to/the/base-model";
  const short = (repo.split("/").at(-1) ?? repo).replace(/\W+/g, "-");
  if (kind === "model") {
    const python = [
      "from transformers import AutoModelForCausalLM, AutoTokenizer",
      "",
      `model = AutoModelForCausalLM.from_pretrained("${repo}")`,
      `tokenizer = AutoTokenizer.from_pretrained("${repo}")`,
    ];
    const script = [
      'import { CausalLM, Tokenizer } from "grpo";',
      "",
      `const model = await CausalLM.fromPretrained("${repo}");`,
      `const tokenizer = await Tokenizer.fromPretrained("${repo}");`,
    ];
    return [
      "## Loading",
      fenced("python", python),
      "In vLLM:",
      fenced("sh", [`vllm serve ${repo}`]),
      "In TypeScript:",
      fenced("ts", script),
    ];
  }
  const python = [
    "from peft import PeftModel",
    "from transformers import AutoModelForCausalLM, AutoTokenizer",
    "",
    `base = AutoModelForCausalLM.from_pretrained("${model}")`,
    `model = PeftModel.from_pretrained(base, "${repo}")`,
    `tokenizer = AutoTokenizer.from_pretrained("${model}")`,
  ];
  const script = [
    'import { CausalLM, Tokenizer } from "grpo";',
    "",
    `const model = await CausalLM.fromPretrained("${model}", { adapter: "${repo}" });`,
    `const tokenizer = await Tokenizer.fromPretrained("${model}");`,
  ];
  return [
    "## Loading",
    "With PEFT:",
    fenced("python", python),
    "In vLLM:",
    fenced("sh", [`vllm serve ${model} ${vllmOptions(rank)} --lora-modules ${short}=${repo}`]),
    "In TypeScript:",
    fenced("ts", script),
  ];
}

function trainingSections({ rewardNames, settings, curve }: TrainingFacts): string[] {
  const names = rewardNames.map((name) => `\`${name}\``).join(", ");
  const rows = Object.entries(settings).map(([name, value]) => `| ${name} | ${value} |`);
  const grown = curve.length > 1 ? [`![Mean reward by training step](${CURVE})`, curveTable(curve)] : [];
  return [
    "## Training",
    ...(names === "" ? [] : [`The reward is the weighted sum of ${names}.`]),
    ...grown,
    ["| setting | value |", "|---|---|", ...rows].join("\n"),
  ];
}

function citation(): string[] {
  const entry = [
    "@article{shao2024deepseekmath,",
    "  title  = {{DeepSeekMath: Pushing the Limits of Mathematical Reasoning in Open Language Models}},",
    "  author = {Zhihong Shao and Peiyi Wang and Qihao Zhu and Runxin Xu and Junxiao Song and Mingchuan Zhang and Y. K. Li and Y. Wu and Daya Guo},",
    "  year   = 2024,",
    "  eprint = {arXiv:2402.03300},",
    "}",
  ];
  const paper = "[DeepSeekMath](https://huggingface.co/papers/2402.03300)";
  return ["## Citation", `GRPO was introduced in ${paper}:`, fenced("bibtex", entry)];
}

function fenced(language: string, lines: readonly string[]): string {
  return ["```".concat(language), ...lines, "```"].join("\n");
}

function round(value: number): number {
  return Number(value.toFixed(4));
}
