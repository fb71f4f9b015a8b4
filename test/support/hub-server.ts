// A Hub in a process: repositories in memory behind the HTTP endpoints that @huggingface/hub uses, with the large-file
// storage on a second host as in reality. Faults are switched on by a test; every request is recorded.

import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export interface FakeRepo {
  readonly type?: "model" | "dataset";
  readonly files: Readonly<Record<string, string | Buffer>>;
  /** Paths kept in the large-file storage. */
  readonly large?: readonly string[];
  readonly gated?: boolean;
  readonly private?: boolean;
  /** Branch or tag names beside "main". */
  readonly branches?: readonly string[];
}

export interface FakeCommit {
  readonly repo: string;
  readonly files: Readonly<Record<string, Buffer>>;
  readonly summary: string;
}

export class HubServer {
  readonly token = "hf_secretsecretsecret";
  /** "METHOD /path" of every request to the Hub, and "METHOD storage/path" of those to the storage. */
  readonly requests: string[] = [];
  /** Authorization headers that reached the storage host; must stay empty. */
  readonly leakedTokens: string[] = [];
  /** "path from" of every request for a part of a file that starts after its beginning. */
  readonly resumed: string[] = [];
  readonly commits: FakeCommit[] = [];
  readonly created: string[] = [];
  /** Connections to break after so many bytes of a file, by path; each entry is used once. */
  readonly breakAfter = new Map<string, number[]>();
  /** Bytes to send in place of a file's own, by path. */
  readonly damaged = new Map<string, Buffer>();
  /** HTTP statuses to answer the next requests with. */
  readonly failures: number[] = [];
  readonly #repos = new Map<string, FakeRepo>();
  readonly #uploads = new Map<string, Buffer>();
  #hub: Server | undefined;
  #storage: Server | undefined;

  add(id: string, repo: FakeRepo): void {
    this.#repos.set(`${repo.type ?? "model"}s/${id}`, repo);
  }

