// A model's tokenizer: text to ids and back, its special tokens, its chat template. Ids equal those of Python's
// tokenizers for the same files. Loading and saving is in tokenizer-files.ts, the algorithms in tokenizer-backend.ts.

import { checkBoolean, checkOptionNames, checkOptionsObject, checkText, namesOf, show } from "../checks.js";
import { endOfTextIds, tokenIdList } from "../end-of-text.js";
import { GrpoError } from "../errors.js";
import { readResolved, resolveModelFiles, withTemporaryFolder } from "../hub/hub.js";
import { type PushOptions, pushFolder } from "../hub/push.js";
import type { Message } from "../types.js";
import {
  CHAT_TEMPLATE_OPTIONS,
  type ChatTemplateOptions,
  type ChatTemplates,
  type CompiledTemplate,
  compileTemplate,
  renderConversation,
  selectTemplate,
} from "./chat-template.js";
import { controlTokens, encodeMarkedChat, markControlTokens } from "./control-tokens.js";
import type { Rendered } from "./jinja/template.js";
import type { AddedTokenUse } from "./pipeline/added-tokens.js";
import type { Offsets } from "./pipeline/aligned-text.js";
import type { TokenBytes } from "./pipeline/token-bytes.js";
import type { SpecialTokenName, SpecialTokens } from "./special-tokens.js";
import type { DecodeStream, TokenizerBackend } from "./tokenizer-backend.js";
import { readTokenizerFiles, TOKENIZER_PATTERNS, type TokenizerFiles, writeTokenizerFiles } from "./tokenizer-files.js";

/** Where a tokenizer is loaded from. */
export interface TokenizerOptions {
  /** Branch, tag or commit on the Hub. Default "main". */
  readonly revision?: string;
  /** Default: HF_TOKEN, or the token saved by a login. */
  readonly token?: string;
  /** Where downloads are kept. Default: HF_HUB_CACHE, or the "hub" folder in HF_HOME. */
  readonly cacheDir?: string;
  /** Folder in the repository or folder that holds the files. Default: the files lie at its top. */
  readonly subfolder?: string;
}

/** How a text is encoded. */
export interface EncodeOptions {
  /** Add the tokens that tokenizer.json's post-processor adds, such as a leading BOS. Default true. */
  readonly addSpecialTokens?: boolean;
  /**
   * Read special tokens such as <|im_end|> as the characters that they are made of: for a text that is not one's own. Default: what
   * tokenizer_config.json says, else false.
   */
  readonly splitSpecialTokens?: boolean;
}

/** Token ids, and for each whether the assistant wrote it. */
export interface MaskedIds {
  readonly ids: number[];
  /** 1 for the tokens that the assistant wrote, 0 for others; as long as `ids`. */
  readonly assistantMask: number[];
}

/** Token ids with the piece of the text that each comes from. */
export interface EncodedText {
  readonly ids: number[];
  readonly offsets: Offsets[];
}

/** Arguments of transformers' from_pretrained, and what to write here. */
const FOREIGN: Readonly<Record<string, string>> = {
  useFast: "leave it out: tokenizer.json is all that is read",
  trustRemoteCode: "leave it out: code from a model's repository never runs",
  paddingSide: "leave it out: nothing is padded",
  truncationSide: "leave it out, and set maxPromptLength and promptOverflow of GRPOConfig",
  padToken: "leave it out, and set tokenizer.padToken",
  eosToken: "leave it out, and set tokenizer.eosToken",
  bosToken: "leave it out, and set tokenizer.bosToken",
  chatTemplate: "leave it out, and set tokenizer.chatTemplate",
};

const TOKENIZER_OPTIONS = namesOf<TokenizerOptions>({ revision: true, token: true, cacheDir: true, subfolder: true });

const CHAT_OPTIONS: readonly string[] = [...CHAT_TEMPLATE_OPTIONS, "tokenize", "returnAssistantMask"];

/** A tokenizer with the model's chat template, as transformers reads them from tokenizer.json and its companions. */
export class Tokenizer {
  readonly #files: TokenizerFiles;
  readonly #backend: TokenizerBackend;
  #special: SpecialTokens;
  readonly #compiled = new Map<string, CompiledTemplate>();
  #templates: ChatTemplates | undefined;
  /** Set only when the program sets a template; then it is written on saving. */
  #ownTemplate: string | undefined;

