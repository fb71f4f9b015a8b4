// The tokenizer at a distance, as vLLM has it at the server's root: POST /tokenize and /detokenize, GET /tokenizer_info.
// lm-evaluation-harness asks for it to count and cut what it sends.

import type { ChatMessage } from "../chat/chat-format.js";
import { lazySchema } from "../zod.js";
import { badField } from "./api-error.js";
import { readFields } from "./fields.js";
import type { Call } from "./http-server.js";
import { jsonReply, type Reply } from "./reply.js";
import { checkTextLength, modelOf, type Served } from "./served.js";

const tokenizeSchema = lazySchema((z) => {
  const object = z.record(z.string(), z.unknown());
  const messages = z.array(
    z.looseObject({ role: z.string(), content: z.union([z.string(), z.array(z.unknown())]).nullish() }),
  );
  return z.object({
    model: z.string().nullish(),
    /** A list of messages is what lm-evaluation-harness gives here. */
    prompt: z.union([z.string(), messages]).nullish(),
    messages: messages.nullish(),
    tools: z.array(object).nullish(),
    add_special_tokens: z.boolean().nullish(),
    add_generation_prompt: z.boolean().nullish(),
    return_token_strs: z.boolean().nullish(),
    chat_template_kwargs: object.nullish(),
  });
});

const detokenizeSchema = lazySchema((z) => z.object({ model: z.string().nullish(), tokens: z.array(z.int().min(0)) }));

export function answerTokenize(served: Served, { body }: Call): Reply {
  const fields = readFields(tokenizeSchema(), body, served.notice("/tokenize"));
  modelOf(served, fields.model);
  const { tokenizer, format, generator } = served;
  const messages: readonly ChatMessage[] | undefined =
    fields.messages ?? (typeof fields.prompt === "string" ? undefined : (fields.prompt ?? undefined));
  checkTextLength(served, messages ?? fields.prompt);
  const encode = () => {
    if (messages === undefined) {
      if (typeof fields.prompt !== "string") throw badField("prompt", "expected a text, or messages");
      return tokenizer.encode(fields.prompt, { addSpecialTokens: fields.add_special_tokens ?? true });
    }
    return format.render(messages, {
      tools: fields.tools ?? [],
      addGenerationPrompt: fields.add_generation_prompt ?? true,
      variables: fields.chat_template_kwargs ?? {},
    });
  };
  const tokens = encode();
  const strings = fields.return_token_strs ? tokens.map((id) => tokenizer.idToToken(id) ?? "") : null;
  return jsonReply(() => ({
    count: tokens.length,
    max_model_len: generator.maxPositions,
    tokens,
    token_strs: strings,
  }));
}

export function answerDetokenize(served: Served, { body }: Call): Reply {
  const { model, tokens } = readFields(detokenizeSchema(), body, served.notice("/detokenize"));
  modelOf(served, model);
  return jsonReply(() => ({ prompt: served.tokenizer.decode(tokens) }));
}

export function answerTokenizerInfo({ tokenizer, generator }: Served): Reply {
  return jsonReply(() => ({
    tokenizer_class: "PreTrainedTokenizerFast",
    bos_token: tokenizer.bosToken ?? null,
    eos_token: tokenizer.eosToken ?? null,
    pad_token: tokenizer.padToken ?? null,
    model_max_length: generator.maxPositions,
    chat_template: tokenizer.chatTemplate ?? null,
  }));
}
