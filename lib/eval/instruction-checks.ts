// The instructions of IFEval (arXiv 2311.07911) that can be checked by looking at the text alone: each is a function of a response and
// the arguments in the row. Which text follows which instruction is as in LightEval's copy of Google's checks, but for what needs
// models of languages there: sentences are those of Unicode, words in capitals those between spaces and punctuation, and whether a text
// is in English is not asked. `language:response_language` is not among them.

import { isPythonSpace, trimText } from "../text.js";

/** Arguments of an instruction; those that are null do not count. */
export type InstructionArguments = Readonly<Record<string, unknown>>;

type Check = (response: string, args: InstructionArguments) => boolean;

const number = (args: InstructionArguments, name: string): number => Number(args[name]);
const text = (args: InstructionArguments, name: string): string => String(args[name] ?? "").trim();
const texts = (args: InstructionArguments, name: string): string[] => {
  const list = args[name];
  return Array.isArray(list) ? list.map(String) : [];
};

/** Whether a count is as the relation, "less than" or "at least", asks. */
function isEnough(count: number, relation: unknown, limit: number): boolean {
  return relation === "less than" ? count < limit : count >= limit;
}

const countOf = (response: string, pattern: RegExp): number => response.match(pattern)?.length ?? 0;
const literal = (words: string): string => words.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
const words = (response: string): string[] => response.match(/[\p{L}\p{N}_]+/gu) ?? [];
const isUpper = (response: string): boolean => /\p{Lu}/u.test(response) && !/[\p{Ll}\p{Lt}]/u.test(response);
const isLower = (response: string): boolean => /\p{Ll}/u.test(response) && !/[\p{Lu}\p{Lt}]/u.test(response);
/** Without white space at its ends. */
const bare = (response: string): string => trimText(response, isPythonSpace);

function sentences(response: string): number {
  return [...new Intl.Segmenter("en", { granularity: "sentence" }).segment(response)].filter(
    ({ segment }) => segment.trim() !== "",
  ).length;
}

function hasKeyword(response: string, keyword: string): boolean {
  return new RegExp(literal(keyword), "iu").test(response);
}

/** Paragraphs between ***; an empty one in the middle counts as a mistake, which NaN stands for. */
function paragraphs(response: string): number {
  const parts = response.split(/\s?\*\*\*\s?/);
  const isEmpty = (part: string) => part.trim() === "";
  if (parts.slice(1, -1).some(isEmpty)) return Number.NaN;
  return parts.filter((part) => !isEmpty(part)).length;
}

