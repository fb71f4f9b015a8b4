// What was read, in one line, for logs.

import type { MathNode } from "./ast.js";
import type { Parsed } from "./extract.js";

const LONGEST = 300;

function list(nodes: readonly MathNode[], between: string): string {
  return nodes.map(formatNode).join(between);
}

function bracketed(node: MathNode): string {
  const text = formatNode(node);
  return /^[\w.]*$/.test(text) ? text : `(${text})`;
}

function formatNode(node: MathNode): string {
  switch (node.kind) {
    case "number": {
      const { p, q } = node.value;
      if (q === 1n) return node.float ? `${p}.0` : `${p}`;
      return node.float ? String(Number(p) / Number(q)) : `${p}/${q}`;
    }
    case "hundredth":
      return "1/100";
    case "symbol":
    case "constant":
    case "numberSet":
      return node.name;
    case "add":
      return list(node.args, " + ");
    case "mul":
      return node.args.map(bracketed).join("*");
    case "pow":
      return `${bracketed(node.base)}^${bracketed(node.exponent)}`;
    case "call":
      return `${node.name}(${list(node.args, ", ")})`;
    case "set":
      return `{${list(node.args, ", ")}}`;
    case "tuple":
      return `(${list(node.args, ", ")})`;
    case "interval":
      return `${node.leftOpen ? "(" : "["}${list([node.start, node.end], ", ")}${node.rightOpen ? ")" : "]"}`;
    case "union":
    case "intersection":
    case "complement":
      return `${formatNode(node.left)} ${{ union: "∪", intersection: "∩", complement: "∖" }[node.kind]} ${formatNode(node.right)}`;
    case "relation":
      return `${formatNode(node.left)} ${node.operator} ${formatNode(node.right)}`;
    case "and":
      return list(node.args, " and ");
    case "matrix":
      return `[${node.rows.map((row) => list(row, ", ")).join("; ")}]`;
    case "invalid":
      return "?";
    default:
      return `${node.kind}(${formatNode(node.body)})`;
  }
}

/** What parse gave, in one line. */
export function formatParsed(parsed: Parsed): string {
  const text = parsed.map((part) => (typeof part === "string" ? JSON.stringify(part) : formatNode(part))).join(", ");
  return `[${text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text}]`;
}
