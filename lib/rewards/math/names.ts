// Comparison of names: an answer in words or letters. \text{abc} is one name, abc is a product of three; both count as
// "abc". A name also equals what prints like it, so that \text{5} is 5.

import type { MathNode } from "./ast.js";
import { toNumber } from "./rational.js";

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

/** How Python prints the simplest expressions. */
function printed(node: MathNode): string | undefined {
  switch (node.kind) {
    case "symbol":
      return node.name;
    case "number": {
      const { p, q } = node.value;
      if (node.float) return toNumber(node.value).toPrecision(15);
      return q === 1n ? String(p) : `${p}/${q}`;
    }
    case "constant":
      return { pi: "pi", e: "E", i: "I", gamma: "EulerGamma", infinity: "oo", undefined: undefined }[node.name];
    default:
      return undefined;
  }
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
