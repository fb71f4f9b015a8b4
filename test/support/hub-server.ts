// A Hub in a process: repositories in memory behind the HTTP endpoints that @huggingface/hub and Python's huggingface_hub
// use, with the large-file storage (LFS and Xet) on a second host as in reality. Faults are switched on by a test; every
// request is recorded.

import type { IncomingMessage, Server, ServerResponse } from "node:http";
import { address, type ContentFaults, listen, readBody, sendContent, sendError, sendJson } from "./http.js";
import {
  commitAt,
  commitTo,
  type FakeRepo,
  fileEntry,
  folderEntry,
  gitOid,
  headTree,
  listEntries,
  type RepoKind,
  type RepoState,
  RepoStore,
  type StoredFile,
  sha256,
} from "./hub-repos.js";
import { XetStore } from "./xet-store.js";

export interface FakeCommit {
  readonly repo: string;
  readonly branch: string;
  readonly files: Readonly<Record<string, Buffer>>;
  readonly summary: string;
}

/**
 * What happens to a request: "cut" breaks the connection and nothing is done; "cut after" does what was asked and breaks it
 * before the answer; a number is the status of a refusal; { wait } lets the client wait so many milliseconds.
 */
export type Fault = "cut" | "cut after" | number | { readonly wait: number };

interface Route {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly url: URL;
  readonly repo: RepoState;
  readonly revision: string;
  /** The rest of the path, decoded. */
  readonly path: string;
}

const TOKEN_LIFE_S = 3600;

export class HubServer implements ContentFaults {
  readonly token = "hf_secretsecretsecret";
  /** "METHOD /path" of every request to the Hub, and "METHOD storage/path" of those to the storage. */
  readonly requests: string[] = [];
  /** Authorization headers with the user's token that reached the storage host; must stay empty. */
  readonly leakedTokens: string[] = [];
  readonly resumed: string[] = [];
  readonly commits: FakeCommit[] = [];
  readonly created: string[] = [];
  readonly breakAfter = new Map<string, number[]>();
  arrived: ((size: number) => Promise<unknown>) | undefined;
  readonly slow = new Map<string, number>();
  readonly damaged = new Map<string, Buffer>();
  /** HTTP statuses to answer the next requests with. */
  readonly failures: number[] = [];
  /** Decides about each request, given as in `requests`, how it fails. */
  fault: ((line: string) => Fault | undefined) | undefined;
  /** Changes what is said about a commit and the files in it, as a mirror could that lies. */
  lie: ((stated: unknown) => unknown) | undefined;
  /** Headers of every refusal on purpose, such as the Hub's limits on requests. */
  readonly refusalHeaders = new Map<string, string>();
  /** Ids that a repository had before: requests for them are sent on. */
  readonly renamed = new Map<string, string>();
  /** Whether large files go through Xet, as on the Hub today, or through plain LFS. */
  xet = true;
  readonly #repos = new RepoStore();
  readonly #uploads = new Map<string, Buffer>();
  readonly #xet = new XetStore();
  readonly #xetHash = (content: Buffer) => this.#xet.hashOf(content);
  #hub: Server | undefined;
  #storage: Server | undefined;

  add(id: string, repo: FakeRepo): void {
    this.#repos.add(id, repo);
  }

  async start(port = 0): Promise<void> {
    this.#storage = await listen((request, response) => this.#answerStorage(request, response));
    this.#hub = await listen((request, response) => this.#answerHub(request, response), port);
  }

