// The vocabulary of the LaTeX grammar: which text is which token. The words are those that math_verify's grammar knows;
// anything else makes a formula unparseable there, and so here.

export type TokenType =
  | "number"
  | "percentNumber"
  | "scientific"
  | "letter"
  | "greek"
  | "symbol"
  | "accent"
  | "differential"
  | "e"
  | "E"
  | "infinity"
  | "partial"
  | "gamma"
  | "+"
  | "-"
  | "*"
  | "/"
  | "("
  | ")"
  | "\\("
  | "\\)"
  | "\\lgroup"
  | "\\rgroup"
  | "{"
  | "}"
  | "\\{"
  | "\\}"
  | "\\lbrace"
  | "\\rbrace"
  | "["
  | "]"
  | "\\lbrack"
  | "\\rbrack"
  | "\\phantom"
  | "\\boxed"
  | "|"
  | "\\lvert"
  | "\\rvert"
  | "\\vert"
  | "\\|"
  | "\\langle"
  | "\\rangle"
  | "\\lfloor"
  | "\\rfloor"
  | "\\llcorner"
  | "\\lrcorner"
  | "\\lceil"
  | "\\rceil"
  | "\\ulcorner"
  | "\\urcorner"
  | "\\lim"
  | "to"
  | "\\int"
  | "\\sum"
  | "\\prod"
  | "function"
  | "multiFunction"
  | "\\sqrt"
  | "name"
  | "multiName"
  | "\\operatorname"
  | "frac"
  | "binom"
  | "\\choose"
  | "\\mod"
  | "matrixStart"
  | "matrixEnd"
  | "arrayStart"
  | "arrayEnd"
  | "detStart"
  | "detEnd"
  | "&"
  | "\\\\"
  | "_"
  | "^"
  | ":"
  | ";"
  | ","
  | "."
  | "arrow"
  | "exchange"
  | "\\in"
  | "="
  | "=="
  | "approx"
  | "<"
  | "<="
  | ">"
  | ">="
  | "!="
  | "!"
  | "numberSet"
  | "cup"
  | "cap"
  | "setminus"
  | "pm"
  | "supseteq"
  | "subseteq"
  | "notin"
  | "transpose"
  | "degree"
  | "word"
  | "end";

const commands = new Map<string, TokenType | "skip">();
const define = (type: TokenType | "skip", words: string) => {
  for (const word of words.split(" ")) commands.set(word, type);
};

define("skip", ", : ; ! $ thinspace medspace thickspace quad qquad negthinspace negmedspace negthickspace");
define("skip", "vrule vcenter vbox vskip vspace hfil");
define("/", "over div");
define("*", "times cdot");
define("frac", "frac dfrac tfrac cfrac");
define("binom", "binom tbinom dbinom");
for (const word of [
  "( ) lgroup rgroup { } lbrace rbrace lbrack rbrack phantom boxed lvert rvert vert | langle rangle lfloor rfloor",
  "llcorner lrcorner lceil rceil ulcorner urcorner lim int sum prod sqrt operatorname choose mod in",
]) {
  for (const name of word.split(" ")) commands.set(name, `\\${name}` as TokenType);
}
commands.set("\\", "\\\\");
define("to", "to rightarrow Rightarrow longrightarrow Longrightarrow");
define("function", "log ln exp sin cos tan csc sec cot arcsin arccos arctan arccsc arcsec arccot sinh cosh tanh");
define("function", "arsinh arcosh artanh arcsinh arccosh arctanh floor ceil det");
define("multiFunction", "gcd lcm max min");
define("gamma", "Gamma gamma");
define("arrow", "xrightarrow xRightarrow");
define("exchange", "leftrightarrow Leftrightarrow");
define("e", "exponentialE");
define("==", "equiv");
define("approx", "approx");
define("<", "lt");
define("<=", "leq le leqslant");
define(">", "gt");
define(">=", "geq ge geqslant");
define("!=", "ne neq");
define("partial", "partial");
define("infinity", "infty");
define("cup", "cup");
define("cap", "cap");
define("setminus", "setminus");
define("pm", "pm mp");
define("numberSet", "emptyset");
define("supseteq", "supseteq");
define("subseteq", "subseteq");
define("notin", "notin");
define("greek", "alpha beta delta Delta epsilon varepsilon zeta eta theta Theta vartheta iota kappa lambda Lambda mu");
define("greek", "nu xi Xi omicron pi Pi varpi rho varrho sigma Sigma varsigma tau upsilon Upsilon phi Phi varphi chi");
define("greek", "psi Psi omega Omega");
define("symbol", "Bbbk wp nabla bigstar angle nexists diagdown measuredangle eth diagup sphericalangle clubsuit");
define("symbol", "varnothing Diamond complement diamondsuit imath Finv triangledown heartsuit jmath Game triangle");
define(
  "symbol",
  "spadesuit ell hbar vartriangle hslash blacklozenge lozenge blacksquare mho blacktriangle sharp prime",
);
define("symbol", "Im flat square backprime Re natural surd circledS");

