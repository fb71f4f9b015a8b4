// Ways in which models write the same answer, or nearly the same, or another one, and the sentences that they put it in.
// Whether a rewriting is right is for the oracle to say; the kinds here only name what was done.

export interface Rewriting {
  readonly kind: string;
  readonly answer: string;
}

/** A small deterministic random source (mulberry32), so that a seed names the pairs. */
export function randomSource(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

const number = /-?\d+(?:\.\d+)?/;

function decimalOf(answer: string, digits: number): string {
  return answer.replace(/\\[dt]?frac\{(\d+)\}\{(\d+)\}/, (_, a, b) => (Number(a) / Number(b)).toFixed(digits));
}

function shiftNumber(answer: string, by: number): string {
  return answer.replace(number, (found) => String(Number(found) + by));
}

function splitTop(answer: string): string[] {
  const parts = [""];
  let depth = 0;
  for (const char of answer) {
    if ("([{".includes(char)) depth++;
    if (")]}".includes(char)) depth--;
    if (char === "," && depth === 0) parts.push("");
    else parts[parts.length - 1] += char;
  }
  return parts.map((part) => part.trim());
}

function swapTerms(answer: string): string {
  const match = /^([^+\-=<>(),]+)\+([^+\-=<>(),]+)$/.exec(answer);
  return match ? `${match[2]}+${match[1]}` : answer;
}

const thousands = (answer: string) => answer.replace(/\b\d{4,}\b/, (found) => found.replace(/\B(?=(\d{3})+$)/g, ","));

const kept: Record<string, (answer: string) => string> = {
  same: (a) => a,
  dfrac: (a) => a.replaceAll("\\frac", "\\dfrac"),
  slash: (a) => a.replace(/\\[dt]?frac\{([^{}]+)\}\{([^{}]+)\}/g, "$1/$2"),
  slashParens: (a) => a.replace(/\\[dt]?frac\{([^{}]+)\}\{([^{}]+)\}/g, "($1)/($2)"),
  decimal: (a) => decimalOf(a, 6),
  decimalLong: (a) => decimalOf(a, 12),
  pointZero: (a) => a.replace(/^(-?\d+)$/, "$1.0"),
  thousands,
  thousandsLatex: (a) => thousands(a).replaceAll(",", "{,}"),
  thousandsThin: (a) => thousands(a).replaceAll(",", "\\,"),
  noLeft: (a) => a.replaceAll("\\left", "").replaceAll("\\right", ""),
  left: (a) => a.replaceAll("(", "\\left(").replaceAll(")", "\\right)"),
  spaces: (a) => a.replaceAll(",", " , ").replaceAll("+", " + "),
  noSpaces: (a) => a.replace(/\s+/g, ""),
  equalsX: (a) => `x = ${a}`,
  equalsK: (a) => `k=${a}`,
  function: (a) => `f(x) = ${a}`,
  chain: (a) => `x = ${a} + 0 = ${a}`,
  approx: (a) => `${a} \\approx 3.14`,
  unit: (a) => `${a}\\text{ cm}`,
  unitSquared: (a) => `${a}\\text{ cm}^2`,
  mbox: (a) => `${a} \\mbox{ inches}`,
  rm: (a) => `${a}\\,\\mathrm{m}`,
  plainUnit: (a) => `${a} meters`,
  dollar: (a) => `\\$${a}`,
  degrees: (a) => (a.includes("^\\circ") ? a.replace("^\\circ", "") : `${a}^\\circ`),
  percent: (a) => (a.includes("\\%") ? a.replace("\\%", "") : `${a}\\%`),
  textWrapped: (a) => `\\text{${a}}`,
  unwrapped: (a) => a.replace(/\\(?:text|mbox|mathrm|textbf)\{([^{}]*)\}/g, "$1"),
  parenthesised: (a) => (/^\([A-Z]\)$/.test(a) ? a.slice(1, -1) : `(${a})`),
  braces: (a) => `\\{${a}\\}`,
  reversed: (a) => splitTop(a).reverse().join(", "),
  and: (a) => splitTop(a).join(" \\text{ and } "),
  or: (a) => splitTop(a).join(" or "),
  semicolons: (a) => splitTop(a).join("; "),
  swapped: swapTerms,
  plusZero: (a) => `${a} + 0`,
  timesOne: (a) => `1 \\cdot ${a}`,
  negNeg: (a) => `-(-(${a}))`,
  doubledFraction: (a) => a.replace(/\\[dt]?frac\{(\d+)\}\{(\d+)\}/, (_, p, q) => `\\frac{${2 * p}}{${2 * q}}`),
  mixed: (a) => a.replace(/\\[dt]?frac\{(\d+)\}\{(\d+)\}/, (_, p, q) => `${Math.floor(p / q)}\\frac{${p % q}}{${q}}`),
  unbraced: (a) => a.replace(/\\[dt]?frac\{(\d)\}\{(\d)\}/, "\\frac$1$2"),
  sqrtPower: (a) => a.replace(/\\sqrt\{([^{}]+)\}/g, "($1)^{1/2}"),
  sqrtUnbraced: (a) => a.replace(/\\sqrt\{(\d)\}/g, "\\sqrt$1"),
  squareRootSplit: (a) => a.replace(/(\d+)\\sqrt\{(\d+)\}/, (_, p, q) => `\\sqrt{${p * p * q}}`),
  cdot: (a) => a.replace(/(\d)\s*(\\sqrt|\\pi)/g, "$1 \\cdot $2"),
  times: (a) => a.replace(/(\d)([a-z])/g, "$1*$2"),
  piNumber: (a) => a.replace(/(\d*)\\pi/, (_, n) => (Number(n || 1) * Math.PI).toFixed(4)),
  period: (a) => `${a}.`,
  comma: (a) => `${a},`,
  boldSymbols: (a) => `\\mathbf{${a}}`,
  displaystyle: (a) => `\\displaystyle ${a}`,
  scientific: (a) => a.replace(/^\d{3,}$/, (n) => `${Number(n) / 10 ** (n.length - 1)} \\times 10^{${n.length - 1}}`),
  upper: (a) => (/^[a-z]+$/i.test(a) ? a.toUpperCase() : a),
  intervalAsInequality: (a) => a.replace(/^\(([^,()]+),([^,()]+)\)$/, "$1 < x < $2"),
  member: (a) => `x \\in ${a}`,
  flipped: (a) => a.replace(/^(\w) *\\le(?:q)? *(.+)$/, "$2 \\geq $1"),
  wideMatrix: (a) => a.replaceAll("pmatrix", "bmatrix"),
  fullStopText: (a) => `${a} \\text{.}`,
};

const changed: Record<string, (answer: string, random: () => number) => string> = {
  plusOne: (a) => shiftNumber(a, 1),
  minusOne: (a) => shiftNumber(a, -1),
  negated: (a) => (a.startsWith("-") ? a.slice(1) : `-${a}`),
  timesTen: (a) => a.replace(/\d+/, "$&0"),
  doubled: (a) => `2 \\cdot ${a}`,
  inverse: (a) => a.replace(/\\[dt]?frac\{([^{}]+)\}\{([^{}]+)\}/, "\\frac{$2}{$1}"),
  dropped: (a) => splitTop(a).slice(0, -1).join(", "),
  extra: (a) => `${a}, 7`,
  bracket: (a) => (a.includes("(") ? a.replace("(", "[") : a.replace("[", "(")),
  bracketEnd: (a) => (a.includes(")") ? a.replace(/\)(?!.*\))/, "]") : a.replace(/\](?!.*\])/, ")")),
  sign: (a) => (a.includes("+") ? a.replace("+", "-") : a.replace(/(.)-/, "$1+")),
  otherDigit: (a, random) => a.replace(/\d(?!.*\d)/, (d) => String((Number(d) + 1 + Math.floor(random() * 8)) % 10)),
  rounded: (a) => decimalOf(a, 2),
  roundedThree: (a) => decimalOf(a, 3),
  noRoot: (a) => a.replace(/\\sqrt\{([^{}]+)\}/, "$1"),
  squared: (a) => `${a}^2`,
  halved: (a) => `\\frac{${a}}{2}`,
  strictness: (a) => a.replace(/\\leq?/, "<").replace(/\\geq?/, ">"),
  direction: (a) => (a.includes("<") ? a.replace("<", ">") : a.replace(/\\le/, "\\ge")),
  letter: (a) => a.replace(/[A-Z](?!.*[A-Z])/, (c) => String.fromCharCode(65 + ((c.charCodeAt(0) - 64) % 26))),
  empty: () => "",
  zero: () => "0",
  one: () => "1",
  nan: () => "\\text{NaN}",
  infinity: () => "\\infty",
  unfinished: (a) => a.slice(0, Math.ceil(a.length / 2)),
  equationFalse: (a) => `7 = ${a}`,
  equationFalseAfter: (a) => `${a} = 7`,
  question: () => "?",
  exponent: (a) => a.replace(/\^\{?(\d)\}?/, (_, d) => `^{${Number(d) + 1}}`),
  variable: (a) => a.replace(/x/g, "y"),
};

