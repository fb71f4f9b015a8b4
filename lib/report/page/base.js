// What the parts of the report's page share: the data beside it, names, numbers as text, and elements. Plain scripts without
// modules, because the page opens from disk. Texts of a run go in as text nodes only, never as HTML.

const page = JSON.parse(document.getElementById("data").textContent);
const runs = [page, ...page.others];
const isComparison = runs.length > 1;
const $ = (id) => document.getElementById(id);
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const colourCount = 6;
const colour = (i) => css(`--series-${(i % colourCount) + 1}`);
/** Runs that have the colour of an earlier one are drawn dashed. */
const isDashed = (run) => isComparison && run >= colourCount;

function element(tag, { className = "", text = "" } = {}, ...children) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text) node.textContent = text;
  node.append(...children);
  return node;
}

const format = (value) => {
  if (typeof value !== "number") return "–";
  if (Number.isInteger(value)) return value.toLocaleString("en");
  const size = Math.abs(value);
  return size < 1e-3 || size >= 1e6 ? value.toExponential(2) : value.toFixed(3);
};

/** How an evaluation sampled; runs of earlier versions do not say. */
function evaluationLabel({ do_sample: doSample }) {
  if (typeof doSample !== "boolean") return "evaluation";
  return `evaluation (${doSample ? "sampled" : "greedy"})`;
}
