// Ids in, ids out: POST /inference/v1/generate, as vLLM has it and as `verifiers` and `renderers` call it. Whoever trains elsewhere
// needs the very ids that were sampled, with their log-probabilities; tokens are therefore written "token_id:ID".

import { at } from "../at.js";
import { lazySchema } from "../zod.js";
import { unsupportedField } from "./api-error.js";
import { usageOf } from "./chat.js";
import { drawingFields, MAX_TOP_LOGPROBS, readFields } from "./fields.js";
import type { DrawnToken } from "./generator.js";
import type { Call } from "./http-server.js";
import { newId } from "./ids.js";
import { jsonReply, type Reply } from "./reply.js";
import { modelOf, type SamplingDefaults, type Served, textGrammar, toGeneration } from "./served.js";
import { chatLogprobs, TokenNames } from "./token-logprobs.js";

const PATH = "/inference/v1/generate";

const generateSchema = lazySchema((z) =>
  z.object({
    request_id: z.string().nullish(),
    model: z.string().nullish(),
    token_ids: z.array(z.int().min(0)).min(1),
    sampling_params: z.record(z.string(), z.unknown()).nullish(),
    stream: z.boolean().nullish(),
    return_token_ids: z.boolean().nullish(),
  }),
);

const samplingSchema = lazySchema((z) =>
  z.object({
    ...drawingFields(z),
    max_tokens: z.int().min(1).nullish(),
    logprobs: z.int().min(0).max(MAX_TOP_LOGPROBS).nullish(),
    skip_special_tokens: z.boolean().nullish(),
  }),
);

/** Whoever trains wants the policy's own distribution, and not what its generation_config.json makes of it. */
const UNSHAPED: SamplingDefaults = {
  temperature: 1,
  topP: 1,
  topK: 0,
  minP: 0,
  repetitionPenalty: 1,
  maxNewTokens: undefined,
};

interface Completion {
  readonly tokens: DrawnToken[];
  finishReason: "stop" | "length";
}

export function answerGenerate(served: Served, { body, session, isRetry, signal }: Call): Reply {
  const notice = served.notice(PATH);
  const fields = readFields(generateSchema(), body, notice);
  const sampling = readFields(samplingSchema(), fields.sampling_params ?? {}, notice);
  if (fields.stream) throw unsupportedField("stream", "the answer comes whole");
  const top = sampling.logprobs ?? undefined;
  const model = modelOf(served, fields.model);
  const generation = toGeneration({ ...served, defaults: UNSHAPED }, sampling, {
    ids: fields.token_ids,
    model,
    owner: session,
    signal,
    endIds: [],
    logprobs: top !== undefined,
    // The drawn token is one of the likeliest that are asked for.
    topLogprobs: Math.max(0, (top ?? 0) - 1),
    grammar: textGrammar(served, sampling),
  });
  const answerId = fields.request_id ?? newId("generate");
  return jsonReply(async () => {
    const drawing = session.ask({ generation, answerId, model: model.name, body, isRetry });
    const completions = Array.from(
      { length: generation.count },
      (): Completion => ({ tokens: [], finishReason: "length" }),
    );
    let cached = 0;
    for await (const event of session.draw(served.generator, drawing)) {
      const completion = at(completions, event.index);
      if (event.type === "token") completion.tokens.push(event.token);
      else {
        completion.finishReason = event.finishReason === "length" ? "length" : "stop";
        cached = event.knownTokens ?? cached;
      }
    }
    const names = new TokenNames(served.tokenizer, true);
    const choices = completions.map(({ tokens, finishReason }, index) => ({
      index,
      token_ids: tokens.map(({ id }) => id),
      finish_reason: finishReason,
      logprobs: top === undefined ? null : { content: chatLogprobs(tokens, names) },
    }));
    const sampled = completions.reduce((sum, { tokens }) => sum + tokens.length, 0);
    return {
      request_id: answerId,
      choices,
      prompt_logprobs: null,
      usage: usageOf(fields.token_ids.length, sampled, cached),
      ...(fields.return_token_ids ? { prompt_token_ids: fields.token_ids } : {}),
    };
  });
}
