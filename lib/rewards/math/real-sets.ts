// Sets of real numbers as pieces of the line in order, with their unions, intersections and complements, so that two ways
// of writing one set can be compared. Ends are doubles.

import type { MathNode } from "./ast.js";
import * as build from "./build.js";
import * as C from "./complex.js";
import { constantValue } from "./equality.js";
import type { Budget } from "./limits.js";

export interface Piece {
  readonly low: number;
  readonly high: number;
  readonly lowOpen: boolean;
  readonly highOpen: boolean;
}

export const close = (a: number, b: number): boolean =>
  a === b || (Number.isFinite(a - b) && Math.abs(a - b) <= 1e-11 * Math.max(1, Math.abs(a), Math.abs(b)));

export const point = (x: number): Piece => ({ low: x, high: x, lowOpen: false, highOpen: false });
export const LINE: Piece = {
  low: Number.NEGATIVE_INFINITY,
  high: Number.POSITIVE_INFINITY,
  lowOpen: true,
  highOpen: true,
};

/** Overlapping and touching pieces joined. */
export function joined(pieces: readonly Piece[]): Piece[] {
  const order = [...pieces].sort((a, b) =>
    close(a.low, b.low) ? Number(a.lowOpen) - Number(b.lowOpen) : a.low - b.low,
  );
  const result: Piece[] = [];
  for (const piece of order) {
    const last = result.at(-1);
    const touch = last && (close(last.high, piece.low) ? !(last.highOpen && piece.lowOpen) : last.high > piece.low);
    if (!last || !touch) {
      result.push(piece);
    } else if (close(piece.high, last.high)) {
      result[result.length - 1] = { ...last, highOpen: last.highOpen && piece.highOpen };
    } else if (piece.high > last.high) {
      result[result.length - 1] = { ...last, high: piece.high, highOpen: piece.highOpen };
    }
  }
  return result;
}

function complement(pieces: readonly Piece[]): Piece[] {
  const result: Piece[] = [];
  let { low, lowOpen } = LINE;
  for (const piece of joined(pieces)) {
    if (piece.low > low || (close(piece.low, low) && !lowOpen && piece.lowOpen)) {
      result.push({ low, lowOpen, high: piece.low, highOpen: !piece.lowOpen });
    }
    low = piece.high;
    lowOpen = !piece.highOpen;
  }
  if (low < LINE.high) result.push({ low, lowOpen, high: LINE.high, highOpen: true });
  return result;
}

export function intersection(a: readonly Piece[], b: readonly Piece[]): Piece[] {
  return complement([...complement(a), ...complement(b)]);
}

/** A constant, or an infinity, as a double. */
export function endOf(node: MathNode, budget: Budget): number | undefined {
  if (build.isInfinite(node)) return node.kind === "constant" ? LINE.high : negativeInfinity(node);
  const value = constantValue(node, budget);
  return value && C.isReal(value) && Number.isFinite(C.re(value)) ? C.re(value) : undefined;
}

function negativeInfinity(node: MathNode): number {
  const sign = node.kind === "mul" && node.args[0]?.kind === "number" ? node.args[0].value.p : 1n;
  return sign < 0n ? LINE.low : LINE.high;
}

/** The pieces of a set, or undefined if it is not one of real numbers with known ends. */
export function piecesOf(node: MathNode, budget: Budget): Piece[] | undefined {
  switch (node.kind) {
    case "interval": {
      const [low, high] = [endOf(node.start, budget), endOf(node.end, budget)];
      if (low === undefined || high === undefined || low > high) return undefined;
      return [{ low, high, lowOpen: node.leftOpen, highOpen: node.rightOpen }];
    }
    case "set": {
      const values = node.args.map((arg) => endOf(arg, budget));
      return values.every((value) => value !== undefined && Number.isFinite(value))
        ? joined((values as number[]).map(point))
        : undefined;
    }
    case "numberSet":
      return node.name === "reals" ? [LINE] : node.name === "empty" ? [] : undefined;
    case "union":
    case "intersection":
    case "complement": {
      const [left, right] = [piecesOf(node.left, budget), piecesOf(node.right, budget)];
      if (!left || !right) return undefined;
      if (node.kind === "union") return joined([...left, ...right]);
      return node.kind === "intersection" ? intersection(left, right) : intersection(left, complement(right));
    }
    default:
      return undefined;
  }
}

export function samePieces(a: readonly Piece[], b: readonly Piece[]): boolean {
  const [left, right] = [joined(a), joined(b)];
  return (
    left.length === right.length &&
    left.every((piece, i) => {
      const other = right[i];
      return (
        other !== undefined &&
        close(piece.low, other.low) &&
        close(piece.high, other.high) &&
        piece.lowOpen === other.lowOpen &&
        piece.highOpen === other.highOpen
      );
    })
  );
}
