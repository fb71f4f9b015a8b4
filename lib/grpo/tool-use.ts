// The trainer's tools and environments: checked before anything is loaded, and a sampler once the model and its tokenizer are there.

import { type EnvironmentFactories, Environments } from "../agents/environments.js";
import { describeTool, type ReadyTool, readyTools, type Tools } from "../agents/tool.js";
import { ToolSampler } from "../agents/tool-sampler.js";
import { checkToolTemplate } from "../agents/tool-template.js";
import { chatFormat } from "../chat/create-chat-format.js";
import { badOption } from "../checks.js";
import type { Generator } from "../endpoint/generator.js";
import { ModelGenerator } from "../endpoint/model-generator.js";
import { GrpoError } from "../errors.js";
import type { JsonObject } from "../json.js";
import { CausalLM } from "../model/model.js";
import { renderPrompt } from "../rollout/prompts.js";
import type { Sampler } from "../rollout/sampler.js";
import type { ProcessingClass } from "../tokenizer/processing-class.js";
import { Tokenizer } from "../tokenizer/tokenizer.js";
import type { AnyRewardFn } from "../types.js";
import type { GRPOConfig } from "./config.js";

/** What of the trainer's options is about tools. */
export interface ToolOptions<Row> {
  /**
   * Tools that the model may call between its turns: a list of tools with names, or an object of tools by name, as the AI SDK has them.
   * Prompts must be conversations, and the chat template one that knows tools. Default: none.
   */
  readonly tools?: Tools;
  /**
   * Makes environments: each rollout has one, which is reset with the row, brings tools of its own, and may know the reward. Several
   * factories by name: a row says in its column "environment" which one it is for. Default: none.
   */
  readonly environmentFactory?: EnvironmentFactories<Row>;
}

export class ToolUse {
  readonly #args: GRPOConfig;
  readonly #tools: readonly ReadyTool[];
  readonly #environments: Environments | undefined;

  /** Undefined where there are no tools and no environments. Throws BAD_OPTION for what no model could call. */
  static of<Row>({ tools, environmentFactory }: ToolOptions<Row>, args: GRPOConfig): ToolUse | undefined {
    const ready = tools === undefined ? [] : readyTools("tools", tools);
    if (ready.length === 0 && environmentFactory === undefined) return undefined;
    if (environmentFactory !== undefined && args.maxStaleness > 0) {
      throw new GrpoError(
        "BAD_OPTION",
        `maxStaleness ${args.maxStaleness} with environmentFactory: environments are used again by the next generation`,
        { hint: "make the environment in a rollout of your own, or set maxStaleness to 0" },
      );
    }
    return new ToolUse(ready, environmentFactory && new Environments(environmentFactory, ready), args);
  }

  private constructor(tools: readonly ReadyTool[], environments: Environments | undefined, args: GRPOConfig) {
    this.#tools = tools;
    this.#environments = environments;
    this.#args = args;
  }

  /** Of environments that know the reward. */
  get rewards(): readonly AnyRewardFn[] {
    return this.#environments?.rewards ?? [];
  }

  /** The tools of a row, as chat templates read them. */
  toolsOf(row: unknown): readonly JsonObject[] {
    return (this.#environments?.toolsOf(row) ?? this.#tools).map(describeTool);
  }

  /** Throws BAD_OPTION for a tokenizer or a sampler that cannot, and BAD_TEMPLATE for a chat template that does not know tools. */
  sampler(given: Sampler, processingClass: ProcessingClass): Sampler {
    const { maxToolCallingIterations, toolTimeout } = this.#args;
    const chatTemplateKwargs = this.#args.chatTemplateKwargs ?? {};
    const tokenizer = tokenizerOf(processingClass);
    const format = chatFormat(tokenizer);
    checkToolTemplate(tokenizer, format, this.#environments?.tools ?? this.#tools);
    return new ToolSampler({
      generator: generatorOf(given, tokenizer),
      drawnBy: given,
      format,
      tools: this.#tools,
      environments: this.#environments,
      render: (prompt, row) => renderPrompt(tokenizer, prompt, { chatTemplateKwargs, tools: this.toolsOf(row) }),
      minP: given instanceof CausalLM ? given.ownSampling.minP : 0,
      maxRounds: maxToolCallingIterations,
      toolTimeout,
      variables: chatTemplateKwargs,
    });
  }
}

function tokenizerOf(processingClass: ProcessingClass): Tokenizer {
  if (processingClass instanceof Tokenizer) return processingClass;
  throw badOption("GRPOTrainer", "processingClass", "a Tokenizer where there are tools", processingClass);
}

/** Conversations draw turn by turn, which a sampler of completions cannot. */
function generatorOf(sampler: Sampler, tokenizer: Tokenizer): Generator {
  if (sampler instanceof CausalLM) return new ModelGenerator(sampler, tokenizer);
  if ("generate" in sampler && typeof sampler.generate === "function") return sampler as Sampler & Generator;
  throw new GrpoError("BAD_OPTION", "GRPOTrainer: beside tools and environments the sampler must draw single turns", {
    hint: "leave sampler out, or give one that has the method generate of a Generator too",
  });
}
