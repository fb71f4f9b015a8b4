// Options of parse and verify, with math_verify's names and defaults.

import { GrpoError } from "../../errors.js";

function checked<T extends object>(name: string, given: object, defaults: T): T {
  for (const [key, value] of Object.entries(given)) {
    const known = defaults[key as keyof T];
    if (known === undefined) {
      throw new GrpoError("BAD_OPTION", `${name}: unknown option "${key}"`, {
        hint: `use one of ${Object.keys(defaults).join(", ")}`,
      });
    }
    const fits = value === undefined || typeof value === typeof known || (known === 5 && value === null);
    if (!fits) {
      throw new GrpoError("BAD_OPTION", `${name}: ${key} must be a ${typeof known}, found ${typeof value}`, {
        hint: `its default is ${JSON.stringify(known)}`,
      });
    }
  }
  const set = Object.entries(given).filter(([, value]) => value !== undefined);
  return { ...defaults, ...Object.fromEntries(set) };
}

function oneOf(name: string, key: string, value: string, choices: readonly string[]): void {
  if (choices.includes(value)) return;
  throw new GrpoError("BAD_OPTION", `${name}: ${key} must be one of ${choices.join(", ")}, found ${value}`, {
    hint: "see docs/accuracy.md",
  });
}

/** How LaTeX is tidied before it is read. */
export interface NormalizationOptions {
  /** Spellings of one command; default true. */
  readonly basicLatex?: boolean;
  /** Units at the end; default false. */
  readonly units?: boolean;
  /** \frac12, \sqrt3, x^(2), 1/2; default false. */
  readonly malformedOperators?: boolean;
  /** ".5" and "0.5"; default false. */
  readonly nits?: boolean;
  /** Which boxes' contents are taken; default "all". */
  readonly boxed?: "all" | "last" | "none";
}

/** How LaTeX is rewritten before it is parsed. */
export class NormalizationConfig {
  readonly basicLatex: boolean;
  readonly units: boolean;
  readonly malformedOperators: boolean;
  readonly nits: boolean;
  readonly boxed: "all" | "last" | "none";

  constructor(options: NormalizationOptions = {}) {
    const defaults = { basicLatex: true, units: false, malformedOperators: false, nits: false, boxed: "all" as const };
    const all = checked<Required<NormalizationOptions>>("NormalizationConfig", options, defaults);
    oneOf("NormalizationConfig", "boxed", all.boxed, ["all", "last", "none"]);
    ({ basicLatex: this.basicLatex, units: this.units, nits: this.nits, boxed: this.boxed } = all);
    this.malformedOperators = all.malformedOperators;
  }
}

/** How LaTeX is found; names and defaults are math_verify's. */
export interface LatexExtractionOptions {
  /** Also take formulas that no "answer" announces; default true. */
  readonly tryExtractWithoutAnchor?: boolean;
  /** Priority of boxes; 0 is before all, 50 (the default) after "final answer is", -1 never. */
  readonly boxedMatchPriority?: number;
  readonly normalizationConfig?: NormalizationConfig;
}

/** Extract LaTeX: $…$, \(…\), \[…\], $$…$$, boxes, bare \frac. */
export class LatexExtractionConfig {
  readonly kind = "latex";
  readonly tryExtractWithoutAnchor: boolean;
  readonly boxedMatchPriority: number;
  readonly normalizationConfig: NormalizationConfig;

  constructor(options: LatexExtractionOptions = {}) {
    const normalizationConfig = new NormalizationConfig({ units: true, malformedOperators: true, nits: true });
    const defaults = { tryExtractWithoutAnchor: true, boxedMatchPriority: 50, normalizationConfig };
    const all = checked<Required<LatexExtractionOptions>>("LatexExtractionConfig", options, defaults);
    this.tryExtractWithoutAnchor = all.tryExtractWithoutAnchor;
    this.boxedMatchPriority = all.boxedMatchPriority;
    this.normalizationConfig = all.normalizationConfig;
  }
}

