// The form of completions outside of the endpoint: of generate() and of training.

import { badOption, checkOptionNames, namesOf } from "../checks.js";
import { GrpoError } from "../errors.js";
import type { TokenBytes } from "../model/sampling.js";
import type { TokenConstraint } from "../model/token-constraint.js";
import { ebnfExpression } from "./ebnf.js";
import { choice, type Expression, text } from "./expression.js";
import { Grammar } from "./grammar.js";
import { schemaExpression } from "./json-schema.js";
import { regexExpression } from "./regex.js";
import { TokenTrie } from "./token-trie.js";

/** What a whole completion is; one of these. */
export interface CompletionForm {
  /** JSON that fits this schema, an object or a boolean. */
  readonly jsonSchema?: unknown;
  /** A text that the whole of this regular expression fits. */
  readonly regex?: string;
  /** One of these texts. */
  readonly choice?: readonly string[];
  /** A text of this grammar: rules `name ::= …` with the rule `root`, as llama.cpp and xgrammar read them. */
  readonly grammar?: string;
}

/** The tokens that completions are made of. */
export interface SpelledTokens {
  /** The bytes that each token stands for. */
  tokenBytes(): TokenBytes;
  /** Ids that end a completion. */
  readonly eosTokenIds: readonly number[];
}

const FORMS = namesOf<CompletionForm>({ jsonSchema: true, regex: true, choice: true, grammar: true });

/**
 * Keeps completions to a form: give what it returns as `constraint` to `generate` or `sample`. The recorded log-probabilities are those
 * of the model without it. Throws BAD_OPTION where not exactly one form is given, BAD_INPUT for one that a grammar cannot keep.
 */
export function completionConstraint(tokenizer: SpelledTokens, form: CompletionForm): () => TokenConstraint {
  const spelling = tokenizer.tokenBytes();
  const grammar = new Grammar(formExpression(form), new TokenTrie(spelling, spelling.offsets.length - 1));
  return () => grammar.constraint(tokenizer.eosTokenIds);
}

function formExpression(form: CompletionForm): Expression {
  const where = "completionConstraint";
  checkOptionNames(where, form, FORMS);
  const { jsonSchema, regex, choice: texts, grammar } = form;
  const given = FORMS.filter((name) => Reflect.get(form, name) !== undefined);
  if (given.length !== 1) {
    throw new GrpoError("BAD_OPTION", `${where}: expected one form, found ${given.join(" and ") || "none"}`, {
      hint: `give one of ${FORMS.join(", ")}`,
    });
  }
  if (regex !== undefined) return regexExpression(textOf("regex", regex));
  if (grammar !== undefined) return ebnfExpression(textOf("grammar", grammar));
  if (jsonSchema !== undefined) return schemaExpression(jsonSchema);
  if (!Array.isArray(texts)) throw badOption(where, "choice", "a list of texts", texts);
  return choice(...texts.map((option) => text(textOf("choice", option))));
}

function textOf(name: string, value: unknown): string {
  if (typeof value === "string") return value;
  throw badOption("completionConstraint", name, "a text", value);
}