  async start(): Promise<void> {
    this.#storage = await listen((request, response) => this.#answerStorage(request, response));
    this.#hub = await listen((request, response) => this.#answerHub(request, response));
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

  /** The commit of a repository's "main". */
  commitOf(id: string, type: "model" | "dataset" = "model"): string {
    return createHash("sha1").update(`${type}s/${id}`).digest("hex");
  }

  /** Requests for the contents of files. */
  fileRequests(): string[] {
    return this.requests.filter((line) => /\/resolve\/| storage\//.test(line));
  }

  async #answerHub(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? "/", this.url);
    this.requests.push(`${request.method} ${decodeURIComponent(url.pathname)}`);
    const failure = this.failures.shift();
    if (failure !== undefined) return sendJson(response, failure, { error: "failing on purpose" });
    if (url.pathname === "/api/whoami-v2") return this.#whoAmI(request, response);
    if (url.pathname === "/api/repos/create") return this.#create(response, await readBody(request));
    const batch = /^\/(datasets\/)?([^/]+\/[^/]+)\.git\/info\/lfs\/objects\/batch$/.exec(url.pathname);
    if (batch) return this.#lfsBatch(response, await readBody(request));
    const api = /^\/api\/(models|datasets)\/([^/]+\/[^/]+)\/(\w+)\/([^/]+)(?:\/(.*))?$/.exec(url.pathname);
    const file = /^\/(datasets\/)?([^/]+\/[^/]+)\/resolve\/([^/]+)\/(.+)$/.exec(url.pathname);
    const key = api ? `${api[1]}/${api[2]}` : file ? `${file[1] ?? "models/"}${file[2]}` : "";
    if (api?.[3] === "preupload") return preupload(response, await readBody(request));
    if (api?.[3] === "commit") return this.#commit(response, api[2] ?? "", await readBody(request));
    const repo = this.#repos.get(key);
    if (!this.#allowed(repo, request, response)) return;
    const revision = decodeURIComponent(api?.[4] ?? file?.[3] ?? "");
    const commit = createHash("sha1").update(key).digest("hex");
    if (!["main", "HEAD", commit, ...(repo.branches ?? [])].includes(revision)) {
      return sendError(response, 404, "RevisionNotFound");
    }
    if (api?.[3] === "revision") return sendJson(response, 200, { _id: "1", id: api[2], sha: commit, lastModified: 0 });
    if (api?.[3] === "tree") return this.#tree(url, repo, response);
    if (file) return this.#resolve(decodeURIComponent(file[4] ?? ""), repo, request, response);
    sendError(response, 404, "RepoNotFound");
  }

  #allowed(repo: FakeRepo | undefined, request: IncomingMessage, response: ServerResponse): repo is FakeRepo {
    const known = request.headers.authorization === `Bearer ${this.token}`;
    if (request.headers.authorization !== undefined && !known) sendError(response, 401, "");
    else if (repo?.gated && !known) sendError(response, 401, "GatedRepo");
    // As on the Hub: whoever is not logged in cannot tell a private repository from a missing one.
    else if (repo === undefined || (repo.private && !known)) sendError(response, known ? 404 : 401, "RepoNotFound");
    else return true;
    return false;
  }

  /** Two entries a page, so that clients must follow the links. */
  #tree(url: URL, repo: FakeRepo, response: ServerResponse): void {
    const start = Number(url.searchParams.get("cursor") ?? 0);
    const names = Object.keys(repo.files);
    const entries = names.slice(start, start + 2).map((path) => {
      const content = contentOf(repo, path);
      const oid = createHash("sha1").update(`blob ${content.length}\0`).update(content).digest("hex");
      const entry = { type: "file", path, size: content.length, oid };
      return repo.large?.includes(path)
        ? { ...entry, lfs: { oid: sha256(content), size: content.length, pointerSize: 130 } }
        : entry;
    });
    if (start + 2 < names.length) {
      url.searchParams.set("cursor", String(start + 2));
      response.setHeader("link", `<${url}>; rel="next"`);
    }
    sendJson(response, 200, entries);
  }

