// parse: finds the answer in a text. Rules are tried in the order of their priorities; of the matches of one priority the
// one that ends last comes first. "any_match" goes on until something parses, "first_match" settles for the first match.

import { parseArithmetic } from "./arithmetic.js";
import { type MathNode, number } from "./ast.js";
import { percentage } from "./build.js";
import { parseLatex } from "./latex.js";
import { Budget, LimitReached, MAX_DIGITS } from "./limits.js";
import { normaliseLatex } from "./normalise.js";
import {
  type ExtractionConfig,
  type LatexExtractionConfig,
  type ParseOptions,
  parseOptions,
  type StringExtractionConfig,
} from "./options.js";
import { negate, parseDecimal } from "./rational.js";
import { exprRules, type Plain } from "./scan-expr.js";
import { type Formulas, latexRules } from "./scan-latex.js";
import { stringRules } from "./scan-string.js";
import { type Match, Scanner } from "./scanner.js";

/** What parse gives: the answer's tree, then the text it was read from; either may be missing. */
export type Parsed = readonly (MathNode | string)[];

interface Extraction {
  readonly value: MathNode | string | undefined;
  readonly text: string;
}

interface Candidate {
  readonly start: number;
  readonly end: number;
  readonly extract: () => Extraction;
}

interface Rule {
  readonly priority: number;
  readonly find: (scanner: Scanner) => Candidate[];
}

function rulesOf(config: ExtractionConfig, budget: Budget): Rule[] {
  const rules = <Payload>(
    list: [number, (s: Scanner) => Match<Payload>[]][],
    extract: (payload: Payload) => Extraction,
  ): Rule[] =>
    list.map(([priority, find]) => ({
      priority,
      find: (scanner) =>
        find(scanner).map(({ start, end, payload }) => ({ start, end, extract: () => extract(payload) })),
    }));
  switch (config.kind) {
    case "latex":
      return rules(latexRules(config), (formulas) => extractLatex(formulas, config, budget));
    case "expr":
      return rules(exprRules(config), (plain) => extractPlain(plain, budget));
    case "string":
      return rules(stringRules(config), (key) => extractString(key, config));
  }
}

function extractLatex(formulas: Formulas, config: LatexExtractionConfig, budget: Budget): Extraction {
  const texts: string[] = [];
  const values: (MathNode | undefined)[] = [];
  for (const { latex, percent, wholeBox } of formulas) {
    budget.spend(20 + (latex.length >> 2));
    const text = normaliseLatex(latex, config.normalizationConfig, wholeBox ? "last" : undefined);
    const value = parseLatex(text, budget);
    texts.push(text);
    // There is no percentage of an equation.
    const isRelation = value?.kind === "relation" || value?.kind === "and";
    values.push(value && percent ? (isRelation ? undefined : percentage(value)) : value);
  }
  const all = values.filter((value) => value !== undefined);
  if (values.length === 1 || all.length < values.length) return { value: values[0], text: texts[0] ?? "" };
  const args = all.flatMap((value) => (value.kind === "set" ? value.args : [value]));
  return { value: { kind: "set", args }, text: texts.join(" and ") };
}

function extractPlain(plain: Plain, budget: Budget): Extraction {
  if (plain.kind === "expression") return { value: parseArithmetic(plain.text, budget), text: plain.text };
  const integer = plain.integer.replace(/[, ]/g, "").replace(/^0+/, "") || "0";
  const text = `${integer}${plain.decimal.replace(",", ".")}`;
  if (text.length > MAX_DIGITS) return { value: undefined, text };
  const size = parseDecimal(text.replace("-", ""));
  const value = number(text.startsWith("-") ? negate(size) : size, plain.decimal !== "");
  return { value: plain.percent ? percentage(value) : value, text };
}

function extractString(key: string, config: StringExtractionConfig): Extraction {
  return { value: config.lowercase ? key.toLowerCase() : key, text: key };
}

function extractAnswer(text: string, options: Required<ParseOptions>, budget: Budget): Parsed {
  const scanner = new Scanner(text);
  const rules = options.extractionConfig.flatMap((config) => rulesOf(config, budget));
  const priorities = [...new Set(rules.map((rule) => rule.priority))].sort((a, b) => a - b);
  const first = options.extractionMode === "first_match";
  const fallbacks: string[] = [];
  let value: MathNode | string | undefined;
  let matched = false;
  for (const priority of priorities) {
    const group = rules.filter((rule) => rule.priority === priority);
    const candidates = group.flatMap((rule) => rule.find(scanner)).sort((a, b) => b.end - a.end || a.start - b.start);
    for (const candidate of candidates) {
      budget.spend();
      const extraction = candidate.extract();
      matched = true;
      if (extraction.text) fallbacks.push(extraction.text);
      value = extraction.value;
      if (value !== undefined || first) break;
    }
    if (value !== undefined || (matched && first)) break;
  }
  const fallback = options.fallbackMode === "first_match" ? fallbacks[0] : undefined;
  return [value, fallback].filter((found) => found !== undefined);
}

/**
 * The answer in a text: its tree and the text it was read from, or [] if there is none. Never throws on any text, unless
 * raiseOnError is set and the work is too much.
 */
export function parse(text: string, options: ParseOptions = {}): Parsed {
  const all = parseOptions(options);
  try {
    return extractAnswer(text, all, new Budget(all.parsingTimeout));
  } catch (error) {
    if (!(error instanceof LimitReached || error instanceof RangeError) || all.raiseOnError) throw error;
    return [];
  }
}
