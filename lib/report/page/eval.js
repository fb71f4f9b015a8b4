// The page of an evaluation: its head, the settings, and the start of everything.

function showHead() {
  const heading = runs.map(({ title }) => title).join(" / ");
  document.title = `${heading} · grpo eval`;
  $("title").textContent = isComparison ? "Before and after" : heading;
  for (const [r, { title, result }] of runs.entries()) {
    const dot = element("span", { className: "dot" });
    dot.style.borderColor = colour(r);
    dot.style.background = colour(r);
    const line = element("div", { className: "facts" }, dot, element("strong", { text: title }));
    line.append(` · ${result.tasks.map(({ task }) => task).join(", ")}`);
    $("facts").append(line);
  }
  for (const { title, result } of runs) {
    for (const notice of result.notices) {
      $("notices").append(element("li", { text: isComparison ? `${title}: ${notice}` : notice }));
    }
  }
}

/** A row for each setting; those in which two models differ are marked. */
function showSettings() {
  const settings = runs.map(({ result }) => result.settings);
  const names = [...new Set(settings.flatMap(Object.keys))];
  const head = element("tr", {}, element("th", { text: "setting" }));
  for (const { title } of runs) head.append(element("th", { text: isComparison ? title : "value" }));
  const rows = names.map((name) => {
    const texts = settings.map((all) => JSON.stringify(all[name]) ?? "–");
    const row = element("tr", { className: new Set(texts).size > 1 ? "differs" : "" }, element("td", { text: name }));
    for (const text of texts) row.append(element("td", { className: "value", text }));
    return row;
  });
  const table = element("table", { className: "settings" }, element("thead", {}, head), element("tbody", {}, ...rows));
  $("config").append(table);
}

showHead();
showSettings();
showNumbers();
showProblems();
document.body.dataset.ready = "true";
