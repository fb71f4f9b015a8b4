// Expressions of Jinja, in the order in which its operators bind.

import type { Arguments, BinaryOperator, Comparison, Expression, Filter, Target } from "./ast.js";
import { TemplateSyntaxError } from "./errors.js";
import type { Token } from "./lexer.js";

const CONSTANTS: ReadonlyMap<string, boolean | null> = new Map([
  ["true", true],
  ["True", true],
  ["false", false],
  ["False", false],
  ["none", null],
  ["None", null],
]);
const COMPARISONS: ReadonlySet<string> = new Set(["==", "!=", "<", "<=", ">", ">="]);
export const NO_ARGUMENTS: Arguments = { positional: [], keyword: [], spread: undefined, keywordSpread: undefined };

export class ExpressionParser {
  readonly #tokens: readonly Token[];
  #at = 0;

  constructor(tokens: readonly Token[]) {
    this.#tokens = tokens;
  }

  get token(): Token {
    return this.#tokens[this.#at] as Token;
  }

  next(): Token {
    const { token } = this;
    if (token.type !== "end") this.#at++;
    return token;
  }

  is(type: Token["type"], value?: string, ahead = 0): boolean {
    const token = this.#tokens[this.#at + ahead];
    return token?.type === type && (value === undefined || token.value === value);
  }

  take(type: Token["type"], value?: string): boolean {
    if (!this.is(type, value)) return false;
    this.next();
    return true;
  }

  expect(type: Token["type"], value?: string): Token {
    if (this.is(type, value)) return this.next();
    return this.fail(`expected ${value ?? type}, found ${this.token.value || this.token.type}`);
  }

  fail(message: string): never {
    throw new TemplateSyntaxError(message, this.token.line);
  }

