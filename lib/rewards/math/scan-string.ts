// Finds one of some fixed strings, such as the letter of a choice, by math_verify's patterns. All repetitions in them are
// bounded.

import type { StringExtractionConfig } from "./options.js";
import type { Match, Scanner } from "./scanner.js";

const anyCase = (word: string) => [...word].map((c) => (c === " " ? c : `[${c}${c.toUpperCase()}]`)).join("");

function matches(pattern: string): (s: Scanner) => Match<string>[] {
  const expression = new RegExp(pattern, "g");
  return ({ text }) =>
    [...text.matchAll(expression)].map((match) => ({
      start: match.index,
      end: match.index + match[0].length,
      payload: match.groups?.key ?? "",
    }));
}

export function stringRules(config: StringExtractionConfig): [number, (s: Scanner) => Match<string>[]][] {
  const keys = config.strings.map((key) => key.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join("|");
  const key = `(?<key>${keys})`;
  const suffix = "(?:\\*\\*)?(?:\\.|,|:|\\s|$)";
  const plain = `(?:^|\\s)(?:\\*\\*)?${key}${suffix}`;
  const rules: [number, (s: Scanner) => Match<string>[]][] = [
    [0, matches(`${anyCase("final answer is")}:?\\s*${key}\\.?\\s?I hope`)],
    [50, matches(`${anyCase("final answer")}[^\\n]{0,100}?\\s+is:?\\s*${key}`)],
    [100, matches(`${anyCase("answer")}:[^\\n]{0,50}?${plain}`)],
    [200, matches(`${anyCase("answer")}[^\\n]{0,50}?${plain}`)],
  ];
  if (config.tryExtractWithoutAnchor) {
    rules.push([250, matches(`^(?:\\*\\*)?${key}${suffix}`)], [300, matches(plain)]);
  }
  return rules;
}