  async stop(): Promise<void> {
    for (const server of [this.#hub, this.#storage]) {
      server?.closeAllConnections();
      await new Promise((done) => server?.close(done) ?? done(undefined));
    }
  }

  get url(): string {
    return address(this.#hub);
  }

  /** Under another name than the Hub's: clients decide by the host's name where their token may go. */
  get #storageUrl(): string {
    return address(this.#storage, "localhost");
  }

  /** The commit of a repository's branch. */
  commitOf(id: string, type: RepoKind = "model", branch = "main"): string {
    return this.#repos.get(type, id)?.refs.get(branch) ?? "";
  }

  /** The files on a branch, by path. */
  filesOf(id: string, type: RepoKind = "model", branch = "main"): Map<string, Buffer> {
    const repo = this.#repos.get(type, id);
    return new Map([...(repo ? headTree(repo, branch) : [])].map(([path, { content }]) => [path, content]));
  }

  /** What someone else commits. */
  commitFile(id: string, path: string, content: string): void {
    const repo = this.#repos.get("model", id);
    if (repo) commitTo(repo, "main", new Map([[path, { content: Buffer.from(content), large: false }]]), []);
  }

  /** Requests for the contents of files. */
  fileRequests(): string[] {
    return this.requests.filter((line) => /\/resolve\/| storage\//.test(line));
  }

  async #answerHub(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? "/", this.url);
    const line = `${request.method} ${decodeURIComponent(url.pathname)}`;
    this.requests.push(line);
    const failure = this.failures.shift();
    const fault = failure ?? this.fault?.(line);
    if (await this.#fails(fault, request, response)) return;
    for (const [old, id] of this.renamed) {
      const place = new RegExp(`^(/api/models|/api/datasets|/datasets|)/${old}(?=/)`);
      if (!place.test(url.pathname)) continue;
      response.writeHead(307, { location: url.href.replace(url.pathname, url.pathname.replace(place, `$1/${id}`)) });
      response.end();
      return;
    }
    if (url.pathname === "/api/whoami-v2") return this.#whoAmI(request, response);
    if (url.pathname === "/api/repos/create") return this.#create(request, response, await readBody(request));
    const api = /^\/api\/(models|datasets)\/([^/]+\/[^/]+)(?:\/([\w-]+)(?:\/([^/]+)(?:\/(.*))?)?)?$/.exec(url.pathname);
    const git = /^\/(datasets\/)?([^/]+\/[^/]+)\.git\/info\/lfs\/objects\/batch$/.exec(url.pathname);
    const file = /^\/(datasets\/)?([^/]+\/[^/]+)\/resolve\/([^/]+)\/(.+)$/.exec(url.pathname);
    const isDataset = (api?.[1] ?? git?.[1] ?? file?.[1] ?? "").startsWith("datasets");
    const id = api?.[2] ?? git?.[2] ?? file?.[2] ?? "";
    const repo = this.#repos.get(isDataset ? "dataset" : "model", id);
    if (!this.#allowed(repo, request, response)) return;
    const revision = decodeURIComponent(api?.[4] ?? file?.[3] ?? "main");
    const path = decodeURIComponent(api?.[5] ?? file?.[4] ?? "");
    const route = { request, response, url, repo, revision, path };
    if (git) return this.#lfsBatch(route, await readBody(request));
    if (file) return this.#resolve(route);
    return this.#api(api?.[3] ?? "revision", route);
  }

  async #api(action: string, route: Route): Promise<void> {
    const { request, response, repo, revision } = route;
    if (action === "branch") return this.#branch(route, await readBody(request));
    if (action === "preupload") return preupload(response, await readBody(request));
    if (action === "commit") return this.#commit(route, await readBody(request));
    if (action === "xet-read-token" || action === "xet-write-token") return this.#xetToken(response);
    const commit = commitAt(repo, revision);
    if (commit === undefined) return sendError(response, 404, "RevisionNotFound");
    if (action === "tree") return this.#tree(route, commit);
    if (action === "paths-info") return this.#pathsInfo(route, commit, await readBody(request));
    if (action !== "revision") return sendError(response, 404, "");
    const siblings = [...(repo.commits.get(commit)?.keys() ?? [])].map((rfilename) => ({ rfilename }));
    const { id, gated } = repo;
    const facts = {
      private: repo.private,
      gated,
      downloads: 0,
      likes: 0,
      tags: [],
      lastModified: "2025-01-01T00:00:00.000Z",
    };
    this.#state(response, { _id: "1", id, modelId: id, sha: commit, siblings, ...facts });
  }

  /** Whether the request ends here by a fault. */
  async #fails(fault: Fault | undefined, request: IncomingMessage, response: ServerResponse): Promise<boolean> {
    if (fault === undefined) return false;
    if (fault === "cut") {
      request.socket.destroy();
    } else if (fault === "cut after") {
      // Whatever is answered never arrives.
      response.writeHead = (() => response) as typeof response.writeHead;
      response.end = (() => request.socket.destroy()) as unknown as typeof response.end;
      return false;
    } else if (typeof fault === "number") {
      response.setHeaders(this.refusalHeaders);
      sendJson(response, fault, { error: "failing on purpose" });
    } else {
      await new Promise((done) => setTimeout(done, fault.wait));
      return false;
    }
    return true;
  }

  #allowed(repo: RepoState | undefined, request: IncomingMessage, response: ServerResponse): repo is RepoState {
    const known = request.headers.authorization === `Bearer ${this.token}`;
    const writes = request.method === "POST" && !/\/paths-info\//.test(request.url ?? "");
    if (request.headers.authorization !== undefined && !known) sendError(response, 401, "");
    else if (repo?.gated && !known) sendError(response, 401, "GatedRepo");
    // As on the Hub: whoever is not logged in cannot tell a private repository from a missing one.
    else if (repo === undefined || (repo.private && !known)) sendError(response, known ? 404 : 401, "RepoNotFound");
    else if (writes && !known) sendError(response, 401, "");
    else if (writes && !/^(ada|your-username)\//.test(repo.id)) {
      sendError(response, 403, "", `You don't have the rights to write to "${repo.id}"`);
    } else return true;
    return false;
  }

  /** Two entries a page, so that clients must follow the links. */
  #tree({ url, repo, path, response }: Route, commit: string) {
    const start = Number(url.searchParams.get("cursor") ?? 0);
    const tree = repo.commits.get(commit) ?? new Map<string, StoredFile>();
    const entries = listEntries(tree, path, url.searchParams.get("recursive")?.toLowerCase() === "true", this.#xetHash);
    if (entries.length === 0 && path !== "") return sendError(response, 404, "EntryNotFound");
    if (start + 2 < entries.length) {
      url.searchParams.set("cursor", String(start + 2));
      response.setHeader("link", `<${url}>; rel="next"`);
    }
    this.#state(response, entries.slice(start, start + 2));
  }

  #state(response: ServerResponse, facts: unknown): void {
    sendJson(response, 200, this.lie ? this.lie(facts) : facts);
  }

