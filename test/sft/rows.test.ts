// Rows of a data set on their way to tokens: what counts in the loss, and the rows that would train on nothing, or on something else than
// was meant. The tokenizer is that of the bundled model; TRL's own results are in test/addon/sft-runs.test.ts.

import { beforeEach, describe, expect, test } from "vitest";
import { IterableDataset } from "../../lib/dataset/iterable-dataset.js";
import { tinyModel } from "../../lib/package-files.js";
import { stopTokenIsTrained } from "../../lib/sft/assistant-turns.js";
import { SFTConfig, type SFTConfigOptions } from "../../lib/sft/config.js";
import { describePlan } from "../../lib/sft/lines.js";
import { planTraining } from "../../lib/sft/plan.js";
import type { TextTokenizer } from "../../lib/sft/text-tokenizer.js";
import { type DataOptions, prepareData, type TrainingData } from "../../lib/sft/training-data.js";
import { Tokenizer } from "../../lib/tokenizer/tokenizer.js";

const MARKED =
  "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}{% generation %}{{ m.content }}<|im_end|>" +
  "{% endgeneration %}{% else %}{{ m.content }}<|im_end|>{% endif %}\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

let tokenizer: Tokenizer;
beforeEach(async () => {
  tokenizer = await Tokenizer.fromPretrained(tinyModel);
});

function prepare(
  rows: object[] | IterableDataset<Record<string, unknown>>,
  options: SFTConfigOptions = {},
  more: Partial<DataOptions> & { readonly tokenizer?: TextTokenizer } = {},
): Promise<TrainingData> {
  const args = new SFTConfig(options);
  const { tokenizer: own = tokenizer, ...rest } = more;
  return prepareData(rows, own, { name: "trainDataset", args, packing: args.packing, needed: 4, ...rest });
}

/** Text of a row's tokens that count. */
function counted({ rows }: TrainingData, row = 0): string {
  return (rows[row] ?? [])
    .map(({ ids, counts }) => tokenizer.decode(Array.from(ids).filter((_, i) => counts[i] === 1)))
    .join("");
}

const user = (content: string) => ({ role: "user", content });
const assistant = (content: string) => ({ role: "assistant", content });

describe("what counts", () => {
  test("of a text all of it, and the end token that it gets once", async () => {
    const data = await prepare([{ text: "1 + 1" }, { text: "2 + 2<|im_end|>" }]);
    expect([counted(data), counted(data, 1)]).toEqual(["1 + 1<|im_end|>", "2 + 2<|im_end|>"]);
  });

  test("of a prompt and its completion the completion, unless all is asked for", async () => {
    const rows = [{ prompt: [user("1 + 1?")], completion: [assistant("2")] }];
    expect(counted(await prepare(rows))).toBe("2<|im_end|>\n");
    expect(counted(await prepare(rows, { completionOnlyLoss: false }))).toContain("1 + 1?");
  });

  test("with assistantOnlyLoss what the template marks, in every turn", async () => {
    tokenizer.chatTemplate = MARKED;
    const messages = [user("1 + 1?"), assistant("2"), user("2 + 2?"), assistant("4")];
    expect(counted(await prepare([{ messages }], { assistantOnlyLoss: true }))).toBe("2<|im_end|>4<|im_end|>");
    const parts = { prompt: messages.slice(0, 3), completion: messages.slice(3) };
    expect(counted(await prepare([parts], { assistantOnlyLoss: true }))).toBe("4<|im_end|>");
  });

  test("the end token counts also where padding has the same id", async () => {
    tokenizer.padToken = "<|im_end|>";
    expect(counted(await prepare([{ text: "1" }]))).toBe("1<|im_end|>");
  });

  test("formattingFunc makes a text of a row; tools and variables of the template come with a row", async () => {
    const data = await prepare(
      [{ q: "1 + 1", a: 2 }],
      {},
      { formattingFunc: ((row: { q: string; a: number }) => `${row.q} = ${row.a}`) as never },
    );
    expect(counted(data)).toBe("1 + 1 = 2<|im_end|>");
    tokenizer.chatTemplate = "{{ greeting }} {{ tools[0].name }} {{ messages[0].content }}";
    const row = { messages: [user("x")], tools: '[{"name": "add"}]', chat_template_kwargs: { greeting: "Hi" } };
    expect(counted(await prepare([row]))).toBe("Hi add x");
  });
});

