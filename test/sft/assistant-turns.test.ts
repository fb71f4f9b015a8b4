// What the assistant writes under chat templates that do not mark it, held against the masks of TRL's training templates that write the
// same text with marks (scripts/golden/assistant_masks.py).

import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { tinyModel } from "../../lib/package-files.js";
import { assistantTokens } from "../../lib/sft/assistant-turns.js";
import { Tokenizer } from "../../lib/tokenizer/tokenizer.js";
import type { Message } from "../../lib/types.js";

interface Masks {
  readonly originals: Readonly<Record<string, string>>;
  readonly conversations: Readonly<
    Record<string, { readonly messages: readonly Message[]; readonly tools?: readonly unknown[] }>
  >;
  readonly masks: Readonly<
    Record<string, Readonly<Record<string, { readonly ids: readonly number[]; readonly mask: string } | null>>>
  >;
}

const file = new URL("../fixtures/tokenizers/assistant-masks.json.gz", import.meta.url);
const { originals, conversations, masks } = JSON.parse(gunzipSync(readFileSync(file)).toString()) as Masks;
const tokenizer = await Tokenizer.fromPretrained(tinyModel);

describe.each(Object.entries(originals))("%s", (name, template) => {
  test.each(Object.keys(conversations))("%s", (title) => {
    const expected = masks[`${name}_training`]?.[title] ?? null;
    const { messages = [], ...more } = conversations[title] ?? {};
    tokenizer.chatTemplate = template;
    const find = () => assistantTokens(tokenizer, messages, more);
    if (expected === null) return expect(find).toThrow();
    const { ids, assistantMask } = find();
    expect(ids).toEqual(expected.ids);
    expect(assistantMask.join("")).toBe(expected.mask);
  });
});
