// NFC, NFD, NFKC and NFKD with the changes that lead to them, which offsets need. JavaScript normalizes whole strings
// only, so texts that it would change go through the standard's algorithm here, with its tables read out of
// String.prototype.normalize.

import type { AlignedText, Change } from "./aligned-text.js";

export const NORMALIZATION_FORMS = ["NFC", "NFD", "NFKC", "NFKD"] as const;
export type NormalizationForm = (typeof NORMALIZATION_FORMS)[number];

export function normalizeUnicode(piece: AlignedText, form: NormalizationForm): AlignedText {
  const normalized = piece.text.normalize(form);
  if (normalized === piece.text) return piece;
  const decomposed = decompose(piece.text, form === "NFC" || form === "NFD" ? "NFD" : "NFKD");
  return piece.transform(form === "NFC" || form === "NFKC" ? compose(decomposed) : decomposed);
}

/** Marks move behind those of a lower combining class, carrying their changes along. */
function decompose(text: string, form: "NFD" | "NFKD"): Change[] {
  const out: Change[] = [];
  let marks: Change[] = [];
  const flush = () => {
    out.push(...sortMarks(marks));
    marks = [];
  };
  for (const char of text) {
    let change = 0;
    for (const part of char.normalize(form)) {
      if (!isMark(part)) flush();
      (isMark(part) ? marks : out).push([part, change]);
      change = 1;
    }
  }
  flush();
  return out;
}

/** Joins each starter with the marks behind it that form one character with it and that nothing blocks. */
function compose(changes: readonly Change[]): Change[] {
  const out: Change[] = [];
  let starter: [string, number] | undefined;
  let marks: Change[] = [];
  const flush = () => {
    if (starter) out.push(starter);
    out.push(...marks);
    starter = undefined;
    marks = [];
  };
  for (const [char, change] of changes) {
    const last = marks.at(-1)?.[0];
    const blocked = last !== undefined && (!isMark(char) || !comesBefore(last, char));
    const composed = starter && !blocked ? composeTwo(starter[0], char) : undefined;
    if (starter && composed !== undefined) starter = [composed, starter[1] + change - 1];
    else if (isMark(char)) (starter ? marks : out).push([char, change]);
    else {
      flush();
      starter = [char, change];
    }
  }
  flush();
  return out;
}

function sortMarks(marks: readonly Change[]): Change[] {
  const sorted: Change[] = [];
  for (const mark of marks) {
    let at = sorted.length;
    while (at > 0 && comesBefore(mark[0], (sorted[at - 1] as Change)[0])) at--;
    sorted.splice(at, 0, mark);
  }
  return sorted;
}

const MARK_OF_HIGHEST_CLASS = "\u0345";
const knownMarks = new Map<string, boolean>();

/** Whether the combining class is not 0: then it moves before a mark of the highest class. */
function isMark(char: string): boolean {
  if (char < "\u0300") return false;
  let known = knownMarks.get(char);
  if (known === undefined) {
    known = char === MARK_OF_HIGHEST_CLASS || comesBefore(char, MARK_OF_HIGHEST_CLASS);
    knownMarks.set(char, known);
  }
  return known;
}

/** Whether the combining class of mark `a` is lower than that of mark `b`. */
function comesBefore(a: string, b: string): boolean {
  return a !== b && (b + a).normalize("NFD") !== b + a;
}

function composeTwo(a: string, b: string): string | undefined {
  const composed = (a + b).normalize("NFC");
  const isOne = composed.length > 0 && String.fromCodePoint(composed.codePointAt(0) as number) === composed;
  return isOne ? composed : undefined;
}