  #pathsInfo({ repo, response }: Route, commit: string, body: Buffer) {
    const text = body.toString();
    const paths = text.startsWith("{")
      ? (JSON.parse(text) as { paths: string[] }).paths
      : new URLSearchParams(text).getAll("paths");
    const tree = repo.commits.get(commit) ?? new Map<string, StoredFile>();
    const found = paths.flatMap((path) => {
      const file = tree.get(path);
      if (file) return [fileEntry(path, file, this.#xetHash)];
      return [...tree.keys()].some((name) => name.startsWith(`${path}/`)) ? [folderEntry(path)] : [];
    });
    sendJson(response, 200, found);
  }

  #resolve({ repo, revision, path, request, response }: Route) {
    const commit = commitAt(repo, revision);
    if (commit === undefined) return sendError(response, 404, "RevisionNotFound");
    response.setHeader("x-repo-commit", commit);
    const file = repo.commits.get(commit)?.get(path);
    if (file === undefined) return sendError(response, 404, "EntryNotFound");
    const { content } = file;
    if (!file.large) {
      response.setHeader("etag", `"${gitOid(content)}"`);
      return sendContent(this, path, content, request, response);
    }
    response.setHeader("x-linked-etag", `"${sha256(content)}"`);
    response.setHeader("x-linked-size", String(content.length));
    const hash = this.#xet.hashOf(content);
    if (hash !== undefined) {
      const kind = repo.type === "dataset" ? "datasets" : "models";
      const auth = `${this.url}/api/${kind}/${repo.id}/xet-read-token/${commit}`;
      const info = `${this.#storageUrl}/v1/reconstructions/${hash}`;
      response.setHeader("x-xet-hash", hash);
      response.setHeader("link", `<${auth}>; rel="xet-auth", <${info}>; rel="xet-reconstruction-info"`);
      if (/xet-fileinfo/.test(request.headers.accept ?? "")) {
        response.writeHead(200, { "content-type": "application/vnd.xet-fileinfo+json", etag: `"${sha256(content)}"` });
        response.end("{}");
        return;
      }
    }
    this.#uploads.set(sha256(content), content);
    response.writeHead(302, {
      location: `${this.#storageUrl}/${sha256(content)}?name=${encodeURIComponent(path)}`,
    });
    response.end();
  }

