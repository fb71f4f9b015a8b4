// The problems of the page of an evaluation: a table that can be searched, filtered and ordered; a row opens to what the models said.

const problemsOnPage = 50;
let problemPage = 0;

const problemKey = ({ task, problem }) => `${task} ${problem}`;
const linesByProblem = runs.map(({ completions }) => Map.groupBy?.(completions, problemKey) ?? grouped(completions));

/** Map.groupBy, for browsers without it. */
function grouped(lines) {
  const groups = new Map();
  for (const line of lines) groups.set(problemKey(line), [...(groups.get(problemKey(line)) ?? []), line]);
  return groups;
}

/** Problems in the order of the data, with what each run says of them. */
const problemRows = [...new Set(runs.flatMap(({ problems }) => problems.map(problemKey)))].map((key) => {
  const own = runs.map(({ problems }) => problems.find((one) => problemKey(one) === key));
  const { task, problem, prompt, gold } = own.find(Boolean);
  return { key, task, problem, prompt, gold, own };
});

const questionOf = (prompt) => (Array.isArray(prompt) ? String(prompt.at(-1)?.content ?? "") : String(prompt));

/** How long the beginning is that all prompts of a task have in common: its instructions. */
const sharedLengths = new Map();
for (const { task, prompt } of problemRows) {
  const question = questionOf(prompt);
  const { text, length } = sharedLengths.get(task) ?? { text: question, length: question.length };
  let same = 0;
  while (same < length && question[same] === text[same]) same++;
  sharedLengths.set(task, { text, length: same });
}
/** What a prompt has of its own; of a task with one problem all. */
const ownQuestion = ({ task, prompt }) => {
  const question = questionOf(prompt);
  return question.slice(sharedLengths.get(task).length) || question;
};
const averageOf = (own) => Object.entries(own?.sampled ?? {}).find(([name]) => name.startsWith("avg@"))?.[1];
const scoreOf = (own) => own?.greedy?.score ?? averageOf(own);
const changeOf = ({ own }) => (scoreOf(own[1]) ?? 0) - (scoreOf(own[0]) ?? 0);
const linesOf = (row) => runs.flatMap((_, r) => linesByProblem[r].get(row.key) ?? []);

/** What may be shown: name, and whether a problem is among it. */
const selections = [
  ["all problems", () => true],
  ["not solved greedily", ({ own }) => own.some((one) => (one?.greedy?.score ?? 1) < 1)],
  ["with a truncated completion", (row) => linesOf(row).some(({ finish_reason: reason }) => reason === "length")],
  ["with an answer out of form", (row) => linesOf(row).some(({ format }) => format === false)],
  ...(isComparison
    ? [
        ["better", (row) => changeOf(row) > 0],
        ["worse", (row) => changeOf(row) < 0],
      ]
    : []),
];

const orders = [
  ["of the data", () => 0],
  ["least solved first", ({ own }) => scoreOf(own.at(-1)) ?? 0],
  ["most solved first", ({ own }) => -(scoreOf(own.at(-1)) ?? 0)],
  ...(isComparison ? [["largest change first", (row) => -Math.abs(changeOf(row))]] : []),
];

function shownProblems() {
  const [, isShown] = selections[Number($("which").value)];
  const [, rank] = orders[Number($("order").value)];
  const words = $("search").value.toLowerCase();
  const hasWords = (row) =>
    questionOf(row.prompt).toLowerCase().includes(words) ||
    linesOf(row).some(({ completion }) => completion.toLowerCase().includes(words));
  return problemRows
    .filter((row) => row.task === $("task").value && isShown(row) && (words === "" || hasWords(row)))
    .sort((a, b) => rank(a) - rank(b));
}

function problemCells(row) {
  const cells = [
    element("td", { className: "number", text: String(row.problem) }),
    element("td", { className: "text", text: ownQuestion(row).trim() }),
    element("td", { className: "text", text: row.gold ?? "" }),
  ];
  for (const one of row.own) {
    cells.push(element("td", { className: "number", text: format(one?.greedy?.score) }));
    cells.push(element("td", { className: "number", text: format(averageOf(one)) }));
  }
  return cells;
}

function card(line) {
  const numbers = [
    line.do_sample ? `sample ${line.sample + 1}` : "greedy",
    `score ${format(line.score)}`,
    ...(line.answer === undefined ? [] : [`answer ${line.answer ?? "none"}`]),
    line.finish_reason,
    ...(line.tokens === null ? [] : [`${line.tokens} tokens`]),
  ];
  const kind = line.score >= 1 ? "better" : "worse";
  return element(
    "div",
    { className: `card ${kind}` },
    element("div", { className: "numbers" }, ...numbers.map((text) => element("span", { text }))),
    element("pre", { text: line.completion }),
  );
}

function opened(row, columns) {
  const cell = element("td");
  cell.colSpan = columns;
  const whole = element("div", { className: "whole-text" }, element("pre", { text: questionOf(row.prompt) }));
  for (const [r, { title }] of runs.entries()) {
    if (isComparison) whole.append(element("strong", { text: title }));
    whole.append(element("div", { className: "cards" }, ...(linesByProblem[r].get(row.key) ?? []).map(card)));
  }
  cell.append(whole);
  return element("tr", { className: "whole" }, cell);
}

function drawProblems() {
  const rows = shownProblems();
  const pages = Math.max(1, Math.ceil(rows.length / problemsOnPage));
  problemPage = Math.min(problemPage, pages - 1);
  $("count").textContent = `${rows.length.toLocaleString("en")} problems`;
  $("page").textContent = `${problemPage + 1} of ${pages}`;
  $("previous").disabled = problemPage === 0;
  $("next").disabled = problemPage >= pages - 1;
  const body = rows.slice(problemPage * problemsOnPage, (problemPage + 1) * problemsOnPage).map((row) => {
    const cells = problemCells(row);
    const line = element("tr", { className: "row" }, ...cells);
    line.tabIndex = 0;
    const toggle = () => {
      if (line.nextSibling?.className === "whole") line.nextSibling.remove();
      else line.after(opened(row, cells.length));
    };
    line.addEventListener("click", toggle);
    line.addEventListener("keydown", ({ key }) => key === "Enter" && toggle());
    return line;
  });
  $("problems").tBodies[0].replaceChildren(...body);
}

function showProblems() {
  const fill = (id, entries) => {
    $(id).append(...entries.map(([name], i) => Object.assign(element("option", { text: name }), { value: i })));
  };
  const tasks = [...new Set(problemRows.map(({ task }) => task))];
  $("task").append(...tasks.map((name) => Object.assign(element("option", { text: name }), { value: name })));
  fill("which", selections);
  fill("order", orders);
  const head = ["problem", "prompt", "right answer"].map((text) => element("th", { text }));
  for (const { title } of runs) {
    for (const name of ["greedy", "mean of samples"]) {
      head.push(element("th", { className: "number", text: isComparison ? `${title}: ${name}` : name }));
    }
  }
  $("problems").tHead.append(element("tr", {}, ...head));
  const redraw = (turn) => {
    problemPage += turn;
    drawProblems();
  };
  $("filter").addEventListener("input", () => redraw(-problemPage));
  $("filter").addEventListener("submit", (event) => event.preventDefault());
  $("previous").addEventListener("click", () => redraw(-1));
  $("next").addEventListener("click", () => redraw(1));
  drawProblems();
}
