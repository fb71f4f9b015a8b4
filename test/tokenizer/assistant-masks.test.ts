// Which tokens count as the assistant's: masks of generation blocks, held against transformers' for TRL's training templates
// (scripts/golden/assistant_masks.py).

import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { tinyModel } from "../../lib/package-files.js";
import { Tokenizer } from "../../lib/tokenizer/tokenizer.js";
import type { Message } from "../../lib/types.js";

interface Masks {
  readonly templates: Readonly<Record<string, string>>;
  readonly conversations: Readonly<
    Record<string, { readonly messages: readonly Message[]; readonly tools?: readonly unknown[] }>
  >;
  readonly masks: Readonly<
    Record<string, Readonly<Record<string, { readonly ids: readonly number[]; readonly mask: string } | null>>>
  >;
}

const file = new URL("../fixtures/tokenizers/assistant-masks.json.gz", import.meta.url);
const { templates, conversations, masks } = JSON.parse(gunzipSync(readFileSync(file)).toString()) as Masks;
const tokenizer = await Tokenizer.fromPretrained(tinyModel);

beforeAll(() => void vi.useFakeTimers({ now: new Date(2025, 6, 10, 12, 0, 5) }));
afterAll(() => void vi.useRealTimers());

describe.each(Object.keys(templates))("%s", (name) => {
  it.each(Object.keys(conversations))("%s", (title) => {
    const expected = masks[name]?.[title] ?? null;
    const { messages = [], ...more } = conversations[title] ?? {};
    const render = () =>
      tokenizer.applyChatTemplate(messages, {
        ...more,
        chatTemplate: templates[name] ?? "",
        tokenize: true,
        returnAssistantMask: true,
      });
    if (expected === null) return expect(render).toThrow();
    const { ids, assistantMask } = render();
    expect(ids).toEqual(expected.ids);
    expect(assistantMask.join("")).toBe(expected.mask);
  });
});
