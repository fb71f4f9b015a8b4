// GET /v1/models: the model, and each adapter under its name.

import { ApiError } from "./api-error.js";
import { jsonReply, type Reply } from "./reply.js";
import { modelOf, type Served, type ServedModel } from "./served.js";

export function answerModels(served: Served): Reply {
  return jsonReply(() => ({ object: "list", data: served.models.map((model) => entryOf(served, model)) }));
}

export function answerModel(served: Served, name: string): Reply {
  if (name === "") throw new ApiError(404, "model_not_found", "expected the name of a model", { param: "model" });
  const model = modelOf(served, name);
  return jsonReply(() => entryOf(served, model));
}

function entryOf({ models, generator, createdAt }: Served, { name, adapter }: ServedModel) {
  const parent = typeof adapter === "string" ? (models[0]?.name ?? null) : null;
  return {
    id: name,
    object: "model",
    created: createdAt,
    owned_by: "grpo",
    root: name,
    parent,
    max_model_len: generator.maxPositions,
  };
}
