// Wrong calls of the public functions and classes, as they come from programs without types and from those that were ported line by line
// from TRL, transformers, PEFT and datasets: every one is a GrpoError that says what to write. Those of GRPOTrainer are in
// test/grpo/arguments.test.ts.

import { fileURLToPath } from "node:url";
import * as grpo from "grpo";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

const tiny = fileURLToPath(new URL("../../scripts/assets/tiny-qwen2", import.meta.url));
const lines = `${tiny}/train.jsonl`;

// biome-ignore lint/suspicious/noExplicitAny: what a program without types sees.
type Untyped = any;
const { CausalLM, Dataset, GRPOConfig, IterableDataset, LoraConfig, Tokenizer }: Untyped = grpo;
const { concatenateDatasets, interleaveDatasets, loadDataset, rewards }: Untyped = grpo;
const { login, pushFolder, whoami, writeReport }: Untyped = grpo;

let model: Untyped;
let tokenizer: Untyped;
beforeAll(async () => {
  model = await CausalLM.fromPretrained(tiny);
  tokenizer = await Tokenizer.fromPretrained(tiny);
});
afterAll(() => model.dispose());

const rows = Dataset.from([{ prompt: "1 + 1 =", answer: "2" }]);
const stream = IterableDataset.from(() => [{ prompt: "1 + 1 =" }]);
const chat = [{ role: "user", content: "1 + 1 =" }];
const never = (): never => {
  throw new Error("it was called");
};

type Wrong = [call: string, make: () => unknown, message: RegExp];

