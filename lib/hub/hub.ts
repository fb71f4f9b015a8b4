// Repositories on the Hugging Face Hub, and local folders that stand for them: what is in one commit of it, and fetching
// that into the cache that Python's huggingface_hub uses as well (either side finds what the other fetched).

import { createHash } from "node:crypto";
import { mkdtemp, readdir, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import type { ListFileEntry } from "@huggingface/hub";
import { show } from "../checks.js";
import { GrpoError } from "../errors.js";
import { warn } from "../output.js";
import type { RemoteFile } from "./download.js";
import { globMatcher } from "./glob.js";
import { fetchFiles, repoFolder, saveRef } from "./hub-cache.js";
import {
  asHubError,
  createHubClient,
  type HubClient,
  HubRefusal,
  type HubRepo,
  HubUnreachable,
  type RepoType,
} from "./hub-client.js";
import { findToken, hubCacheDir, offlineBy } from "./hub-env.js";

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
  /** Why this is only what an earlier fetch left in the cache; undefined where it is all that there is. */
  readonly unfetched?: string;
}

export interface ModelFiles extends Pick<Snapshot, "unfetched"> {
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
const IGNORED: readonly string[] = ["consolidated*.safetensors*"];

export interface FilePatterns {
  /** Files to fetch, of which * stands for a part within a folder and ** for any part. Default: what loading reads. */
  readonly patterns?: readonly string[];
  /** Files to leave out all the same. */
  readonly ignorePatterns?: readonly string[];
  /** Folder in the repository or folder that is meant in place of its top. */
  readonly subfolder?: string;
}

/** The folder of a model given by path or Hub id, with the files that match the patterns in it. */
export async function resolveModelFiles(
  idOrPath: string,
  options: HubOptions & FilePatterns = {},
): Promise<ModelFiles> {
  const prefix = subfolderPrefix(options.subfolder);
  const { folder, files, unfetched, fetch } = await openSnapshot("model", idOrPath, options);
  const inside = files.filter((file) => file.startsWith(prefix)).map((file) => file.slice(prefix.length));
  if (inside.length === 0 && prefix !== "") {
    throw new GrpoError("FILE_NOT_FOUND", `${idOrPath} has no folder ${options.subfolder}`, {
      hint: "give subfolder as a path from its top, with forward slashes",
    });
  }
  const ignored = new Set(matching(inside, options.ignorePatterns ?? IGNORED));
  const wanted = matching(inside, options.patterns ?? MODEL_PATTERNS).filter((file) => !ignored.has(file));
  await fetch(wanted.map((file) => `${prefix}${file}`));
  return { folder: path.resolve(folder, prefix), files: wanted, ...(unfetched === undefined ? {} : { unfetched }) };
}

/** "" or a path that ends with a slash. */
function subfolderPrefix(subfolder: unknown = ""): string {
  if (typeof subfolder !== "string" || !isSafePath(subfolder)) {
    throw new GrpoError(
      "BAD_OPTION",
      `subfolder must be a path within the repository, found ${JSON.stringify(subfolder)}`,
    );
  }
  const parts = subfolder.split("/").filter((part) => part !== "" && part !== ".");
  return parts.map((part) => `${part}/`).join("");
}

/** Reads files that were resolved. Of one that is missing, the error also says why it could not be fetched. */
export async function readResolved<T>({ unfetched }: ModelFiles, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (thrown) {
    if (unfetched === undefined || !(thrown instanceof GrpoError) || !isAboutMissing(thrown)) throw thrown;
    const [text = ""] = thrown.message.split("\n");
    throw new GrpoError(thrown.code, `${text}: the copy in the cache is incomplete, and ${unfetched}`, {
      cause: thrown,
      hint: "load it once while the Hub can be asked, which fetches what is missing",
    });
  }
}

function isAboutMissing(thrown: unknown): boolean {
  return thrown instanceof GrpoError && (thrown.code === "FILE_NOT_FOUND" || isAboutMissing(thrown.cause));
}

export async function openSnapshot(type: RepoType, idOrPath: string, options: HubOptions = {}): Promise<Snapshot> {
  const local =
    typeof idOrPath === "string" && idOrPath !== "" ? await stat(idOrPath).catch(() => undefined) : undefined;
  if (local?.isDirectory()) return localSnapshot(path.resolve(idOrPath));
  if (local !== undefined) {
    throw new GrpoError("BAD_INPUT", `${idOrPath} is a file; expected the folder of a ${type}`);
  }
  checkRepoId(type, idOrPath);
  const revision = options.revision ?? "main";
  if (!isName(revision)) {
    throw new GrpoError("BAD_OPTION", `revision must be a branch, tag or commit; found ${show(revision)}`);
  }
  const cacheDir = options.cacheDir ?? hubCacheDir();
  const root = path.join(cacheDir, repoFolder(type, idOrPath));
  const switched = offlineBy(type);
  if (switched !== undefined) return cachedSnapshot(idOrPath, root, revision, `${switched} is set`);
  try {
    return await remoteSnapshot({ type, id: idOrPath }, revision, cacheDir, options.token);
  } catch (thrown) {
    if (isUnknown(thrown)) throw neitherHereNor(idOrPath, thrown);
    if (!isOutage(thrown)) throw thrown;
    const [reason = ""] = thrown.message.split("\n");
    const cached = await cachedSnapshot(idOrPath, root, revision, reason).catch(() => undefined);
    if (cached === undefined) throw neitherHereNor(idOrPath, thrown);
    warn(`${reason}; using the cached copy of ${idOrPath}`);
    return cached;
  }
}

/** A name that the Hub does not answer for may have been meant as a folder. */
function neitherHereNor(id: string, { code, message, hint }: GrpoError): GrpoError {
  const [reason = ""] = message.split("\n");
  const mend = hint === undefined ? "check the path" : `check the path; or ${hint}`;
  return new GrpoError(code, `${reason}; nor is there a folder ${path.resolve(id)}`, { hint: mend });
}

/** The Hub cannot be reached, or is too busy to answer. */
function isOutage(thrown: unknown): thrown is GrpoError {
  if (thrown instanceof HubRefusal) return thrown.status === 429 || thrown.status >= 500;
  return thrown instanceof HubUnreachable;
}

/** The Hub has no such repository, as far as it says. */
function isUnknown(thrown: unknown): thrown is GrpoError {
  const unknown = thrown instanceof HubRefusal && (thrown.status === 401 || thrown.status === 404);
  return unknown && (thrown.reason === "" || thrown.reason === "RepoNotFound");
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

/** Files that match one of the patterns of glob.ts. */
export function matching(files: readonly string[], patterns: readonly string[]): string[] {
  const matchers = patterns.map(globMatcher);
  return files.filter((file) => matchers.some((matches) => matches(file)));
}

async function localSnapshot(folder: string): Promise<Snapshot> {
  const files = await walk(folder);
  return {
    folder,
    files,
    async fetch(wanted) {
      const missing = wanted.find((file) => !files.includes(file));
      if (missing !== undefined) throw new GrpoError("FILE_NOT_FOUND", `no ${missing} in ${folder}`);
    },
  };
}

/** What a revision was when this process first asked. */
export interface Listing {
  readonly commit: string;
  readonly files: ReadonlyMap<string, ListFileEntry>;
}

/** One commit for a whole run: model and tokenizer must not come from two, should someone push in between. */
const pinned = new Map<string, Promise<Listing>>();

/** Forgets what a repository was: for whoever has just changed it. */
export function forgetListings(repo: HubRepo): void {
  for (const key of pinned.keys()) if (key.startsWith(`${repo.type} ${repo.id} `)) pinned.delete(key);
}

async function remoteSnapshot(
  repo: HubRepo,
  revision: string,
  cacheDir: string,
  token: string | undefined,
): Promise<Snapshot> {
  const { type, id } = repo;
  const client = createHubClient(repo, token);
  // Whoever has no access must be told so, although someone else in this process had it.
  const account = createHash("sha256")
    .update(token ?? findToken() ?? "")
    .digest("hex");
  const key = `${type} ${id} ${revision} ${client.url} ${account}`;
  const listing = pinned.get(key) ?? listRevision(client, repo, revision);
  pinned.set(key, listing);
  const { commit, files: entries } = await listing.catch((thrown: unknown) => {
    pinned.delete(key);
    throw thrown;
  });
  const root = path.join(cacheDir, repoFolder(type, id));
  // A cache that may only be read still serves what is in it.
  if (revision !== commit) await saveRef(root, revision, commit).catch(() => {});
  return {
    folder: path.join(root, "snapshots", commit),
    files: [...entries.keys()].sort(),
    async fetch(wanted) {
      const source = { repo: { type, name: id }, commit, hubUrl: client.url, fetch: client.fetch };
      await fetchFiles(
        source,
        cacheDir,
        wanted.map((name) => remoteFile(id, name, entries.get(name))),
      );
    },
  };
}

/** What is listed becomes the name of a blob and a length, so it must be what it should be. */
function remoteFile(id: string, name: string, entry: ListFileEntry | undefined): RemoteFile {
  if (entry === undefined) throw new GrpoError("FILE_NOT_FOUND", `no ${name} in "${id}" on the Hub`);
  const { size, lfs, oid } = entry;
  const etag = lfs?.oid ?? oid;
  if (!isHex(etag, lfs ? 64 : 40))
    throw new GrpoError("HUB_ERROR", `the Hub's list gives no digest for ${name} of "${id}"`);
  if (!Number.isSafeInteger(size) || size < 0) {
    throw new GrpoError("HUB_ERROR", `the Hub's list gives no size for ${name} of "${id}"; found ${show(size)}`);
  }
  return { name, size, sha256: lfs?.oid, etag, xet: entry.xetHash !== undefined };
}

/** Whether a value from the Hub is an id of so many hex digits: 40 for git's, 64 for a SHA-256. */
function isHex(value: unknown, digits: number): value is string {
  return typeof value === "string" && value.length === digits && /^[0-9a-f]+$/.test(value);
}

/** The commit that a revision is at the moment, and the files in it. */
export async function listRevision(client: HubClient, repo: HubRepo, revision: string): Promise<Listing> {
  const { listFiles } = await import("@huggingface/hub");
  const access = { hubUrl: client.url, fetch: client.fetch };
  const commit = await resolveCommit(client, repo, revision);
  const files = new Map<string, ListFileEntry>();
  try {
    const list = listFiles({ repo: { type: repo.type, name: repo.id }, revision: commit, recursive: true, ...access });
    for await (const entry of list) if (entry.type === "file" && isName(entry.path)) files.set(entry.path, entry);
  } catch (thrown) {
    throw asHubError(`listing the files of "${repo.id}" failed`, thrown);
  }
  return { commit, files };
}

export async function resolveCommit(client: HubClient, { type, id }: HubRepo, revision: string): Promise<string> {
  if (isHex(revision, 40)) return revision;
  const { datasetInfo, modelInfo } = await import("@huggingface/hub");
  const info = type === "model" ? modelInfo<"sha"> : datasetInfo<"sha">;
  const access = { hubUrl: client.url, fetch: client.fetch };
  try {
    const { sha } = await info({ name: id, revision, additionalFields: ["sha"], ...access });
    if (isHex(sha, 40)) return sha;
    throw new GrpoError(
      "HUB_ERROR",
      `the Hub states no commit of "${id}"; expected 40 hex digits, found ${show(sha)}`,
      {
        hint: "check HF_ENDPOINT: what is there does not answer as the Hub does",
      },
    );
  } catch (thrown) {
    throw asHubError(`asking the Hub about "${id}" failed`, thrown);
  }
}

/** What earlier fetches left in the cache for a revision. */
async function cachedSnapshot(id: string, root: string, revision: string, reason: string): Promise<Snapshot> {
  const ref = await readFile(path.join(root, "refs", revision), "utf8").catch(() => undefined);
  const commit = ref?.trim() ?? revision;
  const folder = path.join(root, "snapshots", commit);
  if (!isHex(commit, 40) || !(await stat(folder).catch(() => undefined))?.isDirectory()) {
    throw new GrpoError("HUB_ERROR", `"${id}" (revision ${revision}) is not in the cache, and ${reason}`, {
      hint:
        `unset the variable to download it, or point HF_HUB_CACHE at the right cache; ` +
        `looked in ${root}, and for a folder ${path.resolve(id)}`,
    });
  }
  return { ...(await localSnapshot(folder)), unfetched: reason };
}

export function checkRepoId(type: RepoType, id: unknown): asserts id is string {
  if (typeof id !== "string" || id.trim() === "") {
    throw new GrpoError("BAD_INPUT", `expected a ${type}'s folder or its Hub id, found ${show(id)}`);
  }
  const looksLikePath = /^[./~]|\\|^[A-Za-z]:|\/$|\/.*\//.test(id);
  if (looksLikePath) {
    throw new GrpoError("FILE_NOT_FOUND", `no such folder: ${id}`, {
      hint: `check the path, ${path.resolve(id)}; a ${type} on the Hub is written as org/name`,
    });
  }
  // A name alone is one of the Hub's oldest repositories, such as gpt2, which the Hub knows under another id by now.
  const valid =
    /^(?:[A-Za-z0-9_][\w.-]{0,95}\/)?[A-Za-z0-9_][\w.-]{0,95}$/.test(id) && !/--|\.\.|[.-]$|\.git$/.test(id);
  if (valid) return;
  throw new GrpoError("BAD_INPUT", `"${id}" is neither a folder here nor the id of a ${type} on the Hub`, {
    hint: "write a Hub id as org/name, for example Qwen/Qwen2-0.5B-Instruct",
  });
}

/** File names come from whoever owns the repository; none may lead out of the cache. */
export function isSafePath(name: unknown): name is string {
  return typeof name === "string" && !/^[A-Za-z]:|^\/|[\\\0]/.test(name) && !name.split("/").includes("..");
}

/** A name as a repository or a branch can have it, with no empty part. */
function isName(name: unknown): name is string {
  return isSafePath(name) && name.split("/").every((part) => part !== "" && part !== ".");
}

/** The files of a folder; with `hidden`, those in hidden folders too, but for Git's own. */
export async function walk(
  folder: string,
  { prefix = "", hidden = false }: { readonly prefix?: string; readonly hidden?: boolean } = {},
): Promise<string[]> {
  const found: string[] = [];
  // Hidden folders (.git, .cache) and installed packages hold nothing of a model and may be huge.
  const isPassed = (name: string) => name === ".git" || name === "node_modules" || (name.startsWith(".") && !hidden);
  for (const entry of await readdir(path.join(folder, prefix), { withFileTypes: true })) {
    const name = prefix + entry.name;
    if (!entry.isDirectory()) found.push(name);
    else if (!isPassed(entry.name)) found.push(...(await walk(folder, { prefix: `${name}/`, hidden })));
  }
  return found.sort();
}
