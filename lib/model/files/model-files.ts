// A model's folder: reading config.json, generation_config.json and the weights, and writing files so that a reader never
// meets half of one.

import { mkdir, rename, rm, stat, writeFile } from "node:fs/promises";
import path from "node:path";
import { GrpoError, reasonOf } from "../../errors.js";
import { type JsonObject, readJsonFile } from "../../json.js";

export const CONFIG = "config.json";
export const GENERATION_CONFIG = "generation_config.json";
export const WEIGHTS = "model.safetensors";
export const WEIGHTS_INDEX = "model.safetensors.index.json";

export interface ModelFolder {
  readonly config: JsonObject;
  /** What config.json says, to be saved again with all numbers spelt as they are. */
  readonly configText: string;
  /** Empty if the folder has none. */
  readonly generationConfig: JsonObject;
  readonly generationConfigText?: string;
}

export async function readModelFolder(folder: string): Promise<ModelFolder> {
  if (!(await isFile(path.join(folder, CONFIG)))) {
    const adapter = await isFile(path.join(folder, "adapter_config.json"));
    throw new GrpoError("FILE_NOT_FOUND", `no ${CONFIG} in ${folder}`, {
      hint: adapter
        ? "load the base model, and give this folder, an adapter, as the adapter option"
        : "give a folder as transformers' save_pretrained writes it",
    });
  }
  const { object: config, text: configText } = await readJsonFile(path.join(folder, CONFIG), "BAD_CONFIG");
  const generationFile = path.join(folder, GENERATION_CONFIG);
  if (!(await isFile(generationFile))) return { config, configText, generationConfig: {} };
  const generation = await readJsonFile(generationFile, "BAD_CONFIG");
  return { config, configText, generationConfig: generation.object, generationConfigText: generation.text };
}

/** What is to be written to a file: its text, or a function that writes it to the path that it is given. */
export type FileContent = string | ((file: string) => Promise<void>);

/** Writes files into a folder, made if need be: each under another name first, then all renamed. */
export async function writeFiles(folder: string, files: Readonly<Record<string, FileContent>>): Promise<void> {
  const pending = Object.entries(files).map(([name, content]) => {
    const final = path.join(folder, name);
    return { content, final, temporary: `${final}.tmp-${process.pid}` };
  });
  try {
    await mkdir(folder, { recursive: true });
    for (const { content, temporary } of pending) {
      if (typeof content === "string") await writeFile(temporary, content);
      else await content(temporary);
    }
    for (const { temporary, final } of pending) await rename(temporary, final);
  } catch (cause) {
    for (const { temporary } of pending) await rm(temporary, { force: true }).catch(() => {});
    if (cause instanceof GrpoError && cause.code !== "FILE_NOT_FOUND") throw cause;
    throw new GrpoError("BAD_INPUT", `cannot write to ${folder}: ${reasonOf(cause)}`, {
      cause,
      hint: "give a folder that you may write to, on a disk with room",
    });
  }
}

export async function isFile(file: string): Promise<boolean> {
  return stat(file).then(
    (info) => info.isFile(),
    () => false,
  );
}
