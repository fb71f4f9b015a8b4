// Uploading to the Hub. A folder becomes one commit on top of the commit that was there before, so a repository is either as
// it was or has everything; after a failure the Hub is asked which, and the error says so.

import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { badOption, checkBoolean, checkOptionNames } from "../checks.js";
import { GrpoError } from "../errors.js";
import { checkRepoId, forgetListings, type Listing, listRevision, matching, resolveCommit, walk } from "./hub.js";
import {
  asHubError,
  createHubClient,
  type HubClient,
  HubRefusal,
  type HubRepo,
  HubUnreachable,
  type RepoType,
  repoPage,
} from "./hub-client.js";
import { findToken, xetEnabled } from "./hub-env.js";
import { pause, pauseAfter } from "./hub-fetch.js";
import { whoami } from "./login.js";

/** Where and how files go to the Hub. */
export interface PushOptions {
  /** What kind of repository. Default "model". */
  readonly type?: RepoType;
  /** Default: HF_TOKEN, or the token saved by a login. */
  readonly token?: string;
  /** Visibility of a new repository; an existing one keeps its own. */
  readonly private?: boolean;
  /** Made from "main" if it is not there. Default "main". */
  readonly branch?: string;
  /** Default "Upload with grpo". */
  readonly commitMessage?: string;
}

export interface FolderPushOptions extends PushOptions {
  /** Files that stay behind; * stands for a part within a folder and ** for any part. */
  readonly ignorePatterns?: readonly string[];
  /** Files that are uploaded only where the repository has none of that name, such as a generated README.md. */
  readonly keepExisting?: readonly string[];
}

/** Such as .env and .DS_Store: not what someone means who uploads a model. */
const HIDDEN = /(^|\/)\.(?!gitattributes$)/;
/** Commits of others that may get in between before it is given up. */
const ATTEMPTS = 4;

/** Uploads a folder, hidden files aside, as one commit to a repository, made if it is not there. Returns its address. */
export async function pushFolder(name: string, folder: string, options: FolderPushOptions = {}): Promise<string> {
  const { client, repo } = await openForWriting(name, options);
  const { ignorePatterns = [], keepExisting = [], branch = "main" } = options;
  const all = await walk(folder);
  const ignored = new Set(matching(all, ignorePatterns));
  const files = all.filter((file) => !ignored.has(file) && !HIDDEN.test(file));
  if (files.length === 0) throw new GrpoError("FILE_NOT_FOUND", `nothing to upload: ${folder} has no files`);
  const push = {
    client,
    repo,
    folder,
    files,
    branch,
    title: options.commitMessage ?? "Upload with grpo",
    keepExisting,
  };
  let parent: string;
  try {
    parent = await ensureBranch(client, repo, branch, options.private);
  } catch (thrown) {
    throw withState(asHubError(`uploading to "${repo.id}" failed`, thrown), "nothing was uploaded");
  }
  try {
    return await commitFolder(push, parent);
  } finally {
    forgetListings(repo);
  }
}

/** Makes a repository unless it is there, and returns its full id. */
export async function ensureRepo(name: string, options: PushOptions = {}): Promise<string> {
  const { client, repo } = await openForWriting(name, options);
  try {
    await ensureBranch(client, repo, options.branch ?? "main", options.private);
  } catch (thrown) {
    throw asHubError(`making "${repo.id}" failed`, thrown);
  }
  return repo.id;
}

interface Target {
  readonly client: HubClient;
  readonly repo: HubRepo;
}

/** Checks what can be checked before anything is sent. A name alone belongs to the account of the token. */
async function openForWriting(name: string, options: FolderPushOptions): Promise<Target> {
  checkPushOptions(options);
  const { type = "model", token = findToken() } = options;
  const alone = typeof name === "string" && /^\w[\w.-]*$/.test(name);
  if (!alone) checkRepoId(type, name);
  if (token === undefined) {
    throw new GrpoError("HUB_ERROR", `uploading to "${name}" needs a token with write access, and there is none`, {
      hint: "log in with: grpo login, or set HF_TOKEN",
    });
  }
  const repo = { type, id: alone ? `${(await whoami({ token })).name}/${name}` : name };
  return { client: createHubClient(repo, token), repo };
}

function checkPushOptions(options: FolderPushOptions): void {
  const known = ["type", "token", "private", "branch", "commitMessage", "ignorePatterns", "keepExisting"];
  checkOptionNames("pushToHub", options, known);
  if (options.private !== undefined) checkBoolean("pushToHub", "private", options.private);
  for (const key of ["branch", "commitMessage"] as const) {
    const value: unknown = options[key];
    if (value === undefined || (typeof value === "string" && value !== "")) continue;
    throw badOption("pushToHub", key, "a text", value);
  }
}

/** The commit that a branch is at; repository and branch are made if they are not there. */
async function ensureBranch(client: HubClient, repo: HubRepo, branch: string, isPrivate?: boolean): Promise<string> {
  const { createBranch, createRepo } = await import("@huggingface/hub");
  const target = { repo: { type: repo.type, name: repo.id }, hubUrl: client.url, fetch: client.fetch };
  const found = await findBranch(client, repo, branch);
  if (found === "no repository") {
    const visibility =
      isPrivate === undefined ? {} : { visibility: isPrivate ? ("private" as const) : ("public" as const) };
    await createRepo({ ...target, ...visibility, accessToken: "" }).catch(ignoreExisting);
  } else if (found !== "no branch") return found;
  if (branch !== "main") await createBranch({ ...target, branch, revision: "main" }).catch(ignoreExisting);
  return resolveCommit(client, repo, branch);
}

