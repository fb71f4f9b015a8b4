// The ranks that the environment names, through the engine of the model that they train. Between steps they exchange what the run
// gathers, as bytes; the engine sums the gradient by itself.

import { createSocket } from "node:dgram";
import { lookup } from "node:dns/promises";
import { writeFileSync } from "node:fs";
import { isDeepStrictEqual } from "node:util";
import { deserialize, serialize } from "node:v8";
import { at } from "../at.js";
import { show } from "../checks.js";
import { GrpoError, reasonOf } from "../errors.js";
import type { NativeRankOptions } from "../native/native.js";
import { packageVersion } from "../package-files.js";
import { type RankEnvironment, readRankEnvironment } from "./environment.js";
import { ALONE, type Ranks } from "./ranks.js";

/** A model whose engine can train together with those of other processes. */
export interface RankedModel {
  joinRanks(options: NativeRankOptions): Promise<void>;
  gatherBytes(own: Uint8Array): Promise<Uint8Array[]>;
  shareValues(): Promise<void>;
  leaveRanks(reason: string): Promise<void>;
}

/** Groups that this process has joined: all ranks make theirs in one order. */
let groups = 0;

/** The group that a model's engine has joined. */
const GROUPS = new WeakMap<object, Promise<void>>();

export class ProcessRanks implements Ranks {
  readonly rank: number;
  readonly size: number;
  readonly #environment: RankEnvironment | undefined;
  readonly #timeout: number;
  #model: RankedModel | undefined;

  /** `timeout`: seconds that a rank waits for the others. Throws BAD_CONFIG for an environment that contradicts itself. */
  constructor(timeout: number, environment = readRankEnvironment()) {
    this.#environment = environment;
    this.#timeout = timeout;
    this.rank = environment?.rank ?? ALONE.rank;
    this.size = environment?.size ?? ALONE.size;
  }

  /** Joins the others, once for a model; does nothing alone. Throws BAD_INPUT for a model that cannot, RANK_FAILED. */
  async join(model: object): Promise<void> {
    const environment = this.#environment;
    if (environment === undefined) return;
    if (!isRanked(model)) {
      throw new GrpoError("BAD_INPUT", `a run on ${this.size} ranks needs a model of this library`, {
        hint: "train a CausalLM, or start one process",
      });
    }
    const joined = GROUPS.get(model) ?? this.#join(model, environment);
    GROUPS.set(model, joined);
    await joined;
    this.#model = model;
  }

  async #join(model: RankedModel, { host, port, served, restarts, network }: RankEnvironment): Promise<void> {
    const { rank, size } = this;
    await model.joinRanks({
      host,
      port,
      rank,
      size,
      serves: rank === 0 && !served,
      name: `grpo/${restarts}/${groups++}`,
      address: network === undefined ? await addressTowards(host, port) : "",
      network: network ?? "",
      timeout: this.#timeout,
    });
  }

  async gather<T>(value: T): Promise<readonly T[]> {
    if (this.#environment === undefined) return [value];
    const all = await this.#joined().gatherBytes(serialize(value));
    return all.map((bytes) => deserialize(bytes) as T);
  }

  /** Throws BAD_CONFIG where a rank runs another version or has other settings than rank 0, naming both. */
  async agree(settings: Readonly<Record<string, unknown>>): Promise<void> {
    if (this.#environment === undefined) return;
    const own = JSON.parse(JSON.stringify({ "version of grpo": packageVersion, ...settings })) as Record<
      string,
      unknown
    >;
    const all = await this.gather(own);
    const first = at(all, 0);
    all.forEach((other, rank) => {
      const name = Object.keys({ ...first, ...other }).find((name) => !isDeepStrictEqual(first[name], other[name]));
      if (name === undefined) return;
      const found = `rank ${rank} has ${name} ${show(other[name])}, and rank 0 ${show(first[name])}`;
      throw new GrpoError("BAD_CONFIG", `expected the same run on all ranks, but ${found}`, {
        hint: "start the same script with the same versions, options and data everywhere",
      });
    });
  }

  /** What is trained becomes what rank 0 has. */
  async shareValues(): Promise<void> {
    if (this.#environment !== undefined) await this.#joined().shareValues();
  }

  /** After a failure: the others learn of it, and the launcher. Never rejects. */
  async fail(error: unknown): Promise<void> {
    if (this.#environment === undefined) return;
    tellLauncher(error);
    const isFollowing = error instanceof GrpoError && error.code === "RANK_FAILED";
    const model = this.#model;
    if (model === undefined) return;
    GROUPS.delete(model);
    const [reason = ""] = reasonOf(error).split("\n");
    await model.leaveRanks(isFollowing ? "" : reason).catch(() => {});
  }

  #joined(): RankedModel {
    if (this.#model) return this.#model;
    throw new GrpoError("INTERNAL", "a run on several ranks was begun before they were joined");
  }
}

function isRanked(model: object): model is RankedModel {
  return "joinRanks" in model && "gatherBytes" in model;
}

/** This host's address on the way to another: what a socket towards it is bound to. Nothing is sent. */
async function addressTowards(host: string, port: number): Promise<string> {
  const { address, family } = await lookup(host);
  const socket = createSocket(family === 6 ? "udp6" : "udp4");
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once("error", reject);
      socket.connect(port, address, resolve);
    });
    return socket.address().address;
  } finally {
    socket.close();
  }
}

/** torchrun shows what stands in this file as the cause of a failure. */
function tellLauncher(error: unknown): void {
  const file = process.env.TORCHELASTIC_ERROR_FILE;
  if (file === undefined || file === "") return;
  const details = {
    py_callstack: error instanceof Error ? (error.stack ?? "") : "",
    timestamp: `${Math.floor(Date.now() / 1000)}`,
  };
  try {
    writeFileSync(file, JSON.stringify({ message: { message: reasonOf(error), extraInfo: details } }));
  } catch {
    // The error itself is thrown all the same.
  }
}
