// The split grammar of Hugging Face datasets: "train", "train[:5%]", "train[10%:20%]", "train[-100:]", "train+test",
// with "(pct1_dropremainder)" as the other way of rounding. Boundaries come out as datasets' arrow_reader.py computes them.

import { GrpoError, nearestName } from "../errors.js";

type Unit = "%" | "rows";
type Rounding = "closest" | "pct1_dropremainder";

/** One term of a split expression. A boundary that was left out is undefined. */
export interface SplitSlice {
  readonly split: string;
  readonly from: number | undefined;
  readonly to: number | undefined;
  readonly unit: Unit;
  readonly rounding: Rounding;
  /** The slice as it was written, for messages. */
  readonly text: string;
}

const SLICE =
  /^(?<split>\w+(?:\.\w+)*)(?:\[(?:(?<from>-?[\d_]+)(?<fromPct>%)?)?:(?:(?<to>-?[\d_]+)(?<toPct>%)?)?\])?(?:\((?<rounding>[^)]*)\))?$/;

export function parseSplit(expression: string): SplitSlice[] {
  if (typeof expression !== "string") {
    throw new GrpoError("BAD_OPTION", `split must be a string or an array of strings, found ${typeof expression}`);
  }
  return expression
    .trim()
    .split(/\s*\+\s*/)
    .map(parseSlice);
}

/** The rows [start, end) of a split with `numRows` rows. */
export function sliceBounds(slice: SplitSlice, numRows: number): { readonly start: number; readonly end: number } {
  const absolute = (boundary: number | undefined, whenOpen: number): number => {
    const rows = boundary === undefined ? whenOpen : slice.unit === "%" ? percent(slice, boundary, numRows) : boundary;
    return Math.min(rows < 0 ? Math.max(numRows + rows, 0) : rows, numRows);
  };
  const start = absolute(slice.from, 0);
  return { start, end: Math.max(start, absolute(slice.to, numRows)) };
}

export function unknownSplit(name: string, known: readonly string[], source: string): GrpoError {
  const nearest = nearestName(name, known);
  return new GrpoError("BAD_DATASET", `${source} has no split "${name}"; it has: ${known.join(", ") || "none"}`, {
    ...(nearest === undefined ? {} : { hint: `did you mean "${nearest}"?` }),
  });
}

function parseSlice(text: string): SplitSlice {
  const groups = SLICE.exec(text)?.groups;
  if (groups?.split === undefined) {
    throw new GrpoError("BAD_OPTION", `"${text}" is not a split`, {
      hint: 'write one of "train", "train[:5%]", "train[10%:20%]", "train[-100:]", "train[:100]", "train+test"',
    });
  }
  const unit: Unit = groups.fromPct || groups.toPct ? "%" : "rows";
  const from = boundary(groups.from);
  const to = boundary(groups.to);
  if (unit === "%" && [from, to].some((value) => value !== undefined && Math.abs(value) > 100)) {
    throw new GrpoError("BAD_OPTION", `"${text}": percentages go from -100 to 100`);
  }
  return { split: groups.split, from, to, unit, rounding: parseRounding(groups.rounding, unit, text), text };
}

function parseRounding(rounding: string | undefined, unit: Unit, text: string): Rounding {
  if (rounding === undefined) return "closest";
  if (unit === "%" && (rounding === "closest" || rounding === "pct1_dropremainder")) return rounding;
  throw new GrpoError("BAD_OPTION", `"${text}": the rounding must be closest or pct1_dropremainder, with percentages`);
}

function boundary(digits: string | undefined): number | undefined {
  return digits === undefined ? undefined : Number(digits.replaceAll("_", ""));
}

function percent(slice: SplitSlice, boundaryPercent: number, numRows: number): number {
  if (slice.rounding === "closest") return roundHalfEven((boundaryPercent * numRows) / 100);
  if (numRows < 100) {
    throw new GrpoError("BAD_OPTION", `"${slice.text}": pct1_dropremainder needs at least 100 rows, found ${numRows}`);
  }
  return boundaryPercent * Math.trunc(numRows / 100);
}

/** Python's round(): a half goes to the even neighbour. */
function roundHalfEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest === 0.5) return floor % 2 === 0 ? floor : floor + 1;
  return rest < 0.5 ? floor : floor + 1;
}
