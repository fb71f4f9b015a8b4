// Checkpoints on disk: <outputDir>/checkpoint-<step>/ with adapter, optimizer, tokenizer files and trainer_state.json, and
// generation.json where the next step goes on with completions that are there already. A
// folder appears under its final name only when it is whole. No random state is stored: prompts, draws and dropout are
// functions of seed and step.

import { mkdir, open, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import path from "node:path";
import type * as Zod from "zod";
import { GrpoError, reasonOf } from "../errors.js";
import type { CheckpointWriter, ProcessingClass } from "../policy.js";
import { lazySchema } from "../zod.js";
import type { Generation } from "./generation.js";
import { generationFromJson, generationToJson } from "./stored-generation.js";
import { storedNumber } from "./stored-number.js";

const stateFile = "trainer_state.json";
const generationFile = "generation.json";

const stateSchema = lazySchema((z) =>
  z.object({
    schema_version: z.literal(1),
    global_step: z.int().min(0),
    max_steps: z.int().min(1),
    epoch: z.number(),
    num_input_tokens_seen: z.number().min(0),
    best_metric: z.number().nullable(),
    /** From the folder that the checkpoint lies in. */
    best_model_checkpoint: z.string().nullable(),
    evaluations_without_gain: z.int().min(0),
    /** What is still to be done after the step: a run that was cut short while it evaluated has not. */
    control: z.object({ should_log: z.boolean(), should_evaluate: z.boolean() }),
    /** Values since the last log line, and the sum of the losses of all steps. */
    log_window: z.record(z.string(), z.array(storedNumber(z))),
    loss_sum: storedNumber(z),
    /** Non-finite steps in a row up to here. */
    bad_steps: z.int().min(0),
    /** What the order of prompts and the optimizer's state depend on; a resumed run must have the same. */
    order: z.object({
      seed: z.int(),
      rows: z.int(),
      prompts_per_generation: z.int(),
      slices_per_generation: z.int(),
      slices_per_step: z.int(),
      num_iterations: z.int(),
      num_generations: z.int(),
      shuffle_dataset: z.boolean(),
      dynamic_sampling: z.boolean(),
      optimizer: z.string(),
    }),
    /** Prompts sampled for so far: with dynamic sampling not what the steps alone would tell. */
    prompts_taken: z.int().min(0),
    /** Of the entropy bonus. */
    entropy: z.object({ coef: z.number(), last_entropy: z.number().nullable() }),
    log_history: z.array(z.record(z.string(), storedNumber(z))),
  }),
);

export type SavedState = Zod.output<ReturnType<typeof stateSchema>>;
/** The same as it is written. */
export type StoredState = Zod.input<ReturnType<typeof stateSchema>>;

export interface CheckpointOptions {
  readonly outputDir: string;
  readonly writeModel: CheckpointWriter;
  readonly tokenizer: ProcessingClass;
  readonly state: StoredState;
  /** The one that the next step goes on with. */
  readonly generation: Generation | undefined;
  /** Checkpoints kept; null: all. */
  readonly totalLimit: number | null;
  /** The checkpoint of the best evaluation, which is kept besides. */
  readonly keep: string | null;
}

export function checkpointPath(outputDir: string, step: number): string {
  return path.join(outputDir, `checkpoint-${step}`);
}

const temporaryPrefix = ".tmp-checkpoint-";

/** What a run that was killed while it saved has left behind. */
export async function removeLeftovers(outputDir: string): Promise<void> {
  const names = await readdir(outputDir).catch(() => []);
  for (const name of names.filter((name) => name.startsWith(temporaryPrefix))) {
    await rm(path.join(outputDir, name), { recursive: true, force: true });
  }
}

/** Writes checkpoint-<global_step> and returns its path. */
export async function saveCheckpoint(options: CheckpointOptions): Promise<string> {
  const { outputDir, state } = options;
  const final = checkpointPath(outputDir, state.global_step);
  const temporary = path.join(outputDir, `${temporaryPrefix}${state.global_step}-${process.pid}`);
  try {
    await rm(temporary, { recursive: true, force: true });
    await mkdir(temporary, { recursive: true });
    await options.writeModel(temporary);
    await options.tokenizer.savePretrained(temporary);
    await writeFile(path.join(temporary, stateFile), `${JSON.stringify(state, null, 2)}\n`);
    if (options.generation) {
      await writeFile(path.join(temporary, generationFile), generationToJson(options.generation));
    }
    await syncFiles(temporary);
    await replaceFolder(temporary, final);
  } catch (cause) {
    await rm(temporary, { recursive: true, force: true }).catch(() => {});
    if (cause instanceof GrpoError) throw cause;
    throw new GrpoError("BAD_CHECKPOINT", `cannot write ${final}: ${reasonOf(cause)}`, {
      cause,
      hint: "check that outputDir is a folder you may write to and that the disk is not full",
    });
  }
  if (options.totalLimit !== null) await removeOldest(outputDir, options.totalLimit, [final, options.keep]);
  return final;
}

/** Renaming is atomic only onto a free name, so an earlier folder of that name steps aside first. */
async function replaceFolder(from: string, to: string): Promise<void> {
  const aside = `${from}-old`;
  await rename(to, aside).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "ENOENT") throw error;
  });
  await rename(from, to);
  await rm(aside, { recursive: true, force: true });
}

