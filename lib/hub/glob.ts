// Patterns of file names: * stays within a folder, ** does not, ? and [0-9] are one character. Patterns may come from a stranger's file,
// so a name is read once, with all the places in the pattern that it can have reached: a regular expression of many stars would try
// every length of each.

import { GrpoError } from "../errors.js";

interface Step {
  /** The characters of which it takes one; any number of them where it repeats. */
  readonly takes: (char: string) => boolean;
  readonly repeats: boolean;
  /** How many steps later it may go on without a character. */
  readonly jumps: readonly number[];
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
    for (const jump of steps[place]?.jumps ?? []) open.push(place + jump);
  }
  return found;
}

const IN_FOLDER = (char: string): boolean => char !== "/";
const ANYWHERE = (): boolean => true;
const NOWHERE = (): boolean => false;

function readSteps(pattern: string): Step[] {
  const steps: Step[] = [];
  const lastClose = pattern.lastIndexOf("]");
  const push = (takes: Step["takes"], jumps: readonly number[] = []): void => {
    steps.push({ takes, repeats: false, jumps });
  };
  const pushAny = (takes: Step["takes"]): void => {
    steps.push({ takes, repeats: true, jumps: [1] });
  };
  for (let at = 0; at < pattern.length; ) {
    const char = pattern.charAt(at);
    const close = char === "[" && at < lastClose ? endOfSet(pattern, at) : -1;
    if (pattern.startsWith("**/", at)) {
      // Folders with a slash at their end, or none.
      push(NOWHERE, [1, 3]);
      pushAny(ANYWHERE);
      push((other) => other === "/");
      at += 3;
    } else if (pattern.startsWith("**", at)) {
      pushAny(ANYWHERE);
      at += 2;
    } else if (close > 0) {
      push(characterSet(pattern.slice(at + 1, close), pattern));
      at = close + 1;
    } else {
      if (char === "*") pushAny(IN_FOLDER);
      else if (char === "?") push(IN_FOLDER);
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
    throw new GrpoError("BAD_OPTION", `"${pattern}" is not a pattern of file names`);
  }
}
