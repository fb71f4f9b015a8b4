// Names of symbols: what in the spelling of a letter counts and what does not. Case does not (except inside
// differentials and functions), fonts do not, accents and subscripts do.

import { type MathNode, PI } from "./ast.js";

const greekCharacters = new Map<string, string>();
const greekNames =
  "αalpha βbeta γgamma ΓGamma δdelta ΔDelta εepsilon ϵvarepsilon ζzeta ηeta θtheta ΘTheta ϑvartheta ιiota κkappa " +
  "λlambda ΛLambda μmu νnu ξxi ΞXi οomicron πpi ΠPi ϖvarpi ρrho ϱvarrho σsigma ΣSigma ςvarsigma τtau υupsilon " +
  "ΥUpsilon φphi ΦPhi ϕvarphi χchi ψpsi ΨPsi ωomega ΩOmega";
for (const entry of greekNames.split(" ")) greekCharacters.set(entry.charAt(0), entry.slice(1));

/** The symbol, or the constant that goes by this name: pi in any case, and gamma. */
export function namedSymbol(text: string, real: boolean, lowercase = true): MathNode {
  const trimmed = text.trim();
  const plain = greekCharacters.get(trimmed) ?? (trimmed.startsWith("\\") ? trimmed.slice(1) : trimmed);
  if (plain === "gamma" || plain === "Gamma") return { kind: "constant", name: "gamma" };
  const name = lowercase ? plain.toLowerCase() : plain;
  if (name === "pi") return PI;
  if (name === "gamma") return { kind: "constant", name: "gamma" };
  return { kind: "symbol", name, real };
}

/** "\vec{a b}" is vec{ab}; text and box commands leave only what they hold. */
export function accentName(token: string): string {
  const open = token.indexOf("{");
  const command = token.slice(1, open);
  const inner = token.slice(open + 1, -1).replaceAll(" ", "");
  if (command.includes("text") || command.includes("mbox")) return inner.replace(/[()]/g, "");
  if (command === "overline") return `bar{${inner}}`;
  if (command === "overrightarrow") return `vec{${inner}}`;
  if (command === "widetilde") return `tilde{${inner}}`;
  return `${command.includes("math") ? "math" : command}{${inner}}`;
}

export function subscripted(name: string, subscript: string): string {
  return subscript.length > 1 ? `${name}_{${subscript}}` : `${name}_${subscript}`;
}

/** What tells a formula about complex numbers (or matrices) from one about real numbers. */
const COMPLEX_HINT =
  /\\mathbb\{C\}|\\i\b|\bi\b|\\text\{i\}|\\mathrm\{i\}|\\imath\b|\\det|\\operatorname\{tr\}|\\operatorname\{rank\}|\\text\{rank\}|\\arg\{|\\Re\{|\\Im\{|\\operatorname\{Re\}|\\operatorname\{Im\}|\\text\{Re\}|\\text\{Im\}/;

export function looksComplex(latex: string): boolean {
  return COMPLEX_HINT.test(latex);
}
