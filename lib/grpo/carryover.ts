// What the steps of GRPO leave behind for the next one, in a checkpoint: the position in the order of prompts and the entropy control
// in trainer_state.json, and generation.json where the next step goes on with completions that are there already.

import { readFile } from "node:fs/promises";
import path from "node:path";
import { GrpoError, reasonOf } from "../errors.js";
import type { Checkpoint } from "../run/checkpoint.js";
import type { OwnState } from "../run/run.js";
import { lazySchema } from "../zod.js";
import type { EntropyState } from "./entropy.js";
import type { Generation } from "./generation.js";
import { carriedInto, type TrainingPlan } from "./plan.js";
import type { Carryover } from "./step.js";
import { generationFromJson, generationToJson } from "./stored-generation.js";

const generationFile = "generation.json";

const keysSchema = lazySchema((z) =>
  z.object({
    /** Prompts sampled for so far: with dynamic sampling not what the steps alone would tell. */
    prompts_taken: z.int().min(0),
    /** State of the entropy bonus. */
    entropy: z.object({ coef: z.number(), last_entropy: z.number().nullable() }),
  }),
);

export function storeCarryover({
  generation,
  entropy,
  promptsTaken,
}: Carryover & { readonly entropy: EntropyState }): OwnState {
  return {
    keys: { prompts_taken: promptsTaken, entropy },
    files: generation === undefined ? {} : { [generationFile]: () => generationToJson(generation) },
  };
}

/** Throws BAD_CHECKPOINT for what is not whole, or lacks the completions that the next step needs. */
export async function readCarryover({ folder, state }: Checkpoint, plan: TrainingPlan): Promise<Carryover> {
  const keys = keysSchema().safeParse(state);
  if (!keys.success) {
    const issue = keys.error.issues[0];
    throw new GrpoError("BAD_CHECKPOINT", `${folder}: trainer_state.json: ${issue?.path.join(".")}: ${issue?.message}`);
  }
  const generation = await readGeneration(path.join(folder, generationFile));
  const isOver = state.global_step >= plan.totalSteps;
  if (!isOver && carriedInto(plan, state.global_step) !== generation?.index) {
    const next = state.global_step + 1;
    throw new GrpoError("BAD_CHECKPOINT", `${folder} lacks the completions that step ${next} needs`, {
      hint: "resume from another checkpoint",
    });
  }
  return { generation, entropy: keys.data.entropy, promptsTaken: keys.data.prompts_taken };
}

/** Undefined where there is none. */
export async function readGeneration(file: string): Promise<Generation | undefined> {
  try {
    return generationFromJson(await readFile(file, "utf8"));
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw new GrpoError("BAD_CHECKPOINT", `${file} is not a stored generation: ${reasonOf(cause)}`, { cause });
  }
}
