// Writes the table of docs/models.md: what each row of test/addon/families.test.ts exercises, and how far its numbers were from
// those of transformers and PEFT in a run of that test. A test checks that no row is missing; the deviations are this machine's.
//
//   npx tsx scripts/docs-models.ts

import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

const page = fileURLToPath(new URL("../docs/models.md", import.meta.url));
const fixture = fileURLToPath(new URL("../test/fixtures/golden/families.json", import.meta.url));
const [begin, end] = ["<!-- npx tsx scripts/docs-models.ts -->\n", "<!-- end of table -->\n"];

interface Row {
  readonly name: string;
  readonly modelType: string;
  readonly exercises: string;
}

/** Deviations by row and kind ("logits", "gradient"). */
type Deviations = ReadonlyMap<string, Readonly<Record<string, number>>>;

/** The rows without their deviations, as the page must have them. */
export function expectedRows(): string[] {
  const { rows }: { rows: Row[] } = JSON.parse(readFileSync(fixture, "utf8"));
  return rows.map(({ modelType, exercises }) => `| \`${modelType}\` | ${exercises} |`);
}

/** The rows of the page without their deviations, as it has them. */
export function writtenRows(): string[] {
  const table = readFileSync(page, "utf8").split(begin)[1]?.split(end)[0] ?? "";
  const lines = table.split("\n").filter((line) => line.startsWith("| `"));
  return lines.map((line) => line.split(" | ").slice(0, 2).join(" | ").concat(" |"));
}

function table(deviations: Deviations): string {
  const { rows }: { rows: Row[] } = JSON.parse(readFileSync(fixture, "utf8"));
  const lines = rows.map(({ name }, i) => {
    const { logits, gradient } = deviations.get(name) ?? {};
    return `${expectedRows()[i]} ${digits(logits, name)} | ${digits(gradient, name)} |`;
  });
  return ["| family | exercises | logits | gradient |", "|---|---|---|---|", ...lines, ""].join("\n");
}

function digits(value: number | undefined, name: string): string {
  if (value === undefined) throw new Error(`The test run has no deviation of ${name}.`);
  return value.toExponential(0);
}

/** Runs the test and collects what its tests noted. */
function measure(): Deviations {
  const folder = mkdtempSync(path.join(tmpdir(), "grpo-docs-"));
  try {
    const report = path.join(folder, "report.json");
    const options = ["run", "test/addon/families.test.ts", "--reporter=json", `--outputFile=${report}`];
    const { status, stdout } = spawnSync("npx", ["vitest", ...options], { encoding: "utf8" });
    if (status !== 0) throw new Error(`The test failed:\n${stdout}`);
    return deviationsOf(JSON.parse(readFileSync(report, "utf8")));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

interface Report {
  readonly testResults: readonly {
    readonly assertionResults: readonly {
      readonly meta: { readonly deviation?: { readonly row: string; readonly kind: string; readonly value: number } };
    }[];
  }[];
}

function deviationsOf(report: Report): Deviations {
  const deviations = new Map<string, Record<string, number>>();
  for (const { meta } of report.testResults.flatMap(({ assertionResults }) => assertionResults)) {
    if (meta.deviation === undefined) continue;
    const { row, kind, value } = meta.deviation;
    deviations.set(row, { ...deviations.get(row), [kind]: value });
  }
  return deviations;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const text = readFileSync(page, "utf8");
  const [before, rest] = text.split(begin);
  const after = rest?.split(end)[1];
  if (after === undefined) throw new Error(`${page} lacks the markers of the table.`);
  writeFileSync(page, `${before}${begin}\n${table(measure())}\n${end}${after}`);
}