const calls: readonly [of: string, wrong: readonly Wrong[]][] = [
  [
    "configurations",
    [
      ["an output folder by position", () => new GRPOConfig("out"), /\n.*write \{ outputDir: … \}/],
      ["nothing but null", () => new GRPOConfig(null), /found null/],
      ["snake_case", () => new GRPOConfig({ per_device_train_batch_size: 4 }), /\n.*perDeviceTrainBatchSize\?/],
      ["a number as a text", () => new GRPOConfig({ learningRate: "1e-6" }), /learningRate: found "1e-6"/],
      ["another library's name", () => new GRPOConfig({ lr: 1e-6 }), /\n.*write learningRate/],
      ["the name of another trainer", () => new GRPOConfig({ klCoef: 0.1 }), /\n.*write beta/],
      ["a rank by position", () => new LoraConfig(16), /\n.*write \{ r: …/],
      ["snake_case", () => new LoraConfig({ lora_alpha: 16 }), /\n.*loraAlpha\?/],
      [
        "PEFT's in snake_case that is not here",
        () => new LoraConfig({ use_qalora: true }),
        /useQalora .* not supported/,
      ],
      ["a short name", () => new LoraConfig({ alpha: 16 }), /\n.*write loraAlpha/],
    ],
  ],
  [
    "models",
    [
      ["nothing", () => CausalLM.fromPretrained(), /found undefined/],
      ["an object", () => CausalLM.fromPretrained({ model: tiny }), /found \{"model"/],
      ["a type by position", () => CausalLM.fromPretrained(tiny, "bfloat16"), /\n.*dtype: "bfloat16"/],
      ["torch_dtype", () => CausalLM.fromPretrained(tiny, { torch_dtype: "auto" }), /\n.*write dtype/],
      ["device_map", () => CausalLM.fromPretrained(tiny, { device_map: "auto" }), /\n.*write device/],
      ["attn_implementation", () => CausalLM.fromPretrained(tiny, { attnImplementation: "sdpa" }), /\n.*leave it out/],
      ["an adapter's options", () => CausalLM.fromPretrained(tiny, { adapter: new LoraConfig() }), /LoraConfig/],
      ["a plain object", () => model.applyLora({ r: 4 }), /found \{"r":4\}\n.*new LoraConfig/],
      ["a name by position", () => model.applyLora(new LoraConfig(), "other"), /\n.*write \{ name: … \}/],
      ["PEFT's name", () => model.applyLora(new LoraConfig(), { adapter_name: "x" }), /\n.*write name/],
      ["no folder", () => model.savePretrained(), /directory .*found undefined/],
      ["an object as the folder", () => model.savePretrained({ directory: "x" }), /directory .*found \{/],
      ["no folder", () => model.saveMerged(), /directory .*found undefined/],
      ["no folder", () => model.saveCheckpoint(), /directory .*found undefined/],
      ["no repository", () => model.pushToHub(), /repo .*found undefined/],
      ["text as prompts", () => model.generate("1 + 1 ="), /\n.*encode text/],
      ["one prompt's ids", () => model.generate([5, 6]), /\n.*\[ids\]/],
      ["transformers' inputs", () => model.generate({ input_ids: [[5, 6]] }), /expected a list of prompts/],
      ["a length by position", () => model.generate([[5]], 16), /\n.*maxNewTokens/],
      ["snake_case", () => model.generate([[5]], { max_new_tokens: 4 }), /\n.*maxNewTokens\?/],
      ["max_length", () => model.generate([[5]], { max_length: 4 }), /\n.*write maxNewTokens/],
      ["eos_token_id", () => model.generate([[5]], { eos_token_id: 3 }), /\n.*write stop/],
      ["beams", () => model.generate([[5]], { numBeams: 4 }), /\n.*no beam search/],
      ["text as a stop", () => model.generate([[5]], { stop: ["."] }), /\n.*encode the stop/],
      ["one sequence's ids", () => model.logprobs([5, 6]), /\n.*\[ids\]/],
      ["nothing", () => model.logprobs(), /expected a list of sequences/],
      ["text", () => model.forward("1 + 1 ="), /\n.*encode text/],
    ],
  ],
  [
    "tokenizers",
    [
      ["nothing", () => Tokenizer.fromPretrained(), /found undefined/],
      ["use_fast", () => Tokenizer.fromPretrained(tiny, { use_fast: true }), /\n.*tokenizer\.json/],
      ["padding_side", () => Tokenizer.fromPretrained(tiny, { paddingSide: "left" }), /\n.*nothing is padded/],
      ["a list of texts", () => tokenizer.encode(["a", "b"]), /takes a string/],
      ["a boolean by position", () => tokenizer.encode("a", false), /\n.*addSpecialTokens/],
      ["snake_case", () => tokenizer.encode("a", { add_special_tokens: false }), /\n.*addSpecialTokens\?/],
      ["nothing", () => tokenizer.decode(), /found undefined/],
      ["one id", () => tokenizer.decode(5), /a list of token ids, found 5/],
      ["a text", () => tokenizer.decode("a"), /a list of token ids, found "a"/],
      ["lists in a list", () => tokenizer.decode([[5]]), /takes token ids/],
      ["a boolean by position", () => tokenizer.decode([5], true), /\n.*skipSpecialTokens/],
      ["a text", () => tokenizer.applyChatTemplate("Hello"), /\n.*role: "user"/],
      ["one message", () => tokenizer.applyChatTemplate(chat[0]), /array of messages/],
      ["a boolean by position", () => tokenizer.applyChatTemplate(chat, true), /\n.*addGenerationPrompt: …/],
      ["snake_case", () => tokenizer.applyChatTemplate(chat, { continue_final_message: true }), /\n.*continueFinal/],
      ["return_tensors", () => tokenizer.applyChatTemplate(chat, { return_tensors: "pt" }), /\n.*tokenize: true/],
      ["a misspelt name", () => tokenizer.applyChatTemplate(chat, { addGenerationPromt: true }), /\n.*Prompt\?/],
      ["a word for a boolean", () => tokenizer.applyChatTemplate(chat, { tokenize: "no" }), /found "no"/],
      ["no folder", () => tokenizer.savePretrained(), /directory .*found undefined/],
      ["no repository", () => tokenizer.pushToHub(), /repo .*found undefined/],
    ],
  ],
  [
    "data",
    [
      ["nothing", () => loadDataset(), /found undefined/],
      ["a configuration by position", () => loadDataset(lines, "main"), /\n.*write \{ name: … \}/],
      ["snake_case", () => loadDataset("json", { data_files: lines }), /\n.*dataFiles\?/],
      ["a number as the split", () => loadDataset(lines, { split: 0 }), /split .*found 0/],
      ["one name as the columns", () => loadDataset(lines, { columns: "prompt" }), /columns .*found "prompt"/],
      ["num_proc", () => loadDataset(lines, { num_proc: 4 }), /\n.*leave it out/],
      ["columns for rows", () => Dataset.from({ prompt: ["a"] }), /\n.*for each row/],
      ["texts for rows", () => Dataset.from(["a"]), /row 0/],
      ["rows for a function", () => IterableDataset.from([{ prompt: "a" }]), /takes a function/],
      ["a seed by position", () => rows.shuffle(42), /\n.*write \{ seed: … \}/],
      ["a share by position", () => rows.trainTestSplit(0.1), /\n.*write \{ testSize: … \}/],
      ["a number of rows", () => rows.select(1), /list of indices, found 1/],
      ["nothing", () => rows.map(), /takes a function/],
      ["options beside it", () => rows.map(never, { remove_columns: ["answer"] }), /\n.*removeColumns/],
      ["options beside it", () => stream.map(never, { batched: true }), /nothing else, found \{"batched"/],
      ["options beside it", () => rows.filter(never, { numProc: 2 }), /nothing else/],
      ["options beside it", () => stream.filter(never, { numProc: 2 }), /nothing else/],
      ["a dictionary of names", () => rows.renameColumn({ answer: "solution" }), /\n.*renameColumn\("from", "to"\)/],
      ["data sets one by one", () => concatenateDatasets(rows, rows), /array of data sets/],
      ["shares by position", () => interleaveDatasets([rows, rows], [0.5, 0.5]), /\n.*probabilities: …/],
    ],
  ],
  [
    "the rest",
    [
      ["an option of TRL's", () => rewards.repetitionPenalty({ ngram_size: 2 }), /\n.*ngramSize\?/],
      ["a number by position", () => rewards.repetitionPenalty(2), /\n.*write \{ ngramSize: … \}/],
      ["nothing", () => rewards.cosineScaled(), /rewards\.cosineScaled: expected an options object/],
      ["snake_case", () => rewards.cosineScaled({ max_length: 9 }), /max_length\n.*maxLength\?/],
      ["nothing", () => rewards.softOverlongPunishment(), /expected an options object/],
      ["snake_case", () => rewards.softOverlongPunishment({ soft_punish_cache: 5 }), /\n.*softPunishCache\?/],
      ["no function", () => rewards.perSample(), /rewards\.perSample takes a function/],
      ["no module", () => rewards.worker(), /file .*found undefined/],
      ["no model", () => rewards.model(), /found undefined/],
      ["no folder", () => writeReport(), /outputDir .*found undefined/],
      ["a misspelt name", () => writeReport(".", { fle: "x" }), /\n.*file\?/],
      ["no repository", () => pushFolder(), /found undefined/],
      ["a token by position", () => login("hf_abcdefghijklmnopqrst"), /found "hf_…"\n.*token/],
      ["a token by position", () => whoami("hf_abcdefghijklmnopqrst"), /found "hf_…"\n.*token/],
    ],
  ],
];

describe.each(calls)("a wrong call of %s", (_, wrong) => {
  it.each(wrong)("says what to write: %s", async (_, make, message) => {
    const thrown: unknown = await (async () => make())().catch((error: unknown) => error);
    expect(thrown).toBeInstanceOf(grpo.GrpoError);
    expect((thrown as grpo.GrpoError).code).not.toBe("INTERNAL");
    expect((thrown as grpo.GrpoError).message).toMatch(message);
  });
});

it("a variable of the template keeps its name, and a name with capitals is told the template's", () => {
  const own = { chatTemplate: "{{ 'on' if enable_thinking else 'off' }}" };
  expect(tokenizer.applyChatTemplate(chat, { ...own, enable_thinking: true })).toBe("on");
  expect(tokenizer.applyChatTemplate(chat, { ...own, whatever: 1 })).toBe("off");
  expect(() => tokenizer.applyChatTemplate(chat, { ...own, enableThinking: true })).toThrow(
    /\n.*write enable_thinking/,
  );
  const capitals = { chatTemplate: "{{ maxTurns }}", maxTurns: 3 };
  expect(tokenizer.applyChatTemplate(chat, capitals)).toBe("3");
});
