// What is known of a grammar before a text is read: which rules a text can come to an end in, and which would ask for themselves
// before they ask for a character.

import { GrpoError } from "../errors.js";
import { type Expression, partsOf, type Rule } from "./expression.js";

/** Answers for expressions once all rules are known. */
export interface RuleFacts {
  /** Whether some text fits. */
  isPossible(expression: Expression): boolean;
}

/** Throws BAD_INPUT for a rule that is not defined, or that begins with itself. */
export function ruleFacts(root: Expression): RuleFacts {
  const rules = rulesOf(root);
  const possible = leastSet(rules, fits);
  const empty = leastSet(rules, fitsEmpty);
  checkLeftRecursion(rules, empty);
  return { isPossible: (expression) => fits(expression, possible) };
}

function rulesOf(root: Expression): ReadonlySet<Rule> {
  const rules = new Set<Rule>();
  const pending = [root];
  for (let expression = pending.pop(); expression !== undefined; expression = pending.pop()) {
    if (expression.kind === "rule" && !rules.has(expression.rule)) {
      rules.add(expression.rule);
      pending.push(expression.rule.body);
    }
    pending.push(...partsOf(expression));
  }
  return rules;
}

/** The rules that have a property which the others' having it gives. */
function leastSet(
  rules: ReadonlySet<Rule>,
  has: (expression: Expression, known: ReadonlySet<Rule>) => boolean,
): ReadonlySet<Rule> {
  const known = new Set<Rule>();
  // Those that were met last first: a rule is most often met before the ones that it needs.
  const order = [...rules].reverse();
  for (let before = -1; before < known.size; ) {
    before = known.size;
    for (const rule of order) if (!known.has(rule) && has(rule.body, known)) known.add(rule);
  }
  return known;
}

function fits(expression: Expression, known: ReadonlySet<Rule>): boolean {
  switch (expression.kind) {
    case "chars":
      return expression.ranges.length > 0;
    case "sequence":
      return expression.parts.every((part) => fits(part, known));
    case "choice":
      return expression.options.some((option) => fits(option, known));
    case "repeat":
      return expression.min === 0 || fits(expression.part, known);
    case "rule":
      return known.has(expression.rule);
    default:
      return true;
  }
}

function fitsEmpty(expression: Expression, known: ReadonlySet<Rule>): boolean {
  switch (expression.kind) {
    case "sequence":
      return expression.parts.every((part) => fitsEmpty(part, known));
    case "choice":
      return expression.options.some((option) => fitsEmpty(option, known));
    case "repeat":
      return expression.min === 0 || fitsEmpty(expression.part, known);
    case "rule":
      return known.has(expression.rule);
    default:
      return false;
  }
}

function checkLeftRecursion(rules: ReadonlySet<Rule>, empty: ReadonlySet<Rule>): void {
  const done = new Set<Rule>();
  const open = new Set<Rule>();
  const visit = (rule: Rule) => {
    if (done.has(rule)) return;
    if (open.has(rule)) {
      throw new GrpoError("BAD_INPUT", `the rule ${rule.name} begins with itself, so that no text is ever begun`);
    }
    open.add(rule);
    for (const first of firstRules(rule.body, empty)) visit(first);
    open.delete(rule);
    done.add(rule);
  };
  for (const rule of rules) visit(rule);
}

/** Rules that may be asked for before a character is. */
function firstRules(expression: Expression, empty: ReadonlySet<Rule>): Rule[] {
  if (expression.kind === "rule") return [expression.rule];
  if (expression.kind !== "sequence") return partsOf(expression).flatMap((part) => firstRules(part, empty));
  const first: Rule[] = [];
  for (const part of expression.parts) {
    first.push(...firstRules(part, empty));
    if (!fitsEmpty(part, empty)) break;
  }
  return first;
}
