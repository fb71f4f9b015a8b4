// verify: whether an answer is the gold answer, by math_verify's rules. They are not symmetric: the form of the gold decides
// what counts, so that "x = 5" answers "5" but "5" does not answer "2x + z = 5".

import { at } from "../../at.js";
import { type AndNode, type MathNode, mapSymbols, type RelationNode, symbolsOf } from "./ast.js";
import { type Comparison, sameTree, valuesEqual } from "./equality.js";
import type { Parsed } from "./extract.js";
import { isNames } from "./latex-sets.js";
import { Budget, LimitReached } from "./limits.js";
import { symbolsEqual } from "./names.js";
import { type VerifyOptions, verifyOptions } from "./options.js";
import { consistent, relationsEqual, solutionSet } from "./relations.js";
import { isSetLike, setsEqual } from "./sets.js";

type Relation = RelationNode | AndNode;

function partsOf(node: MathNode): readonly RelationNode[] {
  return node.kind === "and" ? node.args : node.kind === "relation" ? [node] : [];
}

const isRelation = (node: MathNode): node is Relation => node.kind === "relation" || node.kind === "and";

function isEquation(node: MathNode): node is Relation {
  return isRelation(node) && partsOf(node).every((part) => part.operator === "=");
}

/** An equation whose first side is a name: x = 5, f(x) = …, x = 2 + 3 = 5. */
function isAssignment(node: MathNode): node is Relation {
  const [first] = partsOf(node);
  return isEquation(node) && first !== undefined && isNames(first.left);
}

function lastSide(node: Relation): MathNode {
  return (partsOf(node).at(-1) as RelationNode).right;
}

/** x = 2 + 3 = 5 is x = 5. */
function shortened(node: MathNode): MathNode {
  if (!isAssignment(node) || node.kind !== "and") return node;
  return { kind: "relation", operator: "=", left: (node.args[0] as RelationNode).left, right: lastSide(node) };
}

/** Without strictness names do not matter: the answer's symbols are matched with the gold's in alphabetical order. */
function renamed(gold: MathNode, answer: MathNode): MathNode {
  const [names, others] = [symbolsOf(gold), symbolsOf(answer)];
  if (names.size !== others.size) return answer;
  const targets = [...names.keys()].sort();
  const renaming = new Map([...others.keys()].sort().map((key, i) => [key, names.get(at(targets, i))]));
  return mapSymbols(answer, (symbol) => renaming.get(symbol.real ? symbol.name : `${symbol.name}\u0000`) ?? symbol);
}

export function answersEqual(goldNode: MathNode, answerNode: MathNode, comparison: Comparison): boolean {
  comparison.budget.spend();
  if (isEquation(answerNode) && !consistent(answerNode, comparison)) return sameTree(goldNode, answerNode);
  let gold = shortened(goldNode);
  let answer = shortened(comparison.strict ? answerNode : renamed(goldNode, answerNode));
  if (isEquation(answer) && !isEquation(gold)) answer = lastSide(answer);
  else if (isAssignment(gold) && !isEquation(answer)) gold = lastSide(gold);

  if (isRelation(gold) && isSetLike(answer) && answer.kind !== "tuple")
    gold = solutionSet(gold, comparison.budget) ?? gold;
  if (comparison.setRelation && isRelation(answer) && isSetLike(gold) && gold.kind !== "tuple") {
    answer = solutionSet(answer, comparison.budget) ?? answer;
  }
  if (sameTree(gold, answer)) return true;
  if (isRelation(gold) && isRelation(answer)) return relationsEqual(gold, answer, comparison, answersEqual);
  if (isSetLike(gold) || isSetLike(answer)) return setsEqual(gold, answer, comparison, answersEqual);
  if (gold.kind === "symbol" || answer.kind === "symbol") return symbolsEqual(gold, answer);
  return valuesEqual(gold, answer, comparison);
}

function pairEqual(gold: MathNode | string, answer: MathNode | string, comparison: Comparison): boolean {
  if (typeof gold === "string" || typeof answer === "string") {
    if (typeof gold !== "string" || typeof answer !== "string") return false;
    return gold.trim() !== "" && gold.trim() === answer.trim();
  }
  return answersEqual(gold, answer, comparison);
}

const listOf = (value: Parsed | MathNode | string): Parsed =>
  typeof value === "string" || "kind" in value ? [value] : value;

/**
 * Whether any of the gold's readings equals any of the answer's (as `parse` gives them). False when the comparison would
 * take too much work, unless raiseOnError is set.
 */
export function verify(
  gold: Parsed | MathNode | string,
  target: Parsed | MathNode | string,
  options: VerifyOptions = {},
): boolean {
  const all = verifyOptions(options);
  const budgetOf = () => new Budget(all.timeoutSeconds);
  const { floatRounding: rounding, numericPrecision: precision, strict, allowSetRelationComp: setRelation } = all;
  return listOf(gold).some((expected) =>
    listOf(target).some((answer) => {
      const comparison: Comparison = { rounding, precision, strict, setRelation, budget: budgetOf() };
      try {
        return pairEqual(expected, answer, comparison);
      } catch (error) {
        // RangeError: BigInt or the call stack, both bounded before, refused all the same.
        if (!(error instanceof LimitReached || error instanceof RangeError) || all.raiseOnError) throw error;
        return false;
      }
    }),
  );
}