/** Commands without their backslash; a longer word is read as the longest of these that it starts with. */
export const latexCommands: ReadonlyMap<string, TokenType | "skip"> = commands;

export const ACCENTS: ReadonlySet<string> = new Set(
  [
    "acute bar overline breve check widecheck dot ddot grave hat tilde widetilde vec overrightarrow bm boldsymbol text",
    "textit textbf textnormal mathbb mathbin mathbf mathcal mathclap mathclose mathellipsis mathfrak mathinner mathit",
    "mathnormal mathop mathopen mathord mathpunct mathrel mathring mathrlap mathrm mathscr mathsf mathsterling mathtt mbox",
  ].flatMap((line) => line.split(" ")),
);

export const BLACKBOARD: ReadonlyMap<string, string> = new Map([
  ["N", "naturals"],
  ["Z", "integers"],
  ["Q", "rationals"],
  ["R", "reals"],
  ["C", "complexes"],
  ["P", "primes"],
]);

const single = new Map<string, TokenType>();
const characters = (type: TokenType, text: string) => {
  for (const char of text) single.set(char, type);
};
characters("+", "+∔⊕⊞");
characters("-", "-−∸");
characters("*", "*×⋅⋄⊡∗⋆∘∙⊗⊠⋈⋉⋊");
characters("/", "/÷∕");
characters("=", "=≡≣≟≎≏≐≑≒≓≔≕≖≗");
characters("approx", "≈≊≋≃≅");
characters("<", "<≪≺⋖");
characters("<=", "≤≦≲≾");
characters(">", ">≫≻⋗");
characters(">=", "≥≧≳≿");
characters("!=", "≠≁≄≇≉≢");
characters("cup", "∪");
characters("cap", "∩");
characters("setminus", "∖");
characters("pm", "±∓");
characters("supseteq", "⊇");
characters("subseteq", "⊆");
characters("notin", "∉");
characters("numberSet", "ℕℤℚℝℂℙ∅");
characters("symbol", "ℵℶℷℸ");
characters("greek", "αβγΓδΔεϵζηθΘϑικλΛμνξΞοπΠϖρϱσΣςτυΥφΦϕχψΨωΩ");
for (const char of "(){}[]|&_^:;,.!") single.set(char, char as TokenType);
single.set("'", "transpose");

export const singleCharacters: ReadonlyMap<string, TokenType> = single;

/** Fixed texts of more than one character, longest first. */
export const phrases: readonly (readonly [string, TokenType])[] = (
  [
    ["\\not\\equiv", "!="],
    ["\\mathbb{N}", "numberSet"],
    ["\\mathbb{Z}", "numberSet"],
    ["\\mathbb{Q}", "numberSet"],
    ["\\mathbb{R}", "numberSet"],
    ["\\mathbb{C}", "numberSet"],
    ["\\mathbb{P}", "numberSet"],
    ["\\lbrace\\rbrace", "numberSet"],
    ["\\{\\}", "numberSet"],
    ["\\infty\\%", "infinity"],
    ["\\infty%", "infinity"],
    ["^{\\circle}", "degree"],
    ["^{\\degree}", "degree"],
    ["^{\\circ}", "degree"],
    ["^\\circle", "degree"],
    ["^\\degree", "degree"],
    ["^\\circ", "degree"],
    ["^{°}", "degree"],
    ["^°", "degree"],
    ["^{T}", "transpose"],
    ["^T", "transpose"],
    ["<->", "exchange"],
    ["<=>", "exchange"],
    ["!==", "!="],
    ["!=", "!="],
    ["==", "=="],
    ["<=", "<="],
    [">=", ">="],
    ["~=", "approx"],
  ] as [string, TokenType][]
).sort((a, b) => b[0].length - a[0].length);

/** Words that are one token even inside a run of letters. The first two sorts are functions inside \operatorname{…}. */
const wordTypes: readonly (readonly [TokenType, string])[] = [
  [
    "name",
    "arsinh arcsinh arcosh arccosh artanh arctanh floor ceil eye cols rows norm rank trace tr rref nullspace eig",
  ],
  ["name", "eigen diagonalize eigenvals eigenvalues eigenvects eigenvectors svd SVD"],
  ["multiName", "gcd lcm zeros ones diag hstack vstack orth ortho orthogonal orthogonalize"],
  ["word", "matrix pmatrix bmatrix vmatrix"],
];
export const words: readonly (readonly [string, TokenType])[] = wordTypes
  .flatMap(([type, list]) => list.split(" ").map((word): readonly [string, TokenType] => [word, type]))
  .sort((a, b) => b[0].length - a[0].length);
