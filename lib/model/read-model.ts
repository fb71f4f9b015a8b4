// A model as its files have it, from a folder or the Hub: what they say, the numbers that the engine needs, and where the tensors
// lie, matched with each other.

import { readResolved, resolveModelFiles } from "../hub/hub.js";
import type { NativeTensorTable } from "../native/native.js";
import { type ModelDescription, type ModelHead, matchTensors, readModelConfig } from "./families/families.js";
import { type ModelFolder, readModelFolder } from "./files/model-files.js";
import { readWeights } from "./files/safetensors.js";
import { type HubSource, hubSource } from "./model-options.js";

export interface ModelOnDisk {
  readonly contents: ModelFolder;
  readonly description: ModelDescription;
  readonly table: NativeTensorTable;
}

/** Throws what resolving, reading and matching throw; see docs/troubleshooting.md. */
export async function readModel(idOrPath: string, source: HubSource, head?: ModelHead): Promise<ModelOnDisk> {
  const resolved = await resolveModelFiles(idOrPath, hubSource(source));
  return readResolved(resolved, async () => {
    const contents = await readModelFolder(resolved.folder);
    const description = readModelConfig(contents.config, head);
    return { contents, description, table: matchTensors(await readWeights(resolved.folder), description.native) };
  });
}
