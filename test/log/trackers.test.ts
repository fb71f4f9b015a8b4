// Trackers, by what their own programs were sent and answered (scripts/check-trackers.ts records it), and without a server.

import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { mlflowLogger } from "../../lib/log/mlflow.js";
import { trackioLogger } from "../../lib/log/trackio.js";
import { wandbLogger } from "../../lib/log/wandb.js";
import { WandbFile } from "../../lib/log/wandb-file.js";
import { logFirstPart, logSecondPart, MLFLOW, NOW, WANDB } from "../support/tracker-log.js";

interface Exchange {
  readonly method: string;
  readonly path: string;
  readonly body: string;
  readonly status: number;
  readonly answer: string;
}

let outputDir: string;
let servers: Server[];
let notes: string[];
beforeEach(async () => {
  outputDir = await mkdtemp(path.join(tmpdir(), "grpo-trackers-"));
  servers = [];
  notes = [];
  for (const name of Object.keys(process.env)) if (/^(MLFLOW|TRACKIO|WANDB)_/.test(name)) vi.stubEnv(name, undefined);
});
afterEach(async () => {
  vi.unstubAllEnvs();
  vi.restoreAllMocks();
  for (const server of servers) {
    server.closeAllConnections();
    server.close();
  }
  await rm(outputDir, { recursive: true, force: true });
});

const fixture = (name: string) => fileURLToPath(new URL(`../fixtures/trackers/${name}`, import.meta.url));
const options = () => ({
  outputDir,
  folder: () => outputDir,
  config: {},
  runName: "own",
  project: "demo",
  note: (text: string) => void notes.push(text),
});
/** Short times for servers that are down. */
const limits = { request: 300, end: 300, firstPause: 10, longestPause: 20 };

type Request = Pick<Exchange, "method" | "path" | "body">;
type Reply = Pick<Exchange, "status" | "answer">;

