// Whether the cells of docs/notebooks.md show in real kernels what it says: Deno's and tslab's, with --python a Python that has
// jupyter_client. What was checked is printed; exit status 1 where something was not shown.
//
//   npx tsx scripts/check-notebooks.ts --python PYTHON [--deno DENO] [--tslab TSLAB]

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { hubEnvironment } from "../test/docs/place.js";
import { HubServer } from "../test/support/hub-server.js";

/** What a notebook shows of a cell, by where it comes from; whether the kernel was there at its end. */
interface Shown {
  readonly stdout: string;
  readonly stderr: string;
  readonly display: string;
  readonly result: string;
  readonly error: string;
  readonly alive: boolean;
}

const { values: flags } = parseArgs({
  options: { python: { type: "string", default: "python3" }, deno: { type: "string" }, tslab: { type: "string" } },
});
const here = (name: string) => fileURLToPath(new URL(name, import.meta.url));
const page = readFileSync(here("../docs/notebooks.md"), "utf8");
const cells = [...page.matchAll(/```ts(?: continues)?\n(.*?)```/gs)].map(([, code = ""]) => code);
const LONG = `
const long = new GRPOTrainer({ model: model, processingClass: processingClass, trainDataset: trainDataset, rewardFuncs: rewardFuncs,
  args: new GRPOConfig({ outputDir: "long", maxSteps: 10000, loggingSteps: 5, perDeviceTrainBatchSize: 16 }) });
await long.train();`;
/** A data set with a warning, which has to be downloaded. */
const DOWNLOAD = 'const downloaded = await loadDataset("checks/sums", { split: "train" });';
const CARD = "---\nconfigs:\n- config_name: default\n  data_files: train.jsonl\n  colour: blue\n---\n";
const hub = new HubServer();
let failures = 0;

function check(what: string, isShown: boolean): void {
  if (!isShown) failures++;
  console.log(`${isShown ? "ok     " : "MISSING"} ${what}`);
}

/** The cells in a new folder in which the package is installed as a link to this checkout. */
async function run(
  kernel: readonly string[],
  cells: readonly { code: string; interrupt?: string }[],
): Promise<Shown[]> {
  const folder = mkdtempSync(path.join(tmpdir(), "grpo-notebooks-"));
  mkdirSync(path.join(folder, "node_modules"));
  writeFileSync(path.join(folder, "package.json"), '{ "dependencies": { "grpo": "*" } }');
  symlinkSync(here(".."), path.join(folder, "node_modules/grpo"));
  symlinkSync(here("../node_modules/@types"), path.join(folder, "node_modules/@types"));
  try {
    const env = { ...process.env, ...hubEnvironment(hub, folder) };
    const child = spawn(path.resolve(flags.python), [here("notebooks/run_cells.py"), ...kernel], {
      cwd: folder,
      env,
      stdio: ["pipe", "pipe", "inherit"],
    });
    child.stdin.end(JSON.stringify(cells));
    const [printed, [status]] = await Promise.all([text(child.stdout), once(child, "close")]);
    if (status !== 0) throw new Error(`${kernel[0]} ended with ${status}`);
    return printed
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as Shown);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function checkKernel(name: string, kernel: readonly string[]): Promise<void> {
  const shown = await run(kernel, [
    ...cells.map((code) => ({ code })),
    { code: DOWNLOAD },
    { code: LONG, interrupt: "5/10000" },
    {
      code: 'import { readdirSync } from "node:fs";\nconsole.log(readdirSync("long").filter((name) => /^checkpoint/.test(name)).length);',
    },
  ]);
  const ofPage = shown.slice(0, cells.length);
  const all = ofPage.map(({ stdout }) => stdout).join("");
  check(
    `${name}: the page's cells, without an error`,
    ofPage.every(({ error, stderr }) => error + stderr === ""),
  );
  check(
    `${name}: the value of a last line`,
    /Dataset\(/.test(ofPage.map(({ stdout, result }) => stdout + result).join("")),
  );
  for (const text of ["trainable params: ", "model    cpu float32", "run      10 steps", "memory   up to"]) {
    check(`${name}: ${text.trim()}`, all.includes(text));
  }
  check(`${name}: a line for each step`, /^ 1\/10 {2}reward .*\n(.*\n)*10\/10 {2}reward/m.test(all));
  check(`${name}: the evaluation`, /^evaluation at step 10 {2}reward/m.test(all));
  const [download, interrupted] = shown.slice(cells.length);
  check(`${name}: a warning`, /Warning: .*colour/.test(`${download?.stderr}${download?.stdout}`));
  check(`${name}: the interrupt`, interrupted?.stdout.includes("stopping after the running computation\n") === true);
  check(
    `${name}: the kernel after it, and a checkpoint`,
    shown.at(-1)?.stdout === "1\n" && shown.at(-1)?.alive === true,
  );
  const displays = shown.map(({ display }) => display).join("");
  console.log(
    `        progress of steps: ${/step \d+\/10 {2}sampled/.test(displays)}, of downloads: ${displays.includes("checks/sums: ")}`,
  );
  console.log(`        the interrupted cell ends with: ${interrupted?.error || interrupted?.stderr.split("\n")[0]}`);
}

await hub.start();
hub.add("checks/sums", { type: "dataset", files: { "README.md": CARD, "train.jsonl": '{"prompt": "1 + 1"}\n' } });
try {
  if (flags.deno)
    await checkKernel("deno", [path.resolve(flags.deno), "jupyter", "--kernel", "--conn", "{connection_file}"]);
  if (flags.tslab)
    await checkKernel("tslab", [path.resolve(flags.tslab), "kernel", "--config-path", "{connection_file}"]);
} finally {
  await hub.stop();
}
process.exitCode = failures > 0 ? 1 : 0;
