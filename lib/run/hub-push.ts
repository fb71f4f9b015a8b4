// What a run uploads while it trains and at its end, with transformers' options: pushToHub, hubStrategy and their kin, and its
// completions to a data set of their own. Uploads go on beside the training; one that fails is noted and the next save
// tries again. What is uploaded is first linked into a folder of its own, so that nothing changes it on the way.

import { copyFile, cp, link, mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { checkBoolean, checkOptionNames, checkText, namesOf } from "../checks.js";
import { reasonOf } from "../errors.js";
import { type TrainingFacts, writeModelCard } from "../hub/model-card.js";
import { ensureRepo, type FolderPushOptions, type PushOptions, pushFolder } from "../hub/push.js";
import type { TrainerState } from "../types.js";
import type { RunOptions } from "./options.js";

/** What `trainer.pushToHub` uploads, and where. */
export interface TrainerPushOptions {
  /** Default: hubModelId, or the name of outputDir in the account of the token. */
  readonly repo?: string;
  /** Default "End of training". */
  readonly commitMessage?: string;
  /** Default: hubToken, else HF_TOKEN or the token saved by a login. */
  readonly token?: string;
  /** Whether a repository that is made is private. Default: hubPrivateRepo, else the account's default. */
  readonly private?: boolean;
  /** Default: hubRevision, else "main". */
  readonly branch?: string;
  /** Hub id of the training data, for the model card. */
  readonly datasetName?: string;
}

const PUSH_OPTIONS = namesOf<TrainerPushOptions>({
  repo: true,
  commitMessage: true,
  token: true,
  private: true,
  branch: true,
  datasetName: true,
});

/** Throws UNKNOWN_OPTION or BAD_OPTION, naming the option. */
export function checkPushOptions(options: TrainerPushOptions): void {
  const where = "trainer.pushToHub";
  checkOptionNames(where, options, PUSH_OPTIONS, {
    positional: "write { commitMessage: … }",
    names: {
      revision: "write branch",
      dataset: "write datasetName",
      blocking: "leave it out: the upload is done when the promise resolves",
      modelName: "write repo",
      repoId: "write repo",
    },
  });
  for (const name of ["repo", "commitMessage", "token", "branch", "datasetName"] as const) {
    if (options[name] !== undefined) checkText(where, name, options[name]);
  }
  if (options.private !== undefined) checkBoolean(where, "private", options.private);
}

export interface HubPushParts {
  readonly args: RunOptions;
  /** Data set that gets completions.jsonl at each save; null: none. */
  readonly completionsRepo: string | null;
  /** What a model card says of the run so far. */
  card(): Omit<TrainingFacts, "dataset">;
  /** Tells the user something. */
  note(text: string): void;
}

/** Needed to go on training, not to use the model. */
const STATE_FILES = /^(optimizer|scheduler|trainer_state|rng_state|training_args)\b/;
const COMPLETIONS = "completions.jsonl";
const METRICS = "metrics.jsonl";
const CARD = "README.md";

/** One commit to come: a folder of links, removed once it is uploaded. */
interface Upload {
  readonly folder: string;
  readonly repo: string;
  readonly options: FolderPushOptions;
}

export class HubPush {
  readonly #parts: HubPushParts;
  /** Full id, once the repository is known to be there. */
  #repo: string | undefined;
  #running: Promise<void> | undefined;
  readonly #waiting: Upload[] = [];

  constructor(parts: HubPushParts) {
    this.#parts = parts;
  }

  /** Makes the repositories, so that a missing token or right is found before the first step. */
  async begin(): Promise<void> {
    const { args, completionsRepo, note } = this.#parts;
    if (args.pushToHub) {
      this.#repo = await ensureRepo(this.#modelName(), this.#access());
      note(`hub      the model goes to ${this.#repo}, hubStrategy ${args.hubStrategy}`);
    }
    if (completionsRepo !== null) {
      const repo = await ensureRepo(completionsRepo, this.#dataAccess());
      note(`hub      completions go to the data set ${repo}`);
    }
  }

  /** Uploads what has just been saved. Returns when it is linked aside; the upload itself goes on. */
  async afterSave(checkpoint: string, state: TrainerState): Promise<void> {
    const { args, completionsRepo } = this.#parts;
    const unit = args.saveStrategy === "epoch" ? `epoch ${Math.floor(state.epoch)}` : `step ${state.globalStep}`;
    const commitMessage = `Training in progress, ${unit}`;
    const uploads: Upload[] = [];
    if (args.pushToHub && args.hubStrategy !== "end") {
      const repo = this.#repo ?? this.#modelName();
      const folder = await this.#stageCheckpoint(checkpoint, repo);
      uploads.push({ folder, repo, options: { ...this.#access(), commitMessage } });
    }
    if (completionsRepo !== null) {
      const options = { ...this.#dataAccess(), commitMessage, keepExisting: [CARD] };
      uploads.push({ folder: await this.#stageCompletions(completionsRepo), repo: completionsRepo, options });
    }
    // A save that comes while another is under way takes the place of those that wait.
    if (!args.hubAlwaysPush) for (const { folder } of this.#waiting.splice(0)) await removeFolder(folder);
    this.#waiting.push(...uploads);
    if (this.#waiting.length > 0) this.#running ??= this.#run();
  }

  /** Waits for what is being uploaded. */
  async finish(): Promise<void> {
    if (this.#running) this.#parts.note("hub      waiting for the last upload");
    await this.#running;
  }

  /** Uploads what `save` writes into a folder, with the metrics and a card; returns the commit's address. */
  async push(options: TrainerPushOptions, save: (folder: string) => Promise<void>): Promise<string> {
    checkPushOptions(options);
    await this.finish();
    const { datasetName, repo = this.#modelName(), ...given } = options;
    const access = { ...this.#access(), ...given };
    const id = await ensureRepo(repo, access);
    const folder = await this.#stage(async (to) => {
      // A card that someone has worked on.
      await copyFile(path.join(this.#parts.args.outputDir, CARD), path.join(to, CARD)).catch(() => {});
      await save(to);
      await this.#addFacts(to, id, datasetName);
    });
    try {
      return await pushFolder(id, folder, access);
    } finally {
      await removeFolder(folder);
    }
  }

  /** One after the other. */
  async #run(): Promise<void> {
    for (let next = this.#waiting.shift(); next !== undefined; next = this.#waiting.shift()) {
      const { repo, folder, options } = next;
      try {
        await pushFolder(repo, folder, options);
      } catch (thrown) {
        this.#parts.note(`hub      upload to ${repo} failed, training continues: ${reasonOf(thrown)}`);
      }
      await removeFolder(folder);
    }
    this.#running = undefined;
  }

  #modelName(): string {
    return this.#parts.args.hubModelId ?? path.basename(path.resolve(this.#parts.args.outputDir));
  }

  #access(): PushOptions {
    const { hubRevision } = this.#parts.args;
    return { ...this.#account(), ...(hubRevision === null ? {} : { branch: hubRevision }) };
  }

  #dataAccess(): PushOptions {
    return { ...this.#account(), type: "dataset" };
  }

  #account(): PushOptions {
    const { hubToken, hubPrivateRepo } = this.#parts.args;
    return {
      ...(hubToken === null ? {} : { token: hubToken }),
      ...(hubPrivateRepo === null ? {} : { private: hubPrivateRepo }),
    };
  }

  #stageCheckpoint(checkpoint: string, repo: string): Promise<string> {
    const { hubStrategy } = this.#parts.args;
    const inRepo = hubStrategy === "checkpoint" ? "last-checkpoint" : path.basename(checkpoint);
    return this.#stage(async (to) => {
      await linkFiles(checkpoint, to, (name) => !STATE_FILES.test(name));
      await this.#addFacts(to, repo, undefined);
      if (hubStrategy !== "every_save") await linkFiles(checkpoint, path.join(to, inRepo));
    });
  }

  #stageCompletions(repo: string): Promise<string> {
    return this.#stage(async (to) => {
      await copyFile(path.join(this.#parts.args.outputDir, COMPLETIONS), path.join(to, COMPLETIONS));
      await writeFile(path.join(to, CARD), completionsCard(repo, this.#repo));
    });
  }

  /** A folder on the same disk as the run, so that files can be linked into it. */
  async #stage(fill: (to: string) => Promise<void>): Promise<string> {
    const { outputDir } = this.#parts.args;
    await mkdir(outputDir, { recursive: true });
    const folder = await mkdtemp(path.join(outputDir, ".push-"));
    try {
      await fill(folder);
      return folder;
    } catch (thrown) {
      await removeFolder(folder);
      throw thrown;
    }
  }

  async #addFacts(to: string, repo: string, dataset: string | undefined): Promise<void> {
    await copyFile(path.join(this.#parts.args.outputDir, METRICS), path.join(to, METRICS)).catch(() => {});
    await writeModelCard(to, repo, { training: { dataset, ...this.#parts.card() } });
  }
}

function removeFolder(folder: string): Promise<void> {
  return rm(folder, { recursive: true, force: true });
}

/** Links the files of a folder into another; copies where links cannot be. */
async function linkFiles(from: string, to: string, wanted: (name: string) => boolean = () => true): Promise<void> {
  await mkdir(to, { recursive: true });
  for (const entry of await readdir(from, { withFileTypes: true })) {
    const [source, target] = [path.join(from, entry.name), path.join(to, entry.name)];
    if (!wanted(entry.name)) continue;
    if (entry.isFile()) await link(source, target).catch(() => copyFile(source, target));
    else if (entry.name === "additional_chat_templates") await cp(source, target, { recursive: true });
  }
}

function completionsCard(repo: string, model: string | undefined): string {
  const of = model ? ` of [${model}](https://huggingface.co/${model})` : "";
  return `---
pretty_name: Completions of a GRPO run
tags:
- grpo
- completions
---

# Completions

Every completion that was sampled in the training${of}, one a line: step, row, prompt, text, token ids, the reward of each
reward function, their weighted sum, and the advantage.

\`\`\`python
from datasets import load_dataset

completions = load_dataset("${repo}", split="train")
\`\`\`
`;
}
