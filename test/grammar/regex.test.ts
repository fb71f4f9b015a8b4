// Regular expressions and grammars as people write them: what is drawn fits by the language's own reading, and what fits can be drawn.

import { expect, it } from "vitest";
import { ebnfExpression } from "../../lib/grammar/ebnf.js";
import { regexExpression } from "../../lib/grammar/regex.js";
import { draw, fits, grammarOf, randomFrom } from "./draw.js";

const PATTERNS = [
  "yes|no",
  "(?:a|b){2,3}\\d+[^x-z]",
  "[A-Z]{3}-[0-9]{4}",
  "\\w{1,9}@\\w{1,9}\\.(?:com|org)",
  "^-?(?:0|[1-9]\\d{0,3})(?:\\.\\d{1,2})?$",
  "<answer>[^<>]{1,20}</answer>",
  "a*b+?c??",
  "[\\]\\-^a]{2}",
  "(?<year>\\d{4})/(?P<month>\\d\\d)",
  "é[à-ü]{1,3}世?😀{2}",
  "\\x41\\u0042\\t",
  "x{3}",
  "(?:(?:ab)*c){2,}",
  "[^\\n]{0,5}",
  ".{1,8}",
];

it.each(PATTERNS)("draws what fits %s", (pattern) => {
  const grammar = grammarOf(regexExpression(pattern));
  // Named groups of Python's are written otherwise in JavaScript.
  const expected = new RegExp(`^(?:${pattern.replaceAll("?P<", "?<")})$`, "su");
  let ended = 0;
  for (let seed = 0; seed < 25; seed++) {
    const { text, ended: whole } = draw(grammar, randomFrom(seed), { most: 200 });
    if (!whole) continue;
    ended++;
    expect(text).toMatch(expected);
  }
  expect(ended).toBeGreaterThan(15);
});

it("follows a text that fits, and no other", () => {
  const grammar = grammarOf(regexExpression("<think>[^<]*</think>\\s*(?:yes|no)"));
  expect(fits(grammar, "<think>So it is, I think.</think>\n\nyes")).toBe(true);
  for (const text of ["yes", "<think></think>maybe", "<think><</think>no", "<think></think>yesno"]) {
    expect(fits(grammar, text), text).toBe(false);
  }
});

it("allows the end exactly where the pattern may end", () => {
  const grammar = grammarOf(regexExpression("ab?"));
  const complete = (text: string) => fits(grammar, text);
  expect(["", "a", "ab", "abb"].map(complete)).toEqual([false, true, true, false]);
});

it.each([
  "(?=a)b",
  "(?!a)b",
  "(?<=a)b",
  "a\\b",
  "(a)\\1",
  "(a",
  "a)",
  "[z-a]",
  "a{3,2}",
  "*a",
  "a^b",
  "(?i)a",
  "\\p{L}",
  "[[:alpha:]]",
  "a$b",
])("refuses %s", (pattern) => {
  expect(() => regexExpression(pattern)).toThrow("the regular expression");
});

it("reads grammars in the form of llama.cpp and xgrammar", () => {
  const grammar = grammarOf(
    ebnfExpression(`
      # a sum
      root ::= number (" + " number){1,2} end?   # and its end
      number ::= "-"? ([1-9] [0-9]* | "0")
      end ::= "\\n" | " = " number | [.!]
    `),
  );
  for (const text of ["1 + 2", "10 + -3 + 0", "1 + 2 = 3", "1 + 2!", "1 + 2\n"])
    expect(fits(grammar, text), text).toBe(true);
  for (const text of ["1", "01 + 2", "1 + 2 + 3 + 4", "1 + 2 = "]) expect(fits(grammar, text), text).toBe(false);
});

it("follows grammars that are in themselves", () => {
  const grammar = grammarOf(ebnfExpression('root ::= "(" root ")" | "[" root* "]" | item\nitem ::= "x" item | "y"'));
  for (const text of ["y", "(((xxy)))", "[[][y(y)]]", `${"(".repeat(60)}y${")".repeat(60)}`])
    expect(fits(grammar, text), text).toBe(true);
  for (const text of ["(y", "[)", "x", "yy"]) expect(fits(grammar, text), text).toBe(false);
});

it.each([
  ["no rule root", 'a ::= "x"'],
  ["not defined", "root ::= other"],
  ["twice", 'root ::= "a"\nroot ::= "b"'],
  ["begins with itself", 'root ::= root "a" | "b"'],
  ["begins with itself", 'root ::= a\na ::= "x"? b\nb ::= a "y" | "z"'],
  ["no text fits", 'root ::= "a" root'],
  ["cannot be read", "root: x"],
  ["( without a )", 'root ::= ("a"'],
])("refuses a grammar with %s", (found, grammar) => {
  expect(() => grammarOf(ebnfExpression(grammar))).toThrow(found);
});

it("ends what is read in too many ways by an error, and not by waiting", () => {
  const letters = Array.from({ length: 70 }, (_, i) => `r${i} ::= [a-z]* r${i + 1} | [a-y]* r${i + 1}`).join("\n");
  const grammar = `root ::= (r0 | r1)*\n${letters}\nr70 ::= "."`;
  const draws = () => draw(grammarOf(ebnfExpression(grammar)), randomFrom(1), { most: 50 });
  try {
    draws();
  } catch (error) {
    expect(String(error)).toMatch(/too many ways|too long/);
  }
});
