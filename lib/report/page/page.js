// The report's page: reads the data beside it, draws the curves, and pages through the completions. Plain script without
// modules, because the page opens from disk.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const rewardNames = data.run.reward_functions ?? [];
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const colour = (i) => css(`--series-${(i % 6) + 1}`);

  function element(tag, { className = "", text = "" } = {}) {
    const node = document.createElement(tag);
    if (className) node.className = className;
    if (text) node.textContent = text;
    return node;
  }

  function showHead() {
    document.title = `${data.title} · grpo`;
    $("title").textContent = data.run.run_name ?? data.title;
    const last = data.steps.at(-1);
    const total = data.run.plan?.totalSteps;
    const model = data.run.model ?? {};
    const facts = [
      last ? `step ${last.step}${total ? ` of ${total}` : ""}` : "no step finished yet",
      last ? `reward ${format(last.reward)}` : "",
      model.trainable
        ? `${model.trainable.toLocaleString("en")} of ${model.all.toLocaleString("en")} parameters trained`
        : "",
      model.device ? `${model.device} ${model.dtype}` : "",
      data.run.time ? `begun ${new Date(data.run.time).toLocaleString()}` : "",
      data.damagedLines > 0 ? `lines that a killed run left unfinished: ${data.damagedLines}` : "",
    ];
    $("facts").textContent = facts.filter(Boolean).join(" · ");
    $("config").textContent = JSON.stringify(data.run.config ?? {}, null, 2);
  }

  const format = (value) => {
    if (typeof value !== "number") return "–";
    if (Number.isInteger(value)) return value.toLocaleString("en");
    const size = Math.abs(value);
    return size !== 0 && (size < 1e-3 || size >= 1e6) ? value.toExponential(2) : value.toFixed(3);
  };

  // ---- curves ----

  /** Panels in order: title, and series of [label, metric]; `spread` names the metric of a band around the first. */
  function panels() {
    const named = [
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
      { title: "Cut off at the length limit", series: [["share", "completions/clipped_ratio"]] },
      { title: "Groups without spread", series: [["share", "frac_reward_zero_std"]] },
      { title: "Entropy", series: [["entropy", "entropy"]] },
      { title: "Gradient norm", series: [["norm", "grad_norm"]] },
      { title: "KL to the reference", series: [["kl", "kl"]] },
      {
        title: "Clipped share",
        series: [
          ["low", "clip_ratio/low_mean"],
          ["high", "clip_ratio/high_mean"],
        ],
      },
      { title: "Loss (about 0 on-policy, by construction)", series: [["loss", "loss"]] },
      { title: "Learning rate", series: [["rate", "learning_rate"]] },
      { title: "Seconds of a step, by phase", series: [["whole step", "step_time"], ...phases()] },
      { title: "Tokens per second", series: [["tokens/s", "tokens_per_second"]] },
    ];
    const shown = new Set(["type", "step", "epoch"]);
    for (const { series, spread } of named)
      for (const key of [...series.map(([, metric]) => metric), spread]) shown.add(key);
    const others = metricNames().filter((name) => !shown.has(name));
    return { named, others: others.map((name) => ({ title: name, series: [[name, name]] })) };
  }

  function metricNames() {
    const names = new Set();
    for (const step of data.steps) for (const name of Object.keys(step)) names.add(name);
    return [...names].sort();
  }

  function phases() {
    return metricNames()
      .filter((name) => name.startsWith("time/"))
      .map((name) => [name.slice("time/".length), name]);
  }

  /** Exponential moving average, over what is there. */
  function smooth(values, weight) {
    let mean = null;
    return values.map((value) => {
      if (value === null) return null;
      mean = mean === null ? value : weight * mean + (1 - weight) * value;
      return mean;
    });
  }

  const number = (value) => (typeof value === "number" ? value : null);

  /** Steps of training and evaluation on one axis: [x, …]. */
  function columnsOf({ series, spread }, weight) {
    const steps = [...new Set([...data.steps, ...data.evaluations].map(({ step }) => step))].sort((a, b) => a - b);
    const train = new Map(data.steps.map((step) => [step.step, step]));
    const evaluation = new Map(data.evaluations.map((step) => [step.step, step]));
    const of = (rows, name) => steps.map((step) => number(rows.get(step)?.[name]));
    const columns = series.map(([, name]) => smooth(of(train, name), weight));
    const widths = spread ? smooth(of(train, spread), weight) : [];
    const band = spread
      ? [1, -1].map((sign) =>
          columns[0].map((mean, i) => (mean === null || widths[i] === null ? null : mean + sign * widths[i])),
        )
      : [];
    return [steps, ...columns, ...band, of(evaluation, `eval_${series[0][1]}`)];
  }

  function optionsOf({ series, spread }, width, hasEvaluation) {
    const axis = {
      stroke: css("--muted"),
      grid: { stroke: css("--line"), width: 1 },
      ticks: { stroke: css("--line") },
      size: 56,
    };
    const line = ([label], i) => ({
      label,
      stroke: colour(i),
      width: 2,
      spanGaps: true,
      points: { show: data.steps.length < 3 },
      value: (_, v) => format(v),
    });
    const edge = { label: "±std", stroke: "transparent", spanGaps: true, points: { show: false }, value: () => "" };
    const evaluation = {
      label: "evaluation",
      stroke: colour(3),
      width: 0,
      points: { show: true, size: 8, fill: colour(3) },
      show: hasEvaluation,
      value: (_, v) => format(v),
    };
    return {
      width,
      height: 220,
      scales: { x: { time: false } },
      cursor: { sync: { key: "step" } },
      legend: { live: true },
      axes: [
        { ...axis, size: 30 },
        { ...axis, values: (_, ticks) => ticks.map(format) },
      ],
      series: [{ label: "step" }, ...series.map(line), ...(spread ? [edge, edge] : []), evaluation],
      bands: spread ? [{ series: [series.length + 1, series.length + 2], fill: `${colour(0)}22` }] : [],
    };
  }

  const charts = [];

  function draw(panel, parent) {
    const columns = columnsOf(panel, 0);
    const isThere = (column) => column.some((value) => value !== null);
    if (!columns.slice(1).some(isThere)) return;
    const box = element("div", { className: "panel" });
    box.append(element("h3", { text: panel.title }));
    parent.append(box);
    const chart = new uPlot(optionsOf(panel, box.clientWidth - 26, isThere(columns.at(-1))), columns, box);
    // What a band needs, a legend does not.
    for (const row of box.querySelectorAll(".u-series")) {
      const label = row.textContent;
      if (label.startsWith("±std") || (label.startsWith("evaluation") && !isThere(columns.at(-1)))) row.hidden = true;
    }
    charts.push({ panel, chart, box });
  }

  function showCurves() {
    const { named, others } = panels();
    for (const panel of named) draw(panel, $("curves"));
    // Hidden boxes have no width, so the rest is drawn when it is looked at.
    $("more").addEventListener("toggle", () => {
      for (const panel of others.splice(0)) draw(panel, $("more-curves"));
    });
    $("more").hidden = others.length === 0;
    $("smoothing").addEventListener("input", () => {
      for (const { panel, chart } of charts) chart.setData(columnsOf(panel, Number($("smoothing").value)));
    });
    addEventListener("resize", () => {
      for (const { chart, box } of charts) chart.setSize({ width: box.clientWidth - 26, height: 220 });
    });
  }

  // ---- completions ----

  const pageSize = 50;
  let page = 0;
  let shown = [];

  const promptText = (prompt) =>
    Array.isArray(prompt) ? prompt.map(({ role, content }) => `${role}: ${content}`).join("\n") : String(prompt);
  const columns = [
    ["step", ({ step }) => step],
    ["split", ({ split }) => split],
    ["prompt", ({ prompt }) => (Array.isArray(prompt) ? String(prompt.at(-1)?.content ?? "") : String(prompt))],
    ["completion", ({ completion }) => completion],
    ...rewardNames.map((name) => [name, ({ rewards }) => rewards[name]]),
    ["reward", ({ reward }) => reward],
    ["advantage", ({ advantage }) => advantage],
    ["finish", ({ finish_reason: reason }) => reason],
  ];

  const searched = new Map();
  function textOf(record) {
    if (!searched.has(record)) searched.set(record, `${promptText(record.prompt)}\n${record.completion}`.toLowerCase());
    return searched.get(record);
  }

  function applyFilter() {
    const step = $("step").value === "" ? null : Number($("step").value);
    const split = $("split").value;
    const words = $("search").value.toLowerCase();
    shown = data.completions.filter(
      (record) =>
        (step === null || record.step === step) &&
        (split === "" || record.split === split) &&
        (words === "" || textOf(record).includes(words)),
    );
    const [name, direction] = $("order").value.split(" ");
    const [, value] = columns.find(([column]) => column === name);
    const rank = (record) => value(record) ?? Number.NEGATIVE_INFINITY;
    shown = shown.map((record, i) => ({ record, i, rank: rank(record) }));
    const sign = direction === "down" ? -1 : 1;
    shown.sort((a, b) => (a.rank === b.rank ? a.i - b.i : (a.rank < b.rank ? -1 : 1) * sign));
    shown = shown.map(({ record }) => record);
    page = 0;
    showPage();
  }

  function showPage() {
    const pages = Math.max(1, Math.ceil(shown.length / pageSize));
    const body = document.querySelector("#completions tbody");
    body.replaceChildren(...shown.slice(page * pageSize, (page + 1) * pageSize).map(rowOf));
    const left = data.completionCount - data.completions.length;
    $("count").textContent =
      `${shown.length.toLocaleString("en")} of ${data.completions.length.toLocaleString("en")} completions` +
      (left > 0 ? ` (the newest; ${left.toLocaleString("en")} older ones are in completions.jsonl)` : "");
    $("page").textContent = `page ${page + 1} of ${pages}`;
    $("previous").disabled = page === 0;
    $("next").disabled = page + 1 >= pages;
  }

  function rowOf(record) {
    const row = element("tr", { className: "row" });
    row.tabIndex = 0;
    for (const [, value] of columns) {
      const cell = value(record);
      const isText = typeof cell === "string";
      row.append(element("td", { className: isText ? "text" : "number", text: isText ? cell : format(cell) }));
    }
    const toggle = () => {
      const next = row.nextElementSibling;
      if (next?.classList.contains("whole")) next.remove();
      else row.after(wholeOf(record));
    };
    row.addEventListener("click", toggle);
    row.addEventListener("keydown", (event) => event.key === "Enter" && toggle());
    return row;
  }

  function wholeOf(record) {
    const cell = document.createElement("td");
    cell.colSpan = columns.length;
    const messages = Array.isArray(record.prompt)
      ? record.prompt
      : [{ role: "prompt", content: String(record.prompt) }];
    for (const { role, content } of [...messages, { role: "completion", content: record.completion }]) {
      cell.append(element("div", { className: "role", text: role }), element("pre", { text: String(content) }));
    }
    for (const [name, value] of Object.entries(record.extra ?? {})) {
      cell.append(element("div", { className: "role", text: name }), element("pre", { text: JSON.stringify(value) }));
    }
    const row = element("tr", { className: "whole" });
    row.append(cell);
    return row;
  }

  function showCompletions() {
    const head = element("tr");
    for (const [name] of columns) head.append(element("th", { text: name }));
    document.querySelector("#completions thead").append(head);
    const orders = ["step down", "step up", "reward down", "reward up", "advantage down", "advantage up"];
    for (const order of orders) $("order").append(element("option", { text: order }));
    for (const id of ["step", "split", "search", "order"]) $(id).addEventListener("input", applyFilter);
    $("filter").addEventListener("submit", (event) => event.preventDefault());
    const turn = (by) => () => {
      page += by;
      showPage();
    };
    $("previous").addEventListener("click", turn(-1));
    $("next").addEventListener("click", turn(1));
    applyFilter();
  }

  showHead();
  showCurves();
  showCompletions();
  if (data.reload > 0) {
    // Not while somebody reads further down or has typed something.
    setInterval(() => scrollY < 100 && $("search").value === "" && location.reload(), data.reload * 1000);
  }
  document.body.dataset.ready = "true";
})();
