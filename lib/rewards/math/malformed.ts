// Repairs operators whose braces are missing: \frac12, \frac1{2}, \sqrt3, sqrt(3), x^(2), 1/2.

/** Replaces `open` … `)` by a braced group; the content may not span lines. */
function bracedGroups(text: string, open: RegExp, write: (content: string) => string): string {
  let result = "";
  let at = 0;
  open.lastIndex = 0;
  for (let match = open.exec(text); match; match = open.exec(text)) {
    const start = match.index + match[0].length;
    const close = text.indexOf(")", start);
    // No later group can close either.
    if (close < 0) break;
    const content = text.slice(start, close);
    if (content.includes("\n")) continue;
    result += text.slice(at, match.index) + write(content);
    at = close + 1;
    open.lastIndex = at;
  }
  return result + text.slice(at);
}

const UPPER_BRACED = /\\frac\s?\{/g;
const LOWER_DIGIT = /\}\s?(\d)/g;

/** \frac{a}2: from the brace to the first "}" that a digit follows, whatever is between. */
function bracedOver(text: string): string {
  let result = "";
  let at = 0;
  UPPER_BRACED.lastIndex = 0;
  for (let match = UPPER_BRACED.exec(text); match; match = UPPER_BRACED.exec(text)) {
    const start = match.index + match[0].length;
    LOWER_DIGIT.lastIndex = start;
    const end = LOWER_DIGIT.exec(text);
    if (!end) break;
    const content = text.slice(start, end.index);
    if (content.includes("\n")) continue;
    result += `${text.slice(at, match.index)}\\frac{${content}}{${end[1]}}`;
    at = LOWER_DIGIT.lastIndex;
    UPPER_BRACED.lastIndex = at;
  }
  return result + text.slice(at);
}

const UPPER_DIGIT = /\\frac\s?(\d)\s?\{/g;

function overBraced(text: string): string {
  let result = "";
  let at = 0;
  UPPER_DIGIT.lastIndex = 0;
  for (let match = UPPER_DIGIT.exec(text); match; match = UPPER_DIGIT.exec(text)) {
    const start = match.index + match[0].length;
    const close = text.indexOf("}", start);
    if (close < 0) break;
    const content = text.slice(start, close);
    if (content.includes("\n")) continue;
    result += `${text.slice(at, match.index)}\\frac{${match[1]}}{${content}}`;
    at = close + 1;
    UPPER_DIGIT.lastIndex = at;
  }
  return result + text.slice(at);
}

function fixedRoots(text: string): string {
  const [first = "", ...rest] = text.split("\\sqrt");
  return (
    first +
    rest
      .map((part) => part.trimStart())
      .map((part) => (/^[^{[]/.test(part) ? `\\sqrt{${part.charAt(0)}}${part.slice(1)}` : `\\sqrt${part}`))
      .join("")
  );
}

function fixedFractions(text: string): string {
  const [first = "", ...rest] = text.split("\\frac");
  let result = first;
  for (const spaced of rest) {
    const part = spaced.trimStart();
    if (part.startsWith("{")) {
      result += `\\frac${part}`;
      continue;
    }
    if (part.length < 2) return text;
    const [a, b] = [part.charAt(0), part.charAt(1)];
    result += b === "{" ? `\\frac{${a}}${part.slice(1)}` : `\\frac{${a}}{${b}}${part.slice(2)}`;
  }
  return result;
}

export function fixedOperators(text: string): string {
  let result = bracedGroups(text, /\^\s?\(/g, (content) => `^{${content}}`);
  result = bracedGroups(result, /sqrt\s?\(/g, (content) => `\\sqrt{${content}}`);
  result = result
    .replace(/\\frac\s?(\d)\s?(\d+)/g, "\\frac{$1}{$2}")
    .replace(/\\log_\s?(\d)\s?(\d+)/g, "\\log_{$1}{$2}");
  result = overBraced(bracedOver(result)).replace(/\\sqrt\s?(\d)/g, "\\sqrt{$1}");
  result = fixedFractions(fixedRoots(result.replaceAll(" sqrt", "\\sqrt")));
  const quotient = /^(0|-?[1-9]\d*)\/(0|-?[1-9]\d*)$/.exec(result);
  return quotient ? `\\frac{${quotient[1]}}{${quotient[2]}}` : result;
}
