// A grammar as a machine that reads bytes. Its states are made as a text needs them and kept, each with what every byte leads to: a
// grammar costs nothing before it is used, whatever it counts, and where it was once it is as fast as a table. A state is all places
// at which the text so far may be, each a node and the rules and repetitions around it, which are a stack.

import { GrpoError } from "../errors.js";
import { type Range, utf8Sequences } from "./code-ranges.js";
import type { Expression, Rule } from "./expression.js";
import { ruleFacts } from "./rules.js";

type Node =
  | { readonly kind: "byte"; readonly low: number; readonly high: number; readonly next: number }
  | { readonly kind: "token"; readonly id: number; readonly next: number }
  | { readonly kind: "fork"; readonly targets: readonly number[] }
  /** `body` between `min` and `max` times, then `next`: rules and counted repetitions. */
  | { readonly kind: "loop"; readonly body: number; readonly min: number; readonly max: number; readonly next: number }
  /** Of the body of a loop, or of everything. */
  | { readonly kind: "end" };

/** A loop that is being gone through, after `count` rounds; `parent` is what is around it. */
class Frame {
  readonly inner = new Map<number, Frame>();

  constructor(
    readonly id: number,
    readonly node: number,
    readonly count: number,
    readonly parent: Frame | undefined,
  ) {}
}

interface Place {
  readonly node: number;
  readonly frame: Frame | undefined;
}

/** Where a text may be. */
export interface GrammarState {
  readonly places: readonly Place[];
  /** Whether the text may end here. */
  readonly isComplete: boolean;
  /** By byte: null where none leads on, undefined where nobody has asked. */
  readonly next: (GrammarState | null | undefined)[];
}

/** Nodes of a grammar. */
const MOST_NODES = 200_000;
/** Places of a state: more are of a grammar that can be read in too many ways. */
const MOST_PLACES = 16_384;
/** States that are kept, of about 3 KiB. */
const MOST_STATES = 4096;
const LAST_BYTE = 0xff;

export class Automaton {
  readonly start: GrammarState;
  /** Places that were looked at so far, as a measure of work. */
  work = 0;
  readonly #nodes: readonly Node[];
  #states = new Map<string, GrammarState>();
  #frames = new Map<number, Frame>();
  #frameCount = 0;

  /** Throws BAD_INPUT for an expression that nothing fits, that is too large, or whose rules begin with themselves. */
  constructor(expression: Expression) {
    const built = new NodeBuilder(expression);
    this.#nodes = built.nodes;
    // Some text fits, so that there is a state.
    this.start = this.#stateOf([{ node: built.start, frame: undefined }]) as GrammarState;
  }

  /** The state behind a byte; null where the text can have none. */
  afterByte(state: GrammarState, byte: number): GrammarState | null {
    const known = state.next[byte];
    if (known !== undefined) return known;
    const places: Place[] = [];
    for (const { node: index, frame } of state.places) {
      const node = this.#nodes[index] as Node;
      if (node.kind === "byte" && node.low <= byte && byte <= node.high) places.push({ node: node.next, frame });
    }
    this.work += state.places.length;
    const next = this.#stateOf(places);
    state.next[byte] = next;
    return next;
  }

  /** The same behind a token that is no text. */
  afterToken(state: GrammarState, id: number): GrammarState | null {
    const places: Place[] = [];
    for (const { node: index, frame } of state.places) {
      const node = this.#nodes[index] as Node;
      if (node.kind === "token" && node.id === id) places.push({ node: node.next, frame });
    }
    return this.#stateOf(places);
  }

  /** Tokens that are no text and may come next. */
  tokensOf(state: GrammarState): number[] {
    return state.places.flatMap(({ node: index }) => {
      const node = this.#nodes[index] as Node;
      return node.kind === "token" ? [node.id] : [];
    });
  }

