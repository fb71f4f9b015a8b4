// Finding out what is behind an address: vLLM and SGLang name themselves as the owner of the models that they list.

import { setTimeout as sleep } from "node:timers/promises";
import { lazySchema } from "../zod.js";
import { parseAnswer } from "./answers.js";
import type { EngineServer, ServerFacts, ServerKind } from "./engine-server.js";
import { isPassing, ServerFault } from "./fault.js";
import { HEALTH_SECONDS, reasonIn, type ServerAnswer, ServerConnection } from "./http.js";
import { SglangServer } from "./sglang.js";
import { VllmServer } from "./vllm.js";

export interface ConnectOptions {
  readonly address: string;
  /** That one request may take. */
  readonly requestSeconds: number;
  /** Absent: the server asks for none. */
  readonly apiKey?: string | undefined;
}

const PAUSE_MS = 500;

const modelsSchema = lazySchema((z) =>
  z.object({
    data: z.array(
      z.object({
        id: z.string(),
        owned_by: z.string().default(""),
        parent: z.string().nullish(),
        max_model_len: z.int().min(1).nullish(),
      }),
    ),
  }),
);

/** Asks until there is an answer, for `seconds` at most. Throws SERVER_ERROR, or CANCELLED. */
export async function connectWithin(
  seconds: number,
  options: ConnectOptions,
  signal: AbortSignal,
): Promise<EngineServer> {
  const end = performance.now() + seconds * 1000;
  for (;;) {
    try {
      return await connect(options, signal);
    } catch (thrown) {
      if (!isPassing(thrown)) throw thrown;
      if (performance.now() + PAUSE_MS > end) throw notUp(options.address, seconds, thrown);
    }
    await sleep(PAUSE_MS, undefined, { signal }).catch(() => {});
  }
}

export async function connect(options: ConnectOptions, signal: AbortSignal): Promise<EngineServer> {
  const connection = new ServerConnection(options.address, options.requestSeconds, options.apiKey);
  const { url } = connection;
  const answer = await connection.call("/v1/models", { signal, seconds: HEALTH_SECONDS });
  if (answer.status !== 200) throw refusal(url, answer);
  const { data } = parseAnswer({ url }, "/v1/models", modelsSchema(), answer);
  const base = data.find(({ parent }) => parent === null || parent === undefined);
  const kind = base?.owned_by;
  if (base === undefined || (kind !== "vllm" && kind !== "sglang") || !base.max_model_len) {
    const found = base === undefined ? "no model" : `a model of ${JSON.stringify(kind)}`;
    throw new ServerFault("refused", `${url}: expected a server of vLLM or SGLang, found ${found}`, {
      hint: "start one: vllm serve MODEL, or python -m sglang.launch_server --model-path MODEL",
    });
  }
  const version = await versionOf(kind, connection, signal);
  const facts: ServerFacts = { kind, url, version, model: base.id, maxPositions: base.max_model_len };
  return kind === "vllm" ? new VllmServer(facts, connection) : new SglangServer(facts, connection);
}

/** "" where the server does not say. */
async function versionOf(kind: ServerKind, connection: ServerConnection, signal: AbortSignal): Promise<string> {
  const path = kind === "vllm" ? "/version" : "/server_info";
  const { body } = await connection.call(path, { signal, seconds: HEALTH_SECONDS });
  const version: unknown = Reflect.get(Object(body), "version");
  return typeof version === "string" ? version : "";
}

function refusal(url: string, answer: ServerAnswer): ServerFault {
  const isKey = answer.status === 401 || answer.status === 403;
  const text = `${url}/v1/models answers ${answer.status}: ${reasonIn(answer)}`;
  const hint = isKey
    ? "set VLLM_API_KEY to the key that the server was started with"
    : "is this the address of vLLM or SGLang?";
  return new ServerFault(answer.status >= 500 ? "failed" : "refused", text, { hint });
}

function notUp(address: string, seconds: number, cause: ServerFault): ServerFault {
  const [reason] = cause.message.split("\n");
  return new ServerFault("unreachable", `${address} was not up within ${seconds} s: ${reason}`, {
    cause,
    hint: "start the server first, or raise vllmServerTimeout",
  });
}
