// The report's page: its head, the configuration, and the start of everything.

function factsOf({ run, steps, damagedLines }) {
  const last = steps.at(-1);
  const total = run.plan?.totalSteps;
  const model = run.model ?? {};
  const facts = [
    last ? `step ${last.step}${total ? ` of ${total}` : ""}` : "no step finished yet",
    last ? `reward ${format(last.reward)}` : "",
    model.trainable
      ? `${model.trainable.toLocaleString("en")} of ${model.all.toLocaleString("en")} parameters trained`
      : "",
    model.device ? `${model.device} ${model.dtype}` : "",
    run.time ? `begun ${new Date(run.time).toLocaleString()}` : "",
    damagedLines > 0 ? `lines that a killed run left unfinished: ${damagedLines}` : "",
  ];
  return facts.filter(Boolean).join(" · ");
}

function showHead() {
  const heading = runs.map(({ title }) => title).join(" / ");
  document.title = `${heading} · grpo`;
  // Of several runs the lines below have the names.
  $("title").textContent = isComparison ? `Comparison of ${runs.length} runs` : heading;
  for (const [r, run] of runs.entries()) {
    const line = element("div", { className: "facts" });
    if (isComparison) {
      const dot = element("span", { className: "dot" });
      dot.style.borderColor = colour(r);
      dot.style.background = isDashed(r) ? "transparent" : colour(r);
      if (isDashed(r)) dot.style.borderStyle = "dotted";
      line.append(dot, element("strong", { text: run.title }), " · ");
    }
    line.append(factsOf(run));
    $("facts").append(line);
  }
}

/** Every setting of the runs by name: the options, and what they were used with. */
function settingsOf({ run }) {
  const { config = {}, model = {}, reward_functions, reward_weights, plan = {} } = run;
  const named = (prefix, object) => Object.entries(object).map(([name, value]) => [`${prefix}.${name}`, value]);
  return new Map([
    ...Object.entries(config),
    ["reward_functions", reward_functions],
    ["reward_weights", reward_weights],
    ...named("model", model),
    ...named("plan", plan),
  ]);
}

/** A row for each setting. Of several runs, those that differ come first. */
function showConfiguration() {
  const settings = runs.map(settingsOf);
  const rows = [...new Set(settings.flatMap((all) => [...all.keys()]))].map((name) => {
    const texts = settings.map((all) => JSON.stringify(all.get(name)) ?? "–");
    return { name, texts, differs: new Set(texts).size > 1 };
  });
  const differing = rows.filter(({ differs }) => differs);
  $("differences").hidden = !isComparison;
  if (isComparison && differing.length > 0) $("differing").append(settingsTable(differing));
  else $("differing").textContent = "The runs have the same configuration.";
  $("config").append(settingsTable(rows));
}

function settingsTable(rows) {
  const head = element("tr", {}, element("th", { text: "option" }));
  for (const { title } of runs) head.append(element("th", { text: isComparison ? title : "value" }));
  const body = rows.map(({ name, texts, differs }) => {
    const row = element("tr", { className: isComparison && differs ? "differs" : "" }, element("td", { text: name }));
    for (const text of texts) row.append(element("td", { className: "value", text }));
    return row;
  });
  return element("table", { className: "settings" }, element("thead", {}, head), element("tbody", {}, ...body));
}

showHead();
showConfiguration();
showCurves();
showCompletions();
if (page.reload > 0) {
  // Not while somebody reads further down or has typed something.
  setInterval(() => scrollY < 100 && $("search").value === "" && location.reload(), page.reload * 1000);
}
document.body.dataset.ready = "true";