  #stateOf(places: readonly Place[]): GrammarState | null {
    if (places.length === 0) return null;
    const reached = this.#reach(places);
    if (reached.places.length === 0 && !reached.isComplete) return null;
    const names = reached.places.map(({ node, frame }) => `${node}.${frame?.id ?? ""}`).sort();
    const key = `${reached.isComplete}:${names.join()}`;
    const known = this.#states.get(key);
    if (known) return known;
    // What texts in work still hold goes on by itself.
    if (this.#states.size >= MOST_STATES) {
      this.#states = new Map();
      this.#frames = new Map();
    }
    const state = { ...reached, next: new Array<GrammarState | null | undefined>(LAST_BYTE + 1) };
    this.#states.set(key, state);
    return state;
  }

  /** The places at which a byte or a token is asked for, from these on. */
  #reach(from: readonly Place[]): Pick<GrammarState, "places" | "isComplete"> {
    const places: Place[] = [];
    let isComplete = false;
    const seen = new Set<string>();
    const pending = [...from];
    const round = (index: number, count: number, parent: Frame | undefined) => {
      const { body, min, max, next } = this.#nodes[index] as Extract<Node, { kind: "loop" }>;
      if (count >= min) pending.push({ node: next, frame: parent });
      if (count >= max) return;
      // Nothing to come back for: a rule that ends with itself needs no deeper stack.
      const isLast = count + 1 >= max && min <= count + 1 && this.#nodes[next]?.kind === "end";
      pending.push({ node: body, frame: isLast ? parent : this.#frame(index, count, parent) });
    };
    for (let place = pending.pop(); place !== undefined; place = pending.pop()) {
      const { node: index, frame } = place;
      const name = `${index}.${frame?.id ?? ""}`;
      if (seen.has(name)) continue;
      seen.add(name);
      this.work++;
      if (seen.size > MOST_PLACES) throw tooManyPlaces();
      const node = this.#nodes[index] as Node;
      if (node.kind === "fork") for (const target of node.targets) pending.push({ node: target, frame });
      else if (node.kind === "loop") round(index, 0, frame);
      else if (node.kind !== "end") places.push(place);
      else if (frame === undefined) isComplete = true;
      else round(frame.node, this.#counted(frame), frame.parent);
    }
    return { places, isComplete };
  }

  /** Rounds of a loop with one more; where no number is too many, more than it needs count alike. */
  #counted({ node, count }: Frame): number {
    const { min, max } = this.#nodes[node] as Extract<Node, { kind: "loop" }>;
    return max === Number.POSITIVE_INFINITY ? Math.min(count + 1, min) : count + 1;
  }

  #frame(node: number, count: number, parent: Frame | undefined): Frame {
    const frames = parent?.inner ?? this.#frames;
    const key = count * MOST_NODES + node;
    const known = frames.get(key) ?? new Frame(this.#frameCount++, node, count, parent);
    frames.set(key, known);
    return known;
  }
}

function tooManyPlaces(): GrpoError {
  return new GrpoError("BAD_INPUT", "the grammar can be read in too many ways at once", {
    hint: "write it so that few rules fit the same beginning",
  });
}

/** Nodes from the end of an expression to its start: each part is told what follows it. */
class NodeBuilder {
  readonly nodes: Node[] = [];
  readonly start: number;
  readonly #entries = new Map<Rule, number>();
  readonly #bodies: (() => void)[] = [];
  readonly #isPossible: (expression: Expression) => boolean;

