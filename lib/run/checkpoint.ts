// Checkpoints on disk: <outputDir>/checkpoint-<step>/ with adapter, optimizer, tokenizer files and trainer_state.json, and files
// of the trainer's own. A folder appears under its final name only when it is whole. No random state is stored: the order of the
// data, draws and dropout are functions of seed and step.

import { mkdir, open, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import path from "node:path";
import { GrpoError, reasonOf } from "../errors.js";
import type { CheckpointWriter, Savable } from "../model/learner.js";
import { syncFile } from "../sync-file.js";
import { readStateText, type StateFile, stateText } from "./state.js";

const stateFile = "trainer_state.json";
export const CHECKPOINT_NAME = /^checkpoint-(\d+)$/;

/** What makes a checkpoint. */
export interface CheckpointParts {
  readonly outputDir: string;
  readonly writeModel: CheckpointWriter;
  readonly tokenizer: Savable;
  readonly state: StateFile;
  /** Files of the trainer's own, by name: the text, made when it is written. */
  readonly files: Readonly<Record<string, () => string>>;
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
export async function saveCheckpoint(parts: CheckpointParts): Promise<string> {
  const { outputDir, state } = parts;
  const final = checkpointPath(outputDir, state.global_step);
  const temporary = path.join(outputDir, `${temporaryPrefix}${state.global_step}-${process.pid}`);
  try {
    await rm(temporary, { recursive: true, force: true });
    await mkdir(temporary, { recursive: true });
    await parts.writeModel(temporary);
    await parts.tokenizer.savePretrained(temporary);
    await writeFile(path.join(temporary, stateFile), stateText(state));
    for (const [name, text] of Object.entries(parts.files)) await writeFile(path.join(temporary, name), text());
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
  if (parts.totalLimit !== null) await removeOldest(outputDir, parts.totalLimit, [final, parts.keep]);
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
    await syncFile(file);
    await file.close();
  }
}

/** Whole checkpoints in a folder, as [step, path], in the order of steps. */
export async function listCheckpoints(outputDir: string): Promise<[number, string][]> {
  const names = await readdir(outputDir).catch(() => []);
  const found: [number, string][] = [];
  for (const name of names) {
    const step = CHECKPOINT_NAME.exec(name)?.[1];
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

/** The same by time of writing, the oldest first, not by step: a folder may hold later steps of an earlier run. */
async function checkpointsByAge(outputDir: string): Promise<string[]> {
  const dated = await Promise.all(
    (await listCheckpoints(outputDir)).map(async ([step, folder]) => ({ step, folder, time: await savedAt(folder) })),
  );
  dated.sort((a, b) => a.time - b.time || a.step - b.step);
  return dated.map(({ folder }) => folder);
}

/** Milliseconds since 1970, as the checkpoint itself says, for a copy has the time of copying; else that of its file. */
async function savedAt(folder: string): Promise<number> {
  const file = path.join(folder, stateFile);
  const said = /"saved_at": (\d+)/.exec(await readFile(file, "utf8"))?.[1];
  return said === undefined ? (await stat(file)).mtimeMs : Number(said);
}

async function removeOldest(outputDir: string, limit: number, keep: readonly (string | null)[]): Promise<void> {
  const kept = keep.filter((folder) => folder !== null).map((folder) => path.resolve(folder));
  const others = (await checkpointsByAge(outputDir)).filter((folder) => !kept.includes(path.resolve(folder)));
  for (const folder of others.slice(0, Math.max(0, others.length - (limit - 1)))) {
    await rm(folder, { recursive: true, force: true });
  }
}

/** The folder to resume from: the given one, or with `true` the one in outputDir that was written last. */
export async function findCheckpoint(resumeFrom: string | true, outputDir: string): Promise<string> {
  if (resumeFrom !== true) return resumeFrom;
  const newest = (await checkpointsByAge(outputDir)).at(-1);
  if (newest !== undefined) return newest;
  throw new GrpoError("BAD_CHECKPOINT", `there is no checkpoint to resume from in ${path.resolve(outputDir)}`, {
    hint: "start with train() and no resumeFromCheckpoint, or give the path of a checkpoint folder",
  });
}

/** A checkpoint that a run goes on from. */
export interface Checkpoint {
  readonly folder: string;
  readonly state: StateFile;
}

export async function readCheckpoint(folder: string): Promise<Checkpoint> {
  const file = path.join(folder, stateFile);
  const text = await readFile(file, "utf8").catch((cause: unknown) => {
    throw new GrpoError("BAD_CHECKPOINT", `${folder} is not a complete checkpoint: ${reasonOf(cause)}`, {
      cause,
      hint: "give a folder checkpoint-<step> that training wrote",
    });
  });
  return { folder, state: readStateText(file, text) };
}