/** A server's address. It never answers what `reply` leaves undefined. */
async function serve(reply: (request: Request) => Reply | undefined): Promise<string> {
  const server = createServer(async (request, response) => {
    let body = "";
    for await (const part of request) body += part;
    const given = reply({ method: request.method ?? "", path: request.url ?? "", body });
    if (given) response.writeHead(given.status, { "content-type": "application/json" }).end(given.answer);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  servers.push(server);
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** A server that gives the recorded answers in their order, and what it was asked. */
async function replay(name: string): Promise<{ address: string; asked: Request[]; recorded: Request[] }> {
  const exchanges: Exchange[] = JSON.parse(await readFile(fixture(name), "utf8"));
  const asked: Request[] = [];
  const address = await serve((request) => exchanges[asked.push(request) - 1] ?? { status: 410, answer: "no more" });
  return { address, asked, recorded: exchanges.map(({ method, path, body }) => ({ method, path, body })) };
}

async function logBothParts(tracker: "mlflow" | "trackio" | "wandb"): Promise<void> {
  const note = (text: string) => void notes.push(text);
  await logFirstPart({ outputDir, tracker, note });
  await logSecondPart({ outputDir, tracker, note });
}

describe("MLflow", () => {
  it("is asked what its server answered rightly to: a run that is stopped, resumed and finished", async () => {
    vi.spyOn(Date, "now").mockReturnValue(NOW);
    const { address, asked, recorded } = await replay("mlflow.json");
    for (const [name, value] of Object.entries(MLFLOW)) vi.stubEnv(name, value);
    vi.stubEnv("MLFLOW_TRACKING_URI", address);
    await logBothParts("mlflow");
    const timeless = (requests: readonly Request[]) =>
      requests.map((request) => ({ ...request, body: request.body.replace(/"(\w*time\w*)":\d+/g, '"$1":0') }));
    expect(timeless(asked)).toEqual(timeless(recorded));
    expect(notes).toEqual([]);
  });

  it("gets what was logged while it was down, in its order, once it is back", async () => {
    const bodies: string[] = [];
    let down = 3;
    const address = await serve(({ path, body }) => {
      if (down-- > 0) return { status: 503, answer: "starting" };
      if (path.endsWith("runs/create")) return { status: 200, answer: '{"run":{"info":{"run_id":"r1"}}}' };
      bodies.push(body);
      return { status: 200, answer: "{}" };
    });
    vi.stubEnv("MLFLOW_TRACKING_URI", address);
    const logger = mlflowLogger(options(), { ...limits, end: 5000, firstPause: 1 });
    logger.log(1, { reward: 1 });
    logger.log(2, { reward: 2 });
    await expect.poll(() => bodies.length).toBe(2);
    await logger.end?.("failed");
    expect(bodies.map((body) => /"step":1|"step":2|"FAILED"/.exec(body)?.[0])).toEqual([
      '"step":1',
      '"step":2',
      '"FAILED"',
    ]);
    expect(notes).toEqual([expect.stringMatching(/^mlflow cannot be reached.*503/)]);
  });

  it.each([
    ["that is not there", async () => "http://127.0.0.1:2"],
    ["that never answers", () => serve(() => undefined)],
  ])("costs no step and ends in bounded time with a server %s", async (_, address) => {
    vi.stubEnv("MLFLOW_TRACKING_URI", await address());
    const logger = mlflowLogger(options(), limits);
    expect(logger.begin?.({ config: {} }, 0)).toBeUndefined();
    for (let step = 1; step <= 5; step++) expect(logger.log(step, { reward: step })).toBeUndefined();
    await logger.end?.("finished");
    expect(notes).toEqual([
      expect.stringMatching(/^mlflow cannot be reached, its entries wait: no answer from http/),
      "mlflow did not get 8 of the entries of this run",
    ]);
  });

  it("goes on after an entry that is refused, and keeps a bounded number of those that wait", async () => {
    let refused = false;
    const address = await serve(({ path }) => {
      if (path.endsWith("runs/create")) return { status: 200, answer: '{"run":{"info":{"run_id":"r1"}}}' };
      if (refused) return { status: 200, answer: "{}" };
      refused = true;
      return { status: 400, answer: '{"error_code":"INVALID_PARAMETER_VALUE"}' };
    });
    vi.stubEnv("MLFLOW_TRACKING_URI", address);
    const logger = mlflowLogger(options(), { ...limits, end: 5000, jobs: 4 });
    for (let step = 1; step <= 6; step++) logger.log(step, { reward: step });
    await logger.end?.("finished");
    expect(notes).toEqual([
      expect.stringMatching(/^mlflow refused an entry: runs.log-batch: status 400.*INVALID/),
      "mlflow did not get 5 of the entries of this run",
    ]);
  });

  it.each([undefined, "sqlite:///mlflow.db", "./mlruns"])("needs the address of a server, not %s", (uri) => {
    vi.stubEnv("MLFLOW_TRACKING_URI", uri);
    expect(() => mlflowLogger(options())).toThrow(/needs a server's address in MLFLOW_TRACKING_URI/);
  });
});

describe("trackio", () => {
  /** What is drawn by lot or read off the clock. */
  const drawn = (text: string) => text.replace(/"(run_id|log_id|timestamp|_Created)":"[^"]+"/g, '"$1":""');

  it("is asked what its server took: a run that is stopped, resumed and finished", async () => {
    const { address, asked, recorded } = await replay("trackio.json");
    vi.stubEnv("TRACKIO_SERVER_URL", `${address}/?write_token=secret`);
    await logBothParts("trackio");
    const plain = (requests: readonly Request[]) =>
      requests.map((request) => ({ ...request, body: drawn(request.body) }));
    expect(plain(asked)).toEqual(plain(recorded));
    const ids = asked.map(({ body }) => JSON.parse(body).logs[0].run_id);
    expect(new Set(ids).size).toBe(1);
    expect(notes).toEqual([]);
  });

  it("finds the same entries in its inbox, each in a whole file", async () => {
    vi.stubEnv("TRACKIO_DIR", path.join(outputDir, "trackio"));
    await logBothParts("trackio");
    const inbox = path.join(outputDir, "trackio", "inbox");
    const [first = "", second = ""] = await readdir(inbox);
    expect(first).not.toBe(second);
    const lines: string[] = [];
    for (const writer of [first, second]) {
      for (const file of await readdir(path.join(inbox, writer))) {
        expect(file).toMatch(/^\d{8}\.jsonl$/);
        lines.push(await readFile(path.join(inbox, writer, file), "utf8"));
      }
    }
    const { recorded } = await replay("trackio.json");
    const entries = recorded.map(
      ({ body }) => `{"v":1,"kind":"metric",${JSON.stringify(JSON.parse(body).logs[0]).slice(1)}\n`,
    );
    expect(lines.map(drawn).sort()).toEqual(entries.map(drawn).sort());
  });

  it.each([
    [{ TRACKIO_SERVER_URL: "http://127.0.0.1:7860" }, /write token/],
    [{ TRACKIO_SERVER_URL: "trackio.local", TRACKIO_WRITE_TOKEN: "t" }, /address/],
    [{ TRACKIO_SPACE_ID: "someone/trackio" }, /does not write to Spaces/],
  ])("is refused with %j", (variables, message) => {
    for (const [name, value] of Object.entries(variables)) vi.stubEnv(name, value);
    expect(() => trackioLogger(options())).toThrow(message);
  });
});

describe("Weights & Biases", () => {
  const onlyFile = async () => {
    const names = await readdir(outputDir, { recursive: true });
    const [file = "", ...others] = names.filter((name) => name.endsWith(".wandb"));
    expect(others).toEqual([]);
    return readFile(path.join(outputDir, file));
  };

  it("finds the bytes that wandb sync took: a run that is stopped, resumed and finished", async () => {
    vi.spyOn(Date, "now").mockReturnValue(NOW);
    for (const [name, value] of Object.entries(WANDB)) vi.stubEnv(name, value);
    await logBothParts("wandb");
    expect(await onlyFile()).toEqual(await readFile(fixture("run.wandb")));
    expect(notes.at(-1)).toMatch(/^wandb {4}upload the run with: wandb sync .*offline-run-20231114_221320-short1$/);
  });

  it("has an evaluation after the run in the run, before its end", async () => {
    const logger = wandbLogger(options());
    await logger.begin?.({ config: {} }, 0);
    await logger.end?.("finished");
    const before = (await onlyFile()).length;
    await logger.log(4, { eval_reward: 1 });
    const bytes = await onlyFile();
    expect(bytes.indexOf("eval/reward")).toBeGreaterThan(0);
    expect(bytes.indexOf("eval/reward")).toBeLessThan(before);
  });

  it.each([{ WANDB_MODE: "disabled" }, { WANDB_DISABLED: "true" }])(
    "writes nothing with %j, and says so",
    async (variables) => {
      for (const [name, value] of Object.entries(variables)) vi.stubEnv(name, value);
      await wandbLogger(options()).log(1, { reward: 1 });
      expect(await readdir(outputDir)).toEqual([]);
      expect(notes).toEqual([expect.stringContaining("writes nothing")]);
    },
  );

  describe("in a file", () => {
    const sizes = [0, 1, 32_746, 32_747, 32_748, 32_753, 32_754, 32_755, 65_521, 100_000];
    const record = (size: number) => Buffer.concat([Buffer.from([10, ...lengthOf(size)]), Buffer.alloc(size, size)]);
    const lengthOf = (size: number) => [(size & 127) | 128, ((size >> 7) & 127) | 128, size >> 14];

    it.each(sizes)(
      "goes on after a record of %d bytes, whatever of the block it leaves, and after a torn one",
      async (size) => {
        const name = path.join(outputDir, "a.wandb");
        const file = await WandbFile.create(name);
        await file.append([record(size), record(7)]);
        const whole = await readFile(name);
        await writeFile(name, Buffer.concat([whole, whole.subarray(7, 7 + 5)]));
        const seen: number[] = [];
        const again = await WandbFile.reopen(name, (fields) => {
          seen.push((fields.get(1) as Buffer).length);
          return false;
        });
        expect(seen).toEqual([size, 7]);
        expect(await readFile(name)).toEqual(whole);
        await again.append([record(9)]);
        seen.length = 0;
        await WandbFile.reopen(name, (fields) => {
          seen.push((fields.get(1) as Buffer).length);
          return seen.length === 3;
        });
        expect(seen).toEqual([size, 7, 9]);
        expect(await readFile(name)).toEqual(whole);
      },
    );
  });
});