  #resolve(path: string, repo: FakeRepo, request: IncomingMessage, response: ServerResponse): void {
    const content = contentOf(repo, path);
    if (repo.files[path] === undefined) sendError(response, 404, "EntryNotFound");
    else if (repo.large?.includes(path)) {
      this.#uploads.set(sha256(content), content);
      response.writeHead(302, {
        location: `${address(this.#storage)}/${sha256(content)}?name=${encodeURIComponent(path)}`,
        "x-linked-etag": `"${sha256(content)}"`,
        "x-linked-size": String(content.length),
      });
      response.end();
    } else this.#sendContent(path, content, request, response);
  }

  async #answerStorage(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? "/", "http://storage");
    this.requests.push(`${request.method} storage${url.pathname}`);
    if (request.headers.authorization !== undefined) this.leakedTokens.push(request.headers.authorization);
    const oid = url.pathname.slice(1);
    if (request.method === "PUT") {
      this.#uploads.set(oid, await readBody(request));
      response.end();
      return;
    }
    this.#sendContent(url.searchParams.get("name") ?? "", this.#uploads.get(oid) ?? Buffer.alloc(0), request, response);
  }

  #sendContent(path: string, original: Buffer, request: IncomingMessage, response: ServerResponse): void {
    const content = this.damaged.get(path) ?? original;
    const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "");
    const start = range ? Number(range[1]) : 0;
    const end = range ? Math.min(Number(range[2]) + 1, content.length) : content.length;
    if (start > 0) this.resumed.push(`${path} ${start}`);
    response.setHeader("etag", `"${sha256(original)}"`);
    response.setHeader("content-length", end - start);
    if (range) response.setHeader("content-range", `bytes ${start}-${end - 1}/${content.length}`);
    response.writeHead(range ? 206 : 200);
    const probe = range !== null && end - start === 1;
    const limit = probe ? undefined : this.breakAfter.get(path)?.shift();
    if (limit === undefined || start + limit >= end) {
      response.end(content.subarray(start, end));
      return;
    }
    // The bytes must have left before the connection breaks.
    response.write(content.subarray(start, start + limit), () => setTimeout(() => response.destroy(), 20));
  }

  #whoAmI(request: IncomingMessage, response: ServerResponse): void {
    if (request.headers.authorization !== `Bearer ${this.token}`) sendError(response, 401, "");
    else sendJson(response, 200, { type: "user", name: "ada", orgs: [], auth: { type: "access_token" } });
  }

  #create(response: ServerResponse, body: Buffer): void {
    const { organization, name, visibility } = JSON.parse(body.toString()) as Record<string, string>;
    const id = `${organization}/${name}`;
    if (this.#repos.has(`models/${id}`)) {
      sendJson(response, 409, { error: "You already created this repo" });
    } else {
      this.created.push(`${id} ${visibility ?? "default"}`);
      sendJson(response, 200, { url: `${this.url}/${id}`, id });
    }
  }

  #lfsBatch(response: ServerResponse, body: Buffer): void {
    const { objects } = JSON.parse(body.toString()) as { objects: { oid: string; size: number }[] };
    const upload = (oid: string) => ({ upload: { href: `${address(this.#storage)}/${oid}`, header: {} } });
    sendJson(response, 200, {
      transfer: "basic",
      objects: objects.map(({ oid, size }) => ({ oid, size, actions: upload(oid) })),
    });
  }

  #commit(response: ServerResponse, repo: string, body: Buffer): void {
    const lines = body.toString().split("\n");
    const entries = lines.map((line) => JSON.parse(line) as { key: string; value: Record<string, string> });
    const files: Record<string, Buffer> = {};
    for (const { key, value } of entries) {
      if (key === "file") files[value.path ?? ""] = Buffer.from(value.content ?? "", "base64");
      if (key === "lfsFile") files[value.path ?? ""] = this.#uploads.get(value.oid ?? "") ?? Buffer.alloc(0);
    }
    const summary = entries.find(({ key }) => key === "header")?.value.summary ?? "";
    this.commits.push({ repo, files, summary });
    sendJson(response, 200, { commitOid: "c".repeat(40), commitUrl: `${this.url}/${repo}/commit/${"c".repeat(40)}` });
  }
}

/** Large by name, as the Hub's .gitattributes would have it. */
function preupload(response: ServerResponse, body: Buffer): void {
  const { files } = JSON.parse(body.toString()) as { files: { path: string }[] };
  const mode = (path: string) => (path.endsWith(".safetensors") ? "lfs" : "regular");
  sendJson(response, 200, { files: files.map(({ path }) => ({ path, uploadMode: mode(path) })) });
}

function contentOf(repo: FakeRepo, path: string): Buffer {
  return Buffer.from(repo.files[path] ?? "");
}

function sha256(content: Buffer): string {
  return createHash("sha256").update(content).digest("hex");
}

function sendJson(response: ServerResponse, status: number, value: unknown): void {
  response.writeHead(status, { "content-type": "application/json" });
  response.end(JSON.stringify(value));
}

function sendError(response: ServerResponse, status: number, code: string): void {
  if (code !== "") response.setHeader("x-error-code", code);
  sendJson(response, status, { error: "refused" });
}

async function readBody(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks);
}

async function listen(
  answer: (request: IncomingMessage, response: ServerResponse) => Promise<void> | void,
): Promise<Server> {
  const server = createServer((request, response) => {
    Promise.resolve(answer(request, response)).catch((thrown) => response.destroy(thrown as Error));
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  return server;
}

function address(server: Server | undefined): string {
  if (server === undefined) throw new Error("start() the server first");
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}