describe("with assistantOnlyLoss and a template without marks", () => {
  const messages = [user("1 + 1?"), assistant("2"), user("2 + 2?"), assistant("4")];

  test("what is rendered after each prompt counts, to the end of the turn", async () => {
    const data = await prepare([{ messages }], { assistantOnlyLoss: true });
    expect(counted(data)).toBe("2<|im_end|>\n4<|im_end|>\n");
    expect(stopTokenIsTrained(tokenizer)).toBe(true);
  });

  test("a template that writes earlier turns otherwise than alone is refused, as nobody can tell", async () => {
    tokenizer.chatTemplate =
      "{% for m in messages %}[{{ m.role }}]{{ m.content if loop.last or m.role == 'user' else '…' }}{% endfor %}" +
      "{% if add_generation_prompt %}[assistant]{% endif %}";
    await expect(prepare([{ messages }], { assistantOnlyLoss: true })).rejects.toMatchObject({
      code: "BAD_TEMPLATE",
      message: expect.stringMatching(/row 0.*message 1/),
      hint: expect.stringContaining("chatTemplatePath"),
    });
    expect(counted(await prepare([{ messages: messages.slice(0, 2) }], { assistantOnlyLoss: true }))).toBe("2");
  });
});

describe("a row that would train on nothing", () => {
  test("as its prompt fills maxLength is left out, and counted", async () => {
    const long = { prompt: "1 + 2 + 3 + 4 + 5 =", completion: " 15" };
    const data = await prepare([long, { prompt: "1 =", completion: " 1" }], { maxLength: 8 });
    expect(data.rows).toHaveLength(1);
    expect(data.facts).toMatchObject({ masked: 1, cut: 1 });
  });

  test("as all of them do is an error that says so", async () => {
    const rows = [{ prompt: "1 + 2 + 3 + 4 =", completion: " 10" }];
    await expect(prepare(rows, { maxLength: 4 })).rejects.toMatchObject({
      code: "BAD_DATASET",
      message: expect.stringContaining("in none of the 1 rows of trainDataset any token counts"),
      hint: expect.stringContaining("maxLength"),
    });
  });

  test("as nobody can tell what of it is the assistant's is an error that names the row and the remedy", async () => {
    const messages = [user("1?"), assistant("1")];
    tokenizer.chatTemplate = "{{ messages | length }} {% for m in messages %}{{ m.content }}{% endfor %}";
    await expect(prepare([{ messages }], { assistantOnlyLoss: true })).rejects.toMatchObject({
      code: "BAD_TEMPLATE",
      message: expect.stringContaining("row 0"),
      hint: expect.stringContaining("{% generation %}"),
    });
    tokenizer.chatTemplate = MARKED;
    const rows = [{ messages }, { messages: [user("1?")] }];
    await expect(prepare(rows, { assistantOnlyLoss: true })).rejects.toMatchObject({
      code: "BAD_DATASET",
      message: expect.stringContaining("row 1"),
    });
  });

  test("as its labels are all -100 is an error where there is no other", async () => {
    const rows = [{ input_ids: [1, 2, 3], labels: [-100, -100, -100] }];
    await expect(prepare(rows, { maxLength: null })).rejects.toMatchObject({ code: "BAD_DATASET" });
    await expect(prepare([])).rejects.toMatchObject({ message: expect.stringContaining("has no rows") });
  });
});

