// `grpo serve`: a model, with or without adapters, behind OpenAI's protocols. stdout has the base URL and nothing else. SIGTERM and
// Ctrl-C let the requests that run end; a second one cuts them off.

import { parseArgs } from "node:util";
import { LIMIT_NAMES } from "../endpoint/limits.js";
import { type ServeModelOptions, serveModel } from "../endpoint/serve-model.js";
import { GrpoError } from "../errors.js";
import { CausalLM } from "../model/model.js";
import type { FromPretrainedOptions } from "../model/model-options.js";
import { toSnake } from "../options/names.js";
import { Tokenizer } from "../tokenizer/tokenizer.js";
import type { Command } from "./command.js";

const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/** "max-rows" → "maxRows". */
const LIMIT_FLAGS = new Map(LIMIT_NAMES.map((name) => [toSnake(name).replaceAll("_", "-"), name]));

const options = {
  model: { type: "string" },
  adapter: { type: "string", multiple: true },
  name: { type: "string" },
  dtype: { type: "string" },
  device: { type: "string" },
  revision: { type: "string" },
  host: { type: "string" },
  port: { type: "string" },
  "api-key": { type: "string" },
  quiet: { type: "boolean" },
} as const;

type Values = ReturnType<typeof parseArgs<{ options: typeof options }>>["values"];

export const serveCommand: Command = {
  usage:
    "--model <id or folder> [--adapter NAME=<id or folder> …]\n\n" +
    "  Prints the base URL for clients of OpenAI's protocols, http://127.0.0.1:PORT/v1, and serves until SIGTERM or Ctrl-C, which\n" +
    "  let requests that run end.\n\n" +
    "  --adapter NAME=DIR         served beside the model as the model NAME; may be given several times\n" +
    "  --name NAME                what clients call the model; default: what --model says, or the last part of it\n" +
    "  --port N                   default 0: a free one\n" +
    "  --host ADDRESS             default 127.0.0.1; any other needs a key\n" +
    "  --api-key KEY              what clients must give; default: the variable GRPO_API_KEY, else none\n" +
    "  --quiet                    nothing on stderr but errors\n" +
    "  --dtype, --device, --revision   as of CausalLM.fromPretrained\n\n" +
    `  Limits, as numbers: ${[...LIMIT_FLAGS.keys()].map((flag) => `--${flag}`).join(", ")}`,

  async run(args) {
    const limits = Object.fromEntries([...LIMIT_FLAGS.keys()].map((flag) => [flag, { type: "string" as const }]));
    const { values } = parseArgs({ args: [...args], options: { ...limits, ...options } });
    const given: Values = values;
    if (given.model === undefined) {
      throw new GrpoError("BAD_OPTION", "which model?", { hint: "grpo serve --model <id or folder> …" });
    }
    const adapters = (given.adapter ?? []).map(readAdapter);
    const served = serveOptions(given, values, adapters);
    const tokenizer = await Tokenizer.fromPretrained(given.model, source(given));
    const model = await CausalLM.fromPretrained(given.model, loadOptions(given));
    try {
      for (const { name, folder } of adapters) await model.loadAdapter(folder, { name });
      await serveUntilSignal(model, tokenizer, served);
    } finally {
      model.dispose();
    }
    return 0;
  },
};

async function serveUntilSignal(model: CausalLM, tokenizer: Tokenizer, served: ServeModelOptions): Promise<void> {
  const endpoint = await serveModel(model, tokenizer, served);
  console.log(endpoint.baseURL);
  let signals = 0;
  const ended = new Promise<void>((resolve, reject) => {
    const onSignal = () => {
      signals++;
      if (signals === 1 && endpoint.running > 0) {
        served.onNotice?.(`requests are let end: ${endpoint.running}; a second signal cuts them off`);
      }
      (signals === 1 ? endpoint.close() : endpoint.abort()).then(resolve, reject);
    };
    for (const signal of SIGNALS) process.on(signal, onSignal);
  });
  await ended;
}

function readAdapter(text: string): { readonly name: string; readonly folder: string } {
  const [, name, folder] = /^([^=]+)=(.+)$/.exec(text) ?? [];
  if (name !== undefined && folder !== undefined) return { name, folder };
  throw new GrpoError("BAD_OPTION", `--adapter must be NAME=<id or folder>, found ${JSON.stringify(text)}`, {
    hint: `write --adapter my-adapter=${text}`,
  });
}

function source({ revision }: Values): { revision?: string } {
  return revision === undefined ? {} : { revision };
}

function loadOptions({ dtype, device, revision }: Values): FromPretrainedOptions {
  // fromPretrained checks what they may be.
  return defined({ dtype, device, revision }) as FromPretrainedOptions;
}

function serveOptions(
  values: Values,
  all: Readonly<Record<string, unknown>>,
  adapters: readonly { readonly name: string }[],
): ServeModelOptions {
  const limits = [...LIMIT_FLAGS].map(([flag, name]) => [name, numberOf(flag, all[flag])]);
  const apiKey = values["api-key"] ?? process.env.GRPO_API_KEY;
  const say = (text: string) => console.error(`grpo serve: ${text}`);
  return {
    ...defined({ name: values.name, host: values.host, port: numberOf("port", values.port) }),
    ...(apiKey === undefined || apiKey === "" ? {} : { apiKey }),
    ...(adapters.length === 0 ? {} : { adapters: adapters.map(({ name }) => name) }),
    limits: defined(Object.fromEntries(limits)),
    ...(values.quiet ? {} : { onNotice: say }),
    onError: (error) => say(error.message),
  };
}

/** Ranges are checked where the numbers are used. */
function numberOf(flag: string, value: unknown): number | undefined {
  if (value === undefined) return undefined;
  const parsed = typeof value === "string" && value.trim() !== "" ? Number(value) : Number.NaN;
  if (!Number.isNaN(parsed)) return parsed;
  throw new GrpoError("BAD_OPTION", `--${flag} must be a number, found ${JSON.stringify(value)}`);
}

function defined<T extends object>(values: T): { [Key in keyof T]?: Exclude<T[Key], undefined> } {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as never;
}
