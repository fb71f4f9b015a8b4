// Comparison of names: an answer in words or letters. \text{abc} is one name, abc is a product of three; both count as
// "abc". A name also equals what sympy prints like it, so that \text{5} is 5 and \text{x/2} is \frac{x}{2}.

import type { MathNode } from "./ast.js";
import { printed } from "./printed.js";

const isLetterE = (node: MathNode) => node.kind === "constant" && node.name === "e";

/** The letters of a product of names, or undefined. */
function spelled(node: MathNode): string | undefined {
  if (node.kind !== "mul") return undefined;
  let word = "";
  for (const arg of node.args) {
    if (arg.kind === "symbol") word += arg.name;
    else if (isLetterE(arg)) word += "e";
    else return undefined;
  }
  return word.toLowerCase();
}

const loose = (name: string) => (name.length > 1 ? name.toLowerCase() : name);

/** At least one of the two is a name. */
export function symbolsEqual(gold: MathNode, answer: MathNode): boolean {
  const one = (a: MathNode, b: MathNode) => a.kind === "symbol" && a.name.toLowerCase() === "e" && isLetterE(b);
  if (one(gold, answer) || one(answer, gold)) return true;
  for (const [name, other] of [
    [gold, answer],
    [answer, gold],
  ] as const) {
    const word = name.kind === "symbol" ? spelled(other) : undefined;
    if (word !== undefined && name.kind === "symbol") return name.name.toLowerCase() === word;
  }
  if (gold.kind === "symbol" && answer.kind === "symbol") return loose(gold.name) === loose(answer.name);
  const text = printed(gold);
  return text !== undefined && text === printed(answer);
}
