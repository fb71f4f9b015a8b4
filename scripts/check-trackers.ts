// Whether the trackers themselves read what a run reports to them: mlflow's server, trackio's dashboard and wandb's sync, from PyPI, with
// --python a Python that has all three. With --record what they were sent and answered becomes fixtures of the tests.

import { type ChildProcess, execFile, spawn } from "node:child_process";
import { copyFile, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { isDeepStrictEqual, parseArgs, promisify } from "node:util";
import {
  CONFIG,
  HISTORY,
  logEvaluationAndRun,
  logFirstPart,
  logSecondPart,
  MLFLOW,
  NOW,
  RECORD,
  RUN_NAME,
  WANDB,
} from "../test/support/tracker-log.js";

const { values } = parseArgs({
  options: { python: { type: "string", default: "python3" }, record: { type: "boolean", default: false } },
});
const python = path.resolve(values.python);
const read = fileURLToPath(new URL("trackers/read.py", import.meta.url));
const fixtures = fileURLToPath(new URL("../test/fixtures/trackers", import.meta.url));
const run = promisify(execFile);
const folder = await mkdtemp(path.join(tmpdir(), "grpo-check-trackers-"));
const started: ChildProcess[] = [];
let failures = 0;

interface Exchange {
  readonly method: string;
  readonly path: string;
  readonly body: string;
  readonly status: number;
  readonly answer: string;
}

try {
  await checkMlflow();
  await checkTrackioFolder();
  await checkTrackioServer();
  await checkWandb();
} finally {
  for (const child of started) child.kill();
  await rm(folder, { recursive: true, force: true });
}
process.exitCode = failures > 0 ? 1 : 0;

async function checkMlflow(): Promise<void> {
  const port = await freePort();
  const store = `sqlite:///${path.join(folder, "mlflow.db")}`;
  const server = ["server", "--backend-store-uri", store, "--port", String(port), "--workers", "1"];
  start(path.join(path.dirname(python), "mlflow"), server);
  const address = `http://127.0.0.1:${port}`;
  await waitFor(`${address}/health`);
  const recorder = await record(address);
  process.env.MLFLOW_TRACKING_URI = recorder.address;
  Object.assign(process.env, MLFLOW);
  const outputDir = path.join(folder, "mlflow");
  await logFirstPart({ outputDir, tracker: "mlflow" });
  const [cut] = await readRuns("mlflow", address);
  check("mlflow: state of the run that was stopped", cut.state, "KILLED");
  await logSecondPart({ outputDir, tracker: "mlflow" });
  const [found, ...others] = await readRuns("mlflow", address);
  check("mlflow: one run", others, []);
  check(
    "mlflow: history",
    latest(found.history, (name) => name),
    expectedHistory(),
  );
  check(
    "mlflow: state",
    [found.name, found.experiment, found.state, found.ended, found.tags],
    [RUN_NAME, "maths", "FINISHED", true, { release: "1.2" }],
  );
  const texts = Object.entries(configuration()).map(([key, value]) => [
    key,
    typeof value === "string" ? value : JSON.stringify(value),
  ]);
  check("mlflow: configuration", sorted(found.config), sorted(Object.fromEntries(texts)));
  await recorder.close("mlflow.json");
  process.env.MLFLOW_TRACKING_URI = address;
  const evaluated = { outputDir: path.join(folder, "mlflow-evaluated"), tracker: "mlflow" as const };
  await checkEvaluation("mlflow", evaluated, async () => {
    return (await readRuns("mlflow", address)).filter(({ history }) => history.some(([step]) => step === 0));
  });
}

/** An evaluation alone is a run that has ended and has the options; the run that follows goes on in it. */
async function checkEvaluation(
  what: string,
  run: Parameters<typeof logEvaluationAndRun>[0],
  read: () => Promise<readonly FoundRun[]>,
): Promise<void> {
  const shown = async () =>
    (await read()).map(({ state, config, history }) => [
      state,
      "lossType" in config,
      sortedHistory(history.map(([step, name, value]) => [step, name.replace(/^.*[/_]/, ""), value])),
    ]);
  const ended = what === "wandb" ? [0] : "FINISHED";
  await logEvaluationAndRun(run, async () => {
    check(`${what}: an evaluation alone`, await shown(), [[ended, true, [[0, "reward", 0.5]]]]);
  });
  const history = [
    [0, "reward", 0.5],
    [1, "reward", 0.25],
  ];
  check(`${what}: a run after an evaluation`, await shown(), [[ended, true, history]]);
}

async function checkTrackioFolder(): Promise<void> {
  process.env.TRACKIO_DIR = path.join(folder, "trackio");
  delete process.env.TRACKIO_SERVER_URL;
  const outputDir = path.join(folder, "trackio-run");
  await logFirstPart({ outputDir, tracker: "trackio" });
  await checkTrackio(
    "trackio's folder, before the cut",
    HISTORY.filter(({ step }) => step < 3),
    3,
  );
  await logSecondPart({ outputDir, tracker: "trackio" });
  await checkTrackio("trackio's folder");
}

async function checkTrackioServer(): Promise<void> {
  process.env.TRACKIO_DIR = path.join(folder, "trackio-server");
  const token = "token-of-the-check";
  process.env.TRACKIO_WRITE_TOKEN = token;
  const port = await freePort();
  const show = `import trackio; trackio.show(open_browser=False, block_thread=True, host="127.0.0.1", server_port=${port})`;
  start(python, ["-c", show]);
  const address = `http://127.0.0.1:${port}`;
  await waitFor(`${address}/version`);
  const recorder = await record(address);
  process.env.TRACKIO_SERVER_URL = `${recorder.address}?write_token=${token}`;
  const outputDir = path.join(folder, "trackio-server-run");
  await logFirstPart({ outputDir, tracker: "trackio" });
  await logSecondPart({ outputDir, tracker: "trackio" });
  await checkTrackio("trackio's server");
  await recorder.close("trackio.json");
}

async function checkTrackio(what: string, history: readonly object[] = HISTORY, before = Number.POSITIVE_INFINITY) {
  const [found, ...others] = await readRuns("trackio", "demo");
  check(`${what}: one run`, [found.name, others], [RUN_NAME, []]);
  const shown = latest(found.history, tag).filter(([step]) => step < before);
  check(
    `${what}: history`,
    shown,
    expectedHistory().filter(([step]) => step < before),
  );
  check(`${what}: entries`, history.length > 0, true);
  check(`${what}: configuration`, sorted(found.config), sorted(configuration()));
}

async function checkWandb(): Promise<void> {
  const outputDir = path.join(folder, "wandb-run");
  Object.assign(process.env, WANDB);
  const now = Date.now;
  Date.now = () => NOW;
  await logFirstPart({ outputDir, tracker: "wandb" });
  const [name = ""] = await readdir(path.join(outputDir, "wandb"));
  const runFolder = path.join(outputDir, "wandb", name);
  const file = path.join(runFolder, (await readdir(runFolder)).find((file) => file.endsWith(".wandb")) ?? "");
  const [cut] = await readRuns("wandb", file);
  check("wandb: end of the run that was stopped", cut.state, [255]);
  await logSecondPart({ outputDir, tracker: "wandb" });
  Date.now = now;
  const [found] = await readRuns("wandb", file);
  check("wandb: history", latest(found.history, tag), expectedHistory());
  check("wandb: run", [found.name, found.project, found.tags, found.state], [RUN_NAME, "maths", ["a", "b"], [0]]);
  check("wandb: configuration", sorted(found.config), sorted(configuration()));
  await checkSync(runFolder);
  const evaluated = path.join(folder, "wandb-evaluated");
  await checkEvaluation("wandb", { outputDir: evaluated, tracker: "wandb" }, async () => {
    const names = await readdir(path.join(evaluated, "wandb"), { recursive: true });
    const files = names.filter((name) => name.endsWith(".wandb")).map((name) => path.join(evaluated, "wandb", name));
    return (await Promise.all(files.map((file) => readRuns("wandb", file)))).flat();
  });
  if (values.record) await copyFile(file, path.join(fixtures, "run.wandb"));
}

/** `wandb sync` to a server that takes everything: what arrives is the history, the configuration and the end. */
async function checkSync(runFolder: string): Promise<void> {
  const got: { readonly url: string; readonly body: string }[] = [];
  const server = await listen(async (request) => {
    const body = await bodyOf(request);
    got.push({ url: request.url ?? "", body });
    return { status: 200, answer: JSON.stringify(answerOfWandb(request.url ?? "", body)) };
  });
  const env = {
    ...process.env,
    WANDB_BASE_URL: addressOf(server),
    WANDB_API_KEY: "x".repeat(40),
    WANDB_ERROR_REPORTING: "false",
  };
  const { stdout, stderr } = await run(path.join(path.dirname(python), "wandb"), ["sync", "--yes", runFolder], {
    env,
    timeout: 120_000,
  });
  server.close();
  const stream = got.filter(({ url }) => url.endsWith("/file_stream")).map(({ body }) => JSON.parse(body));
  const lines: string[] = stream.flatMap((part) => part.files?.["wandb-history.jsonl"]?.content ?? []);
  const rows = lines.map((line) => JSON.parse(line.replace(/:(-?Infinity|NaN)/g, ':"$1"')));
  const entries = rows.flatMap((row) =>
    Object.entries(row)
      .filter(([name]) => /^(train|eval)\//.test(name) && name !== "train/global_step")
      .map(([name, value]) => [row["train/global_step"], name, value] as const),
  );
  check("wandb sync: history", latest(entries, tag), expectedHistory());
  const end = stream.findLast((part) => part.complete !== undefined);
  check("wandb sync: end", [end?.complete, end?.exitcode], [true, 0]);
  const upsert =
    got.map(({ body }) => body).find((body) => body.includes("upsertBucket") && body.includes("learningRate")) ?? "{}";
  const config = JSON.parse(JSON.parse(upsert).variables?.config ?? "{}");
  const shown = Object.fromEntries(Object.keys(configuration()).map((key) => [key, config[key]?.value]));
  check("wandb sync: configuration", sorted(shown), sorted(configuration()));
  if (failures > 0) console.log(stdout, stderr, got.map(({ url, body }) => `${url} ${body.slice(0, 600)}`).join("\n"));
}

/** What wandb's program needs to go on. */
function answerOfWandb(url: string, body: string): object {
  if (!url.includes("graphql")) return {};
  const project = { id: "p", name: "maths", entity: { id: "e", name: "someone" } };
  const bucket = {
    id: "b",
    name: "r",
    displayName: RUN_NAME,
    config: "{}",
    sweepName: null,
    project,
    historyLineCount: 0,
  };
  const variables = JSON.parse(body).variables ?? {};
  const files = (variables.files ?? []).map((name: string) => ({ name, uploadUrl: "/upload", uploadHeaders: [] }));
  return {
    data: {
      serverInfo: { cliVersionInfo: { max_cli_version: "9.9.9" }, latestLocalVersionInfo: null, features: [] },
      viewer: { id: "v", entity: "someone", username: "someone", email: "", flags: "{}", teams: { edges: [] } },
      upsertBucket: { bucket, inserted: true, configChanged: false },
      createRunFiles: { runID: "b", uploadHeaders: [], files },
      model: null,
    },
  };
}

interface FoundRun {
  readonly name: string;
  readonly state: unknown;
  readonly config: Record<string, unknown>;
  readonly history: readonly (readonly [step: number, name: string, value: unknown])[];
  readonly [key: string]: unknown;
}

async function readRuns(tracker: string, place: string): Promise<[FoundRun, ...FoundRun[]]> {
  const env = { ...process.env };
  delete env.TRACKIO_SERVER_URL;
  const { stdout } = await run(python, [read, tracker, place], { env });
  return JSON.parse(stdout.slice(stdout.lastIndexOf("\n[") + 1));
}

function tag(name: string): string {
  return name.startsWith("eval_") ? name.replace("eval_", "eval/") : `train/${name}`;
}

/** By step and name the last value: a resumed run reports the steps again that it does again. Names as the log has them. */
function latest(history: FoundRun["history"], tagOf: (name: string) => string): [number, string, unknown][] {
  const names = new Map(HISTORY.map(({ name }) => [tagOf(name), name as string]));
  const byKey = new Map<string, [number, string, unknown]>();
  for (const [step, name, value] of history) {
    byKey.set(`${step} ${name}`, [step, names.get(name) ?? `unknown ${name}`, value]);
  }
  return sortedHistory([...byKey.values()]);
}

function expectedHistory(): [number, string, unknown][] {
  return sortedHistory(
    HISTORY.map(({ step, name, value }) => [step, name, Number.isFinite(Number(value)) ? Number(value) : value]),
  );
}

function sortedHistory(entries: [number, string, unknown][]): [number, string, unknown][] {
  return entries.sort(([a, b], [c, d]) => a - c || b.localeCompare(d));
}

function configuration(): Record<string, unknown> {
  const { config: _, run_name: __, ...rest } = RECORD;
  return { ...CONFIG, ...rest };
}

function sorted(values: Record<string, unknown>): [string, unknown][] {
  return Object.entries(values).sort(([a], [b]) => a.localeCompare(b));
}

function check(what: string, found: unknown, expected: unknown): void {
  const same = isDeepStrictEqual(found, expected);
  if (!same) failures++;
  console.log(`${same ? "same " : "OTHER"} ${what}`);
  if (!same) console.log(`  expected ${JSON.stringify(expected)}\n  found    ${JSON.stringify(found)}`);
}

function start(command: string, args: readonly string[]): void {
  started.push(spawn(command, args, { cwd: folder, stdio: "ignore" }));
}

async function waitFor(address: string): Promise<void> {
  for (let second = 0; second < 180; second++) {
    if (
      await fetch(address).then(
        ({ ok }) => ok,
        () => false,
      )
    )
      return;
    await sleep(1000);
  }
  throw new Error(`${address} did not come up`);
}

/** A server between that keeps what passes. */
async function record(target: string): Promise<{ readonly address: string; close(name: string): Promise<void> }> {
  const exchanges: Exchange[] = [];
  const server = await listen(async (request) => {
    const { method = "GET", url = "" } = request;
    const body = await bodyOf(request);
    const headers = Object.fromEntries(
      ["content-type", "x-trackio-write-token"].flatMap((name) => {
        const value = request.headers[name];
        return typeof value === "string" ? [[name, value]] : [];
      }),
    );
    const response = await fetch(`${target}${url}`, { method, headers, ...(method === "GET" ? {} : { body }) });
    const answer = await response.text();
    exchanges.push({ method, path: url, body, status: response.status, answer });
    return { status: response.status, answer };
  });
  return {
    address: addressOf(server),
    async close(name) {
      server.close();
      if (values.record) await writeFile(path.join(fixtures, name), `${JSON.stringify(exchanges, null, 1)}\n`);
    },
  };
}

async function listen(
  answer: (request: IncomingMessage) => Promise<{ status: number; answer: string }>,
): Promise<Server> {
  const server = createServer(async (request, response) => {
    const { status, answer: text } = await answer(request);
    response.writeHead(status, { "content-type": "application/json" }).end(text);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return server;
}

function addressOf(server: Server): string {
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  for await (const part of request) parts.push(part as Buffer);
  return Buffer.concat(parts).toString();
}

async function freePort(): Promise<number> {
  const server = await listen(async () => ({ status: 200, answer: "" }));
  const { port } = server.address() as AddressInfo;
  server.close();
  return port;
}
