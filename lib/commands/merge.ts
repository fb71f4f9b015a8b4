// `grpo merge`: writes a model with an adapter merged into its weights, for programs that read no adapters. What is done goes to
// stderr, the folder to stdout.

import { mkdir, realpath } from "node:fs/promises";
import { parseArgs } from "node:util";
import { GrpoError, reasonOf } from "../errors.js";
import { CausalLM } from "../model/model.js";
import type { FromPretrainedOptions, SaveMergedOptions } from "../model/model-options.js";
import { Tokenizer } from "../tokenizer/tokenizer.js";
import type { Command } from "./command.js";

const options = {
  model: { type: "string" },
  adapter: { type: "string" },
  output: { type: "string" },
  dtype: { type: "string" },
  device: { type: "string" },
  revision: { type: "string" },
  "safe-merge": { type: "boolean" },
  "max-shard-size": { type: "string" },
} as const;

type Values = ReturnType<typeof parseArgs<{ options: typeof options }>>["values"];

export const mergeCommand: Command = {
  usage:
    "--model <id or folder> --adapter <id or folder> --output <folder>\n\n" +
    "  Writes the model with the adapter merged into it, and the model's tokenizer.\n\n" +
    "  --safe-merge               refuse weights that are not finite, as PEFT's safe_merge\n" +
    "  --max-shard-size SIZE      largest file (default 50GB)\n" +
    "  --dtype, --device, --revision   as of CausalLM.fromPretrained",

  async run(args) {
    const { values } = parseArgs({ args: [...args], options });
    const { model: base, adapter, output } = required(values);
    await makeOutput(output, { model: base, adapter });
    const say = progress();
    say(`loading ${base} and ${adapter}`);
    const tokenizer = await Tokenizer.fromPretrained(base, given({ revision: values.revision }));
    const { dtype, device, revision } = values;
    // fromPretrained and saveMerged check what the values may be.
    const load = given({ adapter, dtype, device, revision }) as FromPretrainedOptions;
    const model = await CausalLM.fromPretrained(base, load);
    try {
      say(`merging, and writing ${model.dtype} to ${output}`);
      const save = given({ safeMerge: values["safe-merge"], maxShardSize: values["max-shard-size"] });
      await model.saveMerged(output, save as SaveMergedOptions);
      await tokenizer.savePretrained(output);
    } finally {
      model.dispose();
    }
    say("done");
    console.log(output);
    return 0;
  },
};

/** Lines with the seconds since the first. */
function progress(): (what: string) => void {
  const began = performance.now();
  return (what) => console.error(`${((performance.now() - began) / 1000).toFixed(1).padStart(6)} s  ${what}`);
}

function required({ model, adapter, output }: Values): { model: string; adapter: string; output: string } {
  if (model !== undefined && adapter !== undefined && output !== undefined) return { model, adapter, output };
  const missing = Object.entries({ model, adapter, output }).filter(([, value]) => value === undefined);
  const names = missing.map(([name]) => `no --${name}`).join(" and ");
  const found = missing.length === 3 ? "none of them" : names;
  throw new GrpoError("BAD_OPTION", `expected --model, --adapter and --output; found ${found}`, {
    hint: "grpo merge --model <id or folder> --adapter <id or folder> --output <folder>",
  });
}

/** Before anything is loaded: a folder that can be made, and is not one of those that are read. */
async function makeOutput(output: string, sources: Readonly<Record<string, string>>): Promise<void> {
  const made = await mkdir(output, { recursive: true }).catch((cause: unknown) => {
    throw new GrpoError("BAD_INPUT", `--output ${output} cannot be made: ${reasonOf(cause)}`, {
      cause,
      hint: "give a folder that you may write to",
    });
  });
  if (made !== undefined) return;
  const place = await realpath(output);
  for (const [name, source] of Object.entries(sources)) {
    if ((await realpath(source).catch(() => undefined)) !== place) continue;
    throw new GrpoError(
      "BAD_OPTION",
      `--output is the folder of --${name}, ${source}; its files would be overwritten`,
      {
        hint: "give a folder of its own",
      },
    );
  }
}

function given(values: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined));
}
