// Token ids from text and back: the parts of tokenizer.json joined as in the Rust library, so that ids, offsets and texts
// equal its. It knows nothing of folders, templates or which token ends a sequence.

import { type AddedTokenUse, createAddedTokens, type Piece } from "./pipeline/added-tokens.js";
import { AddedVocabulary } from "./pipeline/added-vocabulary.js";
import { AlignedText, wellFormed } from "./pipeline/aligned-text.js";
import { type AddedToken, readAddedTokens, type TokenizerJson } from "./pipeline/config.js";
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
}

export class TokenizerBackend {
  readonly #json: TokenizerJson;
  readonly #model: Model;
  readonly #added: AddedVocabulary;
  readonly #table: TokenTable;
  readonly #extract: (text: AlignedText, use: AddedTokenUse) => readonly Piece[];
  readonly #preTokenize: PreTokenizer | undefined;
  readonly #postProcess: PostProcessor | undefined;
  readonly #decoder: Decoder;
  readonly #alwaysTracked: boolean;
  readonly #cleanUp: boolean;
  #bytes: TokenBytes | undefined;

  /** `addedTokens` come on top of those of tokenizer.json. */
  constructor(json: TokenizerJson, addedTokens: readonly AddedToken[], options: BackendOptions = {}) {
    const normalizer = createNormalizer(json.normalizer);
    this.#json = json;
    this.#model = createModel(json.model);
    const added = new AddedVocabulary(this.#model, (text) => normalizer?.(AlignedText.of(text, false)).text ?? text);
    added.add(readAddedTokens(json).map(({ token }) => token));
    added.add(addedTokens);
    this.#added = added;
    this.#table = createTokenTable(this.#model.vocabulary, added);
    this.#extract = createAddedTokens(added, normalizer);
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

  /** The added tokens by id. */
  get addedTokens(): ReadonlyMap<number, AddedToken> {
    return this.#added.tokens;
  }

  /** `addSpecialTokens`: those of the post-processor. */
  encode(text: string, addSpecialTokens: boolean, use: AddedTokenUse = "all"): number[] {
    return this.#encode(text, addSpecialTokens, use, false).map(({ id }) => id);
  }

  encodeWithOffsets(text: string, addSpecialTokens: boolean, use: AddedTokenUse = "all"): readonly Token[] {
    return this.#encode(text, addSpecialTokens, use, true);
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

  /** Made once. */
  tokenBytes(): TokenBytes {
    this.#bytes ??= createTokenBytes(this.#json.decoder, this.#table.decoded, this.#table.special);
    return this.#bytes;
  }

  tokenToId(token: string): number | undefined {
    return this.#table.ids.get(token);
  }

  idToToken(id: number): string | undefined {
    return this.#table.spelling[id];
  }

  #encode(text: string, addSpecialTokens: boolean, use: AddedTokenUse, tracked: boolean): readonly Token[] {
    const tokens: Token[] = [];
    // Half of a surrogate pair is no character; Python refuses such text, here it is read as U+FFFD.
    const given = wellFormed(text);
    const aligned = AlignedText.of(given, tracked || this.#alwaysTracked);
    for (const { text: piece, id } of this.#extract(aligned, use)) {
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
