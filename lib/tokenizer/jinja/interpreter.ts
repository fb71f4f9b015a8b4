// Runs the tree of a template. Names live in scopes as Jinja has them: an `if` has none of its own, every round of a loop,
// every macro and every `with` does, and what is set in an inner one is gone after it.

import { attributeOf, itemOf, sliceOf } from "./access.js";
import type { Arguments, Expression, Filter, ForNode, MacroNode, Node, Target } from "./ast.js";
import { TemplateTypeError } from "./errors.js";
import { applyFilter } from "./filters.js";
import { createLoop, type LoopState } from "./loop.js";
import { calculate, compareWith } from "./operators.js";
import { applyTest } from "./tests.js";
import {
  Attributes,
  type CallArguments,
  Callable,
  type Dict,
  isFloat,
  isTrue,
  iterate,
  makeNumber,
  numberOf,
  plainKey,
  Tuple,
  textOf,
  typeName,
  Undefined,
  type Value,
} from "./values.js";

class BreakLoop extends Error {}
class ContinueLoop extends Error {}

class Scope {
  readonly #names = new Map<string, Value>();

  constructor(readonly parent?: Scope) {}

  get(name: string): Value | undefined {
    const value = this.#names.get(name);
    return value === undefined ? this.parent?.get(name) : value;
  }

  set(name: string, value: Value): void {
    this.#names.set(name, value);
  }
}

export interface Rendered {
  readonly text: string;
  /** [start, end) of what stood in generation blocks. */
  readonly generated: readonly (readonly [start: number, end: number])[];
}

export function run(nodes: readonly Node[], names: ReadonlyMap<string, Value>): Rendered {
  const scope = new Scope();
  for (const [name, value] of names) scope.set(name, value);
  const interpreter = new Interpreter();
  return interpreter.run(nodes, scope);
}

class Interpreter {
  readonly #generated: [number, number][] = [];
  /** The text of the template itself; macros and blocks that are set write elsewhere. */
  #main: string[] = [];
  #mainLength = 0;
  #out: string[] = this.#main;

  run(nodes: readonly Node[], scope: Scope): Rendered {
    this.#body(nodes, scope);
    return { text: this.#main.join(""), generated: this.#generated };
  }

  #write(text: string): void {
    this.#out.push(text);
    if (this.#out === this.#main) this.#mainLength += text.length;
  }

  #capture(nodes: readonly Node[], scope: Scope): string {
    return this.#captured(() => this.#body(nodes, scope));
  }

