// The curves of the report's page: which panels there are, and how uPlot draws one. One run has a colour for each series of a
// panel; several runs have a colour each, and a panel shows its first series of all of them.

const chartHeight = 220; // CSS pixels
const charts = [];
const rewardNames = [...new Set(runs.flatMap(({ run }) => run.reward_functions ?? []))];

/**
 * Panels in order: title, and series of [label, metric]; `spread` names the metric of a band around the first, `share` a number from 0 to 1,
 * `unit` how much of a metric is one on the axis, which begins at 0.
 */
function namedPanels() {
  return [
    { title: "Reward", series: [["reward", "reward"]], spread: "reward_std" },
    ...rewardNames.map((name) => ({
      title: `Reward: ${name}`,
      series: [[name, `rewards/${name}/mean`]],
      spread: `rewards/${name}/std`,
    })),
    {
      title: "Completion length",
      series: [
        ["mean", "completions/mean_length"],
        ["min", "completions/min_length"],
        ["max", "completions/max_length"],
      ],
    },
    { title: "Cut off at the length limit", series: [["share", "completions/clipped_ratio"]], share: true },
    { title: "Groups without spread", series: [["share", "frac_reward_zero_std"]], share: true },
    { title: "Entropy", series: [["entropy", "entropy"]] },
    { title: "Gradient norm", series: [["norm", "grad_norm"]] },
    { title: "KL to the reference", series: [["kl", "kl"]] },
    {
      title: "Clipped share",
      series: [
        ["low", "clip_ratio/low_mean"],
        ["high", "clip_ratio/high_mean"],
      ],
      share: true,
    },
    { title: "Loss (about 0 on-policy, by construction)", series: [["loss", "loss"]] },
    { title: "Learning rate", series: [["rate", "learning_rate"]] },
    { title: "Seconds of a step", series: [["whole step", "step_time"], ...phases()] },
    memoryPanel(),
    { title: "Tokens per second", series: [["tokens/s", "tokens_per_second"]] },
    { title: "Share of time without work for the engine", series: [["share", "time/idle_share"]], share: true },
  ];
}

function memoryPanel() {
  const series = [
    ["most so far", "memory/peak"],
    ["after the step", "memory/resident"],
    ["device", "memory/device"],
  ];
  const bytes = runs.flatMap(({ steps }) => steps.flatMap((step) => series.map(([, name]) => number(step[name]) ?? 0)));
  const unit = bytes.some((value) => value >= 1e9) ? 1e9 : 1e6;
  return { title: `Memory (${unit === 1e9 ? "GB" : "MB"})`, series, unit };
}

function phases() {
  return metricNames()
    .filter((name) => name.startsWith("time/") && !name.endsWith("_share"))
    .map((name) => [name.slice("time/".length), name]);
}

function metricNames() {
  const names = new Set(runs.flatMap(({ steps }) => steps.flatMap((step) => Object.keys(step))));
  return [...names].sort();
}

/** The panels of all runs, and those of metrics that no other panel has. */
function panels() {
  const named = isComparison ? namedPanels().map(firstSeriesOf) : namedPanels();
  const shown = new Set(["type", "step", "epoch"]);
  for (const { series, spread } of named)
    for (const key of [...series.map(([, metric]) => metric), spread]) shown.add(key);
  const others = metricNames().filter((name) => !shown.has(name));
  return { named, others: others.map((name) => ({ title: name, series: [[name, name]] })) };
}

function firstSeriesOf(panel) {
  const [first, ...others] = panel.series;
  const title = others.length > 0 ? `${panel.title}: ${first[0]}` : panel.title;
  return { ...panel, title, series: [first] };
}

// ---- data ----

const number = (value) => (typeof value === "number" ? value : null);

/** Exponential moving average, over what is there. */
function smooth(values, weight) {
  let mean = null;
  return values.map((value) => {
    if (value === null) return null;
    mean = mean === null ? value : weight * mean + (1 - weight) * value;
    return mean;
  });
}

