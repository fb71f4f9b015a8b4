// What bounds the work of one call. Every loop whose length the text decides pays here, in steps, so that a verdict never
// depends on how fast or busy the machine is; the deadline in seconds comes on top, for whoever sets one.

/** Deepest nesting of brackets, fractions, scripts and function calls. */
export const MAX_DEPTH = 120;
/** Longest formula that is parsed, in characters. Longer ones are only compared as text. */
export const MAX_FORMULA = 20_000;
/** Most decimal digits of one number (CPython's own limit for turning text into an integer). */
export const MAX_DIGITS = 4300;
/** Largest exact integer, in bits: 5000! has 54,233. Beyond it, arithmetic goes on in doubles. */
export const MAX_BITS = 65_536;
/** Most terms of a sum or product that are added up. */
export const MAX_TERMS = 20_000;

/** Steps of one call to parse or verify: a fraction of a second on a slow core. */
const MAX_STEPS = 500_000;
const STEPS_PER_CLOCK = 4096;

/** Thrown when a call has used up its steps or its time; caught at the two entry points. */
export class LimitReached extends Error {
  override readonly name = "LimitReached";
}

export class Budget {
  #steps = MAX_STEPS;
  #untilClock = STEPS_PER_CLOCK;
  readonly #deadline: number;

  /** `seconds`: null or 0 for no deadline. */
  constructor(seconds: number | null = null) {
    this.#deadline = seconds ? performance.now() + seconds * 1000 : Number.POSITIVE_INFINITY;
  }

  spend(steps = 1): void {
    this.#steps -= steps;
    this.#untilClock -= steps;
    if (this.#steps < 0) throw new LimitReached("too much work for one comparison");
    if (this.#untilClock > 0) return;
    this.#untilClock = STEPS_PER_CLOCK;
    if (performance.now() > this.#deadline) throw new LimitReached("out of time");
  }
}
