// Inputs meant to break an answer checker: random formulas by grammar, random and damaged text, and the shapes that make
// naive scanners, parsers and evaluators take exponential or quadratic time, at any length.

import { randomSource } from "./rewrites.js";

export interface FuzzInput {
  readonly sort: string;
  readonly solution: string;
  readonly completion: string;
}

type Random = () => number;

/** Items written two spaces apart. */
const listed = (block: string): string[] => block.trim().split(/ {2}|\n/);

const atoms: readonly string[] = listed(String.raw`
1  2  42  0  -7  0.5  3.14159  10^{20}  x  y  n  \pi  e  i  \infty  \alpha  x_1  50\%  \text{abc}  1,000
999999999999  f(x)  \emptyset  \mathbb{R}  A  dx  \frac12  \sqrt3  5!  9^{9^{9}}`);
const binary: readonly string[] = [
  ..."+-/^=<,;:!_*",
  "\\cdot ",
  "\\le ",
  "\\cup ",
  "\\cap ",
  "\\pm ",
  "\\in ",
  "\\mod ",
  " ",
];
const wraps: ((inner: string) => string)[] = [
  (a) => `(${a})`,
  (a) => `\\left(${a}\\right)`,
  (a) => `{${a}}`,
  (a) => `[${a}]`,
  (a) => `\\{${a}\\}`,
  (a) => `|${a}|`,
  (a) => `\\frac{${a}}{${a}}`,
  (a) => `\\sqrt{${a}}`,
  (a) => `\\sqrt[${a}]{2}`,
  (a) => `\\sin ${a}`,
  (a) => `\\log_{2}(${a})`,
  (a) => `\\lfloor ${a} \\rfloor`,
  (a) => `\\binom{${a}}{3}`,
  (a) => `(${a})!`,
  (a) => `\\sum_{k=1}^{${a}} k`,
  (a) => `\\int_0^{${a}} x dx`,
  (a) => `\\lim_{x \\to 0} ${a}`,
  (a) => `\\begin{pmatrix} ${a} & 1 \\\\ 2 & ${a} \\end{pmatrix}`,
  (a) => `2^{${a}}`,
  (a) => `\\boxed{${a}}`,
  (a) => `x = ${a}`,
  (a) => `\\gcd(${a}, 12)`,
  (a) => `f(${a})`,
];
const anchors: readonly string[] = [
  ...listed(String.raw`
is  is:  \(  \)  \[  \]  \boxed{  }  {  and  or  ,  .  **  </think>  \fbox{`),
  "The final answer is ",
  "final answer: ",
  "Answer: ",
  "answer ",
  " I hope it is correct",
  "$",
  "$$",
  " [",
  "] ",
  "\n",
  " ",
  "#### ",
  "= ",
];

const pick = <T>(list: readonly T[], random: Random): T => list[Math.floor(random() * list.length)] as T;
const many = (count: number, one: () => string) => Array.from({ length: count }, one).join("");

function formula(random: Random, depth: number): string {
  if (depth === 0 || random() < 0.2) return pick(atoms, random);
  if (random() < 0.5) return `${formula(random, depth - 1)}${pick(binary, random)}${formula(random, depth - 1)}`;
  return pick(wraps, random)(formula(random, depth - 1));
}

function damaged(text: string, random: Random): string {
  const at = Math.floor(random() * text.length);
  const cut = Math.floor(random() * 4);
  return (
    text.slice(0, at) + (random() < 0.5 ? String.fromCharCode(Math.floor(random() * 256)) : "") + text.slice(at + cut)
  );
}

function characters(random: Random, count: number): string {
  const kind = random();
  return many(count, () =>
    String.fromCharCode(Math.floor(random() * (kind < 0.4 ? 128 : kind < 0.7 ? 256 : kind < 0.9 ? 0x3000 : 0x10000))),
  );
}

/** Shapes repeated to a length: brackets that never close, anchors without an answer, towers, chains, runs of space. */
const repeated: readonly string[] = [
  ...listed(String.raw`
(  {  [  |  \{  \(  \[  \boxed{  \fbox{  \boxed{1}  \boxed  answer  =1  1=  1+  1,000,  1,  9^  9^{  2^2^
x^  x_  x_{  -  --1  +  \frac  \frac{  \frac{1}{  \frac1  \frac{a}  \sqrt  \sqrt{  sqrt(  ^(  \text{  \text
\text{ and }  and  \left(  \right)  \sin  f(  f(x,  x(  x(y)  |x|  |x  ||  \|  !  5!  \binom{  \lim_{x\to0}
\begin{pmatrix}  (1,2)\cup  \{1,2\}\cup  x=  x<  1<  a\in  ;  .  ..  %  \%  "  '  {,}  inf  infinity  \ldots
d x  e  E  1E9  {}  ()  ^{\circ}  \mathrm{  \mathbb{R}  (a)_{  (a)_{b}  \!  0  12345  \pi  x+  (x+1)  xy  **
**1  I hope`),
  "$",
  "$ ",
  "$$",
  " ",
  "\n",
  "\t ",
  " [",
  "answer: ",
  "final answer ",
  "final answer is ",
  "final answer is $1$ ",
  "answer $",
  "answer: $1",
  "Answer: 1 = ",
  "= ",
  "1 ",
  "1+1 ",
  "1 000 ",
  " and ",
  ", and ",
  "or ",
  "\\sin ",
  "\\sum_{k=1}^{9} ",
  "\\int ",
  "1 & ",
  "1 \\\\ ",
  "\\cup ",
  "\\pm ",
  "5\\% ",
  "\\\\",
  "\\",
  " {,} ",
  "{ , ",
  "percent ",
  " percentage",
  "d ",
  "cm ",
  " m",
  "\\! ",
  "\\mod ",
  "\u00e9",
  "\ud83d",
  "\u0000",
  "$1$,",
  "$1$ and ",
];

