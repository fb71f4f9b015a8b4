// Turns of a model whose chat template knows neither calls nor reasoning: all that it says is content, to the last space. Whatever was
// taken out of it could not be put back into the next prompt.

import type { ChatDelta, ChatFormat, ParsedMessage, ResponseStream } from "../chat/chat-format.js";
import { templateSource } from "../chat/template-needs.js";
import type { Tokenizer } from "../tokenizer/tokenizer.js";
import type { TokenIds } from "../types.js";

/** Whether all that the model says is content. */
export function saysTextAlone({ family }: ChatFormat, tokenizer: Tokenizer): boolean {
  return family === "plain" && !/think|reasoning/i.test(templateSource(tokenizer));
}

export class PlainTurn implements ResponseStream {
  readonly #decoder: ReturnType<Tokenizer["decodeStream"]>;
  readonly #endIds: ReadonlySet<number>;
  #content = "";
  #ended = false;

  constructor(tokenizer: Tokenizer, endIds: readonly number[]) {
    this.#decoder = tokenizer.decodeStream({ skipSpecialTokens: true });
    this.#endIds = new Set(endIds);
  }

  get message(): ParsedMessage {
    return { content: this.#content, reasoning: "", toolCalls: [], malformedCalls: 0 };
  }

  push(output: TokenIds | string): ChatDelta[] {
    if (this.#ended) return [];
    if (typeof output === "string") return this.#take(output);
    const end = output.findIndex((id) => this.#endIds.has(id));
    this.#ended = end >= 0;
    return this.#take(this.#decoder.push(end < 0 ? output : output.slice(0, end)));
  }

  end(): ChatDelta[] {
    this.#ended = true;
    return this.#take(this.#decoder.end());
  }

  #take(text: string): ChatDelta[] {
    this.#content += text;
    return text === "" ? [] : [{ type: "content", text }];
  }
}
