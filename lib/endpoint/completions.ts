// OpenAI's completions: POST /v1/completions, of texts or ids, whole or streamed. With `echo` the prompt comes first, and with
// `logprobs` its log-probabilities, which is how lm-evaluation-harness scores given texts.

import { lazySchema } from "../zod.js";
import { badField, unsupportedField } from "./api-error.js";
import { usageOf } from "./chat.js";
import { drawingFields, MAX_TOP_LOGPROBS, readFields, streamFields } from "./fields.js";
import type { DrawnToken, GenerationEvent, TokenLogprob } from "./generator.js";
import type { Call } from "./http-server.js";
import { newId, now } from "./ids.js";
import { mergeStreams } from "./merge-streams.js";
import { jsonReply, type Reply, type ServerEvent } from "./reply.js";
import {
  checkIds,
  checkTextLength,
  countOf,
  modelOf,
  type Served,
  type ServedModel,
  stopStringsOf,
  textGrammar,
  toGeneration,
} from "./served.js";
import { completionLogprobs, TokenNames } from "./token-logprobs.js";
import { TokenText } from "./token-text.js";

const PATH = "/v1/completions";

const completionSchema = lazySchema((z) => {
  const ids = z.array(z.int().min(0));
  return z.object({
    ...drawingFields(z),
    ...streamFields(z),
    prompt: z.union([z.string(), ids, z.array(z.string()), z.array(ids)]),
    echo: z.boolean().nullish(),
    logprobs: z.union([z.int().min(0).max(MAX_TOP_LOGPROBS), z.boolean()]).nullish(),
    add_special_tokens: z.boolean().nullish(),
    skip_special_tokens: z.boolean().nullish(),
  });
});

type CompletionFields = ReturnType<ReturnType<typeof completionSchema>["parse"]>;

interface Prompt {
  readonly ids: readonly number[];
  readonly text: string;
}

/** A token of a prompt or of a completion; the first of a prompt has no context, and no log-probability. */
type AnyToken = { readonly id: number; readonly logprob: number | undefined; readonly top: readonly TokenLogprob[] };

export function answerCompletions(served: Served, call: Call): Reply {
  const fields = readFields(completionSchema(), call.body, served.notice(PATH));
  const prompts = promptsOf(served, fields);
  countOf(served, fields, prompts.length);
  if (fields.stream && fields.echo && topOf(fields) !== undefined) {
    throw unsupportedField("stream", "the log-probabilities of an echoed prompt come whole");
  }
  const run = new CompletionRun(served, prompts, fields, call);
  if (!fields.stream) return jsonReply(() => run.whole());
  return { type: "events", events: () => run.chunks(), failure: (error) => ({ data: error.body }) };
}

function promptsOf(
  served: Served,
  { prompt, add_special_tokens: special, max_tokens: most, echo }: CompletionFields,
): Prompt[] {
  const { tokenizer } = served;
  const list: readonly (string | readonly number[])[] =
    typeof prompt === "string" ? [prompt] : prompt.length === 0 ? [] : isIds(prompt) ? [prompt] : prompt;
  if (list.length === 0) throw badField("prompt", "it is empty");
  if (most === 0 && !echo) throw badField("max_tokens", "0 needs echo, or there would be no answer");
  checkTextLength(served, list);
  return list.map((given) => {
    const ids = typeof given === "string" ? tokenizer.encode(given, { addSpecialTokens: special ?? true }) : given;
    checkIds(served, ids);
    return { ids, text: typeof given === "string" ? given : tokenizer.decode(ids, { skipSpecialTokens: true }) };
  });
}

function isIds(prompt: readonly unknown[]): prompt is readonly number[] {
  return typeof prompt[0] === "number";
}

/** Alternatives that are asked for at each place; undefined where no log-probabilities are. */
function topOf({ logprobs }: CompletionFields): number | undefined {
  if (logprobs === null || logprobs === undefined || logprobs === false) return undefined;
  return logprobs === true ? 1 : logprobs;
}

/** One choice of the answer, while it comes. */
class Choice {
  text = "";
  readonly tokens: DrawnToken[] = [];
  finishReason: "stop" | "length" | null = null;

  constructor(
    readonly index: number,
    readonly prompt: Prompt,
    readonly pieces: TokenText,
  ) {}
}

class CompletionRun {
  readonly #served: Served;
  readonly #prompts: readonly Prompt[];
  readonly #fields: CompletionFields;
  readonly #call: Call;
  readonly #model: ServedModel;
  readonly #choices: readonly Choice[];
  readonly #names: TokenNames;
  readonly #head = { id: newId("cmpl"), created: now() };
  #cachedTokens = 0;

