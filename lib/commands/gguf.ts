// `grpo gguf`: writes a model as one file that llama.cpp, Ollama and LM Studio load. What is done goes to stderr, the file to stdout.

import { parseArgs } from "node:util";
import { show } from "../checks.js";
import { GrpoError } from "../errors.js";
import { modelToGguf } from "../gguf/model-to-gguf.js";
import { TENSOR_TYPES, type TensorTypeName } from "../gguf/tensor-types.js";
import type { Command } from "./command.js";

const TYPES = Object.keys(TENSOR_TYPES);
const USAGE = "--model <id or folder> --output <file.gguf>";

export const ggufCommand: Command = {
  usage:
    `${USAGE} [--type ${TYPES.join("|")}] [--revision REVISION]\n\n` +
    "  Writes a model and its tokenizer as a GGUF file. An adapter is merged first: grpo merge.\n\n" +
    "  --type   of the matrices (default q8_0)",

  async run(args) {
    const { values } = parseArgs({
      args: [...args],
      options: {
        model: { type: "string" },
        output: { type: "string" },
        type: { type: "string", default: "q8_0" },
        revision: { type: "string" },
      },
    });
    const { model, output, type, revision } = values;
    if (model === undefined || output === undefined) {
      throw new GrpoError("BAD_OPTION", "expected --model and --output", { hint: `grpo gguf ${USAGE}` });
    }
    if (!isType(type)) {
      throw new GrpoError("BAD_OPTION", `--type: there is no type ${show(type)}`, {
        hint: `use one of ${TYPES.join(", ")}`,
      });
    }
    console.error(`writing ${model} as ${type}`);
    await modelToGguf(model, output, type, revision === undefined ? {} : { revision });
    console.log(output);
    return 0;
  },
};

function isType(type: string): type is TensorTypeName {
  return TYPES.includes(type);
}
