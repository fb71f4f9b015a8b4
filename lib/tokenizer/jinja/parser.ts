// Statements of Jinja, and those that transformers adds: generation blocks and loop controls.

import type { Expression, MacroNode, Node, Target } from "./ast.js";
import { ExpressionParser } from "./expressions.js";
import { tokenize } from "./lexer.js";

export function parseTemplate(template: string): readonly Node[] {
  const parser = new StatementParser(new ExpressionParser(tokenize(template)));
  return parser.body([]);
}

class StatementParser {
  readonly #p: ExpressionParser;
  #loops = 0;

  constructor(parser: ExpressionParser) {
    this.#p = parser;
  }

  /** Up to a block that begins with one of `ends`, which stays unread but for its opening mark. */
  body(ends: readonly string[]): Node[] {
    const nodes: Node[] = [];
    const p = this.#p;
    while (!p.is("end")) {
      if (p.is("data")) nodes.push({ type: "data", text: p.next().value });
      else if (p.take("variable", "begin")) {
        nodes.push({ type: "output", value: this.#tuple() });
        p.expect("variable", "end");
      } else {
        p.expect("block", "begin");
        if (p.is("name") && ends.includes(p.token.value)) return nodes;
        nodes.push(...this.#statement());
      }
    }
    if (ends.length > 0) p.fail(`unexpected end of template, expected ${ends.join(" or ")}`);
    return nodes;
  }

  #statement(): Node[] {
    const p = this.#p;
    const keyword = p.expect("name").value;
    switch (keyword) {
      case "if":
        return [this.#if()];
      case "for":
        return [this.#for()];
      case "set":
        return [this.#set()];
      case "macro":
        return [this.#macro()];
      case "call":
        return [this.#call()];
      case "filter": {
        const filters = p.filters();
        return [{ type: "filterBlock", filters, body: this.#block("endfilter") }];
      }
      case "with":
        return [this.#with()];
      case "generation":
        return [{ type: "generation", body: this.#block("endgeneration") }];
      case "break":
      case "continue":
        if (this.#loops === 0) p.fail(`'${keyword}' outside of a loop`);
        p.expect("block", "end");
        return [{ type: keyword }];
      case "print": {
        const nodes: Node[] = [{ type: "output", value: p.expression() }];
        while (p.take("operator", ",")) nodes.push({ type: "output", value: p.expression() });
        p.expect("block", "end");
        return nodes;
      }
      default:
        return p.fail(`Encountered unknown tag '${keyword}'.`);
    }
  }

  /** The rest of an opening tag, the body, and the closing tag. */
  #block(end: string): Node[] {
    this.#p.expect("block", "end");
    const body = this.body([end]);
    this.#p.next();
    this.#p.expect("block", "end");
    return body;
  }

  #if(): Node {
    const p = this.#p;
    const test = p.tuple(
      () => p.or(),
      () => p.atEnd(),
    );
    p.expect("block", "end");
    const body = this.body(["elif", "else", "endif"]);
    const word = p.next().value;
    let orElse: Node[] = [];
    if (word === "elif") return { type: "if", test, body, orElse: [this.#if()] };
    if (word === "else") orElse = this.#block("endif");
    else p.expect("block", "end");
    return { type: "if", test, body, orElse };
  }

  #for(): Node {
    const p = this.#p;
    const target = p.target(false, () => p.is("name", "in"));
    p.expect("name", "in");
    const iterable = p.tuple(
      () => p.or(),
      () => p.atEnd() || p.is("name", "recursive"),
    );
    const test = p.take("name", "if") ? p.expression() : undefined;
    const recursive = p.take("name", "recursive");
    p.expect("block", "end");
    this.#loops++;
    const body = this.body(["else", "endfor"]);
    this.#loops--;
    let orElse: Node[] = [];
    if (p.next().value === "else") orElse = this.#block("endfor");
    else p.expect("block", "end");
    return { type: "for", target, iterable, test, recursive, body, orElse };
  }

  #set(): Node {
    const p = this.#p;
    const target = p.target(true, () => p.is("operator", "="));
    if (p.take("operator", "=")) {
      const value = this.#tuple();
      p.expect("block", "end");
      return { type: "set", target, value };
    }
    const filters = p.take("operator", "|") ? p.filters() : [];
    return { type: "setBlock", target, filters, body: this.#block("endset") };
  }

  #macro(): MacroNode {
    const name = this.#p.expect("name").value;
    const parameters = this.#parameters();
    return { type: "macro", name, parameters, body: this.#own("endmacro") };
  }

  #call(): Node {
    const p = this.#p;
    const parameters = p.is("operator", "(") ? this.#parameters() : [];
    const call = p.expression();
    if (call.type !== "invoke") p.fail("expected call");
    return { type: "call", call, caller: { type: "macro", name: "caller", parameters, body: this.#own("endcall") } };
  }

  /** The body of a macro, to which a loop around it does not belong. */
  #own(end: string): Node[] {
    const loops = this.#loops;
    this.#loops = 0;
    const body = this.#block(end);
    this.#loops = loops;
    return body;
  }

  #parameters(): MacroNode["parameters"] {
    const p = this.#p;
    const parameters: { name: string; fallback: Expression | undefined }[] = [];
    p.expect("operator", "(");
    while (!p.take("operator", ")")) {
      if (parameters.length > 0) p.expect("operator", ",");
      const name = p.expect("name").value;
      const fallback = p.take("operator", "=") ? p.expression() : undefined;
      if (fallback === undefined && parameters.at(-1)?.fallback)
        p.fail("non-default argument follows default argument");
      parameters.push({ name, fallback });
    }
    return parameters;
  }

  #with(): Node {
    const p = this.#p;
    const names: Target[] = [];
    const values: Expression[] = [];
    while (!p.is("block", "end")) {
      if (names.length > 0) p.expect("operator", ",");
      names.push({ type: "name", name: p.expect("name").value });
      p.expect("operator", "=");
      values.push(p.expression());
    }
    return { type: "with", names, values, body: this.#block("endwith") };
  }

  #tuple(): Expression {
    const p = this.#p;
    return p.tuple(
      () => p.expression(),
      () => p.atEnd(),
    );
  }
}