  constructor(served: Served, prompts: readonly Prompt[], fields: CompletionFields, call: Call) {
    this.#served = served;
    this.#prompts = prompts;
    this.#fields = fields;
    this.#call = call;
    this.#model = modelOf(served, fields.model);
    this.#names = new TokenNames(served.tokenizer, fields.return_tokens_as_token_ids === true);
    const options = {
      skipSpecialTokens: fields.skip_special_tokens ?? true,
      stopStrings: stopStringsOf(fields),
      endIds: new Set([...this.#endIds, ...(fields.stop_token_ids ?? [])]),
      keepStop: fields.include_stop_str_in_output === true,
    };
    const perPrompt = fields.n ?? 1;
    this.#choices = prompts.flatMap((prompt, i) =>
      Array.from({ length: perPrompt }, (_, j) => {
        return new Choice(i * perPrompt + j, prompt, new TokenText(served.tokenizer, options));
      }),
    );
    // What is wrong with a request is said before its answer begins.
    if (fields.max_tokens !== 0) for (const prompt of prompts) this.#generation(prompt);
  }

  async whole(): Promise<unknown> {
    for await (const [choice, event] of this.#events()) take(choice, event);
    const scored = await this.#scoredPrompts();
    const choices = this.#choices.map((choice) => ({
      index: choice.index,
      text: (this.#fields.echo ? choice.prompt.text : "") + choice.text,
      logprobs: this.#logprobs([...(scored.get(choice.prompt) ?? []), ...choice.tokens]) ?? null,
      finish_reason: choice.finishReason ?? "length",
      ...this.#tokenIds(choice, choice.tokens),
    }));
    return { object: "text_completion", ...this.#head, model: this.#model.name, choices, usage: this.#usage() };
  }

  async *chunks(): AsyncGenerator<ServerEvent, void, undefined> {
    if (this.#fields.echo) for (const choice of this.#choices) yield this.#chunk(choice, choice.prompt.text, []);
    for await (const [choice, event] of this.#events()) {
      const text = take(choice, event);
      const tokens = event.type === "token" ? [event.token] : [];
      if (text !== "" || tokens.length > 0 || choice.finishReason !== null) yield this.#chunk(choice, text, tokens);
    }
    if (this.#fields.stream_options?.include_usage) {
      yield {
        data: { object: "text_completion", ...this.#head, model: this.#model.name, choices: [], usage: this.#usage() },
      };
    }
    yield { data: "[DONE]" };
  }

  #chunk(choice: Choice, text: string, tokens: readonly DrawnToken[]): ServerEvent {
    const { index, finishReason } = choice;
    const logprobs = tokens.length > 0 ? (this.#logprobs(tokens) ?? null) : null;
    const part = { index, text, logprobs, finish_reason: finishReason, ...this.#tokenIds(choice, tokens) };
    const usage = this.#fields.stream_options?.include_usage ? { usage: null } : {};
    return { data: { object: "text_completion", ...this.#head, model: this.#model.name, choices: [part], ...usage } };
  }

  async *#events(): AsyncGenerator<readonly [Choice, GenerationEvent], void, undefined> {
    if (this.#fields.max_tokens === 0) return;
    const { body, session, isRetry } = this.#call;
    const streams = this.#prompts.map((prompt) => {
      const generation = this.#generation(prompt);
      const drawing = session.ask({ generation, answerId: this.#head.id, model: this.#model.name, body, isRetry });
      return session.draw(this.#served.generator, drawing);
    });
    for await (const [i, event] of mergeStreams(streams)) {
      // Of a prompt's completions all say the same.
      if (event.type === "end" && event.index === 0) this.#cachedTokens += event.knownTokens ?? 0;
      const choice = this.#choices[i * (this.#fields.n ?? 1) + event.index];
      if (choice) yield [choice, event];
    }
  }

  #generation({ ids }: Prompt) {
    const top = topOf(this.#fields);
    return toGeneration(this.#served, this.#fields, {
      ids,
      model: this.#model,
      owner: this.#call.session,
      signal: this.#call.signal,
      endIds: this.#endIds,
      logprobs: top !== undefined,
      topLogprobs: top ?? 0,
      grammar: textGrammar(this.#served, this.#fields),
    });
  }

  get #endIds(): readonly number[] {
    return this.#served.tokenizer.eosTokenIds;
  }

  /** The tokens of the prompts with their log-probabilities, where the prompts are echoed with them. */
  async #scoredPrompts(): Promise<ReadonlyMap<Prompt, readonly AnyToken[]>> {
    const scored = new Map<Prompt, readonly AnyToken[]>();
    const top = topOf(this.#fields);
    if (!this.#fields.echo || top === undefined) return scored;
    for (const prompt of this.#prompts) {
      const { ids } = prompt;
      const request = { ids, top, adapter: this.#model.adapter, signal: this.#call.signal };
      const [first] = ids as [number];
      scored.set(prompt, [
        { id: first, logprob: undefined, top: [] },
        ...(await this.#served.generator.score(request)),
      ]);
    }
    return scored;
  }

  #logprobs(tokens: readonly AnyToken[]) {
    return topOf(this.#fields) === undefined ? undefined : completionLogprobs(tokens, this.#names);
  }

  #tokenIds({ prompt }: Choice, tokens: readonly DrawnToken[]) {
    if (!this.#fields.return_token_ids) return {};
    return { token_ids: tokens.map(({ id }) => id), prompt_token_ids: prompt.ids };
  }

  #usage() {
    const prompt = this.#prompts.reduce((sum, { ids }) => sum + ids.length, 0);
    return usageOf(
      prompt,
      this.#choices.reduce((sum, { tokens }) => sum + tokens.length, 0),
      this.#cachedTokens,
    );
  }
}

/** Adds an event to a choice; the text that became certain with it. */
function take(choice: Choice, event: GenerationEvent): string {
  if (event.type === "token") choice.tokens.push(event.token);
  else choice.finishReason = event.finishReason === "length" ? "length" : "stop";
  const text = event.type === "token" ? choice.pieces.push(event.token.id) : choice.pieces.end();
  choice.text += text;
  return text;
}