  /** What is written meanwhile, as text. */
  #captured(write: () => void): string {
    const before = this.#out;
    this.#out = [];
    try {
      write();
      return this.#out.join("");
    } finally {
      this.#out = before;
    }
  }

  #body(nodes: readonly Node[], scope: Scope): void {
    for (const node of nodes) this.#node(node, scope);
  }

  #node(node: Node, scope: Scope): void {
    switch (node.type) {
      case "data":
        this.#write(node.text);
        break;
      case "output":
        this.#write(textOf(this.#value(node.value, scope)));
        break;
      case "if":
        this.#body(isTrue(this.#value(node.test, scope)) ? node.body : node.orElse, scope);
        break;
      case "for":
        this.#for(node, this.#value(node.iterable, scope), scope, 0);
        break;
      case "set":
        this.#assign(node.target, this.#value(node.value, scope), scope);
        break;
      case "setBlock": {
        const text = this.#capture(node.body, new Scope(scope));
        this.#assign(node.target, this.#filtered(text, node.filters, scope), scope);
        break;
      }
      case "macro":
        scope.set(node.name, this.#macro(node, scope));
        break;
      case "call":
        this.#write(textOf(this.#value(node.call, scope, this.#macro(node.caller, scope))));
        break;
      case "filterBlock":
        this.#write(textOf(this.#filtered(this.#capture(node.body, new Scope(scope)), node.filters, scope)));
        break;
      case "with":
        this.#with(node, scope);
        break;
      case "generation":
        this.#generation(node.body, scope);
        break;
      case "break":
        throw new BreakLoop();
      case "continue":
        throw new ContinueLoop();
    }
  }

  #with(node: Node & { type: "with" }, scope: Scope): void {
    const inner = new Scope(scope);
    const values = node.values.map((value) => this.#value(value, scope));
    node.names.forEach((name, i) => {
      this.#assign(name, values[i] as Value, inner);
    });
    this.#body(node.body, inner);
  }

  #generation(body: readonly Node[], scope: Scope): void {
    const start = this.#mainLength;
    const text = this.#capture(body, new Scope(scope));
    this.#generated.push([start, start + text.length]);
    this.#write(text);
  }

  #filtered(text: string, filters: readonly Filter[], scope: Scope): Value {
    return filters.reduce<Value>((value, { name, args }) => applyFilter(name, value, this.#args(args, scope)), text);
  }

  #for(node: ForNode, iterable: Value, scope: Scope, depth: number): void {
    const all = iterate(iterable);
    const items = node.test === undefined ? all : all.filter((item) => this.#passes(node, item, scope));
    if (items.length === 0) this.#body(node.orElse, new Scope(scope));
    const state: LoopState = { items, index: 0, depth };
    const recurse = ({ positional }: CallArguments): Value =>
      this.#captured(() => this.#for(node, positional[0] ?? null, scope, depth + 1));
    const loop = createLoop(state, node.recursive ? recurse : undefined);
    for (const [index, item] of items.entries()) {
      state.index = index;
      const inner = new Scope(scope);
      inner.set("loop", loop);
      this.#assign(node.target, item, inner);
      try {
        this.#body(node.body, inner);
      } catch (thrown) {
        if (thrown instanceof BreakLoop) break;
        if (!(thrown instanceof ContinueLoop)) throw thrown;
      }
    }
  }

  #passes(node: ForNode, item: Value, scope: Scope): boolean {
    const inner = new Scope(scope);
    this.#assign(node.target, item, inner);
    return isTrue(this.#value(node.test as Expression, inner));
  }

  #assign(target: Target, value: Value, scope: Scope): void {
    switch (target.type) {
      case "name":
        scope.set(target.name, value);
        break;
      case "attribute": {
        const object = scope.get(target.object);
        if (!(object instanceof Attributes) || object.set === undefined) {
          throw new TemplateTypeError("cannot assign attribute on non-namespace object");
        }
        object.set(target.name, value);
        break;
      }
      case "tuple": {
        const items = iterate(value);
        if (items.length !== target.items.length) {
          throw new TemplateTypeError(`cannot unpack ${items.length} values into ${target.items.length} names`);
        }
        target.items.forEach((one, i) => {
          this.#assign(one, items[i] as Value, scope);
        });
      }
    }
  }

  #macro(node: MacroNode, scope: Scope): Callable {
    return new Callable(node.name, ({ positional, keyword }) => {
      const inner = new Scope(scope);
      const rest = new Map(keyword);
      node.parameters.forEach(({ name, fallback }, i) => {
        const given = i < positional.length ? positional[i] : rest.get(name);
        rest.delete(name);
        if (given !== undefined) inner.set(name, given);
        else if (fallback !== undefined) inner.set(name, this.#value(fallback, inner));
        else inner.set(name, new Undefined(`parameter '${name}' was not provided`));
      });
      const extra = positional.slice(node.parameters.length);
      const caller = rest.get("caller");
      rest.delete("caller");
      const names = collectNames(node);
      if (extra.length > 0 && !names.has("varargs")) {
        throw new TemplateTypeError(`macro '${node.name}' takes not more than ${node.parameters.length} argument(s)`);
      }
      if (rest.size > 0 && !names.has("kwargs")) {
        throw new TemplateTypeError(`macro '${node.name}' takes no keyword argument '${[...rest.keys()][0]}'`);
      }
      inner.set("varargs", new Tuple(extra));
      inner.set("kwargs", new Map(rest));
      if (caller !== undefined) inner.set("caller", caller);
      return this.#capture(node.body, inner);
    });
  }

  #args(args: Arguments, scope: Scope): CallArguments {
    const positional = args.positional.map((value) => this.#value(value, scope));
    const keyword = new Map(args.keyword.map(([name, value]) => [name, this.#value(value, scope)]));
    if (args.spread) positional.push(...iterate(this.#value(args.spread, scope)));
    if (args.keywordSpread) {
      const spread = this.#value(args.keywordSpread, scope);
      if (!(spread instanceof Map)) throw new TemplateTypeError("argument after ** must be a mapping");
      for (const [name, value] of spread) keyword.set(textOf(name), value);
    }
    return { positional, keyword };
  }

  /** `caller` is handed to the outermost call, by a call block. */
  #value(node: Expression, scope: Scope, caller?: Callable): Value {
    switch (node.type) {
      case "constant":
        return node.value;
      case "float":
        return makeNumber(node.value, true);
      case "name":
        return nameValue(node.name, scope);
      case "list":
        return node.items.map((item) => this.#value(item, scope));
      case "tuple":
        return new Tuple(node.items.map((item) => this.#value(item, scope)));
      case "dict":
        return this.#dict(node.entries, scope);
      case "attribute":
        return attributeOf(this.#value(node.object, scope), node.name);
      case "item":
        return itemOf(this.#value(node.object, scope), this.#value(node.key, scope));
      case "slice": {
        const part = (one: Expression | undefined) => (one ? this.#value(one, scope) : null);
        return sliceOf(this.#value(node.object, scope), part(node.start), part(node.stop), part(node.step));
      }
      case "invoke":
        return this.#invoke(node, scope, caller);
      case "filter":
        return applyFilter(node.filter.name, this.#value(node.operand, scope), this.#args(node.filter.args, scope));
      case "test":
        return applyTest(node.name, this.#value(node.operand, scope), this.#args(node.args, scope).positional);
      case "unary":
        return this.#unary(node.operator, this.#value(node.operand, scope));
      case "binary":
        return calculate(node.operator, this.#value(node.left, scope), this.#value(node.right, scope));
      case "logical": {
        const left = this.#value(node.left, scope);
        return isTrue(left) === (node.operator === "or") ? left : this.#value(node.right, scope);
      }
      case "compare":
        return this.#compare(node, scope);
      case "conditional": {
        const chosen = isTrue(this.#value(node.test, scope)) ? node.value : node.orElse;
        if (chosen) return this.#value(chosen, scope);
        return new Undefined("the inline if-expression evaluated to false and no else section was defined.");
      }
    }
  }

  #dict(entries: readonly (readonly [Expression, Expression])[], scope: Scope): Dict {
    const dict: Dict = new Map();
    for (const [key, value] of entries) dict.set(plainKey(this.#value(key, scope)), this.#value(value, scope));
    return dict;
  }

  #invoke(node: Expression & { type: "invoke" }, scope: Scope, caller: Callable | undefined): Value {
    const callee = this.#value(node.callee, scope);
    if (callee instanceof Undefined) return callee.fail();
    const { positional, keyword } = this.#args(node.args, scope);
    const args = caller
      ? { positional, keyword: new Map([...keyword, ["caller", caller] as const]) }
      : { positional, keyword };
    if (callee instanceof Callable) return callee.call(args);
    if (callee instanceof Attributes && callee.call) return callee.call(args);
    throw new TemplateTypeError(`'${typeName(callee)}' object is not callable`);
  }

  #unary(operator: "not" | "-" | "+", value: Value): Value {
    if (operator === "not") return !isTrue(value);
    const number = numberOf(value);
    if (value instanceof Undefined) return value.fail();
    if (number === undefined)
      throw new TemplateTypeError(`bad operand type for unary ${operator}: '${typeName(value)}'`);
    return makeNumber(operator === "-" ? -number : number, isFloat(value));
  }

  #compare(node: Expression & { type: "compare" }, scope: Scope): boolean {
    let left = this.#value(node.first, scope);
    for (const [operator, expression] of node.rest) {
      const right = this.#value(expression, scope);
      if (!compareWith(operator, left, right)) return false;
      left = right;
    }
    return true;
  }
}

/** null is a value that a name can have; only a name that is nowhere is undefined. */
function nameValue(name: string, scope: Scope): Value {
  const value = scope.get(name);
  return value === undefined ? new Undefined(`'${name}' is undefined`) : value;
}

const knownNames = new WeakMap<MacroNode, ReadonlySet<string>>();

/** All names that a macro reads, to know whether it takes any number of arguments. */
function collectNames(macro: MacroNode): ReadonlySet<string> {
  let names = knownNames.get(macro);
  if (names === undefined) {
    const text = JSON.stringify(macro.body);
    names = new Set(
      ["varargs", "kwargs", "caller"].filter((name) => text.includes(`{"type":"name","name":"${name}"}`)),
    );
    knownNames.set(macro, names);
  }
  return names;
}
