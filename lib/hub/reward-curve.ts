// The mean reward over a training run, as a small SVG picture and as a table of at most ten steps.

export interface RewardPoint {
  readonly step: number;
  readonly reward: number;
  readonly evalReward?: number;
}

const WIDTH = 640;
const HEIGHT = 240;
const LEFT = 56;
const BOTTOM = 32;
const MARGIN = 12;

export function rewardCurve(points: readonly RewardPoint[]): string {
  const evaluations = points.flatMap(({ step, evalReward }) =>
    evalReward === undefined ? [] : [{ step, value: evalReward }],
  );
  const values = [...points.map(({ reward }) => reward), ...evaluations.map(({ value }) => value)];
  const steps = points.map(({ step }) => step);
  const [low, high] = rangeOf(values);
  const [first, last] = [steps[0] ?? 0, Math.max(steps.at(-1) ?? 1, (steps[0] ?? 0) + 1)];
  const write = writerFor(high - low, 2);
  const x = (step: number) => LEFT + ((step - first) / (last - first)) * (WIDTH - LEFT - MARGIN);
  const y = (value: number) => MARGIN + ((high - value) / (high - low)) * (HEIGHT - MARGIN - BOTTOM);
  const at = (step: number, value: number) => `${x(step).toFixed(1)},${y(value).toFixed(1)}`;
  const grid = [low, (low + high) / 2, high].map(
    (value) =>
      `<path d="M${LEFT} ${y(value).toFixed(1)}H${WIDTH - MARGIN}" stroke="#8884"/>` +
      `<text x="${LEFT - 6}" y="${(y(value) + 4).toFixed(1)}" text-anchor="end">${write(value)}</text>`,
  );
  const dots = evaluations.map(({ step, value }) => {
    const [cx, cy] = at(step, value).split(",");
    return `<circle cx="${cx}" cy="${cy}" r="3.5" fill="#d9480f"/>`;
  });
  const legend = evaluations.length > 0 ? "training (line), evaluation (dots)" : "training";
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="12" fill="#777">`,
    ...grid,
    `<polyline fill="none" stroke="#1971c2" stroke-width="2" points="${points.map((p) => at(p.step, p.reward)).join(" ")}"/>`,
    ...dots,
    `<text x="${LEFT}" y="${HEIGHT - 10}">step ${first}</text>`,
    `<text x="${WIDTH - MARGIN}" y="${HEIGHT - 10}" text-anchor="end">${last}</text>`,
    `<text x="${WIDTH / 2}" y="${HEIGHT - 10}" text-anchor="middle">mean reward: ${legend}</text>`,
    "</svg>",
    "",
  ].join("\n");
}

/** Writes values that lie in a range of this size with the digits that tell them apart, and with `least` behind the point. */
function writerFor(range: number, least: number): (value: number) => string {
  const digits = Math.max(least, 2 - Math.floor(Math.log10(range)));
  return (value) => (digits <= 5 ? value.toFixed(digits) : value.toExponential(2));
}

/** A flat curve still needs a height. */
function rangeOf(values: readonly number[]): [number, number] {
  const low = values.reduce((a, b) => Math.min(a, b));
  const high = values.reduce((a, b) => Math.max(a, b));
  return high - low > 1e-9 ? [low, high] : [low - 0.5, high + 0.5];
}

export function curveTable(points: readonly RewardPoint[]): string {
  const count = Math.min(10, points.length);
  const chosen = Array.from({ length: count }, (_, i) => points[Math.round((i * (points.length - 1)) / (count - 1))]);
  const shown = chosen.filter((point) => point !== undefined);
  const [low, high] = rangeOf(points.map(({ reward }) => reward));
  const write = writerFor(high - low, 3);
  return [
    `| step | ${shown.map(({ step }) => step).join(" | ")} |`,
    `|---|${"---|".repeat(shown.length)}`,
    `| mean reward | ${shown.map(({ reward }) => write(reward)).join(" | ")} |`,
  ].join("\n");
}