  #operator(...values: string[]): string | undefined {
    return this.token.type === "operator" && values.includes(this.token.value) ? this.next().value : undefined;
  }

  expression(): Expression {
    let value = this.or();
    while (this.take("name", "if")) {
      const test = this.or();
      const orElse = this.take("name", "else") ? this.expression() : undefined;
      value = { type: "conditional", test, value, orElse };
    }
    return value;
  }

  /** An expression without `if … else` at its end, for statements that have a condition of their own. */
  or(): Expression {
    let left = this.#and();
    while (this.take("name", "or")) left = { type: "logical", operator: "or", left, right: this.#and() };
    return left;
  }

  #and(): Expression {
    let left = this.#not();
    while (this.take("name", "and")) left = { type: "logical", operator: "and", left, right: this.#not() };
    return left;
  }

  #not(): Expression {
    if (this.take("name", "not")) return { type: "unary", operator: "not", operand: this.#not() };
    return this.#compare();
  }

  #compare(): Expression {
    const first = this.#sum();
    const rest: [Comparison, Expression][] = [];
    for (;;) {
      if (this.token.type === "operator" && COMPARISONS.has(this.token.value)) {
        rest.push([this.next().value as Comparison, this.#sum()]);
      } else if (this.take("name", "in")) rest.push(["in", this.#sum()]);
      else if (this.is("name", "not") && this.is("name", "in", 1)) {
        this.next();
        this.next();
        rest.push(["not in", this.#sum()]);
      } else return rest.length > 0 ? { type: "compare", first, rest } : first;
    }
  }

  #binary(operators: readonly string[], operand: () => Expression): Expression {
    let left = operand();
    for (let found = this.#operator(...operators); found; found = this.#operator(...operators)) {
      left = { type: "binary", operator: found as BinaryOperator, left, right: operand() };
    }
    return left;
  }

  #sum = (): Expression => this.#binary(["+", "-"], this.#concatenation);
  #concatenation = (): Expression => this.#binary(["~"], this.#product);
  #product = (): Expression => this.#binary(["*", "/", "//", "%"], this.#power);
  #power = (): Expression => this.#binary(["**"], () => this.unary());

  unary(withFilters = true): Expression {
    const sign = this.#operator("-", "+");
    const inner: Expression = sign
      ? { type: "unary", operator: sign as "-" | "+", operand: this.unary(false) }
      : this.primary();
    const value = this.postfix(inner);
    return withFilters ? this.#filtersAndTests(value) : value;
  }

  primary(): Expression {
    const token = this.next();
    switch (token.type) {
      case "name": {
        const constant = CONSTANTS.get(token.value);
        return constant === undefined ? { type: "name", name: token.value } : { type: "constant", value: constant };
      }
      case "string": {
        let value = token.value;
        while (this.is("string")) value += this.next().value;
        return { type: "constant", value };
      }
      case "integer":
        return { type: "constant", value: Number(token.value) };
      case "float":
        return { type: "float", value: Number(token.value) };
      case "operator":
        if (token.value === "(") return this.#parenthesized();
        if (token.value === "[") return { type: "list", items: this.#items("]") };
        if (token.value === "{") return this.#dict();
    }
    return this.fail(`unexpected ${token.value || token.type}`);
  }

  /** One expression, or a tuple of several; `ends` tells where it may stop after a comma. */
  tuple(one: () => Expression, ends: () => boolean): Expression {
    const items: Expression[] = [];
    let isTuple = false;
    while (!ends()) {
      items.push(one());
      if (!this.take("operator", ",")) break;
      isTuple = true;
    }
    const [first] = items;
    if (first !== undefined && !isTuple) return first;
    if (items.length === 0) return this.fail("expected an expression");
    return { type: "tuple", items };
  }

  atEnd(): boolean {
    return this.is("block", "end") || this.is("variable", "end") || this.is("operator", ")");
  }

  #parenthesized(): Expression {
    if (this.take("operator", ")")) return { type: "tuple", items: [] };
    const inner = this.tuple(
      () => this.expression(),
      () => this.atEnd(),
    );
    this.expect("operator", ")");
    return inner;
  }

  #items(close: string): Expression[] {
    const items: Expression[] = [];
    while (!this.take("operator", close)) {
      if (items.length > 0) this.expect("operator", ",");
      if (this.take("operator", close)) break;
      items.push(this.expression());
    }
    return items;
  }

  #dict(): Expression {
    const entries: [Expression, Expression][] = [];
    while (!this.take("operator", "}")) {
      if (entries.length > 0) this.expect("operator", ",");
      if (this.take("operator", "}")) break;
      const key = this.expression();
      this.expect("operator", ":");
      entries.push([key, this.expression()]);
    }
    return { type: "dict", entries };
  }

  postfix(start: Expression): Expression {
    let value = start;
    for (;;) {
      if (this.take("operator", ".")) {
        const token = this.next();
        if (token.type === "name") value = { type: "attribute", object: value, name: token.value };
        else if (token.type === "integer") {
          value = { type: "item", object: value, key: { type: "constant", value: Number(token.value) } };
        } else this.fail("expected name or number");
      } else if (this.take("operator", "[")) value = this.#subscript(value);
      else if (this.is("operator", "(")) value = { type: "invoke", callee: value, args: this.args() };
      else return value;
    }
  }

  #subscript(object: Expression): Expression {
    const colon = () => this.take("operator", ":");
    const part = () => (this.is("operator", ":") || this.is("operator", "]") ? undefined : this.expression());
    const start = part();
    if (!colon()) {
      this.expect("operator", "]");
      return { type: "item", object, key: start ?? this.fail("expected an expression") };
    }
    const stop = part();
    const step = colon() ? part() : undefined;
    this.expect("operator", "]");
    return { type: "slice", object, start, stop, step };
  }

  args(): Arguments {
    this.expect("operator", "(");
    const positional: Expression[] = [];
    const keyword: [string, Expression][] = [];
    let spread: Expression | undefined;
    let keywordSpread: Expression | undefined;
    for (let first = true; !this.take("operator", ")"); first = false) {
      if (!first) this.expect("operator", ",");
      if (this.take("operator", ")")) break;
      if (this.take("operator", "*")) spread = this.expression();
      else if (this.take("operator", "**")) keywordSpread = this.expression();
      else if (this.is("name") && this.is("operator", "=", 1)) {
        const name = this.next().value;
        this.next();
        keyword.push([name, this.expression()]);
      } else if (keyword.length > 0) this.fail("invalid syntax for function call expression");
      else positional.push(this.expression());
    }
    return { positional, keyword, spread, keywordSpread };
  }

  #filtersAndTests(start: Expression): Expression {
    let value = start;
    for (;;) {
      if (this.take("operator", "|")) value = { type: "filter", operand: value, filter: this.filter() };
      else if (this.take("name", "is")) value = this.#test(value);
      else if (this.is("operator", "(")) value = { type: "invoke", callee: value, args: this.args() };
      else return value;
    }
  }

  /** Behind the `|`. */
  filter(): Filter {
    const name = this.#dottedName();
    return { name, args: this.is("operator", "(") ? this.args() : NO_ARGUMENTS };
  }

  filters(): Filter[] {
    const filters = [this.filter()];
    while (this.take("operator", "|")) filters.push(this.filter());
    return filters;
  }

  #dottedName(): string {
    let name = this.expect("name").value;
    while (this.take("operator", ".")) name += `.${this.expect("name").value}`;
    return name;
  }

  #test(operand: Expression): Expression {
    const negated = this.take("name", "not");
    const name = this.#dottedName();
    const test: Expression = { type: "test", operand, name, args: this.#testArguments() };
    return negated ? { type: "unary", operator: "not", operand: test } : test;
  }

  /** The arguments of a test: in parentheses, or one without them. */
  #testArguments(): Arguments {
    if (this.is("operator", "(")) return this.args();
    const begins =
      ["name", "string", "integer", "float"].includes(this.token.type) ||
      this.is("operator", "[") ||
      this.is("operator", "{");
    if (!begins || ["else", "or", "and"].some((word) => this.is("name", word))) return NO_ARGUMENTS;
    if (this.is("name", "is")) this.fail("You cannot chain multiple tests with is");
    if (this.is("name", "if") || this.is("name", "not") || this.is("name", "in")) return NO_ARGUMENTS;
    return { ...NO_ARGUMENTS, positional: [this.postfix(this.primary())] };
  }

  target(withAttribute: boolean, ends: () => boolean): Target {
    const one = (): Target => {
      if (this.take("operator", "(")) {
        const inner = this.target(false, () => this.is("operator", ")"));
        this.expect("operator", ")");
        return inner;
      }
      const name = this.expect("name").value;
      if (CONSTANTS.has(name)) this.fail(`can't assign to '${name}'`);
      if (withAttribute && this.take("operator", ".")) {
        return { type: "attribute", object: name, name: this.expect("name").value };
      }
      return { type: "name", name };
    };
    const items = [one()];
    let isTuple = false;
    while (this.take("operator", ",")) {
      isTuple = true;
      if (ends()) break;
      items.push(one());
    }
    return isTuple ? { type: "tuple", items } : (items[0] as Target);
  }
}
