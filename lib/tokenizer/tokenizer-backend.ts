// Token ids from text and back: the parts of tokenizer.json joined as in the Rust library, so that ids, offsets and texts
// equal its. It knows nothing of folders, templates or which token ends a sequence.

import { createAddedTokens, isNormalized, type Piece } from "./pipeline/added-tokens.js";
import { AlignedText } from "./pipeline/aligned-text.js";
import type { AddedToken, TokenizerJson } from "./pipeline/config.js";
import { cleanUp, createDecoder, type Decoder } from "./pipeline/decoders.js";
import type { Model } from "./pipeline/model.js";
import { createModel } from "./pipeline/models.js";
import { createNormalizer } from "./pipeline/normalizers.js";
import { createPostProcessor, type PostProcessor, type Token } from "./pipeline/post-processors.js";
import { createPreTokenizer, needsOrigins, type PreTokenizer } from "./pipeline/pre-tokenizers.js";
import { createTokenBytes, type TokenBytes } from "./pipeline/token-bytes.js";
import { createTokenTable, type TokenTable } from "./pipeline/token-table.js";

/** Text of token ids that arrive bit by bit. */
export interface DecodeStream {
  /** The text that these ids complete; what later ids may still change is kept back. */
  push(ids: readonly number[]): string;
  /** The rest. */
  end(): string;
}

export interface BackendOptions {
  /** After decoding, join punctuation to the word before it. */
  readonly cleanUp?: boolean;
  /** Read special tokens in a text as the characters that they are. */
  readonly splitSpecialTokens?: boolean;
}

export class TokenizerBackend {
  readonly #json: TokenizerJson;
  readonly #model: Model;
  readonly #table: TokenTable;
  readonly #extract: (text: AlignedText) => readonly Piece[];
  readonly #preTokenize: PreTokenizer | undefined;
  readonly #postProcess: PostProcessor | undefined;
  readonly #decoder: Decoder;
  readonly #alwaysTracked: boolean;
  readonly #cleanUp: boolean;

  constructor(json: TokenizerJson, addedTokens: readonly AddedToken[], options: BackendOptions = {}) {
    const normalizer = createNormalizer(json.normalizer);
    const normalized = (token: AddedToken) =>
      (isNormalized(token) && normalizer?.(AlignedText.of(token.content, false)).text) || token.content;
    this.#json = json;
    this.#model = createModel(json.model);
    this.#table = createTokenTable(this.#model.vocabulary, addedTokens, normalized);
    this.#extract = createAddedTokens(addedTokens, normalizer, normalized, options.splitSpecialTokens ?? false);
    this.#preTokenize = createPreTokenizer(json.pre_tokenizer);
    this.#postProcess = createPostProcessor(json.post_processor, (id) => this.#table.spelling[id]);
    this.#decoder = createDecoder(json.decoder);
    this.#alwaysTracked = needsOrigins(json.pre_tokenizer);
    this.#cleanUp = options.cleanUp ?? false;
  }

  /** Number of tokens, added ones included. */
  get size(): number {
    return this.#table.size;
  }

  encode(text: string, addSpecialTokens: boolean): number[] {
    return this.#encode(text, addSpecialTokens, false).map(({ id }) => id);
  }

  encodeWithOffsets(text: string, addSpecialTokens: boolean): readonly Token[] {
    return this.#encode(text, addSpecialTokens, true);
  }

  decode(ids: readonly number[], skipSpecialTokens: boolean): string {
    const stream = this.decodeStream(skipSpecialTokens);
    return stream.push(ids) + stream.end();
  }

  decodeStream(skipSpecialTokens: boolean): DecodeStream {
    const { decoded, special } = this.#table;
    let text = "";
    const chain = this.#decoder((part) => {
      text += part;
    });
    const take = (): string => {
      const taken = text;
      text = "";
      return taken;
    };
    return {
      push: (ids) => {
        for (const id of ids) {
          const token = decoded[id];
          // A model's output layer is often longer than the vocabulary; ids without a token decode to nothing.
          if (token !== undefined && !(skipSpecialTokens && special.has(token))) chain.push(token);
        }
        // Cleaning up looks at neighbours on both sides, so it waits for all of them.
        return this.#cleanUp ? "" : take();
      },
      end: () => {
        chain.end();
        return this.#cleanUp ? cleanUp(take(), false) : take();
      },
    };
  }

  tokenBytes(): TokenBytes {
    return createTokenBytes(this.#json.decoder, this.#table.decoded, this.#table.special);
  }

  tokenToId(token: string): number | undefined {
    return this.#table.ids.get(token);
  }

  idToToken(id: number): string | undefined {
    return this.#table.spelling[id];
  }

  #encode(text: string, addSpecialTokens: boolean, tracked: boolean): readonly Token[] {
    const tokens: Token[] = [];
    // Half of a surrogate pair is no character; Python refuses such text, here it is read as U+FFFD.
    const given = wellFormed(text);
    const aligned = AlignedText.of(given, tracked || this.#alwaysTracked);
    for (const { text: piece, id } of this.#extract(aligned)) {
      if (id !== undefined) tokens.push({ id, offsets: piece.offsets(0, piece.text.length), text: piece.text });
      else for (const word of this.#preTokenize?.([piece]) ?? [piece]) this.#tokenizeWord(word, tokens);
    }
    return this.#postProcess ? this.#postProcess(tokens, addSpecialTokens, given) : tokens;
  }

  #tokenizeWord(word: AlignedText, tokens: Token[]): void {
    const { ids, spans } = this.#model.tokenize(word.text);
    for (let i = 0; i < ids.length; i++) {
      const offsets = word.offsets(spans[2 * i] as number, spans[2 * i + 1] as number);
      tokens.push({ id: ids[i] as number, offsets });
    }
  }
}

function wellFormed(text: string): string {
  return text.replace(/\p{Cs}/gu, "\uFFFD");
}
