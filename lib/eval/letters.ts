// The letter that a text chooses of a few, by the rules of LightEval's IndicesExtractionConfig with "NativeLetters" and
// try_extract_without_anchor, which its GPQA tasks have: patterns in the order of how sure they are; of the matches of the first that
// matches at all, the one that ends last.

const ANSWER = "[Aa][Nn][Ss][Ww][Ee][Rr]";
const FINAL_ANSWER = `[Ff][Ii][Nn][Aa][Ll] ${ANSWER}`;
/** Python's $: the end, or before a line end that ends the text. */
const END = "(?=\\n?(?![^]))";

const patternsOf = new Map<number, readonly RegExp[]>();

/** The letter, "A" for the first of `choices`; null where the text has none. */
export function chosenLetter(text: string, choices: number): string | null {
  const patterns = patternsOf.get(choices) ?? patternsFor(choices);
  patternsOf.set(choices, patterns);
  for (const pattern of patterns) {
    const matches = [...text.matchAll(pattern)];
    const last = matches.reduce<RegExpMatchArray | undefined>(
      (best, match) => (endsLater(match, best) ? match : best),
      undefined,
    );
    const letter = last?.groups?.letter;
    if (letter !== undefined) return letter.replace(/[()]/g, "");
  }
  return null;
}

function endsLater(match: RegExpMatchArray, best: RegExpMatchArray | undefined): boolean {
  return best === undefined || (match.index ?? 0) + match[0].length > (best.index ?? 0) + best[0].length;
}

function patternsFor(choices: number): RegExp[] {
  const letters = Array.from({ length: choices }, (_, i) => String.fromCharCode(65 + i));
  const letter = `(?<letter>${letters.map((one) => `(?:${one}|\\(${one}\\))`).join("|")})`;
  const behind = `(?:\\*\\*)?(?:[.]|[,]|\\s?[:]| |${END})`;
  const alone = `(?:^| )(?:\\*\\*)?${letter}${behind}`;
  return [
    `${FINAL_ANSWER} [Ii][Ss]:?\\s*${letter}\\.?\\s?I hope`,
    `${FINAL_ANSWER}.{0,100}?\\s+is:?\\s*${letter}`,
    `${ANSWER}\\s?[:].{0,50}?${alone}`,
    `${ANSWER}.{0,50}?${alone}`,
    `^(?:\\*\\*)?${letter}${behind}`,
    `\\n(?:\\*\\*)?${letter}${behind}`,
    alone,
    letter,
  ].map((pattern) => new RegExp(pattern, "g"));
}
