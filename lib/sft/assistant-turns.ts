// What of a conversation the assistant writes. A chat template may mark it ({% generation %} blocks). Of one that does not, it is what is
// rendered after the prompt of each of its turns, up to the turn's end, if the template writes the beginning of a conversation as it
// writes it alone; of one that changes earlier turns, as those do that drop their reasoning, nobody can tell.

import { GrpoError } from "../errors.js";
import type { MaskedIds } from "../tokenizer/tokenizer.js";
import type { Message } from "../types.js";
import type { TextTokenizer } from "./text-tokenizer.js";

type TemplateOptions = Readonly<Record<string, unknown>>;

/** Throws BAD_TEMPLATE where it cannot be told. */
export function assistantTokens(
  tokenizer: TextTokenizer,
  messages: readonly Message[],
  options: TemplateOptions,
): MaskedIds {
  if (tokenizer.marksAssistant()) {
    return tokenizer.applyChatTemplate(messages, { ...options, tokenize: true, returnAssistantMask: true });
  }
  const render = (part: readonly Message[], addGenerationPrompt: boolean) =>
    tokenizer.applyChatTemplate(part, { ...options, addGenerationPrompt, tokenize: false });
  const whole = render(messages, false);
  const spans = messages.flatMap(({ role }, i): [number, number][] => {
    if (role !== "assistant") return [];
    const before = i === 0 ? undefined : render(messages.slice(0, i), true);
    const through = render(messages.slice(0, i + 1), false);
    if (before === undefined || !through.startsWith(before) || !whole.startsWith(through)) throw cannotTell(i);
    return [[before.length, through.length]];
  });
  const { ids, offsets } = tokenizer.encodeWithOffsets(whole, { addSpecialTokens: false });
  const isIn = ([start, end]: readonly [number, number]) => spans.some(([from, to]) => start < to && end > from);
  return { ids, assistantMask: offsets.map((offset) => (isIn(offset) ? 1 : 0)) };
}

function cannotTell(message: number): GrpoError {
  const problem = `it marks nothing, and does not write message ${message} in a conversation as it writes it alone`;
  return new GrpoError(
    "BAD_TEMPLATE",
    `which tokens are the assistant's cannot be told by this chat template: ${problem}`,
    {
      hint: "give chatTemplatePath: the template with {% generation %} … {% endgeneration %} around what the assistant writes",
    },
  );
}

const PROBE: readonly Message[] = [
  { role: "user", content: "dummy" },
  // A template may end only those turns that another one follows.
  { role: "assistant", content: "dummy" },
  { role: "user", content: "dummy" },
];

/**
 * Whether the token that ends an assistant's turn counts as the assistant's: the last that does, white space aside, is a special one. A
 * template may give it to the message that follows; the loss then looks healthy, and the model never learns to stop.
 */
export function stopTokenIsTrained(tokenizer: TextTokenizer): boolean {
  try {
    const { ids, assistantMask } = assistantTokens(tokenizer, PROBE, {});
    const marked = ids.filter((_, i) => assistantMask[i] === 1);
    const last = marked.findLast((id) => tokenizer.decode([id]).trim() !== "");
    return last !== undefined && tokenizer.decode([last], { skipSpecialTokens: true }) === "";
  } catch {
    return false;
  }
}