function startsParagraph(response: string, args: InstructionArguments): boolean {
  const parts = response.split("\n\n");
  const count = parts.filter((part) => part.trim() !== "").length;
  const nth = number(args, "nth_paragraph");
  const paragraph = nth <= count ? (parts[nth - 1] ?? "").trim() : "";
  const [first = ""] = paragraph.split(/\s+/);
  const [word = ""] = /^[^.,?!'"]*/.exec(first.replace(/^'+/, "").replace(/^"+/, "")) ?? [];
  const wanted = text(args, "first_word").toLowerCase();
  return paragraph !== "" && count === number(args, "num_paragraphs") && word.toLowerCase() === wanted;
}

function highlights(response: string): number {
  const single = response.match(/\*[^\n*]*\*/g) ?? [];
  const double = response.match(/\*\*[^\n*]*\*\*/g) ?? [];
  const hasText = (mark: string) => mark.replaceAll("*", "").trim() !== "";
  return [...single, ...double].filter(hasText).length;
}

function isJson(response: string): boolean {
  let inner = response.trim();
  for (const fence of ["```json", "```Json", "```JSON", "```"])
    if (inner.startsWith(fence)) inner = inner.slice(fence.length);
  if (inner.endsWith("```")) inner = inner.slice(0, -"```".length);
  try {
    JSON.parse(inner.trim());
    return true;
  } catch {
    return false;
  }
}

function areTwoResponses(response: string): boolean {
  const parts = response.split("******");
  if (parts.slice(1, -1).some((part) => part.trim() === "")) return false;
  const [first, second, ...more] = parts.map((part) => part.trim()).filter((part) => part !== "");
  return first !== undefined && second !== undefined && more.length === 0 && first !== second;
}

function hasPostscript(response: string, args: InstructionArguments): boolean {
  const marker = text(args, "postscript_marker");
  const lower = response.toLowerCase();
  if (marker === "P.P.S") return /p\.\s?p\.\s?s/.test(lower);
  if (marker === "P.S.") return /p\.\s?s\./.test(lower);
  return lower.includes(marker.toLowerCase());
}

/** Pairs of square brackets on one line; from a bracket that nothing closes, the line is over. */
function placeholders(response: string): number {
  let count = 0;
  for (const line of response.split("\n")) {
    for (let open = line.indexOf("["); open >= 0; open = line.indexOf("[", open)) {
      const close = line.indexOf("]", open);
      if (close < 0) break;
      count++;
      open = close;
    }
  }
  return count;
}

/** Whether a line has a text in double angular brackets. */
function hasTitle(response: string): boolean {
  return response.split("\n").some((line) => {
    const [open, close] = [line.indexOf("<<"), line.lastIndexOf(">>")];
    if (open < 0 || close < open + 3) return false;
    return bare(trimText(line.slice(open, close), (char) => char === "<" || char === ">")) !== "";
  });
}

/** The instructions by their ids. */
export const INSTRUCTION_CHECKS: Readonly<Record<string, Check>> = {
  "keywords:existence": (r, args) => texts(args, "keywords").every((keyword) => hasKeyword(r, keyword)),
  "keywords:frequency": (r, args) =>
    isEnough(countOf(r, new RegExp(literal(text(args, "keyword")), "giu")), args.relation, number(args, "frequency")),
  "keywords:forbidden_words": (r, args) =>
    !texts(args, "forbidden_words").some((word) => new RegExp(`\\b${literal(word)}\\b`, "i").test(r)),
  "keywords:letter_frequency": (r, args) =>
    isEnough(
      [...r.toLowerCase()].filter((one) => one === text(args, "letter").toLowerCase()).length,
      args.let_relation,
      number(args, "let_frequency"),
    ),
  "length_constraints:number_sentences": (r, args) =>
    isEnough(sentences(r), args.relation, number(args, "num_sentences")),
  "length_constraints:number_paragraphs": (r, args) => paragraphs(r) === number(args, "num_paragraphs"),
  "length_constraints:number_words": (r, args) => isEnough(words(r).length, args.relation, number(args, "num_words")),
  "length_constraints:nth_paragraph_first_word": startsParagraph,
  "detectable_content:number_placeholders": (r, args) => placeholders(r) >= number(args, "num_placeholders"),
  "detectable_content:postscript": hasPostscript,
  "detectable_format:number_bullet_lists": (r, args) =>
    countOf(r, /^[^\S\n]*\*[^*].*$/gm) + countOf(r, /^[^\S\n]*-.*$/gm) === number(args, "num_bullets"),
  "detectable_format:constrained_response": (r) =>
    ["My answer is yes.", "My answer is no.", "My answer is maybe."].some((option) => r.includes(option)),
  "detectable_format:number_highlighted_sections": (r, args) => highlights(r) >= number(args, "num_highlights"),
  "detectable_format:multiple_sections": (r, args) =>
    countOf(r, new RegExp(`${literal(text(args, "section_spliter"))}\\s?\\d+`, "g")) >= number(args, "num_sections"),
  "detectable_format:json_format": isJson,
  "detectable_format:title": hasTitle,
  "combination:two_responses": areTwoResponses,
  "combination:repeat_prompt": (r, args) =>
    r.trim().toLowerCase().startsWith(text(args, "prompt_to_repeat").toLowerCase()),
  "startend:end_checker": (r, args) =>
    trimText(bare(r), (char) => char === '"')
      .toLowerCase()
      .endsWith(text(args, "end_phrase").toLowerCase()),
  "startend:quotation": (r) => bare(r).length > 1 && bare(r).startsWith('"') && bare(r).endsWith('"'),
  "change_case:capital_word_frequency": (r, args) =>
    isEnough(
      (r.match(/[\p{L}\p{N}'’-]+/gu) ?? []).filter(isUpper).length,
      args.capital_relation,
      number(args, "capital_frequency"),
    ),
  "change_case:english_capital": isUpper,
  "change_case:english_lowercase": isLower,
  "punctuation:no_comma": (r) => !r.includes(","),
};
