// IFEval's scores: whether a response follows the instructions of its row, strictly, and loosely, when its first or last line and
// asterisks may be left out. The score is that of the whole prompt, strictly.

import { GrpoError } from "../errors.js";
import { isJsonObject } from "../json.js";
import { INSTRUCTION_CHECKS, type InstructionArguments } from "./instruction-checks.js";
import type { Grade, Grader, Problem } from "./task.js";

/** Changes whenever some text could be judged otherwise. */
const VERSION = "1 (LightEval 0.13 ifeval 0.1)";

interface Instruction {
  readonly id: string;
  readonly args: InstructionArguments;
}

export const instructionGrader: Grader = {
  name: "instructions",
  version: VERSION,
  async grade({ row }, answers) {
    const instructions = instructionsOf(row);
    return answers.map(({ final }) => gradeOne(instructions, final));
  },
};

function gradeOne(instructions: readonly Instruction[], response: string): Grade {
  const follows = (text: string) => instructions.map(({ id, args }) => text.trim() !== "" && check(id, text, args));
  const strict = follows(response);
  const variants = loosely(response).map(follows);
  const loose = instructions.map((_, i) => variants.some((variant) => variant[i]));
  const share = (list: readonly boolean[]) => list.filter(Boolean).length / list.length;
  const all = (list: readonly boolean[]) => (list.every(Boolean) ? 1 : 0);
  return {
    score: all(strict),
    scores: { prompt_loose: all(loose), instruction_strict: share(strict), instruction_loose: share(loose) },
  };
}

/** Rows with an instruction that cannot be checked are no problems of the task (canCheck). */
function check(id: string, text: string, args: InstructionArguments): boolean {
  return INSTRUCTION_CHECKS[id]?.(text, args) ?? false;
}

/** The response and what it would be without its first line, its last line, both, and without asterisks. */
function loosely(response: string): string[] {
  const lines = response.split("\n");
  const cut = [lines.slice(1), lines.slice(0, -1), lines.slice(1, -1)].map((some) => some.join("\n").trim());
  return [response, ...cut].flatMap((text) => [text, text.replaceAll("*", "")]);
}

/** Whether every instruction of a row can be checked here. */
export function canCheck(row: Problem["row"]): boolean {
  return instructionsOf(row).every(({ id }) => Object.hasOwn(INSTRUCTION_CHECKS, id));
}

/** Throws BAD_DATASET for a row that is none of IFEval's. */
function instructionsOf(row: Problem["row"]): Instruction[] {
  const { instruction_id_list: ids, kwargs } = row;
  if (Array.isArray(ids) && ids.length > 0 && Array.isArray(kwargs) && kwargs.length === ids.length) {
    return ids.map((id: unknown, i) => ({ id: String(id), args: isJsonObject(kwargs[i]) ? kwargs[i] : {} }));
  }
  throw new GrpoError("BAD_DATASET", "expected the columns instruction_id_list and kwargs, lists of the same length", {
    hint: "give rows with the columns of google/IFEval",
  });
}
