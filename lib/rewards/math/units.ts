// Takes units off the end of an answer: "5\text{ cm}^2", "12 apples", "3 p.m". The list, with its oddities, is that of
// math_verify's normalisation, which decides what counts as the same answer.

import { backOverSpaces, isDigit, strip } from "./text.js";

/** A "." stands for any character. */
const UNITS: readonly string[] = (
  "integerpoint|feet|sue|digit|pound|meal|edge|student|children ticket|multiple|east|degree|mph|kmph|ft|m square| m east|" +
  "sq m|deg|mile|q .|monkey|prime|ratio|profit of rs|rd|o|gm|p . m|lb|tile|per|dm|lt|gain|ab|way|west|a .|b .|c .|d .|e .|" +
  "f .|g .|h .|t|h|no change|men|soldier|pie|bc|excess|st|inches|noon|cent|by|gal|kmh|c|acre|rise|a . m|th|π r 2|sq|mark|l|" +
  "toy|coin|sq . m|gallon|° f|profit|minw|yr|women|am|pm|hr|cu cm|square|v â € ™|are|rupee|rounds|cubic|cc|mtr|s|ohm|" +
  "number|day|hour|minute|min|second|man|woman|sec|cube|mt|sq inch|mp|∏ cm ³|hectare|more|unit|cu . m|cm 2|rs .|rs|kg|" +
  "g|month|km|m|cm|mm|apple|liter|loss|yard|pure|year|increase|decrease|d|less|Surface|litre|pi sq m|s .|metre|meter|inch"
).split("|");

/** Last characters of units and of their plurals; "." for any. */
const endings = new Set([...UNITS.map((unit) => unit.slice(-1)), "s"]);
const anyEnding = new Set(UNITS.filter((unit) => unit.endsWith(".")).map((unit) => unit.slice(-2, -1)));
const longest = Math.max(...UNITS.map((unit) => unit.length));
const pattern = new RegExp(`^(?:${UNITS.map((unit) => unit.replaceAll(".", "[^\\n]")).join("|")})(?:s|es)?$`);

/** Position from which the text is a unit to its end, `\1` of the pattern excluded; the leftmost there is. */
function unitStart(text: string): { keep: number } | undefined {
  const end = backOverSpaces(text, text.length);
  if (end === 0 || !(endings.has(text.charAt(end - 1)) || anyEnding.has(text.charAt(end - 2)))) return undefined;
  let best: number | undefined;
  for (let start = Math.max(1, end - longest - 2); start < end; start++) {
    const before = text.charCodeAt(start - 1);
    const boundary = isDigit(before) || before === 125 || backOverSpaces(text, start) < start;
    if (!boundary || !pattern.test(text.slice(start, end))) continue;
    const spaces = backOverSpaces(text, start);
    const previous = text.charCodeAt(spaces - 1);
    // A digit or brace before the white space is kept; otherwise one white space is.
    const keep = spaces > 0 && (isDigit(previous) || previous === 125) ? spaces : spaces + 1;
    if (spaces === start && keep === spaces + 1) continue;
    if (best === undefined || keep < best) best = keep;
  }
  return best === undefined ? undefined : { keep: best };
}

/** The first \text or \mbox from which a closing brace (and a power) ends the text. */
function withoutTextUnit(text: string): string {
  const tail = /\}(?:\^[0-9]|\{\^[0-9]\})?\n?$/.exec(text.slice(-8));
  if (!tail) return text;
  const end = text.length - (Math.min(8, text.length) - tail.index);
  const from = Math.max(text.lastIndexOf("\n", end - 1) + 1, 0);
  const starts = ["\\text{", "\\mbox{"].map((word) => text.indexOf(word, from)).filter((at) => at >= 0);
  const start = Math.min(...starts);
  return starts.length > 0 && start + 6 <= end ? text.slice(0, start) : text;
}

export function withoutUnits(text: string): string {
  let result = text;
  const stripped = strip(withoutTextUnit(result));
  if (stripped !== "") result = stripped;
  for (let round = 0; round < 2; round++) {
    const unit = unitStart(result);
    if (unit && unit.keep > 0) result = result.slice(0, unit.keep);
  }
  return result;
}
