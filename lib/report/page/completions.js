// The completions of the report's page: filtered, ordered, and shown as a table or as groups, the completions of one prompt side
// by side.

const rowsOnPage = 50;
const groupsOnPage = 10;
let pageNumber = 0;
/** What is shown: records, or groups of them. */
let shown = [];

const records = runs.flatMap((run, r) => run.completions.map((record) => ({ ...record, r })));

const promptText = (prompt) =>
  Array.isArray(prompt) ? prompt.map(({ role, content }) => `${role}: ${content}`).join("\n") : String(prompt);

/** Which kind of sampling a completion is of. */
const splitOf = (record) => (record.split === "eval" ? evaluationLabel(record) : "training");

/** The columns: name, value, and whether it is a number. */
const tableColumns = [
  ...(isComparison ? [["run", ({ r }) => runs[r].title]] : []),
  ["step", ({ step }) => step, true],
  ["of", splitOf],
  ["prompt", ({ prompt }) => (Array.isArray(prompt) ? String(prompt.at(-1)?.content ?? "") : String(prompt))],
  ["completion", ({ completion }) => completion],
  ...rewardNames.map((name) => [name, ({ rewards }) => rewards?.[name], true]),
  ["reward", ({ reward }) => reward, true],
  ["advantage", ({ advantage }) => advantage, true],
  ["finish", ({ finish_reason: reason }) => reason],
];

// ---- which, and in which order ----

const searched = new Map();
function textOf(record) {
  if (!searched.has(record)) searched.set(record, `${promptText(record.prompt)}\n${record.completion}`.toLowerCase());
  return searched.get(record);
}

function found() {
  const step = $("step").value === "" ? null : Number($("step").value);
  const [run, split, words] = [$("run").value, $("split").value, $("search").value.toLowerCase()];
  return records.filter(
    (record) =>
      (step === null || record.step === step) &&
      (run === "" || record.r === Number(run)) &&
      (split === "" || splitOf(record) === split) &&
      (words === "" || textOf(record).includes(words)),
  );
}

function ordered(list) {
  const [name, direction] = $("order").value.split(" ");
  const [, value] = tableColumns.find(([column]) => column === name);
  const ranked = list.map((record, i) => ({ record, i, rank: value(record) ?? Number.NEGATIVE_INFINITY }));
  const sign = direction === "down" ? -1 : 1;
  ranked.sort((a, b) => (a.rank === b.rank ? a.i - b.i : (a.rank < b.rank ? -1 : 1) * sign));
  return ranked.map(({ record }) => record);
}

const groupKey = ({ r, step, split, do_sample: doSample, row }) => JSON.stringify([r, step, split, doSample, row]);

/** The groups that records are of, whole, in the records' order. */
function groupsOf(list) {
  const groups = new Map(list.map((record) => [groupKey(record), []]));
  for (const record of records) groups.get(groupKey(record))?.push(record);
  return [...groups.values()];
}

// ---- the table ----

const columnClass = (isNumber) => (isNumber ? "number" : "text");