/** Evaluations by label and step; what has the same label at one step is numbered. */
function evaluationSeries({ evaluations }) {
  const series = new Map();
  for (const evaluation of evaluations) {
    const first = evaluationLabel(evaluation);
    let label = first;
    for (let i = 2; series.get(label)?.has(evaluation.step); i++) label = `${first} ${i}`;
    if (!series.has(label)) series.set(label, new Map());
    series.get(label).set(evaluation.step, evaluation);
  }
  return series;
}

/** The series of a panel, all on one axis of steps: what kind each is, whose, its label and colour, and its values. */
function seriesOf({ series, spread, unit = 1 }, steps, weight) {
  const inUnits = (value) => (value === null ? null : value / unit);
  const of = (rows, name) => steps.map((step) => inUnits(number(rows.get(step)?.[name])));
  const all = runs.flatMap((run, r) => {
    const train = new Map(run.steps.map((step) => [step.step, step]));
    const lines = series.map(([label, name], i) => ({
      kind: "line",
      label: isComparison ? run.title : label,
      colour: colour(isComparison ? r : i),
      isDashed: isDashed(r),
      values: smooth(of(train, name), weight),
    }));
    const points = [...evaluationSeries(run)].map(([label, rows], i) => ({
      kind: "points",
      label: isComparison ? `${run.title}: ${label}` : label,
      colour: colour(isComparison ? r : i + 3),
      isDashed: isDashed(r),
      isHollow: label.includes("greedy"),
      values: of(rows, `eval_${series[0][1]}`),
    }));
    const band = spread && !isComparison ? edges(lines[0], smooth(of(train, spread), weight)) : [];
    return [...lines, ...band, ...points];
  });
  // Lines first: a legend names the runs before their evaluations.
  const drawn = all.filter(({ values }) => values.some((value) => value !== null));
  return [...drawn.filter(({ kind }) => kind !== "points"), ...drawn.filter(({ kind }) => kind === "points")];
}

/** The upper and the lower edge of the band around a line. */
function edges(line, widths) {
  return [1, -1].map((sign) => ({
    kind: "edge",
    values: line.values.map((mean, i) => (mean === null || widths[i] === null ? null : mean + sign * widths[i])),
  }));
}

const allSteps = [
  ...new Set(runs.flatMap(({ steps, evaluations }) => [...steps, ...evaluations].map(({ step }) => step))),
].sort((a, b) => a - b);

// ---- drawing ----

/** The range of the values, with some room; a share begins at 0, and so does what has a unit. */
function rangeOf({ share, unit }, low, high) {
  if (low === null) return [0, 1];
  const from = share || unit ? Math.min(0, low) : low;
  if (from === high) return high === 0 ? [0, 1] : [high - Math.abs(high) / 10, high + Math.abs(high) / 10];
  const [min, max] = uPlot.rangeNum(from, high, 0.1, true);
  if (unit) return [from, max];
  return share ? [from, Math.min(max, Math.max(1, high))] : [min, max];
}

/** With as few digits as say the ticks exactly. */
function tickTexts(ticks, increment) {
  const largest = Math.max(...ticks.map(Math.abs));
  const isPlain = largest === 0 || (largest >= 1e-3 && largest < 1e9);
  const text = (tick, digits) => {
    if (tick === 0) return "0";
    if (!isPlain) return tick.toExponential(digits);
    return tick.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  };
  const written = (tick, digits) => Number(isPlain ? tick.toFixed(digits) : tick.toExponential(digits));
  const isExact = (digits) => ticks.every((tick) => Math.abs(written(tick, digits) - tick) < increment / 1000);
  const digits = [0, 1, 2, 3, 4, 5, 6, 7].find(isExact) ?? 8;
  return ticks.map((tick) => text(tick, digits));
}

/** Wide enough for the longest text. */
function axisSize(chart, texts) {
  const { ctx } = chart;
  ctx.save();
  ctx.font = chart.axes[1].font[0];
  const widths = (texts ?? []).map((text) => ctx.measureText(text).width / devicePixelRatio);
  ctx.restore();
  return Math.ceil(Math.max(24, ...widths)) + 18; // ticks and gap
}

