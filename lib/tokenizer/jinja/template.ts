// Jinja templates as transformers renders them: the language of jinja2 3.1 with generation blocks and loop controls, in a
// sandbox where no value can be changed. Not supported: template inheritance and imports, which chat templates cannot use.

import { GLOBALS } from "./globals.js";
import { type Rendered, run } from "./interpreter.js";
import { tokenize } from "./lexer.js";
import { parseTemplate } from "./parser.js";
import { toValue } from "./values.js";

export type { Rendered };

/** Throws TemplateSyntaxError; what it returns throws the other errors of errors.ts. */
export function compileJinja(template: string): (variables: Readonly<Record<string, unknown>>) => Rendered {
  const nodes = parseTemplate(template);
  return (variables) => {
    const names = new Map(GLOBALS);
    for (const [name, value] of Object.entries(variables)) {
      // A variable that is not there is undefined in the template; null is none.
      if (value !== undefined) names.set(name, toValue(value));
    }
    return run(nodes, names);
  };
}

/** What a template writes as it stands there: its text outside tags, and its strings. Throws TemplateSyntaxError. */
export function literalTexts(template: string): string[] {
  const texts: string[] = [];
  let isString = false;
  for (const { type, value } of tokenize(template)) {
    // Strings side by side are one.
    if (type === "string" && isString) texts.push((texts.pop() ?? "") + value);
    else if (type === "string" || type === "data") texts.push(value);
    isString = type === "string";
  }
  return texts;
}
