// Whether a chat template marks the token that ends an assistant's turn as the assistant's. A template may give it to the message that
// follows; the loss then looks healthy, and the model never learns to stop.

import type { TextTokenizer } from "./tokenize-rows.js";

const PROBE = [
  { role: "user", content: "dummy" },
  // A template may end only those turns that another one follows.
  { role: "assistant", content: "dummy" },
  { role: "user", content: "dummy" },
];

/** Whether the last token that is marked, white space aside, is a special one. */
export function stopTokenIsTrained(tokenizer: TextTokenizer): boolean {
  try {
    const { ids, assistantMask } = tokenizer.applyChatTemplate(PROBE, { tokenize: true, returnAssistantMask: true });
    const marked = ids.filter((_, i) => assistantMask[i] === 1);
    const last = marked.findLast((id) => tokenizer.decode([id]).trim() !== "");
    return last !== undefined && tokenizer.decode([last], { skipSpecialTokens: true }) === "";
  } catch {
    return false;
  }
}
