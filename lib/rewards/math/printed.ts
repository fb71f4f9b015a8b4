// How sympy prints an expression, as far as that can be the name of a symbol, which has neither white space nor brackets. A product
// with a number behind another factor is printed as it was written, any other with its factors in sympy's order.

import { type ConstantName, type MathNode, type NumberNode, negated, number, type PowNode, pow } from "./ast.js";
import * as Q from "./rational.js";

type Text = string | undefined;

/** The text, or undefined where it would have white space or brackets. */
export function printed(node: MathNode): Text {
  return node.kind === "number" && node.float ? decimal(node, false) : part(node);
}

/** The others are printed with capitals, which names do not have. */
const CONSTANTS: Partial<Record<ConstantName, string>> = { pi: "pi", infinity: "oo" };

/** How tightly the outermost operator of an expression binds: what is inside of a tighter one gets brackets. */
const [SUM, PRODUCT, POWER, ATOM] = [1, 2, 3, 4];

function tightness(node: MathNode): number {
  if (isNegative(node)) return SUM;
  if (node.kind === "number") return node.float || Q.isInteger(node.value) ? ATOM : PRODUCT;
  return node.kind === "mul" ? PRODUCT : node.kind === "pow" ? POWER : ATOM;
}

/** The text of a part of a larger expression. */
function part(node: MathNode): Text {
  switch (node.kind) {
    case "symbol":
      return node.name;
    case "constant":
      return CONSTANTS[node.name];
    case "number": {
      const { p, q } = node.value;
      return node.float ? decimal(node, true) : q === 1n ? String(p) : `${p}/${q}`;
    }
    case "pow":
      return power(node);
    case "mul":
      return product(node.args);
    default:
      return undefined;
  }
}

function within(outside: number, node: MathNode): Text {
  return tightness(node) > outside ? part(node) : undefined;
}

/** 15 significant digits, in a larger expression without the zeros at the end. */
function decimal({ value }: NumberNode, stripped: boolean): string {
  const size = Q.toNumber(value);
  const text = size !== 0 && Math.abs(size) < 1e-4 ? size.toExponential(14) : size.toPrecision(15);
  return stripped ? text.replace(/0+(?=$|e)/, "").replace(/\.(?=$|e)/, ".0") : text;
}

function power({ base, exponent }: PowNode): Text {
  const root = within(POWER, base);
  if (isInteger(exponent, -1n)) return root && `1/${root}`;
  const height = within(POWER, exponent);
  return root && height && `${root}**${height}`;
}

function product(factors: readonly MathNode[]): Text {
  const [first, ...others] = factors;
  if (!first) return undefined;
  const negative = first.kind === "number" && isNegative(first);
  const outside = negative ? SUM : PRODUCT;
  if (negative && others.length === 1 && others.some(isInfinity)) return "-oo";
  if (isInteger(first, 1n) || others.some(isNumeric)) return asWritten(factors, outside);
  const coefficient = first.kind === "number" ? coefficientOf(first) : [];
  const text = sorted(coefficient, first.kind === "number" ? others : factors, outside);
  return text && (negative ? `-${text}` : text);
}

function asWritten(factors: readonly MathNode[], outside: number): Text {
  const above = factors.filter((factor) => !isInverse(factor));
  return quotient(
    above.map((factor, i) => (i === 0 && isNegative(factor) ? part(factor) : within(outside, factor))),
    factors.filter(isInverse).map(({ base, exponent }) => {
      return exponent.kind === "number" ? below(outside, base, negated(exponent)) : undefined;
    }),
  );
}

/** The size of the number that a product begins with; none is 1. */
function coefficientOf(first: NumberNode): readonly MathNode[] {
  const { p, q } = first.value;
  const size = number(p < 0n ? Q.negate(first.value) : first.value, first.float);
  if (first.float) return [size];
  const above = size.value.p === 1n ? [] : [number(Q.integer(size.value.p))];
  return q === 1n ? above : [...above, pow(number(Q.integer(q)), number(Q.integer(-1)))];
}

function sorted(coefficient: readonly MathNode[], factors: readonly MathNode[], outside: number): Text {
  const all = [...coefficient, ...[...factors].sort(order)];
  return quotient(
    all.filter((factor) => !isInverse(factor)).map((factor) => within(outside, factor)),
    all.filter(isInverse).map(({ base, exponent }) => {
      if (exponent.kind === "number") {
        // 1/(x**2) has brackets, where it was not written x**(-2).
        const compound = base.kind === "pow" || base.kind === "mul";
        return compound && isInteger(exponent, -1n) ? undefined : below(outside, base, negated(exponent));
      }
      const [sign, size] = exponent.kind === "mul" && exponent.args.length === 2 ? exponent.args : [];
      return sign && size && isInteger(sign, -1n) ? below(outside, base, size) : undefined;
    }),
  );
}

/** A factor below the line. */
function below(outside: number, base: MathNode, exponent: MathNode): Text {
  return within(outside, isInteger(exponent, 1n) ? base : pow(base, exponent));
}

/** Several factors below the line have brackets around them. */
function quotient(top: readonly Text[], bottom: readonly Text[]): Text {
  if (bottom.length > 1 || top.includes(undefined) || bottom.includes(undefined)) return undefined;
  return [top.length > 0 ? top.join("*") : "1", ...bottom].join("/");
}

const KINDS = ["number", "infinity", "pi", "symbol"];

/** Numbers, constants, then names in the order of the alphabet; powers are where their bases are. */
function order(a: MathNode, b: MathNode): number {
  const [x, y] = [a, b].map((node) => (node.kind === "pow" ? node.base : node)) as [MathNode, MathNode];
  const rank = (node: MathNode) => KINDS.indexOf(node.kind === "constant" ? node.name : node.kind);
  if (rank(x) !== rank(y)) return rank(x) - rank(y);
  const [left, right] = [x, y].map((node) => (node.kind === "symbol" ? node.name : "")) as [string, string];
  return left < right ? -1 : left > right ? 1 : 0;
}

/** A negative number, or a product that begins with one. */
function isNegative(node: MathNode): boolean {
  const first = node.kind === "mul" ? node.args[0] : node;
  return first?.kind === "number" && first.value.p < 0n;
}

const isInfinity = (node: MathNode) => node.kind === "constant" && node.name === "infinity";
const isWhole = (node: MathNode) => node.kind === "number" && !node.float && Q.isInteger(node.value);
const isInteger = (node: MathNode, value: bigint) => node.kind === "number" && isWhole(node) && node.value.p === value;

/** What sympy calls a number, and powers of whole numbers. */
function isNumeric(node: MathNode): boolean {
  return node.kind === "pow"
    ? isWhole(node.base) && isWhole(node.exponent)
    : node.kind === "number" || isInfinity(node);
}

const isInverse = (node: MathNode): node is PowNode => node.kind === "pow" && isNegative(node.exponent);