/** Extract plain numbers and arithmetic: 42, 1,234.5, $18, 3/4, 2^10. */
export class ExprExtractionConfig {
  readonly kind = "expr";
  readonly tryExtractWithoutAnchor: boolean;

  constructor(options: { readonly tryExtractWithoutAnchor?: boolean } = {}) {
    this.tryExtractWithoutAnchor = checked("ExprExtractionConfig", options, {
      tryExtractWithoutAnchor: true,
    }).tryExtractWithoutAnchor;
  }
}

/** How single words, such as letters of choices, are found. */
export interface StringExtractionOptions {
  readonly strings?: readonly string[];
  readonly tryExtractWithoutAnchor?: boolean;
  readonly lowercase?: boolean;
}

/** Extract one of some fixed strings, such as the letter of a choice. */
export class StringExtractionConfig {
  readonly kind = "string";
  readonly strings: readonly string[];
  readonly tryExtractWithoutAnchor: boolean;
  readonly lowercase: boolean;

  constructor(options: StringExtractionOptions = {}) {
    const all = checked<Required<StringExtractionOptions>>("StringExtractionConfig", options, {
      strings: ["A", "B", "C", "D"],
      tryExtractWithoutAnchor: true,
      lowercase: true,
    });
    ({ strings: this.strings, tryExtractWithoutAnchor: this.tryExtractWithoutAnchor, lowercase: this.lowercase } = all);
  }
}

/** What `parse` looks for. */
export type ExtractionConfig = LatexExtractionConfig | ExprExtractionConfig | StringExtractionConfig;

/** What `parse` looks for, and within which bounds. */
export interface ParseOptions {
  /** What to look for; default LaTeX and plain expressions. */
  readonly extractionConfig?: readonly ExtractionConfig[];
  /** "first_match" (the default) also returns the text of the first match, so that unparseable text can be compared. */
  readonly fallbackMode?: "no_fallback" | "first_match";
  /** "any_match" (the default) goes on to the next match when one does not parse. */
  readonly extractionMode?: "first_match" | "any_match";
  /** Seconds; null for no clock. The work is bounded in any case. Default 5. */
  readonly parsingTimeout?: number | null;
  /** Throw when the bounds are met instead of returning []. Default false. */
  readonly raiseOnError?: boolean;
}

export function parseOptions(options: ParseOptions): Required<ParseOptions> {
  const all = checked<Required<ParseOptions>>("parse", options, {
    extractionConfig: [new LatexExtractionConfig(), new ExprExtractionConfig()],
    fallbackMode: "first_match",
    extractionMode: "any_match",
    parsingTimeout: 5,
    raiseOnError: false,
  });
  oneOf("parse", "fallbackMode", all.fallbackMode, ["no_fallback", "first_match"]);
  oneOf("parse", "extractionMode", all.extractionMode, ["first_match", "any_match"]);
  return all;
}

/** When two answers count as equal, and within which bounds. */
export interface VerifyOptions {
  /** Decimals to which a number with a decimal point is compared; default 6. */
  readonly floatRounding?: number;
  /** Significant digits to which other numbers are compared; default 15. */
  readonly numericPrecision?: number;
  /** Names of variables count, and sets are not tuples; default true. */
  readonly strict?: boolean;
  /** Also compare a set as gold with an inequality as answer; default false. */
  readonly allowSetRelationComp?: boolean;
  /** Seconds; null for no clock. The work is bounded in any case. Default 5. */
  readonly timeoutSeconds?: number | null;
  /** Throw when the bounds are met instead of returning false. Default false. */
  readonly raiseOnError?: boolean;
}

export function verifyOptions(options: VerifyOptions): Required<VerifyOptions> {
  return checked<Required<VerifyOptions>>("verify", options, {
    floatRounding: 6,
    numericPrecision: 15,
    strict: true,
    allowSetRelationComp: false,
    timeoutSeconds: 5,
    raiseOnError: false,
  });
}
