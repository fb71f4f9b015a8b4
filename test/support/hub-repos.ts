// What the Hub of the tests holds: repositories with branches, every commit a whole list of files, as git would show them.

import { createHash } from "node:crypto";

export type RepoKind = "model" | "dataset";

export interface FakeRepo {
  readonly type?: RepoKind;
  readonly files: Readonly<Record<string, string | Buffer>>;
  /** Paths kept in the large-file storage. */
  readonly large?: readonly string[];
  readonly gated?: boolean;
  readonly private?: boolean;
  /** Branch or tag names beside "main". */
  readonly branches?: readonly string[];
}

export interface StoredFile {
  readonly content: Buffer;
  readonly large: boolean;
}

export type Tree = ReadonlyMap<string, StoredFile>;

export interface RepoState {
  readonly type: RepoKind;
  readonly id: string;
  readonly gated: boolean;
  readonly private: boolean;
  /** Branch or tag name → commit. */
  readonly refs: Map<string, string>;
  readonly commits: Map<string, Tree>;
}

export class RepoStore {
  readonly #repos = new Map<string, RepoState>();

  add(id: string, repo: FakeRepo): RepoState {
    const type = repo.type ?? "model";
    const tree = new Map<string, StoredFile>();
    for (const [path, content] of Object.entries(repo.files)) {
      tree.set(path, { content: Buffer.from(content), large: repo.large?.includes(path) ?? false });
    }
    const first = sha1(`${type}s/${id}`);
    const refs = new Map(["main", ...(repo.branches ?? [])].map((name) => [name, first]));
    const { gated = false, private: isPrivate = false } = repo;
    const state = { type, id, gated, private: isPrivate, refs, commits: new Map([[first, tree]]) };
    this.#repos.set(`${type}s/${id}`, state);
    return state;
  }

  get(type: RepoKind, id: string): RepoState | undefined {
    return this.#repos.get(`${type}s/${id}`);
  }
}

/** The commit that a branch, a tag, a commit or "HEAD" names. */
export function commitAt(repo: RepoState, revision: string): string | undefined {
  if (repo.commits.has(revision)) return revision;
  return repo.refs.get(revision === "HEAD" ? "main" : revision);
}

export function headTree(repo: RepoState, branch = "main"): Tree {
  return repo.commits.get(repo.refs.get(branch) ?? "") ?? new Map();
}

/** Puts a commit on a branch; all of it or, when this throws, nothing. */
export function commitTo(repo: RepoState, branch: string, files: Tree, deleted: readonly string[]): string {
  const parent = repo.refs.get(branch) ?? "";
  const tree = new Map(headTree(repo, branch));
  for (const path of deleted) tree.delete(path);
  for (const [path, file] of files) tree.set(path, file);
  const listing = [...tree].map(([path, file]) => `${path} ${gitOid(file.content)}`).join("\n");
  const commit = sha1(`${parent}\n${repo.commits.size}\n${listing}`);
  repo.commits.set(commit, tree);
  repo.refs.set(branch, commit);
  return commit;
}

/** What the tree endpoint lists for a folder ("" for all), files before folders. */
export function listEntries(tree: Tree, folder: string, recursive: boolean, xetHash: XetHash): object[] {
  const prefix = folder === "" ? "" : `${folder}/`;
  const folders = new Set<string>();
  const files: object[] = [];
  for (const [path, file] of tree) {
    if (!path.startsWith(prefix)) continue;
    const parts = path.slice(prefix.length).split("/");
    for (let depth = 1; depth < parts.length; depth++) folders.add(prefix + parts.slice(0, depth).join("/"));
    if (recursive || parts.length === 1) files.push(fileEntry(path, file, xetHash));
  }
  const shown = [...folders].filter((path) => recursive || !path.slice(prefix.length).includes("/"));
  return [...files, ...shown.map(folderEntry)];
}

type XetHash = (content: Buffer) => string | undefined;

export function fileEntry(path: string, { content, large }: StoredFile, xetHash: XetHash): object {
  const size = content.length;
  if (!large) return { type: "file", path, size, oid: gitOid(content) };
  const oid = sha256(content);
  const hash = xetHash(content);
  const lfs = { oid, size, pointerSize: 130 };
  return { type: "file", path, size, oid: gitOid(Buffer.from(oid)), lfs, ...(hash ? { xetHash: hash } : {}) };
}

export function folderEntry(path: string): object {
  return { type: "directory", path, size: 0, oid: gitOid(Buffer.from(path)) };
}

/** The object id of git's blob: what the Hub lists for a small file. */
export function gitOid(content: Buffer): string {
  return createHash("sha1").update(`blob ${content.length}\0`).update(content).digest("hex");
}

export function sha1(text: string): string {
  return createHash("sha1").update(text).digest("hex");
}

export function sha256(content: Buffer): string {
  return createHash("sha256").update(content).digest("hex");
}
