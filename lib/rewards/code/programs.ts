// The program in a completion: taken out of it, and mended as open-r1 mends it (src/open_r1/rewards.py and
// utils/competitive_programming define both).

import { trimText } from "../../text.js";
import type { Completion } from "../../types.js";
import { splitLines, strip } from "./python-text.js";

/** The text itself, or the last message's, as open-r1's rewards for code have it. */
export function lastContent(completion: Completion): string {
  return typeof completion === "string" ? completion : (completion.at(-1)?.content ?? "");
}

/** The last block that is fenced as one of the language; "" without one. */
export function extractCode(text: string, language: string): string {
  const name = language.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&");
  return [...text.matchAll(new RegExp(`\`\`\`${name}\\n(.*?)\`\`\``, "gs"))].at(-1)?.[1] ?? "";
}

/** What a solution to a problem of the IOI most often lacks: the library, the problem's header, the namespace. */
export function withIoiIncludes(code: string, problem: string): string {
  if (code === "") return "";
  const include = `#include "${problem}.h"`;
  return `#include <bits/stdc++.h>\n${code.includes(include) ? "" : `${include}\n`}${missingNamespace(code)}${code}`;
}

/** open-r1's patch_code for the two languages of its Codeforces data. */
export function patchCode(code: string, language: string): string {
  if (code === "") return "";
  return language === "python" ? patchPython(code) : `#include <bits/stdc++.h>\n${missingNamespace(code)}${code}`;
}

function missingNamespace(code: string): string {
  return code.includes("using namespace std;") || code.includes("std::") ? "" : "\nusing namespace std;\n\n";
}

/** What an older Python 3 had, in the words of a later one. */
const RENAMED: readonly (readonly [pattern: RegExp, now: string])[] = [
  [/from collections import ((?:Mutable)?(?:Mapping|Sequence|Set)|Container)/g, "from collections.abc import $1"],
  // open-r1 does not look for the end of the word, and makes importlibortlib of importlib.
  [/import imp\b/g, "import importlib"],
  [/asyncio\.async\(/g, "asyncio.ensure_future("],
  [/inspect\.getargspec/g, "inspect.getfullargspec"],
  [/array\.array\('c'/g, "array.array('b'"],
  [/\\(\r\n|\r|\n)+/g, "\\\n"],
  // Asked by solutions that want to know whether they are at home.
  [/(?:os\s*\.\s*)?getlogin\s*\(\s*\)/g, "False"],
  [/\bfractions\.gcd\b/g, "math.gcd"],
];

/** gcd is not in fractions any more, but in math, from where it is imported instead. */
const WITHOUT_GCD: readonly (readonly [pattern: RegExp, now: string])[] = [
  [/(from\s+fractions\s+import\s+(?:\([^)]*)?)\bgcd\s*,\s*/g, "$1"],
  [/(from\s+fractions\s+import\s+(?!\s).*?\S)\s*,\s*\bgcd(\s*\)?\s*(?:#.*)?)/g, "$1$2"],
  [/from\s+fractions\s+import\s+(?:\(\s*)?gcd\s*\)?/g, ""],
];
/** Each of them may look from an import to the end of the text, so a program with more imports than any has stays as it is. */
const MAX_FRACTION_IMPORTS = 50;

function patchPython(code: string): string {
  const lines = splitLines(code);
  const isImport = (line: string): boolean =>
    strip(line).startsWith("import") || (strip(line).startsWith("from") && line.includes("import"));
  const last = Math.max(0, lines.findLastIndex(isImport));
  const head = lines.slice(0, last + 1);
  if (code.includes("fractions.gcd") && !code.includes("import math")) head.push("import math");
  else if (code.includes("gcd") && !code.includes("from math import gcd")) head.push("from math import gcd");
  if (!code.includes("set_int_max_str_digits")) head.push("import sys", "sys.set_int_max_str_digits(0)");
  // The last import stands on both sides, as in open-r1.
  const whole = [...head, ...lines.slice(last)].join("\n");
  const renamed = RENAMED.reduce((text, [pattern, now]) => text.replace(pattern, now), whole);
  return trimText(withoutFractionsGcd(renamed), (char) => char === "\\", "end");
}

function withoutFractionsGcd(code: string): string {
  const imports = code.match(/from\s+fractions\s+import\s/g) ?? [];
  if (imports.length > MAX_FRACTION_IMPORTS) return code;
  return WITHOUT_GCD.reduce((text, [pattern, now]) => text.replace(pattern, now), code);
}