async function findBranch(client: HubClient, repo: HubRepo, branch: string): Promise<string> {
  try {
    return await resolveCommit(client, repo, branch);
  } catch (thrown) {
    if (!(thrown instanceof HubRefusal)) throw thrown;
    if (thrown.reason === "RevisionNotFound") return "no branch";
    // To a token without access a repository looks as if it were not there; making it then says more.
    if (thrown.status === 404 || thrown.reason === "RepoNotFound") return "no repository";
    throw thrown;
  }
}

function ignoreExisting(thrown: unknown): void {
  if ((thrown as { statusCode?: unknown }).statusCode !== 409) throw thrown;
}

interface FolderPush {
  readonly client: HubClient;
  readonly repo: HubRepo;
  readonly folder: string;
  readonly files: readonly string[];
  readonly branch: string;
  readonly title: string;
  readonly keepExisting: readonly string[];
}

async function commitFolder(push: FolderPush, first: string): Promise<string> {
  const { client, repo, branch } = push;
  let parent = first;
  for (let attempt = 1; ; attempt++) {
    const outcome = await tryCommit(push, parent);
    if (outcome.url !== undefined) return outcome.url;
    const failure = asHubError(`uploading to "${repo.id}" failed`, outcome.thrown);
    if (!outcome.sent) throw withState(failure, `the repository is unchanged, at commit ${parent}`);
    const now = await listRevision(client, repo, branch).catch(() => undefined);
    if (now === undefined) throw withState(failure, unknownState(push, parent));
    // The commit has arrived, only the answer has not.
    if (now.commit !== parent && (await hasFiles(push, now))) return commitPage(client, repo, now.commit);
    const mayRepeat = failure instanceof HubUnreachable || isPassing(failure);
    if (attempt === ATTEMPTS || !mayRepeat) {
      throw withState(failure, `the repository has none of the files; it is at commit ${now.commit}`);
    }
    parent = now.commit;
    // Someone else's commit is no reason to wait.
    const refused = failure instanceof HubRefusal ? failure : undefined;
    if (refused?.status !== 412) await pause(refused?.askedPause ?? pauseAfter(attempt));
  }
}

interface CommitOutcome {
  readonly url?: string;
  readonly thrown?: unknown;
  /** Whether the commit itself was asked for; what comes before leaves no trace in the repository. */
  readonly sent?: boolean;
}

/** Sends the commit. It names its parent, so that one that is sent twice cannot happen twice. */
async function tryCommit(push: FolderPush, parentCommit: string): Promise<CommitOutcome> {
  const { client, repo, folder, branch, title } = push;
  let sent = false;
  const fetch: typeof globalThis.fetch = (input, init) => {
    sent ||= init?.method === "POST" && /\/api\/[^?]*\/commit\//.test(String(input));
    return client.fetch(input, init);
  };
  try {
    const files = await wantedFiles(push);
    const { uploadFiles } = await import("@huggingface/hub");
    const output = await uploadFiles({
      repo: { type: repo.type, name: repo.id },
      hubUrl: client.url,
      fetch,
      branch,
      parentCommit,
      commitTitle: title,
      useXet: xetEnabled(),
      files: files.map((file) => ({ path: file, content: pathToFileURL(path.join(folder, file)) })),
    });
    return { url: output?.commit.url ?? repoPage(client.url, repo) };
  } catch (thrown) {
    return { thrown, sent };
  }
}

async function wantedFiles({ client, repo, branch, files, keepExisting }: FolderPush): Promise<readonly string[]> {
  if (!keepExisting.some((name) => files.includes(name))) return files;
  const { files: there } = await listRevision(client, repo, branch);
  return files.filter((file) => !keepExisting.includes(file) || !there.has(file));
}

/** Whether a commit holds the files of the folder, by size and digest. */
async function hasFiles({ folder, files, keepExisting }: FolderPush, now: Listing): Promise<boolean> {
  for (const name of files) {
    const entry = now.files.get(name);
    if (entry === undefined) return false;
    if (keepExisting.includes(name)) continue;
    const file = path.join(folder, name);
    const { size } = await stat(file);
    if (size !== entry.size) return false;
    const hash = entry.lfs ? createHash("sha256") : createHash("sha1").update(`blob ${size}\0`);
    for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer);
    if (hash.digest("hex") !== (entry.lfs?.oid ?? entry.oid)) return false;
  }
  return true;
}

/** Someone else committed in between, or the Hub was busy. */
function isPassing(failure: GrpoError): boolean {
  return failure instanceof HubRefusal && (failure.status === 412 || failure.status === 429 || failure.status >= 500);
}

function unknownState({ client, repo }: FolderPush, parent: string): string {
  const page = `${repoPage(client.url, repo)}/commits/main`;
  return `it cannot be asked whether the commit arrived: the repository has either all of the files or, at ${parent}, none; see ${page}`;
}

function withState(failure: GrpoError, state: string): GrpoError {
  const message = failure.hint ? failure.message.replace(`\n  → ${failure.hint}`, "") : failure.message;
  const hint = failure.hint ?? "run it again";
  return new GrpoError(failure.code, `${message}; ${state}`, { hint });
}

function commitPage(client: HubClient, repo: HubRepo, commit: string): string {
  return `${repoPage(client.url, repo)}/commit/${commit}`;
}
