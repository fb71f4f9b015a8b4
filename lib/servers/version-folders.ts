// The weights of each version on disk, in a new folder each, which the servers read: what they have loaded is never written again. The
// folder before is deleted when the next one is there.

import { randomUUID } from "node:crypto";
import { access, mkdir, mkdtemp, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { GrpoError, reasonOf } from "../errors.js";
import type { Savable } from "../model/learner.js";

export interface WeightVersion {
  /** Unlike that of any other version of any run. */
  readonly name: string;
  /** As the servers call it. */
  readonly folder: string;
  /** Whether it is an adapter; else it is whole weights. */
  readonly isAdapter: boolean;
}

export class VersionFolders {
  readonly #shared: string | undefined;
  readonly #onServer: string | undefined;
  readonly #run = `grpo-${randomUUID().slice(0, 8)}`;
  #root: string | undefined;
  #current: string | undefined;

  /** `shared`: default a temporary folder. `onServer`: its name where the servers run; default the same. */
  constructor(shared: string | undefined, onServer: string | undefined) {
    this.#shared = shared;
    this.#onServer = onServer;
  }

  /** Throws FILE_NOT_FOUND where it cannot be written. */
  async write(policy: Savable, version: number): Promise<WeightVersion> {
    const root = await this.#open();
    const name = `${this.#run}-v${version}`;
    const folder = path.join(root, name);
    // Nobody may read what is left of an earlier attempt.
    await rm(folder, { recursive: true, force: true });
    await policy.savePretrained(folder);
    const isAdapter = await exists(path.join(folder, "adapter_config.json"));
    if (this.#current !== undefined && this.#current !== folder)
      await rm(this.#current, { recursive: true, force: true });
    this.#current = folder;
    return { name, folder: `${this.#onServer ?? root}/${name}`, isAdapter };
  }

  async remove(): Promise<void> {
    if (this.#current !== undefined) await rm(this.#current, { recursive: true, force: true });
    if (this.#shared === undefined && this.#root !== undefined) await rm(this.#root, { recursive: true, force: true });
    this.#current = undefined;
    this.#root = undefined;
  }

  async #open(): Promise<string> {
    if (this.#root !== undefined) return this.#root;
    try {
      const root = this.#shared ?? (await mkdtemp(path.join(os.tmpdir(), "grpo-weights-")));
      await mkdir(root, { recursive: true });
      this.#root = path.resolve(root);
      return this.#root;
    } catch (cause) {
      throw new GrpoError("FILE_NOT_FOUND", `cannot write to ${this.#shared}: ${reasonOf(cause)}`, {
        cause,
        hint: "set vllmSharedFolder to a folder that this process and the servers share",
      });
    }
  }
}

async function exists(file: string): Promise<boolean> {
  return access(file).then(
    () => true,
    () => false,
  );
}
