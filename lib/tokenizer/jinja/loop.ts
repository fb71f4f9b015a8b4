// The `loop` object of a for block.

import { TemplateTypeError } from "./errors.js";
import { Attributes, type CallArguments, Callable, equals, Undefined, type Value } from "./values.js";

export interface LoopState {
  readonly items: readonly Value[];
  index: number;
  readonly depth: number;
}

export function createLoop(state: LoopState, recurse: ((args: CallArguments) => Value) | undefined): Attributes {
  let lastChecked: readonly Value[] | undefined;
  const cycle = new Callable("cycle", ({ positional }) => {
    if (positional.length === 0) throw new TemplateTypeError("no items for cycling given");
    return positional[state.index % positional.length] as Value;
  });
  const changed = new Callable("changed", ({ positional }) => {
    const same =
      lastChecked?.length === positional.length && lastChecked.every((v, i) => equals(v, positional[i] as Value));
    lastChecked = positional;
    return !same;
  });
  const get = (name: string): Value | undefined => {
    const { items, index, depth } = state;
    switch (name) {
      case "index":
        return index + 1;
      case "index0":
        return index;
      case "revindex":
        return items.length - index;
      case "revindex0":
        return items.length - index - 1;
      case "first":
        return index === 0;
      case "last":
        return index === items.length - 1;
      case "length":
        return items.length;
      case "depth":
        return depth + 1;
      case "depth0":
        return depth;
      case "previtem":
        return index > 0 ? items[index - 1] : new Undefined("there is no previous item");
      case "nextitem":
        return index + 1 < items.length ? items[index + 1] : new Undefined("there is no next item");
      case "cycle":
        return cycle;
      case "changed":
        return changed;
      default:
        return undefined;
    }
  };
  return new Attributes("LoopContext", get, undefined, recurse);
}
