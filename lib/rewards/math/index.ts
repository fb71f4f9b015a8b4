// Reading and comparing mathematical answers, by the rules of Python's math_verify: the module "grpo/math". It needs neither
// the engine nor any other part of the library.

export type { MathNode } from "./ast.js";
export { verify } from "./compare.js";
export { type Parsed, parse } from "./extract.js";
export { formatParsed } from "./format.js";
export {
  ExprExtractionConfig,
  type ExtractionConfig,
  LatexExtractionConfig,
  type LatexExtractionOptions,
  NormalizationConfig,
  type NormalizationOptions,
  type ParseOptions,
  StringExtractionConfig,
  type StringExtractionOptions,
  type VerifyOptions,
} from "./options.js";
