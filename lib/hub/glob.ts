// Patterns of file names: * stays within a folder, ** does not, ? and [0-9] are one character. Patterns may come from a stranger's file,
// so a name is read once, with all the places in the pattern that it can have reached: a regular expression of many stars would try
// every length of each.

import { GrpoError } from "../errors.js";

interface Step {
  /** One character that this step is about. */
  readonly takes: (char: string) => boolean;
  /** Takes any number of them. */
  readonly repeats: boolean;
  /** From here it may also go on so many steps later. */
  readonly jump: number;
}

/** Whether a name matches. Throws BAD_OPTION for a set of characters that is none, such as [z-a]. */
export function globMatcher(pattern: string): (name: string) => boolean {
  const steps = readSteps(pattern);
  return (name) => {
    let places = reachable([0], steps);
    for (let i = 0; i < name.length && places.size > 0; i++) {
      const char = name.charAt(i);
      const next: number[] = [];
      for (const place of places) {
        const step = steps[place];
        if (step?.takes(char)) next.push(step.repeats ? place : place + 1);
      }
      places = reachable(next, steps);
    }
    return places.has(steps.length);
  };
}

/** The places, and those that can be reached from them without a character. */
function reachable(places: readonly number[], steps: readonly Step[]): Set<number> {
  const found = new Set<number>();
  const open = [...places];
  for (let place = open.pop(); place !== undefined; place = open.pop()) {
    if (found.has(place)) continue;
    found.add(place);
    const step = steps[place];
    if (step?.repeats) open.push(place + 1);
    if (step !== undefined && step.jump > 0) open.push(place + step.jump);
  }
  return found;
}

const IN_FOLDER = (char: string): boolean => char !== "/";
const ANYWHERE = (): boolean => true;

function readSteps(pattern: string): Step[] {
  const steps: Step[] = [];
  const lastClose = pattern.lastIndexOf("]");
  const push = (takes: Step["takes"], repeats = false, jump = 0): void => {
    steps.push({ takes, repeats, jump });
  };
  for (let at = 0; at < pattern.length; ) {
    const char = pattern.charAt(at);
    const close = char === "[" && at < lastClose ? endOfSet(pattern, at) : -1;
    if (pattern.startsWith("**/", at)) {
      // Folders with a slash at their end, or none.
      push(ANYWHERE, true, 2);
      push((other) => other === "/");
      at += 3;
    } else if (pattern.startsWith("**", at)) {
      push(ANYWHERE, true);
      at += 2;
    } else if (close > 0) {
      push(characterSet(pattern.slice(at + 1, close), pattern));
      at = close + 1;
    } else {
      if (char === "*" || char === "?") push(IN_FOLDER, char === "*");
      else push((other) => other === char);
      at++;
    }
  }
  return steps;
}

/** Where a set's bracket closes; one that comes first is in the set. -1 for a bracket that stands for itself. */
function endOfSet(pattern: string, at: number): number {
  const first = at + (pattern.charAt(at + 1) === "!" ? 2 : 1);
  return pattern.indexOf("]", first + (pattern.charAt(first) === "]" ? 1 : 0));
}

function characterSet(set: string, pattern: string): Step["takes"] {
  const not = set.startsWith("!");
  const characters = set.slice(not ? 1 : 0).replace(/[\\\]^[]/g, "\\$&");
  try {
    const expression = new RegExp(`^[${not ? "^" : ""}${characters}]$`, "s");
    return (char) => char !== "/" && expression.test(char);
  } catch {
    throw new GrpoError("BAD_OPTION", `"${pattern}" is no pattern of file names`);
  }
}
