// A generation_config.json beside the weights, against what transformers generates with the same file; and the same rules as
// options of a call, on the kernels of the CPU and on operators.

import { cp, readFile, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { describe, expect, it } from "vitest";
import type { JsonObject } from "../../lib/json.js";
import { CausalLM } from "../../lib/model/model.js";
import { temporaryFolder } from "../model/folders.js";
import { DEVICE } from "../support/device.js";
import { goldenPath } from "./golden.js";
import { chiSquarePValue } from "./statistics.js";

interface Case {
  readonly name: string;
  readonly generationConfig: JsonObject;
  readonly promptIds: number[];
}
interface Golden {
  readonly greedy: (Case & { readonly maxNewTokens?: number; readonly completionIds: number[] })[];
  readonly sampled: (Case & { readonly probabilities: number[] })[];
}

const { greedy, sampled }: Golden = JSON.parse(await readFile(goldenPath("generation.json"), "utf8"));
const PROMPT = [7, 12, 3, 51, 12, 3];

/** The random model of the fixture with this generation_config.json, or with none and these keys in its config.json. */
async function modelWith(generationConfig: JsonObject | null, config: JsonObject = {}): Promise<CausalLM> {
  const folder = await temporaryFolder();
  await cp(goldenPath("models/llama-mha"), folder, { recursive: true });
  const file = path.join(folder, "generation_config.json");
  if (generationConfig === null) await rm(file);
  else await writeFile(file, JSON.stringify(generationConfig));
  const configFile = path.join(folder, "config.json");
  const base: JsonObject = JSON.parse(await readFile(configFile, "utf8"));
  await writeFile(configFile, JSON.stringify({ ...base, ...config }));
  return CausalLM.fromPretrained(folder, { dtype: "float32", device: DEVICE });
}

async function completionOf(model: CausalLM, prompt: number[], options = {}): Promise<number[]> {
  const [completion] = await model.generate([prompt], options);
  return completion?.ids ?? [];
}

describe("generation_config.json", () => {
  it.each(greedy)(
    "acts as in transformers: $name",
    async ({ generationConfig, promptIds, completionIds, ...given }) => {
      const model = await modelWith(generationConfig);
      const options = given.maxNewTokens === undefined ? {} : { maxNewTokens: given.maxNewTokens };
      expect(await completionOf(model, promptIds, options)).toEqual(completionIds);
      model.dispose();
    },
  );

  it.each(sampled)("shapes what is drawn as in transformers: $name", async (row) => {
    const { generationConfig, promptIds, probabilities } = row;
    const model = await modelWith(generationConfig);
    const answers = await model.generate([promptIds], { numReturnSequences: 4096, seed: 3 });
    const first = answers.map(({ ids: [id = -1] }) => id);
    const allowed = new Set(probabilities.flatMap((p, id) => (p > 0 ? [id] : [])));
    expect(new Set(first)).toSatisfy((drawn: Set<number>) => [...drawn].every((id) => allowed.has(id)));
    expect(chiSquarePValue(first, probabilities)).toBeGreaterThan(1e-3);
    model.dispose();
  });

  it("acts on rollouts too, which say nothing of it", async () => {
    const model = await modelWith({
      suppress_tokens: [22],
      forced_eos_token_id: 5,
      min_p: 1,
      temperature: 9,
      top_k: 1,
    });
    const sampling = { groupSize: 4, maxNewTokens: 3, seed: 1 };
    const idsOf = async (options: object) => {
      const { groups } = await model.sample([PROMPT], { ...sampling, ...options });
      return groups.flatMap(({ completions }) => completions.map(({ ids }) => ids));
    };
    // A share of 1 leaves nothing but the likeliest.
    const [first, ...others] = await idsOf({});
    expect(first).toHaveLength(3);
    expect(first?.at(-1)).toBe(5);
    expect(first).not.toContain(22);
    expect(others).toEqual([first, first, first]);
    const free = await idsOf({ minP: 0 });
    expect(new Set(free.map(String)).size).toBeGreaterThan(1);
    model.dispose();
  });

  it("is what config.json says where there is none", async () => {
    const model = await modelWith(null, { suppress_tokens: [22], max_length: 9, eos_token_id: [5, 2] });
    const ids = await completionOf(model, PROMPT);
    expect(ids).toHaveLength(3);
    expect(ids).not.toContain(22);
    expect(model.eosTokenIds).toEqual([5, 2]);
    model.dispose();
  });

  it("ends nothing where it names no end, whatever config.json names", async () => {
    const model = await modelWith({ max_new_tokens: 4 }, { eos_token_id: 22 });
    expect(model.eosTokenIds).toEqual([]);
    expect(await completionOf(model, PROMPT)).toHaveLength(4);
    model.dispose();
  });

  const unsupported: [string, JsonObject][] = [
    ["num_beams", { num_beams: 4 }],
    ["guidance_scale", { guidance_scale: 1.5 }],
    ["exponential_decay_length_penalty", { exponential_decay_length_penalty: [5, 1.1] }],
    ["sequence_bias", { sequence_bias: [[[5], -1.0]] }],
    ["typical_p", { do_sample: true, typical_p: 0.5 }],
    ["penalty_alpha", { penalty_alpha: 0.6 }],
    ["top_k", { do_sample: true, top_k: -1 }],
    ["temperature", { do_sample: true, temperature: 0 }],
    ["suppress_tokens", { suppress_tokens: 5 }],
    ["bad_words_ids", { bad_words_ids: [[700]] }],
    ["forced_eos_token_id", { forced_eos_token_id: 700 }],
    ["forced_eos_token_id", { forced_eos_token_id: 7, suppress_tokens: [7] }],
    ["max_length", { max_length: 6 }],
    ["stop_strings", { stop_strings: ["a"] }],
  ];
  it.each(unsupported)("is refused by name: %s of %j", async (name, generationConfig) => {
    const model = await modelWith(generationConfig);
    await expect(completionOf(model, PROMPT)).rejects.toThrow(new RegExp(`generation_config\\.json: .*${name}`));
    model.dispose();
  });

  it("yields to the options of a call", async () => {
    const model = await modelWith({
      do_sample: true,
      temperature: 0,
      suppress_tokens: [22],
      no_repeat_ngram_size: 1,
      bad_words_ids: [[49]],
      begin_suppress_tokens: [22],
      forced_eos_token_id: 5,
      min_new_tokens: 3,
      stop_strings: "a",
    });
    const none = {
      suppressTokens: [],
      noRepeatNgramSize: 0,
      badWordsIds: [],
      beginSuppressTokens: [],
      minNewTokens: 0,
      stopStrings: [],
    };
    const ids = await completionOf(model, PROMPT, { ...none, doSample: false, maxNewTokens: 4, forcedEosTokenId: 8 });
    expect(ids).toEqual([22, 49, 49, 8]);
    model.dispose();
  });
});

describe("the rules as options of a call", () => {
  const rules = {
    minNewTokens: 5,
    noRepeatNgramSize: 2,
    badWordsIds: [[22], [12, 3, 37]],
    suppressTokens: [49],
    beginSuppressTokens: [40],
    forcedEosTokenId: 6,
  };
  it.each([true, false])("hold by operators as by the kernels of the CPU, doSample %s", async (doSample) => {
    const model = await modelWith({});
    const options = { ...rules, doSample, groupSize: 4, maxNewTokens: 12, seed: 2, stopIds: [4, 9] };
    const prompts = [PROMPT, [1, 2], [5]];
    const ids = async (graphCapture: boolean) => {
      const { groups } = await model.sample(prompts, { ...options, graphCapture });
      return groups.map(({ completions }) => completions.map((completion) => completion.ids));
    };
    const drawn = await ids(false);
    expect(await ids(true)).toEqual(drawn);
    for (const completion of drawn.flat()) {
      expect(completion.length).toBeGreaterThan(5);
      expect(completion).not.toContain(22);
      expect(completion).not.toContain(49);
      if (completion.length === 12) expect(completion.at(-1)).toBe(6);
    }
    model.dispose();
  });

  it("leave the recorded log-probabilities those of the model", async () => {
    const model = await modelWith({});
    const { groups } = await model.sample([PROMPT], { ...rules, groupSize: 3, maxNewTokens: 6, seed: 4 });
    const completions = groups[0]?.completions ?? [];
    const scored = await model.logprobs({
      promptIds: completions.map(() => PROMPT),
      completionIds: completions.map(({ ids }) => ids),
    });
    completions.forEach(({ logprobs }, i) => {
      for (const [t, value] of logprobs.entries()) expect(value).toBeCloseTo(scored[i]?.[t] ?? Number.NaN, 4);
    });
    model.dispose();
  });
});
