// Grammars as people write them: `name ::= …` with the rule `root`, as llama.cpp, xgrammar and vLLM read them.

import { GrpoError } from "../errors.js";
import { choice, type Expression, Rule, repeat, ruleOf, sequence, text } from "./expression.js";
import { regexExpression } from "./regex.js";

const PARTS =
  /\s*(?:#[^\n]*\s*)*(?:(?<rule>[A-Za-z_][\w.-]*)\s*::=|(?<name>[A-Za-z_][\w.-]*)|(?<text>"(?:[^"\\\n]|\\.)*")|(?<set>\[(?:[^\]\\]|\\.)*\])|(?<times>[*+?]|\{\d*,?\d*\})|(?<mark>[()|.]))/suy;
/** Groups in one another; deeper ones would end the stack. */
const MOST_LEVELS = 100;

type Part = Partial<Record<"rule" | "name" | "text" | "set" | "times" | "mark", string>>;

/** Throws BAD_INPUT for what is no such grammar. */
export function ebnfExpression(grammar: string): Expression {
  return new EbnfReader(grammar).read();
}

class EbnfReader {
  readonly #parts: readonly Part[];
  readonly #rules = new Map<string, Rule>();
  #at = 0;

  constructor(grammar: string) {
    this.#parts = partsOfText(grammar);
  }

  read(): Expression {
    while (this.#at < this.#parts.length) {
      const name = this.#next?.rule;
      if (name === undefined) throw noGrammar("something that is no rule; expected NAME ::= …");
      this.#at++;
      const rule = this.#rule(name);
      if (rule.isDefined) throw noGrammar(`the rule ${name} twice`);
      rule.body = this.#alternatives(0);
    }
    if (!this.#rules.get("root")?.isDefined) throw noGrammar("no rule root");
    return ruleOf(this.#rule("root"));
  }

  get #next(): Part | undefined {
    return this.#parts[this.#at];
  }

  #rule(name: string): Rule {
    const rule = this.#rules.get(name) ?? new Rule(name);
    this.#rules.set(name, rule);
    return rule;
  }

  #alternatives(level: number): Expression {
    if (level > MOST_LEVELS) throw noGrammar(`more than ${MOST_LEVELS} groups in one another`);
    const options = [this.#sequence(level)];
    while (this.#takes("|")) options.push(this.#sequence(level));
    return choice(...options);
  }

  #sequence(level: number): Expression {
    const parts: Expression[] = [];
    for (let part = this.#next; part !== undefined; part = this.#next) {
      if (part.rule !== undefined || part.mark === "|" || part.mark === ")") break;
      if (part.times === undefined) parts.push(this.#element(level));
      else parts.push(this.#repeated(parts.pop(), part.times));
    }
    return sequence(...parts);
  }

  #element(level: number): Expression {
    const part = this.#next as Part;
    this.#at++;
    if (part.text !== undefined) return text(literalOf(part.text));
    if (part.set !== undefined) return regexExpression(part.set);
    if (part.name !== undefined) return ruleOf(this.#rule(part.name));
    if (part.mark === ".") return regexExpression(".");
    const group = this.#alternatives(level + 1);
    if (!this.#takes(")")) throw noGrammar("( without a )");
    return group;
  }

  #repeated(part: Expression | undefined, times: string): Expression {
    if (part === undefined) throw noGrammar(`${times} with nothing before it`);
    this.#at++;
    const bounds = { "*": [0, Number.POSITIVE_INFINITY], "+": [1, Number.POSITIVE_INFINITY], "?": [0, 1] }[times];
    if (bounds) return repeat(part, bounds[0] as number, bounds[1]);
    const [, low = "", comma, high = ""] = /^\{(\d*)(,?)(\d*)\}$/.exec(times) ?? [];
    const min = Number(low);
    const max = comma === "" ? min : high === "" ? Number.POSITIVE_INFINITY : Number(high);
    if (max < min) throw noGrammar(`the repetition ${times}`);
    return repeat(part, min, max);
  }

  #takes(mark: string): boolean {
    if (this.#next?.mark !== mark) return false;
    this.#at++;
    return true;
  }
}

function partsOfText(grammar: string): Part[] {
  const parts: Part[] = [];
  let at = 0;
  const end = grammar.replace(/(?:\s|#[^\n]*(?:\n|$))+$/, "").length;
  while (at < end) {
    PARTS.lastIndex = at;
    const found = PARTS.exec(grammar);
    if (found === null) throw noGrammar(`${JSON.stringify(grammar.slice(at, at + 30).trim())}, which cannot be read`);
    parts.push(found.groups as Part);
    at = PARTS.lastIndex;
  }
  return parts;
}

function literalOf(quoted: string): string {
  const body = quoted.slice(1, -1);
  return body.replace(/\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))/gs, (_, ...found: string[]) => {
    const code = found[0] ?? found[1] ?? found[2];
    if (code !== undefined) return String.fromCodePoint(Math.min(0x10ffff, Number.parseInt(code, 16)));
    const char = found[3] ?? "";
    return ESCAPES[char] ?? char;
  });
}

const ESCAPES: Readonly<Record<string, string>> = { n: "\n", t: "\t", r: "\r", f: "\f", b: "\b", v: "\v", "0": "\0" };

function noGrammar(found: string): GrpoError {
  return new GrpoError("BAD_INPUT", `the grammar has ${found}`, {
    hint: 'write rules as root ::= "yes" | "no", the form of llama.cpp and xgrammar',
  });
}
