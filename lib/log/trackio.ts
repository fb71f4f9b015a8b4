// trackio: entries go to the server of TRACKIO_SERVER_URL, or as files into the inbox of trackio's folder, where its dashboard
// takes them into its database (trackio's own way where a database is unsafe: immutable files of JSON lines, each line with an id that
// is taken once).

import { randomBytes, randomUUID } from "node:crypto";
import { mkdir, rename, writeFile } from "node:fs/promises";
import path from "node:path";
import { GrpoError } from "../errors.js";
import { hubHome } from "../hub/hub-env.js";
import type { JsonObject } from "../json.js";
import { Delivery, type DeliveryLimits, refusal, request } from "./delivery.js";
import type { Logger } from "./logger.js";
import { type Metrics, tagged } from "./metrics.js";
import { configurationOf, keepTrackerRun, keptTrackerRun, numberOrName, type TrackerOptions } from "./tracker.js";

const FRAGMENT_VERSION = 1;

/** Where entries go. */
interface Store {
  /** A server's address, or a folder: a run goes on in the store that it began in. */
  readonly place: string;
  send(entry: JsonObject): void | Promise<void>;
  close(): Promise<void>;
}

/** Throws BAD_OPTION where the variables name a Space, or a server without its token. */
export function trackioLogger(options: TrackerOptions, limits?: Partial<DeliveryLimits>): Logger {
  const run = new TrackioRun(options, limits);
  return {
    name: "trackio",
    begin: (record, step) => run.begin(record, step),
    log: (step, metrics) => run.log(step, metrics),
    end: () => run.end(),
  };
}

class TrackioRun {
  readonly #options: TrackerOptions;
  readonly #store: Store;
  #id: string | undefined;
  #begun = false;
  /** Goes with the next entry. */
  #config: JsonObject | undefined;

  constructor(options: TrackerOptions, limits?: Partial<DeliveryLimits>) {
    this.#options = options;
    this.#store = chosenStore(options.note, limits);
  }

  async begin(record: Readonly<Record<string, unknown>>, step: number): Promise<void> {
    const { outputDir } = this.#options;
    const { place } = this.#store;
    const kept = step > 0 ? await keptTrackerRun(outputDir, "trackio") : undefined;
    const own = kept?.place === place ? kept.run_id : undefined;
    if (typeof own === "string") this.#id = own;
    // What an evaluation before the run has logged is this run's.
    else if (step > 0 || this.#begun) this.#id = newId();
    this.#id ??= newId();
    this.#begun = true;
    this.#config = shownConfig(record);
    await keepTrackerRun(outputDir, "trackio", { place, run_id: this.#id });
  }

  async log(step: number, metrics: Readonly<Metrics>): Promise<void> {
    if (this.#id === undefined) {
      this.#id = newId();
      this.#config = shownConfig({ config: this.#options.config });
    }
    const values = Object.entries(tagged(metrics)).map(([name, value]) => [name, numberOrName(value)] as const);
    const { project, runName, outputDir } = this.#options;
    const config = this.#config;
    this.#config = undefined;
    await this.#store.send({
      project,
      run: runName ?? path.basename(path.resolve(outputDir)),
      run_id: this.#id,
      metrics: { ...Object.fromEntries(values), "train/global_step": step },
      step,
      timestamp: new Date().toISOString(),
      config: config ?? null,
      log_id: newId(),
    });
  }

  async end(): Promise<void> {
    await this.#store.close();
  }
}

/** trackio keeps names that begin with _ for itself; the dashboard orders runs by _Created. */
function shownConfig(record: Readonly<Record<string, unknown>>): JsonObject {
  return { ...configurationOf(record), _Username: null, _Group: null, _Created: new Date().toISOString() };
}

function chosenStore(note: (text: string) => void, limits?: Partial<DeliveryLimits>): Store {
  const { TRACKIO_SPACE_ID: space, TRACKIO_SERVER_URL: server, TRACKIO_DIR: folder } = process.env;
  if (space) {
    throw new GrpoError("BAD_OPTION", `reportTo "trackio" does not write to Spaces; found TRACKIO_SPACE_ID ${space}`, {
      hint: "unset it, and bring the run there with `trackio sync` when it has ended, or name a server in TRACKIO_SERVER_URL",
    });
  }
  return server
    ? serverStore(server, note, limits)
    : inboxStore(path.join(folder || path.join(hubHome(), "trackio"), "inbox"));
}

function serverStore(address: string, note: (text: string) => void, limits?: Partial<DeliveryLimits>): Store {
  const url = URL.canParse(address) ? new URL(address) : undefined;
  const token = url?.searchParams.get("write_token") ?? process.env.TRACKIO_WRITE_TOKEN;
  if (!url || !/^https?:$/.test(url.protocol) || !token) {
    throw new GrpoError("BAD_OPTION", `reportTo "trackio" needs a server's address and its write token`, {
      hint: "set TRACKIO_SERVER_URL to the write-access URL that `trackio show` prints, or the token in TRACKIO_WRITE_TOKEN",
    });
  }
  const place = `${url.origin}${url.pathname.replace(/\/+$/, "")}`;
  const headers = { "content-type": "application/json", "x-trackio-write-token": token };
  const delivery = new Delivery("trackio", note, limits);
  return {
    place,
    send(entry) {
      const body = JSON.stringify({ hf_token: null, logs: [entry] });
      delivery.add(async (signal) => {
        const answer = await request(`${place}/api/bulk_log`, { method: "POST", headers, body, signal });
        if (!answer.ok || /^\s*\{"error":(?!null)/.test(answer.body)) throw refusal(answer, "bulk_log");
      });
    },
    close: () => delivery.close(),
  };
}

/** A folder of this process alone in the inbox, and a file for each entry, which appears whole. */
function inboxStore(inbox: string): Store {
  const own = path.join(inbox, randomBytes(8).toString("hex"));
  let count = 0;
  return {
    place: inbox,
    async send(entry) {
      // trackio removes the folder when it has taken all that is there.
      await mkdir(own, { recursive: true });
      const file = path.join(own, `${String(count++).padStart(8, "0")}.jsonl`);
      await writeFile(`${file}.tmp`, `${JSON.stringify({ v: FRAGMENT_VERSION, kind: "metric", ...entry })}\n`);
      await rename(`${file}.tmp`, file);
    },
    close: async () => {},
  };
}

function newId(): string {
  return randomUUID().replaceAll("-", "");
}