/** Expressions whose evaluation is the hazard. */
const heavy: readonly string[] = listed(String.raw`
9^{9^9}  9^{9^{9^9}}  (10^{100})!  5000!  4999!  \binom{100000}{50000}  \sum_{k=1}^{1000000} k
\sum_{k=1}^{20000} \frac{1}{k}  \sum_{a=1}^{9999}\sum_{b=1}^{9999} (a+b)  \prod_{k=1}^{20000} k  2^{65536}
(2^{65536}-1)(2^{65535}-1)  \sqrt[1000]{2^{2000}}  x^{10000}  (x+y+z)^{100}
\int_0^1 \int_0^1 \int_0^1 xyz dx dy dz  \gcd(10^{3000}, 3^{5000})  ((((x^{9})^{9})^{9})^{9})^{9}
\frac{1}{0}  \infty^{\infty}  \sum_{n=1}^{\infty} \frac{1}{n}  \lim_{x \to \infty} x^{x}
\begin{vmatrix} x & 1 \\ 1 & x \end{vmatrix}^{50}  10^{4300}  10^{-4300}  0^0  0^{-1}
\begin{pmatrix} 1 & 1 \\ 1 & 0 \end{pmatrix}^{64}  \frac{d}{dx} x^{x^{x^{x}}}  \log_{1} 5  \Gamma(-3)
\lfloor 10^{400}\pi \rfloor  \tan \frac{\pi}{2}`);

const frame = (text: string, random: Random) =>
  pick(
    [
      (a: string) => `\\boxed{${a}}`,
      (a: string) => `The answer is $${a}$.`,
      (a: string) => `$$${a}$$`,
      (a: string) => a,
    ],
    random,
  )(text);

function longText(random: Random, length: number): string {
  const unit = pick(repeated, random) + (random() < 0.4 ? pick(repeated, random) : "");
  const body = unit.repeat(Math.ceil(length / unit.length)).slice(0, length);
  const before = random() < 0.5 ? pick(anchors, random) : "";
  return before + body + (random() < 0.5 ? pick([")", "}", "$", "]", "|", "=", "I hope", "x"], random) : "");
}

const sorts: readonly (readonly [string, number, (random: Random, length: number) => string])[] = [
  ["formula", 9, (random) => frame(formula(random, 1 + Math.floor(random() * 5)), random)],
  ["anchors", 4, (random) => many(2 + Math.floor(random() * 30), () => pick(random() < 0.6 ? anchors : atoms, random))],
  ["damaged", 3, (random) => damaged(frame(formula(random, 4), random), random)],
  ["bytes", 2, (random) => frame(characters(random, Math.floor(random() * 200)), random)],
  ["heavy", 1, (random) => frame(`${pick(heavy, random)}${pick(["", "+1", "", "x"], random)}`, random)],
  [
    "repeated",
    1,
    (random, length) => frame(longText(random, random() < 0.1 ? length : Math.floor(random() * 2000)), random),
  ],
];

/** Every sort as often as its share in 20. */
const shares = sorts.flatMap(([sort, share, write]) => Array.from({ length: share }, () => ({ sort, write })));

/** `length`: of the longest inputs. */
export function* fuzzInputs(seed: number, count: number, length = 30_000): Generator<FuzzInput> {
  const random = randomSource(seed);
  for (let i = 0; i < count; i++) {
    const { sort, write } = pick(shares, random);
    const solution = write(random, length);
    const same = random();
    const completion = same < 0.3 ? solution : same < 0.6 ? damaged(solution, random) : write(random, length);
    yield { sort, solution, completion };
  }
}

/** Every repeated shape and every heavy expression at full length, against itself and against another. */
export function* hostileInputs(length = 30_000): Generator<FuzzInput> {
  for (const unit of repeated) {
    const text = unit.repeat(Math.ceil(length / unit.length)).slice(0, length);
    for (const completion of [text, `\\boxed{${text}}`, `The answer is $${text}$`, `\\boxed{${text}`, `$${text}`]) {
      yield { sort: `repeated ${JSON.stringify(unit)}`, solution: completion, completion: `${completion} ` };
    }
    const braces = unit.endsWith("{") ? `${text}1${"}".repeat(text.length / unit.length)}` : `${text}1`;
    yield { sort: `closed ${JSON.stringify(unit)}`, solution: `$${braces}$`, completion: `\\boxed{${braces}}` };
  }
  for (const one of heavy) {
    for (const other of heavy) yield { sort: "heavy", solution: `$${one}$`, completion: `\\boxed{${other} + 0}` };
    const sum = Array.from({ length: Math.floor(length / (one.length + 1)) }, () => one).join("+");
    yield { sort: "heavy sum", solution: `$${sum}$`, completion: `\\boxed{1+${sum}}` };
    const list = sum.replaceAll("+", ",");
    yield { sort: "heavy list", solution: `$${list}$`, completion: `\\boxed{1,${list}}` };
  }
}