const frames: Record<string, (answer: string) => string> = {
  boxed: (a) => `\\boxed{${a}}`,
  boxedDollar: (a) => `So the answer is $\\boxed{${a}}$.`,
  boxedDisplay: (a) => `We get\n\\[\n\\boxed{${a}}\n\\]`,
  boxedDisplayDollar: (a) => `Hence\n\n$$\\boxed{${a}}$$\n\nas wanted.`,
  boxedBold: (a) => `**Answer:** \\boxed{${a}}`,
  boxedWork: (a) => `First, $x^{2} + 1 = 5$ so $\\frac{1}{2}$ remains.\n\nThus \\( \\boxed{${a}} \\) {as shown}.`,
  boxedTwice: (a) => `We found $\\boxed{${a}}$ above. Checking again, the answer is $\\boxed{${a}}$.`,
  boxedAfterWrong: (a) =>
    `At first it seems that \\boxed{17} is right, but that misses a case that we have to count as well. The result is \\boxed{${a}}.`,
  boxedBeforeWrong: (a) =>
    `The result is \\boxed{${a}}. Another way of counting, which is wrong for reasons given above, leads us to \\boxed{17}.`,
  boxedSpace: (a) => `\\boxed {${a}}`,
  boxedEquation: (a) => `$n = \\boxed{${a}}$`,
  boxedInEquation: (a) => `\\[ \\frac{1}{2} + m = \\boxed{${a}}. \\]`,
  fbox: (a) => `$\\fbox{${a}}$`,
  boxedUnclosed: (a) => `The answer is $\\boxed{${a}`,
  think: (a) => `<think>\nLet $y = 3$, maybe \\boxed{12}?\n</think>\n\nThe answer is \\boxed{${a}}.`,
  hope: (a) => `The final answer is $${a}$. I hope it is correct.`,
  final: (a) => `Final Answer: The final answer is $${a}$`,
  finalText: (a) => `Thus the final answer to the question is $${a}$.`,
  answerColon: (a) => `Answer: $${a}$`,
  answerBold: (a) => `**Answer:** $${a}$`,
  answerIs: (a) => `The answer is $${a}$.`,
  answerParen: (a) => `The answer is \\(${a}\\).`,
  answerDisplay: (a) => `Our answer is therefore\n\\[ ${a} \\]`,
  inlineOnly: (a) => `So we get $${a}$.`,
  plain: (a) => `The answer is ${a}.`,
  hashes: (a) => `Some steps.\n#### ${a}`,
  bare: (a) => a,
  tags: (a) => `<think>short</think>\n<answer>$${a}$</answer>`,
  percentAfter: (a) => `The answer is $${a}$ percent.`,
};

const names = <T>(record: Record<string, T>) => Object.entries(record);

function pick<T>(list: readonly T[], random: () => number): T {
  return list[Math.floor(random() * list.length)] as T;
}

/** Rewritings that change the text, `count` of each sort, chosen among those that apply to this answer. */
export function rewritings(answer: string, random: () => number, count: number): Rewriting[] {
  const apply = (record: typeof changed): Rewriting[] =>
    names(record)
      .map(([kind, rewrite]) => ({ kind, answer: rewrite(answer, random) }))
      .filter((rewriting) => rewriting.answer !== answer);
  const [right, wrong] = [apply(kept), apply(changed)];
  const chosen = Array.from({ length: count }, () => [pick(right, random), pick(wrong, random)]).flat();
  return [{ kind: "same", answer }, ...chosen];
}

export function framed(answer: string, random: () => number): { frame: string; completion: string } {
  // Half of the completions use the forms that models are told to use.
  const list = names(frames);
  const [frame, write] = random() < 0.5 ? pick(list.slice(0, 6), random) : pick(list, random);
  return { frame, completion: write(answer) };
}