function rowOf(record) {
  const row = element("tr", { className: "row" });
  row.tabIndex = 0;
  for (const [, value, isNumber] of tableColumns) {
    const cell = value(record);
    row.append(
      element("td", { className: columnClass(isNumber), text: isNumber ? format(cell) : String(cell ?? "–") }),
    );
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
  const told = conversationParts(record);
  const parts = told.length > 0 ? told : [...promptParts(record.prompt), ...part("completion", record.completion)];
  for (const [name, value] of Object.entries(record.extra ?? {})) parts.push(...part(name, JSON.stringify(value)));
  const cell = element("td", {}, element("div", { className: "whole-text" }, ...parts));
  cell.colSpan = tableColumns.length;
  return element("tr", { className: "whole" }, cell);
}

function part(role, text) {
  return [element("div", { className: "role", text: String(role) }), element("pre", { text: String(text) })];
}

function promptParts(prompt) {
  const messages = Array.isArray(prompt) ? prompt : [{ role: "prompt", content: prompt }];
  return messages.flatMap(({ role, content }) => part(role, content));
}

/** The conversations of a rollout, where it has some: which turns are trained on, the tools, and where one branches off. */
function conversationParts({ samples }) {
  const told = (samples ?? []).filter(({ messages }) => messages !== undefined);
  return told.flatMap(({ messages, sampled, turns, tools, finish_reason: finish, branch_of: branch }, i) => [
    element("div", {
      className: "conversation",
      text: [
        `conversation ${i + 1} of ${told.length}`,
        ...(branch === undefined ? [] : [`branches off ${branch + 1}`]),
        ...(tools === undefined ? [] : [`tools: ${tools.join(", ")}`]),
        String(finish),
      ].join(" · "),
    }),
    ...messages.flatMap((message, m) => messageParts(message, sampled.includes(m), turns?.[sampled.indexOf(m)])),
  ]);
}

/** `turn`: of a message that is trained on, where turns have rewards of their own. */
function messageParts({ role, content, reasoning_content: reasoning, tool_calls: calls }, isTrained, turn) {
  const written = (calls ?? []).map(({ function: called }) => `${called?.name}(${called?.arguments})`);
  const text = [...(reasoning ? [`(${reasoning})`] : []), ...(content ? [content] : []), ...written].join("\n");
  const facts = turn && [
    `reward of turn ${turn.turn + 1}: ${format(turn.reward)}`,
    `advantage ${format(turn.advantage)}`,
  ];
  return part([role, ...(isTrained ? ["trained on"] : []), ...(facts ?? [])].join(" · "), text);
}

// ---- groups ----

function groupElement(group) {
  const [first] = group;
  const scored = group.map(({ reward }) => reward).filter((reward) => typeof reward === "number");
  const mean = scored.reduce((sum, reward) => sum + reward, 0) / scored.length;
  const facts = [
    isComparison ? runs[first.r].title : "",
    `step ${first.step}`,
    splitOf(first),
    `row ${first.row}`,
    `${group.length} completions`,
    scored.length > 0 ? `mean reward ${format(mean)}` : "no reward",
  ];
  const best = [...group].sort((a, b) => (b.reward ?? -Infinity) - (a.reward ?? -Infinity));
  return element(
    "article",
    { className: "group" },
    element("h3", { text: facts.filter(Boolean).join(" · ") }),
    ...groupPrompt(first.prompt),
    element("div", { className: "cards" }, ...best.map(cardOf)),
  );
}

/** What was asked last; the messages before it, most often the same for all groups, on demand. */
function groupPrompt(prompt) {
  if (!Array.isArray(prompt) || prompt.length < 2) return promptParts(prompt);
  const before = element("details", {}, element("summary", { className: "role", text: "messages before" }));
  before.append(...promptParts(prompt.slice(0, -1)));
  return [before, ...promptParts(prompt.slice(-1))];
}

function cardOf({ rewards, reward, advantage, finish_reason: finish, completion }) {
  const numbers = [["reward", reward], ...Object.entries(rewards ?? {}), ["advantage", advantage]].map(
    ([name, value]) => element("span", {}, `${name} `, element("b", { className: "figure", text: format(value) })),
  );
  const side = advantage > 0 ? "better" : advantage < 0 ? "worse" : "";
  return element(
    "div",
    { className: `card ${side}` },
    element("div", { className: "numbers" }, ...numbers, element("span", { text: String(finish) })),
    element("pre", { text: String(completion) }),
  );
}

// ---- pages ----

const asGroups = () => $("view").value === "groups";
const onPage = () => (asGroups() ? groupsOnPage : rowsOnPage);

function applyFilter() {
  const list = ordered(found());
  shown = asGroups() ? groupsOf(list) : list;
  pageNumber = 0;
  showCount(list.length);
  showPage();
}

function showCount(count) {
  const left = runs.reduce((sum, run) => sum + run.completionCount - run.completions.length, 0);
  const number = (value) => value.toLocaleString("en");
  $("count").textContent =
    `${number(count)} of ${number(records.length)} completions` +
    (asGroups() ? ` in ${number(shown.length)} groups` : "") +
    (left > 0 ? ` (the newest; ${number(left)} older ones are in completions.jsonl)` : "");
}

function showPage() {
  const pages = Math.max(1, Math.ceil(shown.length / onPage()));
  const part = shown.slice(pageNumber * onPage(), (pageNumber + 1) * onPage());
  $("table").hidden = asGroups();
  $("groups").hidden = !asGroups();
  document.querySelector("#completions tbody").replaceChildren(...(asGroups() ? [] : part.map(rowOf)));
  $("groups").replaceChildren(...(asGroups() ? part.map(groupElement) : []));
  $("page").textContent = `page ${pageNumber + 1} of ${pages}`;
  $("previous").disabled = pageNumber === 0;
  $("next").disabled = pageNumber + 1 >= pages;
}

function option(text, value = text) {
  const node = element("option", { text });
  node.value = value;
  return node;
}

function showCompletions() {
  const names = tableColumns.map(([text, , isNumber]) => element("th", { className: columnClass(isNumber), text }));
  const head = element("tr", {}, ...names);
  document.querySelector("#completions thead").append(head);
  $("run").parentElement.hidden = !isComparison;
  $("run").append(option("all", ""), ...runs.map(({ title }, r) => option(title, String(r))));
  $("split").append(option("all", ""), ...[...new Set(records.map(splitOf))].sort().map((text) => option(text)));
  const orders = ["step down", "step up", "reward down", "reward up", "advantage down", "advantage up"];
  $("order").append(...orders.map((text) => option(text)));
  for (const id of ["view", "run", "step", "split", "search", "order"]) $(id).addEventListener("input", applyFilter);
  $("filter").addEventListener("submit", (event) => event.preventDefault());
  const turn = (by) => () => {
    pageNumber += by;
    showPage();
  };
  $("previous").addEventListener("click", turn(-1));
  $("next").addEventListener("click", turn(1));
  applyFilter();
}