async function syncFiles(folder: string): Promise<void> {
  for (const entry of await readdir(folder, { withFileTypes: true, recursive: true })) {
    if (!entry.isFile()) continue;
    const file = await open(path.join(entry.parentPath, entry.name), "r+");
    await file.sync();
    await file.close();
  }
}

/** Whole checkpoints in a folder, as [step, path], in the order of steps. */
export async function listCheckpoints(outputDir: string): Promise<[number, string][]> {
  const names = await readdir(outputDir).catch(() => []);
  const found: [number, string][] = [];
  for (const name of names) {
    const step = /^checkpoint-(\d+)$/.exec(name)?.[1];
    if (step === undefined) continue;
    const folder = path.join(outputDir, name);
    const whole = await stat(path.join(folder, stateFile)).then(
      (info) => info.isFile(),
      () => false,
    );
    if (whole) found.push([Number(step), folder]);
  }
  return found.sort(([a], [b]) => a - b);
}

/** The oldest by time of writing, not by step: a folder may hold later steps of an earlier run. */
async function removeOldest(outputDir: string, limit: number, keep: readonly (string | null)[]): Promise<void> {
  const kept = keep.filter((folder) => folder !== null).map((folder) => path.resolve(folder));
  const others = (await listCheckpoints(outputDir)).filter(([, folder]) => !kept.includes(path.resolve(folder)));
  const dated = await Promise.all(
    others.map(async ([step, folder]) => ({ step, folder, time: (await stat(path.join(folder, stateFile))).mtimeMs })),
  );
  dated.sort((a, b) => a.time - b.time || a.step - b.step);
  for (const { folder } of dated.slice(0, Math.max(0, dated.length - (limit - 1)))) {
    await rm(folder, { recursive: true, force: true });
  }
}

/** The folder to resume from: the given one, or with `true` the latest in outputDir. */
export async function findCheckpoint(resumeFrom: string | true, outputDir: string): Promise<string> {
  if (resumeFrom !== true) return resumeFrom;
  const latest = (await listCheckpoints(outputDir)).at(-1);
  if (latest) return latest[1];
  throw new GrpoError("BAD_CHECKPOINT", `there is no checkpoint to resume from in ${path.resolve(outputDir)}`, {
    hint: "start with train() and no resumeFromCheckpoint, or give the path of a checkpoint folder",
  });
}

export interface SavedRun {
  readonly state: SavedState;
  readonly generation: Generation | undefined;
}

export async function readCheckpoint(folder: string): Promise<SavedRun> {
  const state = await readState(folder);
  const file = path.join(folder, generationFile);
  try {
    return { state, generation: generationFromJson(await readFile(file, "utf8")) };
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") return { state, generation: undefined };
    throw new GrpoError("BAD_CHECKPOINT", `${file} is not a stored generation: ${reasonOf(cause)}`, { cause });
  }
}

async function readState(folder: string): Promise<SavedState> {
  const file = path.join(folder, stateFile);
  const text = await readFile(file, "utf8").catch((cause: unknown) => {
    throw new GrpoError("BAD_CHECKPOINT", `${folder} is not a whole checkpoint: ${reasonOf(cause)}`, {
      cause,
      hint: "give a folder checkpoint-<step> that training wrote",
    });
  });
  let content: unknown;
  try {
    content = JSON.parse(text);
  } catch (cause) {
    throw new GrpoError("BAD_CHECKPOINT", `${file} is not JSON: ${reasonOf(cause)}`, { cause });
  }
  const parsed = stateSchema().safeParse(content);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw new GrpoError("BAD_CHECKPOINT", `${file}: ${issue?.path.join(".")}: ${issue?.message}`);
}

/** A run may go on only with the order of prompts and the optimizer that it had. */
export function checkSameOrder(folder: string, saved: SavedState["order"], now: SavedState["order"]): void {
  for (const key of Object.keys(now) as (keyof SavedState["order"])[]) {
    if (saved[key] === now[key]) continue;
    throw new GrpoError("BAD_CHECKPOINT", `${folder} was written with ${key} ${saved[key]}, this run has ${now[key]}`, {
      hint: "resume with the same data, batch options and optimizer, or start a new run from its adapter",
    });
  }
}
