// A CausalLM and its tokenizer as an endpoint.

import path from "node:path";
import { checkOptionNames, checkText } from "../checks.js";
import { GrpoError } from "../errors.js";
import type { CausalLM } from "../model/model.js";
import type { Tokenizer } from "../tokenizer/tokenizer.js";
import { ENDPOINT_OPTIONS, Endpoint, type EndpointOptions } from "./endpoint.js";
import { ModelGenerator } from "./model-generator.js";
import type { ServedModel } from "./served.js";

/** How a model is served. */
export interface ServeModelOptions extends EndpointOptions {
  /** The name that clients give as `model`. Default: the folder or id that it was loaded from, whose last part will do as well. */
  readonly name?: string;
  /**
   * Names of adapters that are served beside the model, each under its own; the model's name then means it without any. Default: the
   * model as it is, under its name alone.
   */
  readonly adapters?: readonly string[];
}

/**
 * Serves a model in OpenAI's protocols. Resolves when it accepts requests; `close()` ends it, and the model stays the caller's. Throws
 * BAD_OPTION.
 */
export async function serveModel(
  model: CausalLM,
  tokenizer: Tokenizer,
  options: ServeModelOptions = {},
): Promise<Endpoint> {
  checkOptionNames("serveModel", options, [...ENDPOINT_OPTIONS, "name", "adapters"]);
  const { name, adapters, ...rest } = options;
  const generator = new ModelGenerator(model, tokenizer);
  const models = servedModels(model, name, adapters);
  return Endpoint.start({ generator, tokenizer, models, defaults: model.ownSampling }, rest);
}

function servedModels(
  model: CausalLM,
  given: string | undefined,
  adapters: readonly string[] | undefined,
): ServedModel[] {
  const name = checkText("serveModel", "name", given ?? model.source?.idOrPath ?? "model");
  const short = path.basename(name);
  const alias = given === undefined && short !== name ? { alias: short } : {};
  const models = [
    { name, ...alias, adapter: adapters === undefined ? undefined : null },
    ...(adapters ?? []).map(asModel),
  ];
  for (const [i, { name: own }] of models.entries()) {
    if (models.findIndex((other) => other.name === own) === i) continue;
    throw new GrpoError("BAD_OPTION", `serveModel: two models are called ${JSON.stringify(own)}`);
  }
  const missing = (adapters ?? []).find((adapter) => !model.adapters.includes(adapter));
  if (missing === undefined) return models;
  throw new GrpoError("BAD_OPTION", `serveModel: the model has no adapter ${JSON.stringify(missing)}`, {
    hint: `it has ${model.adapters.join(", ") || "none"}`,
  });
}

function asModel(adapter: string): ServedModel {
  return { name: adapter, adapter };
}
