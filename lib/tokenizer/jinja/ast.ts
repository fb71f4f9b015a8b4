// The tree of a Jinja template.

export type Node =
  | { readonly type: "data"; readonly text: string }
  | { readonly type: "output"; readonly value: Expression }
  | { readonly type: "if"; readonly test: Expression; readonly body: readonly Node[]; readonly orElse: readonly Node[] }
  | ForNode
  | { readonly type: "set"; readonly target: Target; readonly value: Expression }
  | {
      readonly type: "setBlock";
      readonly target: Target;
      readonly filters: readonly Filter[];
      readonly body: readonly Node[];
    }
  | MacroNode
  | { readonly type: "call"; readonly call: Expression; readonly caller: MacroNode }
  | { readonly type: "filterBlock"; readonly filters: readonly Filter[]; readonly body: readonly Node[] }
  | {
      readonly type: "with";
      readonly names: readonly Target[];
      readonly values: readonly Expression[];
      readonly body: readonly Node[];
    }
  | { readonly type: "generation"; readonly body: readonly Node[] }
  | { readonly type: "break" }
  | { readonly type: "continue" };

export interface ForNode {
  readonly type: "for";
  readonly target: Target;
  readonly iterable: Expression;
  readonly test: Expression | undefined;
  readonly recursive: boolean;
  readonly body: readonly Node[];
  readonly orElse: readonly Node[];
}

export interface MacroNode {
  readonly type: "macro";
  readonly name: string;
  readonly parameters: readonly { readonly name: string; readonly fallback: Expression | undefined }[];
  readonly body: readonly Node[];
}

export type Target =
  | { readonly type: "name"; readonly name: string }
  | { readonly type: "attribute"; readonly object: string; readonly name: string }
  | { readonly type: "tuple"; readonly items: readonly Target[] };

export interface Filter {
  readonly name: string;
  readonly args: Arguments;
}

export interface Arguments {
  readonly positional: readonly Expression[];
  readonly keyword: readonly (readonly [name: string, value: Expression])[];
  /** *args and **kwargs */
  readonly spread: Expression | undefined;
  readonly keywordSpread: Expression | undefined;
}

export type BinaryOperator = "+" | "-" | "*" | "/" | "//" | "%" | "**" | "~";
export type Comparison = "==" | "!=" | "<" | "<=" | ">" | ">=" | "in" | "not in";

export type Expression =
  | { readonly type: "constant"; readonly value: string | number | boolean | null }
  | { readonly type: "float"; readonly value: number }
  | { readonly type: "name"; readonly name: string }
  | { readonly type: "list" | "tuple"; readonly items: readonly Expression[] }
  | { readonly type: "dict"; readonly entries: readonly (readonly [Expression, Expression])[] }
  | { readonly type: "attribute"; readonly object: Expression; readonly name: string }
  | { readonly type: "item"; readonly object: Expression; readonly key: Expression }
  | {
      readonly type: "slice";
      readonly object: Expression;
      readonly start: Expression | undefined;
      readonly stop: Expression | undefined;
      readonly step: Expression | undefined;
    }
  | { readonly type: "invoke"; readonly callee: Expression; readonly args: Arguments }
  | { readonly type: "filter"; readonly operand: Expression; readonly filter: Filter }
  | { readonly type: "test"; readonly operand: Expression; readonly name: string; readonly args: Arguments }
  | { readonly type: "unary"; readonly operator: "not" | "-" | "+"; readonly operand: Expression }
  | {
      readonly type: "binary";
      readonly operator: BinaryOperator;
      readonly left: Expression;
      readonly right: Expression;
    }
  | { readonly type: "logical"; readonly operator: "and" | "or"; readonly left: Expression; readonly right: Expression }
  | {
      readonly type: "compare";
      readonly first: Expression;
      readonly rest: readonly (readonly [Comparison, Expression])[];
    }
  | {
      readonly type: "conditional";
      readonly test: Expression;
      readonly value: Expression;
      readonly orElse: Expression | undefined;
    };
