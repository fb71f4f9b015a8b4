// The files of a tokenizer, read and written back: tokenizer.json, tokenizer_config.json, special_tokens_map.json and the
// chat templates, in the forms of transformers 4 and 5. Bytes are kept, so that what nobody changed is saved unchanged.

import { mkdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { GrpoError, reasonOf } from "../errors.js";
import { foreignKind } from "../file-kind.js";
import { isJsonObject, type JsonObject } from "../json.js";
import type { ChatTemplates } from "./chat-template.js";
import { type AddedToken, readAddedTokens, type TokenizerJson } from "./pipeline/config.js";
import { contentOf, readSpecialTokens, type SpecialTokens } from "./special-tokens.js";

/** What to fetch from the Hub for a tokenizer: its own files, and the two that name the model's stop ids. */
export const TOKENIZER_PATTERNS: readonly string[] = [
  "tokenizer.json",
  "tokenizer_config.json",
  "special_tokens_map.json",
  "added_tokens.json",
  "chat_template.jinja",
  "additional_chat_templates/*.jinja",
  "config.json",
  "generation_config.json",
];

/** Read for their ids only: they belong to the model and are not saved with the tokenizer. */
const MODEL_FILES = new Set(["config.json", "generation_config.json"]);

export interface TokenizerFiles {
  /** Where the files came from, for messages. */
  readonly source: string;
  /** Bytes by file name, of every file that is saved again. */
  readonly bytes: ReadonlyMap<string, Buffer>;
  readonly json: TokenizerJson;
  readonly config: JsonObject;
  /** Those that the other files add to the ones of tokenizer.json. */
  readonly addedTokens: readonly AddedToken[];
  readonly specialTokens: SpecialTokens;
  readonly templates: ChatTemplates | undefined;
  readonly modelConfig: JsonObject;
  /** Undefined when the folder has no generation_config.json. */
  readonly generationConfig: JsonObject | undefined;
}

export async function readTokenizerFiles(folder: string, names: readonly string[]): Promise<TokenizerFiles> {
  const all = new Map<string, Buffer>();
  for (const name of names) all.set(name, await readFile(path.join(folder, name)));
  if (!all.has("tokenizer.json")) {
    const missing = `no tokenizer.json in ${folder} (found: ${names.join(", ") || "no file"})`;
    throw new GrpoError("BAD_TOKENIZER", missing, {
      cause: new GrpoError("FILE_NOT_FOUND", missing),
      hint: "convert the older format in Python: AutoTokenizer.from_pretrained(folder).save_pretrained(folder)",
    });
  }
  const object = (name: string) => parseObject(all.get(name), path.join(folder, name));
  const json = object("tokenizer.json");
  if (json === undefined || !isJsonObject(json.model)) {
    throw new GrpoError("BAD_TOKENIZER", `${path.join(folder, "tokenizer.json")} has no "model" part`);
  }
  const config = object("tokenizer_config.json") ?? {};
  const tokenizerJson = json as TokenizerJson;
  const sources = {
    folder,
    inFile: readAddedTokens(tokenizerJson),
    padding: isJsonObject(json.padding) ? json.padding.pad_token : undefined,
    config,
    map: object("special_tokens_map.json"),
    added: object("added_tokens.json"),
  };
  return {
    source: folder,
    bytes: new Map([...all].filter(([name]) => !MODEL_FILES.has(name))),
    json: tokenizerJson,
    config,
    ...readSpecialTokens(sources),
    templates: readTemplates(all, config, folder),
    modelConfig: object("config.json") ?? {},
    generationConfig: object("generation_config.json"),
  };
}

/** Writes the files, with the given special tokens and, if it is not undefined, the given template in their place. */
export async function writeTokenizerFiles(
  files: TokenizerFiles,
  directory: string,
  changes: { readonly specialTokens: SpecialTokens; readonly chatTemplate: string | undefined },
): Promise<void> {
  const out = new Map(files.bytes);
  if (!out.has("tokenizer_config.json")) out.set("tokenizer_config.json", Buffer.from("{}\n"));
  // Without added_tokens_decoder in the config, transformers lets special_tokens_map.json win: both must agree.
  for (const name of ["tokenizer_config.json", "special_tokens_map.json"]) {
    const bytes = out.get(name);
    if (bytes) out.set(name, withSpecialTokens(bytes, changes.specialTokens));
  }
  if (changes.chatTemplate !== undefined) out.set("chat_template.jinja", Buffer.from(changes.chatTemplate));
  for (const [name, bytes] of out) {
    const target = path.join(directory, name);
    await mkdir(path.dirname(target), { recursive: true });
    await writeFile(target, bytes);
  }
}

/** Files win over the config; in the config a template is a string, or a list of { name, template }. */
function readTemplates(
  all: ReadonlyMap<string, Buffer>,
  config: JsonObject,
  folder: string,
): ChatTemplates | undefined {
  const named: Record<string, string> = {};
  for (const [name, bytes] of all) {
    const extra = /^additional_chat_templates\/(.+)\.jinja$/.exec(name)?.[1];
    if (name === "chat_template.jinja") named.default = bytes.toString("utf8");
    else if (extra !== undefined) named[extra] = bytes.toString("utf8");
  }
  if (Object.keys(named).length > 0) return onlyDefault(named);
  const listed = config.chat_template;
  if (listed === undefined || listed === null) return undefined;
  if (typeof listed === "string") return listed;
  const entries: unknown[] = Array.isArray(listed) ? listed : [listed];
  for (const entry of entries) {
    if (!isJsonObject(entry) || typeof entry.name !== "string" || typeof entry.template !== "string") {
      throw new GrpoError(
        "BAD_TOKENIZER",
        `${folder}: chat_template must be a string or a list of { name, template }, found ${JSON.stringify(entry)}`,
      );
    }
    named[entry.name] = entry.template;
  }
  return named;
}

function onlyDefault(named: Readonly<Record<string, string>>): ChatTemplates {
  return named.default !== undefined && Object.keys(named).length === 1 ? named.default : named;
}

function withSpecialTokens(bytes: Buffer, tokens: SpecialTokens): Buffer {
  const text = bytes.toString("utf8");
  const config = JSON.parse(text) as Record<string, unknown>;
  let changed = false;
  for (const [name, content] of Object.entries(tokens)) {
    if (contentOf(config[name]) === content) continue;
    config[name] = content;
    changed = true;
  }
  if (!changed) return bytes;
  // Python writes "no limit" as an integer that a double cannot hold; the digits of the file are put back.
  const limit = /(?<!\\)"model_max_length"\s*:\s*(\d{16,})/.exec(text)?.[1];
  const json = JSON.stringify(config, null, 2);
  return Buffer.from(`${limit ? json.replace(/(\n {2}"model_max_length": )[^,\n]+/, `$1${limit}`) : json}\n`);
}

function parseObject(bytes: Buffer | undefined, file: string): JsonObject | undefined {
  if (bytes === undefined) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString("utf8"));
  } catch (thrown) {
    const kind = foreignKind(bytes);
    const what = kind === undefined ? `is not valid JSON: ${reasonOf(thrown)}` : `has ${kind.name} for its content`;
    throw new GrpoError("BAD_TOKENIZER", `${file} ${what}`, {
      hint: kind?.hint ?? "fetch it again: it may be truncated",
    });
  }
  if (isJsonObject(value)) return value;
  throw new GrpoError("BAD_TOKENIZER", `${file} must hold a JSON object`);
}