  constructor(expression: Expression) {
    this.#isPossible = ruleFacts(expression).isPossible;
    if (!this.#isPossible(expression)) throw new GrpoError("BAD_INPUT", "no text fits the grammar");
    this.start = this.#build(expression, this.#add({ kind: "end" }));
    // One after the other: rules that name one another may be many.
    for (let body = this.#bodies.pop(); body !== undefined; body = this.#bodies.pop()) body();
  }

  #add(node: Node): number {
    if (this.nodes.length >= MOST_NODES) {
      throw new GrpoError("BAD_INPUT", `the grammar is too large: it has more than ${MOST_NODES} parts`);
    }
    return this.nodes.push(node) - 1;
  }

  #build(expression: Expression, next: number): number {
    switch (expression.kind) {
      case "chars":
        return this.#fork(utf8Sequences(expression.ranges).map((bytes) => this.#bytes(bytes, next)));
      case "token":
        return this.#add({ kind: "token", id: expression.id, next });
      case "until":
        return this.#until(expression.end, expression.never, next);
      case "sequence":
        return expression.parts.reduceRight((behind, part) => this.#build(part, behind), next);
      case "choice":
        return this.#fork(expression.options.filter(this.#isPossible).map((option) => this.#build(option, next)));
      case "repeat":
        return this.#repeat(expression, next);
      case "rule":
        return this.#add({ kind: "loop", body: this.#entry(expression.rule), min: 1, max: 1, next });
    }
  }

  #fork(targets: readonly number[]): number {
    return targets.length === 1 ? (targets[0] as number) : this.#add({ kind: "fork", targets });
  }

  #bytes(bytes: readonly Range[], next: number): number {
    return bytes.reduceRight((behind, [low, high]) => this.#add({ kind: "byte", low, high, next: behind }), next);
  }

  #repeat({ part, min, max }: Extract<Expression, { kind: "repeat" }>, next: number): number {
    if (!this.#isPossible(part) || max === 0) return next;
    if (max === 1) return min === 1 ? this.#build(part, next) : this.#fork([this.#build(part, next), next]);
    if (max === Number.POSITIVE_INFINITY && min <= 1) {
      const targets: number[] = [];
      const again = this.#add({ kind: "fork", targets });
      const body = this.#build(part, again);
      targets.push(body, next);
      return min === 0 ? again : body;
    }
    const body = this.#build(part, this.#add({ kind: "end" }));
    return this.#add({ kind: "loop", body, min, max, next });
  }

  #entry(rule: Rule): number {
    const known = this.#entries.get(rule);
    if (known !== undefined) return known;
    const targets: number[] = [];
    const entry = this.#add({ kind: "fork", targets });
    this.#entries.set(rule, entry);
    this.#bodies.push(() => targets.push(this.#build(rule.body, this.#add({ kind: "end" }))));
    return entry;
  }

  /** One node for each beginning of `end` or of a text that may not come: the longest that the text so far ends with. */
  #until(end: string, never: readonly string[], next: number): number {
    const [last, ...rest] = [end, ...never].map((mark) => Buffer.from(mark).toString("latin1"));
    const marks = [last as string, ...rest];
    const beginnings = [...new Set(marks.flatMap((mark) => Array.from(mark, (_, i) => mark.slice(0, i))))];
    const targets = new Map(beginnings.map((beginning) => [beginning, [] as number[]]));
    const nodes = new Map(
      beginnings.map((name) => [name, this.#add({ kind: "fork", targets: targets.get(name) ?? [] })]),
    );
    const behind = (text: string): number | undefined => {
      if (text.endsWith(last as string)) return next;
      if (rest.some((mark) => text.endsWith(mark))) return undefined;
      for (let start = 0; start <= text.length; start++) {
        const known = nodes.get(text.slice(start));
        if (known !== undefined) return known;
      }
      return undefined;
    };
    for (const beginning of beginnings) {
      const byByte = Array.from({ length: LAST_BYTE + 1 }, (_, byte) => behind(beginning + String.fromCharCode(byte)));
      for (let low = 0; low <= LAST_BYTE; ) {
        let high = low;
        while (high < LAST_BYTE && byByte[high + 1] === byByte[low]) high++;
        const target = byByte[low];
        if (target !== undefined) targets.get(beginning)?.push(this.#add({ kind: "byte", low, high, next: target }));
        low = high + 1;
      }
    }
    return nodes.get("") as number;
  }
}