  private constructor(files: TokenizerFiles, Backend: typeof TokenizerBackend) {
    this.#files = files;
    this.#backend = new Backend(files.json, files.addedTokens, {
      cleanUp: cleansUp(files),
    });
    this.#special = { ...tokensFromModelConfig(files, this.#backend), ...files.specialTokens };
    this.#templates = files.templates;
  }

  /** Loads from a local folder or a Hub id. */
  static async fromPretrained(idOrPath: string, options: TokenizerOptions = {}): Promise<Tokenizer> {
    checkOptionNames("Tokenizer.fromPretrained", options, TOKENIZER_OPTIONS, { names: FOREIGN });
    const resolved = await resolveModelFiles(idOrPath, { ...options, patterns: TOKENIZER_PATTERNS });
    const { TokenizerBackend } = await import("./tokenizer-backend.js");
    const files = await readResolved(resolved, () => readTokenizerFiles(resolved.folder, resolved.files));
    return new Tokenizer(files, TokenizerBackend);
  }

  /** Token ids of a text. */
  encode(text: string, options: EncodeOptions = {}): number[] {
    checkEncoded("encode", text, options);
    return this.#backend.encode(text, options.addSpecialTokens ?? true, this.#use(options));
  }

  /**
   * Token ids of a text, and for each where in the text it comes from: [start, end), for text.slice(start, end). Special
   * tokens that the post-processor adds have [0, 0).
   */
  encodeWithOffsets(text: string, options: EncodeOptions = {}): EncodedText {
    checkEncoded("encodeWithOffsets", text, options);
    const tokens = this.#backend.encodeWithOffsets(text, options.addSpecialTokens ?? true, this.#use(options));
    return { ids: tokens.map(({ id }) => id), offsets: tokens.map(({ offsets }) => offsets) };
  }

  /** Text of token ids. Ids that the vocabulary does not have decode to nothing. */
  decode(ids: readonly number[], options: { readonly skipSpecialTokens?: boolean } = {}): string {
    checkOptionNames("decode", options, ["skipSpecialTokens"]);
    checkIds("decode", ids);
    return this.#backend.decode(ids, options.skipSpecialTokens ?? false);
  }

  /**
   * Decodes ids as they come. Characters are never split; what `push` and `end` return is, joined, what `decode` gives
   * for all the ids.
   */
  decodeStream(options: { readonly skipSpecialTokens?: boolean } = {}): DecodeStream {
    checkOptionNames("decodeStream", options, ["skipSpecialTokens"]);
    const stream = this.#backend.decodeStream(options.skipSpecialTokens ?? false);
    return {
      push: (ids) => {
        checkIds("decodeStream().push", ids);
        return stream.push(ids);
      },
      end: () => stream.end(),
    };
  }

  /**
   * The bytes that each id puts into the middle of a text, those of id i from offsets[i] to offsets[i + 1]. Special tokens
   * have none. At the edges of a text `decode` may differ, for example by a first space.
   */
  tokenBytes(): TokenBytes {
    return this.#backend.tokenBytes();
  }

  /**
   * The text of a conversation in the model's own format; its token ids with `tokenize: true`; with
   * `returnAssistantMask: true` also which of them the template marks as the assistant's ({% generation %} blocks).
   */
  applyChatTemplate(
    messages: readonly Message[],
    options: ChatTemplateOptions & { readonly tokenize: true; readonly returnAssistantMask: true },
  ): MaskedIds;
  applyChatTemplate(
    messages: readonly Message[],
    options: ChatTemplateOptions & { readonly tokenize: true; readonly returnAssistantMask?: false },
  ): number[];
  applyChatTemplate(
    messages: readonly Message[],
    options?: ChatTemplateOptions & { readonly tokenize?: false; readonly returnAssistantMask?: false },
  ): string;
  applyChatTemplate(
    messages: readonly Message[],
    options: ChatTemplateOptions & { readonly tokenize?: boolean; readonly returnAssistantMask?: boolean } = {},
  ): string | number[] | MaskedIds {
    checkOptionsObject("applyChatTemplate", options, CHAT_OPTIONS, "write { addGenerationPrompt: … }");
    const { tokenize, returnAssistantMask, sanitizeControlTokens, ...rest } = options;
    for (const [name, value] of Object.entries({ tokenize, returnAssistantMask, sanitizeControlTokens })) {
      if (value !== undefined) checkBoolean("applyChatTemplate", name, value);
    }
    const template = this.#template(selectTemplate(this.#templates, rest));
    if (returnAssistantMask) checkMaskOptions(template.source, tokenize, rest.continueFinalMessage);
    if (sanitizeControlTokens) {
      if (tokenize && !returnAssistantMask) return this.#sanitized(template, messages, rest);
      throw new GrpoError("BAD_OPTION", "sanitizeControlTokens needs tokenize: true, and no returnAssistantMask");
    }
    const rendered = this.#render(template, messages, rest);
    // The template writes BOS itself where the model wants one.
    if (!tokenize) return rendered.text;
    if (!returnAssistantMask) return this.encode(rendered.text, { addSpecialTokens: false });
    const { ids, offsets } = this.encodeWithOffsets(rendered.text, { addSpecialTokens: false });
    return { ids, assistantMask: maskOf(offsets, rendered.generated) };
  }

  /** Whether the chat template marks what the assistant writes, for `returnAssistantMask`. */
  marksAssistant(options: ChatTemplateOptions = {}): boolean {
    return marksAssistant(selectTemplate(this.#templates, options));
  }

  /** Jinja source, or several by name; undefined where the model has none. */
  get chatTemplate(): ChatTemplates | undefined {
    return this.#templates;
  }

  /** Takes the place of the model's own. */
  set chatTemplate(template: string) {
    compileTemplate(template);
    this.#templates = template;
    this.#ownTemplate = template;
  }

  /** Number of tokens, added ones included. A model's output layer may be longer. */
  get vocabSize(): number {
    return this.#backend.size;
  }

  /** The id of a token; undefined where the vocabulary has none. */
  tokenToId(token: string): number | undefined {
    return this.#backend.tokenToId(token);
  }

  /** The token of an id, as it is spelt in the vocabulary. */
  idToToken(id: number): string | undefined {
    return this.#backend.idToToken(id);
  }

  /** The token that begins a text. */
  get bosToken(): string | undefined {
    return this.#special.bos_token;
  }

  /** Throws BAD_INPUT for a token that the vocabulary has not. */
  set bosToken(token: string | undefined) {
    this.#setSpecial("bos_token", token);
  }

  /** The id of bosToken. */
  get bosTokenId(): number | undefined {
    return this.#idOf("bos_token");
  }

  /** The token that ends a text. */
  get eosToken(): string | undefined {
    return this.#special.eos_token;
  }

  /** Throws BAD_INPUT for a token that the vocabulary has not. */
  set eosToken(token: string | undefined) {
    this.#setSpecial("eos_token", token);
  }

  /** The id of eosToken. */
  get eosTokenId(): number | undefined {
    return this.#idOf("eos_token");
  }

  /** The padding token, which means nothing here but is saved. */
  get padToken(): string | undefined {
    return this.#special.pad_token;
  }

  /** Throws BAD_INPUT for a token that the vocabulary has not. */
  set padToken(token: string | undefined) {
    this.#setSpecial("pad_token", token);
  }

  /** The id of padToken. */
  get padTokenId(): number | undefined {
    return this.#idOf("pad_token");
  }

  /** Every id that ends a completion: the tokenizer's EOS and those of generation_config.json, ascending. */
  get eosTokenIds(): readonly number[] {
    const { generationConfig, modelConfig, source } = this.#files;
    const ids = new Set(endOfTextIds(modelConfig, generationConfig, source));
    if (this.eosTokenId !== undefined) ids.add(this.eosTokenId);
    return [...ids].sort((a, b) => a - b);
  }

  /** Writes the tokenizer's files; those that nothing changed keep their bytes. */
  async savePretrained(directory: string): Promise<void> {
    checkText("savePretrained", "directory", directory);
    await writeTokenizerFiles(this.#files, directory, {
      specialTokens: this.#changedSpecialTokens(),
      chatTemplate: this.#ownTemplate,
    });
  }

  /** Saves to a repository on the Hub, made if it is not there; returns the commit's address. */
  async pushToHub(repo: string, options: PushOptions = {}): Promise<string> {
    checkText("pushToHub", "repo", repo);
    return withTemporaryFolder(async (folder) => {
      await this.savePretrained(folder);
      return pushFolder(repo, folder, { commitMessage: "Upload tokenizer", ...options });
    });
  }

  #render(template: CompiledTemplate, messages: readonly Message[], options: ChatTemplateOptions): Rendered {
    return renderConversation(template, messages, options, this.#special);
  }

  #sanitized(template: CompiledTemplate, messages: readonly Message[], options: ChatTemplateOptions): number[] {
    const listed = this.#files.config.chat_control_tokens;
    const tokens = controlTokens(this.#backend.addedTokens.values(), template.source, listed);
    const marked = markControlTokens(messages, options, tokens);
    return encodeMarkedChat(this.#render(template, marked.messages, marked.options).text, {
      encode: (text, use = this.#use({})) => this.#backend.encode(text, false, use),
      tokenToId: (token) => this.#backend.tokenToId(token),
    });
  }

  #use({ splitSpecialTokens }: EncodeOptions): AddedTokenUse {
    return (splitSpecialTokens ?? this.#files.config.split_special_tokens === true) ? "not special" : "all";
  }

  #template(source: string): CompiledTemplate {
    const known = this.#compiled.get(source);
    if (known !== undefined) return known;
    const compiled = compileTemplate(source);
    this.#compiled.set(source, compiled);
    return compiled;
  }

  #idOf(name: SpecialTokenName): number | undefined {
    const token = this.#special[name];
    return token === undefined ? undefined : this.#backend.tokenToId(token);
  }

  #setSpecial(name: SpecialTokenName, token: string | undefined): void {
    if (token === undefined || this.#backend.tokenToId(token) === undefined) {
      const shown = token === undefined ? "undefined" : JSON.stringify(token);
      throw new GrpoError("BAD_INPUT", `${name} must be a token of the vocabulary, found ${shown}`, {
        hint: "use a token that it has, the model has no row for a new one; for padding, tokenizer.padToken = tokenizer.eosToken",
      });
    }
    this.#special = { ...this.#special, [name]: token };
  }

  #changedSpecialTokens(): SpecialTokens {
    const loaded = this.#files.specialTokens;
    const fallback = tokensFromModelConfig(this.#files, this.#backend);
    return Object.fromEntries(
      Object.entries(this.#special).filter(([name, token]) => token !== (loaded[name] ?? fallback[name])),
    );
  }
}