  async #answerStorage(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? "/", "http://storage");
    const line = `${request.method} storage${url.pathname}`;
    this.requests.push(line);
    const { authorization } = request.headers;
    if (authorization?.includes(this.token)) this.leakedTokens.push(authorization);
    if (await this.#fails(this.fault?.(line), request, response)) return;
    const [, first = "", kind = "", , last = ""] = url.pathname.split("/");
    if (/^v\d$/.test(first))
      return this.#answerXet(kind, last || (url.pathname.split("/")[3] ?? ""), request, response);
    if (first === "xorb-data") {
      return sendContent(this, kind, this.#xet.xorb(kind) ?? Buffer.alloc(0), request, response);
    }
    if (request.method === "PUT") {
      this.#uploads.set(first, await readBody(request));
      response.setHeader("etag", `"${first}"`);
      response.end();
      return;
    }
    const content = this.#uploads.get(first) ?? Buffer.alloc(0);
    response.setHeader("etag", `"${first}"`);
    sendContent(this, url.searchParams.get("name") ?? "", content, request, response);
  }

  async #answerXet(kind: string, hash: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (request.headers.authorization !== "Bearer xet-token") return sendError(response, 401, "");
    if (kind === "xorbs") {
      this.#xet.addXorb(hash, await readBody(request));
      return sendJson(response, 200, { was_inserted: true });
    }
    if (kind === "shards") {
      this.#xet.addShard(await readBody(request));
      return sendJson(response, 200, { result: 1 });
    }
    if (kind !== "reconstructions") return sendError(response, 404, "");
    const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "");
    const [start, end] = range ? [Number(range[1]), Number(range[2]) + 1] : [0, Number.MAX_SAFE_INTEGER];
    const version = request.url?.startsWith("/v2/") ? 2 : 1;
    const answer = this.#xet.reconstruction(version, hash, start, end, this.#storageUrl);
    if (answer === undefined) sendError(response, 404, "");
    else sendJson(response, 200, answer);
  }

  #xetToken(response: ServerResponse): void {
    const exp = Math.floor(Date.now() / 1000) + TOKEN_LIFE_S;
    const casUrl = this.#storageUrl;
    response.setHeader("x-xet-cas-url", casUrl);
    response.setHeader("x-xet-access-token", "xet-token");
    response.setHeader("x-xet-token-expiration", String(exp));
    sendJson(response, 200, { accessToken: "xet-token", casUrl, exp });
  }

  #whoAmI(request: IncomingMessage, response: ServerResponse) {
    if (request.headers.authorization !== `Bearer ${this.token}`) return sendError(response, 401, "");
    const auth = { type: "access_token", accessToken: { displayName: "test", role: "write" } };
    sendJson(response, 200, { type: "user", name: "ada", orgs: [{ name: "lovelace" }], auth });
  }

  #create(request: IncomingMessage, response: ServerResponse, body: Buffer) {
    if (request.headers.authorization !== `Bearer ${this.token}`) return sendError(response, 401, "");
    const options = JSON.parse(body.toString()) as Record<string, string | boolean | undefined>;
    const id = `${options.organization ?? "ada"}/${options.name}`;
    const type = options.type === "dataset" ? "dataset" : "model";
    const url = `${this.url}/${type === "dataset" ? "datasets/" : ""}${id}`;
    if (this.#repos.get(type, id)) return sendJson(response, 409, { error: "You already created this repo", url });
    const isPrivate = options.visibility === "private" || options.private === true;
    this.created.push(`${id} ${options.visibility ?? "default"}`);
    const files = { ".gitattributes": "*.safetensors filter=lfs diff=lfs merge=lfs -text\n" };
    this.#repos.add(id, { type, files, private: isPrivate });
    sendJson(response, 200, { url, id, name: id });
  }

  #branch({ repo, revision, response }: Route, body: Buffer) {
    const { startingPoint = "main" } = JSON.parse(body.toString() || "{}") as { startingPoint?: string };
    const commit = commitAt(repo, startingPoint);
    if (commit === undefined) return sendError(response, 404, "RevisionNotFound");
    if (repo.refs.has(revision)) return sendJson(response, 409, { error: "Reference already exists" });
    repo.refs.set(revision, commit);
    sendJson(response, 201, {});
  }

  #lfsBatch({ repo, response }: Route, body: Buffer) {
    const request = JSON.parse(body.toString()) as { objects: { oid: string; size: number }[]; transfers?: string[] };
    const transfer = this.xet && request.transfers?.includes("xet") ? "xet" : "basic";
    const kind = repo.type === "dataset" ? "datasets" : "models";
    const expires = String(Math.floor(Date.now() / 1000) + TOKEN_LIFE_S);
    const header = {
      "X-Xet-Cas-Url": this.#storageUrl,
      "X-Xet-Access-Token": "xet-token",
      "X-Xet-Token-Expiration": expires,
    };
    const upload = (oid: string) =>
      transfer === "xet"
        ? { upload: { href: `${this.url}/api/${kind}/${repo.id}/xet-write-token/main`, header } }
        : { upload: { href: `${this.#storageUrl}/${oid}`, header: {} } };
    const present = (oid: string) => this.#uploads.has(oid) || this.#xet.has(oid);
    const objects = request.objects.map(({ oid, size }) => ({
      oid,
      size,
      ...(present(oid) ? {} : { actions: upload(oid) }),
    }));
    sendJson(response, 200, { transfer, objects });
  }

  async #commit({ repo, revision, response }: Route, body: Buffer): Promise<void> {
    const entries = body
      .toString()
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => JSON.parse(line) as { key: string; value: Record<string, string> });
    const header = entries.find(({ key }) => key === "header")?.value;
    const branch = repo.refs.get(revision);
    if (branch === undefined) return sendError(response, 404, "RevisionNotFound");
    if (header?.parentCommit && header.parentCommit !== branch) {
      return sendJson(response, 412, { error: "A commit has happened since. Please refresh and try again." });
    }
    const tree = new Map<string, StoredFile>();
    for (const { key, value } of entries) {
      if (key === "file")
        tree.set(value.path ?? "", { content: Buffer.from(value.content ?? "", "base64"), large: false });
      if (key !== "lfsFile") continue;
      const content = this.#uploads.get(value.oid ?? "") ?? (await this.#xet.read(value.oid ?? ""));
      if (content === undefined)
        return sendJson(response, 400, { error: `LFS pointer to missing object ${value.oid}` });
      tree.set(value.path ?? "", { content, large: true });
    }
    const deleted = entries.filter(({ key }) => key === "deletedFile").map(({ value }) => value.path ?? "");
    const commitOid = commitTo(repo, revision, tree, deleted);
    const files = Object.fromEntries([...tree].map(([path, { content }]) => [path, content]));
    this.commits.push({ repo: repo.id, branch: revision, files, summary: header?.summary ?? "" });
    const page = `${this.url}/${repo.type === "dataset" ? "datasets/" : ""}${repo.id}`;
    sendJson(response, 200, { success: true, commitOid, commitUrl: `${page}/commit/${commitOid}`, hookOutput: "" });
  }
}

/** Large by name, as the Hub's .gitattributes would have it. */
function preupload(response: ServerResponse, body: Buffer): void {
  const { files } = JSON.parse(body.toString()) as { files: { path: string }[] };
  const mode = (path: string) => (/\.(safetensors|parquet)$/.test(path) ? "lfs" : "regular");
  sendJson(response, 200, { files: files.map(({ path }) => ({ path, uploadMode: mode(path), shouldIgnore: false })) });
}
