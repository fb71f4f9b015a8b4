// Derivatives of trees, by the rules of the calculus. What has no rule here has no derivative here.

import {
  call,
  difference,
  flat,
  type MathNode,
  MINUS_ONE,
  negated,
  number,
  pow,
  type SymbolNode,
  someNode,
  symbolKey,
} from "./ast.js";
import * as Q from "./rational.js";

const ONE = number(Q.ONE);
const ZERO = number(Q.ZERO);
const TWO = number(Q.integer(2));
const product = (...args: MathNode[]): MathNode => ({ kind: "mul", args });
const sum = (...args: MathNode[]): MathNode => ({ kind: "add", args });
const inverse = (node: MathNode) => pow(node, MINUS_ONE);
const square = (node: MathNode) => pow(node, TWO);
const HALF = number(Q.rational(1n, 2n));

/** f′(u) for the functions of one argument. */
const outer: Readonly<Record<string, (u: MathNode) => MathNode>> = {
  sin: (u) => call("cos", [u]),
  cos: (u) => negated(call("sin", [u])),
  tan: (u) => inverse(square(call("cos", [u]))),
  cot: (u) => negated(inverse(square(call("sin", [u])))),
  sec: (u) => product(call("sec", [u]), call("tan", [u])),
  csc: (u) => negated(product(call("csc", [u]), call("cot", [u]))),
  asin: (u) => inverse(pow(difference(ONE, square(u)), HALF)),
  acos: (u) => negated(inverse(pow(difference(ONE, square(u)), HALF))),
  atan: (u) => inverse(sum(ONE, square(u))),
  sinh: (u) => call("cosh", [u]),
  cosh: (u) => call("sinh", [u]),
  tanh: (u) => inverse(square(call("cosh", [u]))),
  exp: (u) => call("exp", [u]),
  log: (u) => inverse(u),
};

const mentions = (node: MathNode, x: SymbolNode) =>
  someNode(node, (part) => part.kind === "symbol" && symbolKey(part) === symbolKey(x));

export function derivative(node: MathNode, x: SymbolNode): MathNode | undefined {
  if (!mentions(node, x)) return ZERO;
  switch (node.kind) {
    case "symbol":
      return ONE;
    case "add":
      return all(node.args, (arg) => derivative(arg, x), sum);
    case "mul":
      return all(
        node.args.map((_, i) => i),
        (i) => {
          const inner = derivative(node.args[i] as MathNode, x);
          return inner && product(...node.args.map((arg, j) => (i === j ? inner : arg)));
        },
        sum,
      );
    case "pow":
      return ofPower(node.base, node.exponent, x);
    case "call":
      return ofCall(node.name, node.args, x);
    default:
      return undefined;
  }
}

function all<T>(
  list: readonly T[],
  one: (item: T) => MathNode | undefined,
  join: (...nodes: MathNode[]) => MathNode,
): MathNode | undefined {
  const nodes = list.map(one);
  return nodes.every((node) => node !== undefined) ? join(...nodes) : undefined;
}

/** (uᵛ)′ = v uᵛ⁻¹ u′ + uᵛ ln u v′, of which only the part that is not zero is written. */
function ofPower(u: MathNode, v: MathNode, x: SymbolNode): MathNode | undefined {
  const [inner, exponent] = [derivative(u, x), derivative(v, x)];
  if (!inner || !exponent) return undefined;
  const left = () => product(v, pow(u, difference(v, ONE)), inner);
  const right = () => product(pow(u, v), call("log", [u]), exponent);
  if (!mentions(v, x)) return left();
  return mentions(u, x) ? sum(left(), right()) : right();
}

function ofCall(name: string, args: readonly MathNode[], x: SymbolNode): MathNode | undefined {
  const [u, base] = args;
  const rule = outer[name];
  if (!u || !rule || (base && (name !== "log" || mentions(base, x)))) return undefined;
  const inner = derivative(u, x);
  const value = inner && product(rule(u), inner);
  return value && base ? product(value, inverse(call("log", [base]))) : value && flat("mul", [ONE, value]);
}