function checkMaskOptions(
  template: string,
  tokenize: boolean | undefined,
  continued: boolean | string | undefined,
): void {
  if (!tokenize || continued) {
    throw new GrpoError("BAD_OPTION", "returnAssistantMask needs tokenize: true, and no continueFinalMessage");
  }
  if (!marksAssistant(template)) {
    throw new GrpoError("BAD_TEMPLATE", "the chat template does not mark what the assistant writes", {
      hint: "put {% generation %} … {% endgeneration %} around the assistant's text in the template",
    });
  }
}

function marksAssistant(template: string): boolean {
  return /\{%[-+]?\s*generation\s*[-+]?%\}/.test(template);
}

/** Every token that shares a character with a marked span, from the one of its first character to that of its last. */
function maskOf(offsets: readonly Offsets[], spans: Rendered["generated"]): number[] {
  const mask = new Array<number>(offsets.length).fill(0);
  const tokenAt = (position: number) => offsets.findIndex(([start, end]) => position >= start && position < end);
  for (const [start, end] of spans) {
    const first = tokenAt(start);
    if (first < 0) break;
    const last = tokenAt(end - 1);
    mask.fill(1, first, last > 0 ? last + 1 : offsets.length);
  }
  return mask;
}

function checkEncoded(method: string, text: unknown, options: EncodeOptions): void {
  if (typeof text !== "string") throw new GrpoError("BAD_INPUT", `${method}() takes a string, found ${typeof text}`);
  checkOptionNames(method, options, ["addSpecialTokens", "splitSpecialTokens"]);
}