describe("a row that would train on something else than was meant", () => {
  /** As tokenizers that add both ends themselves. */
  const adding = (): TextTokenizer => {
    const bos = tokenizer.tokenToId("<|im_start|>") ?? -1;
    const eos = tokenizer.eosTokenId ?? -1;
    return Object.assign(Object.create(tokenizer) as Tokenizer, {
      encode: (text: string) => [bos, ...tokenizer.encode(text), eos],
      applyChatTemplate: tokenizer.applyChatTemplate.bind(tokenizer),
    }) as TextTokenizer;
  };

  test("has one beginning and one end, though text and tokenizer both bring theirs", async () => {
    const own = adding();
    Object.defineProperties(own, {
      bosTokenId: { value: tokenizer.tokenToId("<|im_start|>") },
      eosTokenId: { value: tokenizer.eosTokenId },
      eosToken: { value: "<|im_end|>" },
    });
    const data = await prepare([{ text: "<|im_start|>1 + 1" }], {}, { tokenizer: own });
    expect(counted(data)).toBe("<|im_start|>1 + 1<|im_end|>");
    expect(data.facts.doubled).toBe(2);
  });

  test("as its prompt is tokenized otherwise alone is counted, and begins where the two differ", async () => {
    const joined =
      tokenizer.encode("What is").length < tokenizer.encode("Wha").length + tokenizer.encode("t is").length;
    expect(joined).toBe(true);
    const data = await prepare([{ prompt: "Wha", completion: "t is" }]);
    expect(data.facts.differentPrompts).toBe(1);
    expect(counted(data)).toBe("What is<|im_end|>");
  });

  test("is refused by its number", async () => {
    const refused = async (rows: object[], options: SFTConfigOptions = {}) =>
      prepare(rows, options).then(
        () => "accepted",
        (error: Error) => error.message,
      );
    expect(await refused([{ text: "1" }, { body: "2" }])).toMatch(/^row 1: expected messages.*found body/);
    expect(await refused([{ prompt: "1", completion: [assistant("1")] }])).toMatch(
      /^row 0: expected prompt and completion of one kind/,
    );
    expect(await refused([{ text: "1" }], { assistantOnlyLoss: true })).toMatch(
      /^row 0 is plain text, and assistantOnlyLoss/,
    );
    expect(await refused([{ text: "1" }], { completionOnlyLoss: true })).toMatch(/^row 0: completionOnlyLoss needs/);
    expect(await refused([{ input_ids: [1, 2], labels: [1, 3] }])).toMatch(
      /^row 0: labels must be -100 or the token itself/,
    );
    expect(await refused([{ input_ids: [1, 2], assistant_masks: [1] }])).toMatch(
      /^row 0: 2 input_ids, and a mask of 1/,
    );
    expect(await refused([{ input_ids: "1" }])).toMatch(/^row 0: input_ids must be a list of whole numbers/);
    expect(await refused([null as never])).toMatch(/^row 0: expected an object/);
  });

  test("the end of a turn that the template leaves to the next message is noticed", () => {
    tokenizer.chatTemplate = MARKED;
    expect(stopTokenIsTrained(tokenizer)).toBe(true);
    tokenizer.chatTemplate = MARKED.replace("<|im_end|>{% endgeneration %}", "{% endgeneration %}<|im_end|>");
    expect(stopTokenIsTrained(tokenizer)).toBe(false);
  });
});

describe("the plan says what was lost", () => {
  const model = { device: "cpu", dtype: "float32", trainableParameters: () => ({ trainable: 1, all: 2 }) } as never;
  const lines = async (rows: object[], options: SFTConfigOptions) => {
    const config = new SFTConfig(options);
    const { facts, rows: prepared } = await prepare(rows, options);
    const plan = planTraining(config, prepared.length);
    return describePlan({ config, plan, model, data: facts, startStep: 0, memory: [], notes: [] }).join("\n");
  };

  test("of rows that are cut, packed or not, and of those without effect", async () => {
    const rows = [{ text: "1 + 2 + 3 + 4 + 5 + 6 + 7" }, { text: "1" }];
    expect(await lines(rows, { maxLength: 6 })).toMatch(/1 row cut to maxLength 6; \d+ tokens are lost/);
    expect(await lines(rows, { maxLength: 6, packing: true })).toMatch(/1 row cut to maxLength 6; \d+ tokens are lost/);
    expect(await lines(rows, { maxLength: 6, packing: true, packingStrategy: "bfd_split" })).not.toMatch(/are lost/);
    const pairs = [{ prompt: "1 + 2 + 3 + 4 + 5 =", completion: " 15" }, ...rows];
    const without = /warning {2}1 row without effect: nothing in them within maxLength 8 counts in the loss/;
    expect(await lines(pairs, { maxLength: 8 })).toMatch(without);
    expect(await lines(pairs, { maxLength: 8, packing: true })).toMatch(without);
  });
});

describe("a stream", () => {
  const stream = (count: number) =>
    IterableDataset.from(function* () {
      for (let i = 0; i < count; i++) yield { text: `${i}` };
    });

  test("is read as far as the run needs it, in its own order", async () => {
    const data = await prepare(stream(100), { maxSteps: 1 });
    expect(data.facts.read).toBe(4);
    expect(data.stream).toEqual({ ended: false });
    expect([0, 1, 2, 3].map((row) => counted(data, row))).toEqual(
      ["0", "1", "2", "3"].map((text) => `${text}<|im_end|>`),
    );
    expect((await prepare(stream(3), { maxSteps: 1 })).stream).toEqual({ ended: true });
  });

  test("needs maxSteps", async () => {
    await expect(prepare(stream(3))).rejects.toMatchObject({
      code: "BAD_OPTION",
      hint: expect.stringContaining("maxSteps"),
    });
  });
});
