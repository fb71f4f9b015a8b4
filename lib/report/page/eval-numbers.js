// The numbers of the page of an evaluation: a table for each task, with intervals as text and drawn, and for two models what changed.

const shareFormat = (value) => (typeof value === "number" ? `${(value * 100).toFixed(1)} %` : "–");
const isCount = (metric) => metric === "tokens";
const valueFormat = (metric, value) => (isCount(metric) ? format(value) : shareFormat(value));
const drawingLabel = { greedy: "greedy", sampled: "sampled" };

/** A dot for the value and a line for its interval, between 0 and 1. */
function drawnInterval(estimates) {
  const [width, lane] = [180, 14];
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("width", width);
  svg.setAttribute("height", lane * estimates.length);
  svg.setAttribute("aria-hidden", "true");
  const draw = (tag, attributes) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    svg.append(node);
  };
  const x = (share) => 4 + Math.min(1, Math.max(0, share)) * (width - 8);
  estimates.forEach((estimate, r) => {
    const y = lane * r + lane / 2;
    draw("line", { x1: x(0), x2: x(1), y1: y, y2: y, stroke: css("--line") });
    if (typeof estimate?.value !== "number") return;
    draw("line", { x1: x(estimate.low), x2: x(estimate.high), y1: y, y2: y, stroke: colour(r), "stroke-width": 3 });
    draw("circle", { cx: x(estimate.value), cy: y, r: 4, fill: colour(r) });
  });
  return svg;
}

function intervalText(metric, { value, low, high }) {
  const bounds = typeof low === "number" ? ` [${valueFormat(metric, low)}, ${valueFormat(metric, high)}]` : "";
  return `${valueFormat(metric, value)}${bounds}`;
}

const pFormat = (p) => (p < 0.001 ? "< 0.001" : p.toFixed(3));

function differenceCells(task, drawing, metric) {
  if (!page.comparison) return [];
  const found = page.comparison.differences.find(
    (one) => one.task === task && one.drawing === drawing && one.metric === metric,
  );
  if (!found) return [element("td"), element("td"), element("td")];
  const { difference, p, exact, better, worse } = found;
  const sign = difference.value > 0 ? "+" : "";
  return [
    element("td", { className: "number", text: `${sign}${intervalText(metric, difference)}` }),
    element("td", { className: "number", text: `${pFormat(p)}${exact ? "" : " (drawn)"}` }),
    element("td", { className: "number", text: `${better} / ${worse}` }),
  ];
}

function taskTable(task, results) {
  const head = element("tr", {}, element("th", { text: "" }), element("th", { text: "metric" }));
  for (const { title } of runs)
    head.append(element("th", { className: "number", text: isComparison ? title : "value" }));
  head.append(element("th", { text: "0 to 100 %" }));
  for (const text of page.comparison ? ["difference", "p", "better / worse"] : []) {
    head.append(element("th", { className: "number", text }));
  }
  const body = ["greedy", "sampled"].flatMap((drawing) => {
    const metrics = [...new Set(results.flatMap((result) => Object.keys(result?.[drawing]?.metrics ?? {})))];
    return metrics.map((metric) => {
      const estimates = results.map((result) => result?.[drawing]?.metrics[metric]);
      const row = element("tr", {}, element("td", { text: drawingLabel[drawing] }), element("td", { text: metric }));
      for (const estimate of estimates) {
        row.append(element("td", { className: "number", text: estimate ? intervalText(metric, estimate) : "–" }));
      }
      row.append(element("td", {}, ...(isCount(metric) ? [] : [drawnInterval(estimates)])));
      row.append(...differenceCells(task, drawing, metric));
      return row;
    });
  });
  return element("table", {}, element("thead", {}, head), element("tbody", {}, ...body));
}

function taskFacts(results) {
  const [first] = results.filter(Boolean);
  const facts = [
    `${first.problems} problems of ${first.source}`,
    ...(first.left_out > 0 ? [`${first.left_out} rows left out`] : []),
    `graded by ${first.grader}`,
    `at most ${first.max_new_tokens.toLocaleString("en")} tokens`,
  ];
  return facts.join(" · ");
}

function showNumbers() {
  const names = [...new Set(runs.flatMap(({ result }) => result.tasks.map(({ task }) => task)))];
  for (const name of names) {
    const results = runs.map(({ result }) => result.tasks.find(({ task }) => task === name));
    const box = element("div", { className: "scroll" }, taskTable(name, results));
    $("numbers").append(
      element("h3", { text: name }),
      element("div", { className: "control", text: taskFacts(results) }),
      box,
    );
  }
  const note = page.comparison
    ? "p: two-sided sign-flip permutation test over the problems, McNemar's exact test where scores are 0 and 1. "
    : "";
  $("numbers").append(
    element("p", { className: "control", text: `${note}Brackets: 95 % bootstrap intervals over the problems.` }),
  );
}