function checkIds(method: string, ids: readonly number[]): void {
  if (typeof ids !== "object" || ids === null || !(Symbol.iterator in ids)) {
    throw new GrpoError("BAD_INPUT", `${method}() takes a list of token ids, found ${show(ids)}`);
  }
  for (const id of ids) {
    if (!Number.isInteger(id) || id < 0) {
      throw new GrpoError("BAD_INPUT", `${method}() takes token ids (integers from 0), found ${String(id)}`);
    }
  }
}

/**
 * BOS, EOS and PAD by the ids in config.json, for tokenizers that do not say. A null in tokenizer_config.json is an
 * answer ("none") and is respected.
 */
function tokensFromModelConfig(files: TokenizerFiles, backend: TokenizerBackend): SpecialTokens {
  const tokens: Record<string, string> = {};
  for (const name of ["bos_token", "eos_token", "pad_token"] as const) {
    if (name in files.config) continue;
    const id = tokenIdList(files.modelConfig, `${name}_id`, files.source)[0];
    const token = id === undefined ? undefined : backend.idToToken(id);
    if (token !== undefined) tokens[name] = token;
  }
  return tokens;
}

/** As transformers 5: cleaning up would damage byte-pair text, so a BPE model must ask for it by the long name. */
function cleansUp({ config, json }: TokenizerFiles): boolean {
  if (config.clean_up_tokenization_spaces !== true) return false;
  return (
    json.model.type !== "BPE" || config.clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output === true
  );
}