function axes() {
  const axis = { stroke: css("--muted"), grid: { stroke: css("--line"), width: 1 }, ticks: { stroke: css("--line") } };
  const y = (_chart, ticks, _axis, _space, increment) => tickTexts(ticks, increment);
  const isStep = (_chart, ticks) => ticks.map((tick) => (Number.isInteger(tick) ? tick.toLocaleString("en") : ""));
  return [
    { ...axis, size: 30, values: isStep },
    { ...axis, size: axisSize, values: y },
  ];
}

/** `upper`: the column of the band's upper edge around the first series; 0: none. */
function drawnSeries({ kind, label, colour: stroke, isDashed, isHollow, values }, upper) {
  if (kind === "edge") return { class: "edge", stroke: "transparent", spanGaps: true, points: { show: false } };
  const value = ({ data: columns }, v, column, i) => {
    const edge = column === 1 && i !== null ? columns[upper][i] : null;
    return upper === 0 || edge === null ? format(v) : `${format(v)} ± ${format(edge - v)}`;
  };
  if (kind === "points") {
    const fill = isHollow ? css("--surface") : stroke;
    return { label, value, stroke, width: 0, points: { show: true, size: 9, width: 2, stroke, fill } };
  }
  const isShort = values.filter((v) => v !== null).length < 3;
  return { label, value, stroke, width: 2, dash: isDashed ? [6, 4] : [], spanGaps: true, points: { show: isShort } };
}

/** Squares with the look of what is drawn: filled or hollow; for dashes, which would meet at the corners, pale with dots around. */
function legendMarkers(series) {
  const fillOf = ({ isHollow, isDashed, colour }) => (isHollow ? "transparent" : `${colour}${isDashed ? "55" : ""}`);
  return {
    width: 2,
    dash: (_chart, i) => (series[i - 1]?.isDashed ? "dotted" : "solid"),
    fill: (_chart, i) => (i === 0 ? "transparent" : fillOf(series[i - 1])),
  };
}

function optionsOf(panel, series, width) {
  const upper = series.findIndex(({ kind }) => kind === "edge") + 1;
  return {
    width,
    height: chartHeight,
    scales: { x: { time: false }, y: { range: (_chart, low, high) => rangeOf(panel, low, high) } },
    cursor: { sync: { key: "step" } },
    legend: { live: true, markers: legendMarkers(series) },
    axes: axes(),
    series: [{ label: "step", value: (_chart, step) => format(step) }, ...series.map((one) => drawnSeries(one, upper))],
    bands: upper === 0 ? [] : [{ series: [upper, upper + 1], fill: `${colour(0)}22` }],
  };
}

function draw(panel, parent) {
  const series = seriesOf(panel, allSteps, 0);
  if (series.length === 0) return;
  const box = element("div", { className: "panel" }, element("h3", { text: panel.title }));
  parent.append(box);
  const columns = [allSteps, ...series.map(({ values }) => values)];
  const chart = new uPlot(optionsOf(panel, series, widthIn(box)), columns, box);
  charts.push({ panel, chart, box });
}

const widthIn = (box) => box.clientWidth - 26; // without its padding

function smoothCurves(weight) {
  for (const { panel, chart } of charts) {
    const smoothed = seriesOf(panel, allSteps, weight);
    chart.setData([allSteps, ...smoothed.map(({ values }) => values)]);
  }
}

function showCurves() {
  const { named, others } = panels();
  for (const panel of named) draw(panel, $("curves"));
  if (charts.length === 0) $("curves").textContent = "Nothing has been logged yet.";
  // Hidden boxes have no width, so the rest is drawn when it is looked at.
  $("more").addEventListener("toggle", () => {
    for (const panel of others.splice(0)) draw(panel, $("more-curves"));
  });
  $("more").hidden = others.length === 0;
  $("smoothing").addEventListener("input", () => smoothCurves(Number($("smoothing").value)));
  addEventListener("resize", () => {
    for (const { chart, box } of charts) chart.setSize({ width: widthIn(box), height: chartHeight });
  });
}
