// Repositories on the Hugging Face Hub, and local folders that stand for them: listing, fetching into the cache that
// Python's huggingface_hub uses as well (same layout, either side finds what the other fetched), and uploading.

import { mkdtemp, readdir, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { createRepo, datasetInfo, type ListFileEntry, listFiles, modelInfo, uploadFiles } from "@huggingface/hub";
import { GrpoError, reasonOf } from "../errors.js";
import { checkOptionNames } from "../options.js";
import { fetchFiles, type RemoteFile, repoFolder, saveRef } from "./hub-cache.js";
import {
  createHubClient,
  type HubClient,
  HubUnreachable,
  hubCacheDir,
  isOffline,
  type RepoType,
} from "./hub-client.js";

export interface HubOptions {
  /** Branch, tag or commit. Default "main". */
  readonly revision?: string;
  /** Default: HF_TOKEN, or the token saved by a login. */
  readonly token?: string;
  /** Default: HF_HUB_CACHE, or the "hub" folder in HF_HOME. */
  readonly cacheDir?: string;
}

/** A local folder, or one commit of a repository whose files are fetched into a folder when asked for. */
export interface Snapshot {
  readonly folder: string;
  /** Paths relative to the folder, with forward slashes, whether fetched already or not. */
  readonly files: readonly string[];
  /** Brings files into the folder. */
  fetch(files: readonly string[]): Promise<void>;
}

export interface ModelFiles {
  readonly folder: string;
  /** The files that are there, relative to the folder. */
  readonly files: readonly string[];
}

/** What loading a model reads. Weights in the vendor's own format (consolidated*.safetensors) repeat the others. */
export const MODEL_PATTERNS: readonly string[] = [
  "config.json",
  "generation_config.json",
  "*.safetensors",
  "*.safetensors.index.json",
  "tokenizer*.json",
  "special_tokens_map.json",
  "added_tokens.json",
  "chat_template.jinja",
  "additional_chat_templates/*.jinja",
  "adapter_config.json",
];
const NEVER = /^consolidated.*\.safetensors/;

/** The folder of a model given by path or Hub id, with the files that match the patterns in it. */
export async function resolveModelFiles(
  idOrPath: string,
  options: HubOptions & { readonly patterns?: readonly string[] } = {},
): Promise<ModelFiles> {
  const snapshot = await openSnapshot("model", idOrPath, options);
  const wanted = matching(snapshot.files, options.patterns ?? MODEL_PATTERNS).filter((file) => !NEVER.test(file));
  await snapshot.fetch(wanted);
  return { folder: snapshot.folder, files: wanted };
}

export async function openSnapshot(type: RepoType, idOrPath: string, options: HubOptions = {}): Promise<Snapshot> {
  const local =
    typeof idOrPath === "string" && idOrPath !== "" ? await stat(idOrPath).catch(() => undefined) : undefined;
  if (local?.isDirectory()) return localSnapshot(path.resolve(idOrPath));
  if (local !== undefined) {
    throw new GrpoError("BAD_INPUT", `${idOrPath} is a file; expected the folder of a ${type}.`);
  }
  checkRepoId(type, idOrPath);
  const revision = options.revision ?? "main";
  const root = path.join(options.cacheDir ?? hubCacheDir(), repoFolder(type, idOrPath));
  if (isOffline()) return cachedSnapshot(idOrPath, root, revision, "HF_HUB_OFFLINE is set");
  try {
    return await remoteSnapshot(type, idOrPath, revision, root, createHubClient({ type, id: idOrPath }, options.token));
  } catch (thrown) {
    if (!(thrown instanceof HubUnreachable)) throw thrown;
    const cached = await cachedSnapshot(idOrPath, root, revision, "").catch(() => undefined);
    if (cached === undefined) throw thrown;
    process.emitWarning(`${thrown.message.split("\n")[0]}; using the cached copy of ${idOrPath}.`);
    return cached;
  }
}

export interface PushOptions {
  readonly type?: RepoType;
  readonly token?: string;
  /** Visibility of a new repository; an existing one keeps its own. */
  readonly private?: boolean;
  readonly branch?: string;
  readonly commitMessage?: string;
}

/** Uploads a folder as one commit to a repository, made if it is not there. Returns the commit's address. */
export async function pushFolder(id: string, folder: string, options: PushOptions = {}): Promise<string> {
  checkOptionNames("pushToHub", options, ["type", "token", "private", "branch", "commitMessage"]);
  const type = options.type ?? "model";
  checkRepoId(type, id);
  const client = createHubClient({ type, id }, options.token);
  if (!client.hasToken) {
    throw new GrpoError("HUB_ERROR", `Uploading to "${id}" needs a token with write access, and there is none.`, {
      hint: "Log in with: grpo login, or set HF_TOKEN.",
    });
  }
  const files = await walk(folder);
  if (files.length === 0) throw new GrpoError("FILE_NOT_FOUND", `Nothing to upload: ${folder} has no files.`);
  const repo = { type, name: id } as const;
  const access = { hubUrl: client.url, fetch: client.fetch };
  try {
    await createRepo({ repo, ...access, ...visibility(options.private), accessToken: "" }).catch(ignoreExisting);
    const output = await uploadFiles({
      repo,
      ...access,
      files: files.map((file) => ({ path: file, content: pathToFileURL(path.join(folder, file)) })),
      commitTitle: options.commitMessage ?? "Upload with grpo",
      ...(options.branch === undefined ? {} : { branch: options.branch }),
    });
    return output?.commit.url ?? `${client.url}/${id}`;
  } catch (thrown) {
    throw asHubError(`Uploading to "${id}" failed`, thrown);
  }
}

/** Runs `use` with an empty folder that is removed afterwards. */
export async function withTemporaryFolder<T>(use: (folder: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(path.join(tmpdir(), "grpo-"));
  try {
    return await use(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Files that match one of the patterns, in which * stays within a folder and ** does not. */
export function matching(files: readonly string[], patterns: readonly string[]): string[] {
  const expressions = patterns.map(globExpression);
  return files.filter((file) => expressions.some((expression) => expression.test(file)));
}

function globExpression(pattern: string): RegExp {
  const source = pattern.replace(/\*\*\/?|\*|\?|[.+^${}()|[\]\\]/g, (part) => {
    if (part === "**/") return "(?:.*/)?";
    if (part === "**") return ".*";
    if (part === "*") return "[^/]*";
    if (part === "?") return "[^/]";
    return `\\${part}`;
  });
  return new RegExp(`^${source}$`);
}

async function localSnapshot(folder: string): Promise<Snapshot> {
  const files = await walk(folder);
  return {
    folder,
    files,
    async fetch(wanted) {
      const missing = wanted.find((file) => !files.includes(file));
      if (missing !== undefined) throw new GrpoError("FILE_NOT_FOUND", `No ${missing} in ${folder}.`);
    },
  };
}

async function remoteSnapshot(
  type: RepoType,
  id: string,
  revision: string,
  root: string,
  client: HubClient,
): Promise<Snapshot> {
  const access = { hubUrl: client.url, fetch: client.fetch };
  const commit = await resolveCommit(type, id, revision, access);
  const entries = new Map<string, ListFileEntry>();
  try {
    const list = listFiles({ repo: { type, name: id }, revision: commit, recursive: true, ...access });
    for await (const entry of list) if (entry.type === "file" && isSafePath(entry.path)) entries.set(entry.path, entry);
  } catch (thrown) {
    throw asHubError(`Listing the files of "${id}" failed`, thrown);
  }
  if (revision !== commit) await saveRef(root, revision, commit);
  const folder = path.join(root, "snapshots", commit);
  return {
    folder,
    files: [...entries.keys()].sort(),
    async fetch(wanted) {
      const files = wanted.map((name): RemoteFile => {
        const entry = entries.get(name);
        if (entry === undefined) throw new GrpoError("FILE_NOT_FOUND", `No ${name} in "${id}" on the Hub.`);
        return { name, size: entry.size, sha256: entry.lfs?.oid, etag: entry.lfs?.oid ?? entry.oid ?? "" };
      });
      await fetchFiles({ repo: { type, name: id }, commit, root, ...access }, files);
    },
  };
}

async function resolveCommit(
  type: RepoType,
  id: string,
  revision: string,
  access: { readonly hubUrl: string; readonly fetch: typeof fetch },
): Promise<string> {
  if (/^[0-9a-f]{40}$/.test(revision)) return revision;
  const info = type === "model" ? modelInfo<"sha"> : datasetInfo<"sha">;
  try {
    return (await info({ name: id, revision, additionalFields: ["sha"], ...access })).sha;
  } catch (thrown) {
    throw asHubError(`Asking the Hub about "${id}" failed`, thrown);
  }
}

/** What earlier fetches left in the cache for a revision. */
async function cachedSnapshot(id: string, root: string, revision: string, reason: string): Promise<Snapshot> {
  const ref = await readFile(path.join(root, "refs", revision), "utf8").catch(() => undefined);
  const folder = path.join(root, "snapshots", ref?.trim() ?? revision);
  if (!(await stat(folder).catch(() => undefined))?.isDirectory()) {
    throw new GrpoError("HUB_ERROR", `"${id}" (revision ${revision}) is not in the cache, and ${reason}.`, {
      hint: `Looked in ${root}. Unset HF_HUB_OFFLINE to download it, or point HF_HUB_CACHE at the right cache.`,
    });
  }
  return localSnapshot(folder);
}

function checkRepoId(type: RepoType, id: unknown): asserts id is string {
  if (typeof id !== "string" || id.trim() === "") {
    throw new GrpoError("BAD_INPUT", `Expected a ${type}'s folder or its Hub id, found ${JSON.stringify(id)}.`);
  }
  const looksLikePath = /^[./~]|\\|^[A-Za-z]:|\/$|\/.*\//.test(id);
  if (looksLikePath) {
    throw new GrpoError("FILE_NOT_FOUND", `No such folder: ${id}`, {
      hint: `It was looked for at ${path.resolve(id)}. A ${type} on the Hub is written as org/name.`,
    });
  }
  const valid = /^[A-Za-z0-9_][\w.-]{0,95}\/[A-Za-z0-9_][\w.-]{0,95}$/.test(id) && !/--|\.\.|[.-]$|\.git$/.test(id);
  if (valid) return;
  throw new GrpoError("BAD_INPUT", `"${id}" is neither a folder here nor the id of a ${type} on the Hub.`, {
    hint: "Hub ids have the form org/name, for example Qwen/Qwen2-0.5B-Instruct.",
  });
}

/** File names come from whoever owns the repository; none may lead out of the cache. */
function isSafePath(name: string): boolean {
  return !/^[/\\]|^[A-Za-z]:|\\/.test(name) && !name.split("/").includes("..");
}

async function walk(folder: string, prefix = ""): Promise<string[]> {
  const found: string[] = [];
  for (const entry of await readdir(path.join(folder, prefix), { withFileTypes: true })) {
    const name = prefix + entry.name;
    // Hidden folders (.git, .cache) and installed packages hold nothing of a model and may be huge.
    if (entry.isDirectory()) {
      if (!entry.name.startsWith(".") && entry.name !== "node_modules") found.push(...(await walk(folder, `${name}/`)));
    } else found.push(name);
  }
  return found.sort();
}

function visibility(isPrivate: boolean | undefined): { visibility?: "public" | "private" } {
  return isPrivate === undefined ? {} : { visibility: isPrivate ? "private" : "public" };
}

function ignoreExisting(thrown: unknown): void {
  if ((thrown as { statusCode?: unknown }).statusCode !== 409) throw thrown;
}

function asHubError(what: string, thrown: unknown): GrpoError {
  if (thrown instanceof GrpoError) return thrown;
  return new GrpoError("HUB_ERROR", `${what}: ${reasonOf(thrown)}`, { cause: thrown });
}
