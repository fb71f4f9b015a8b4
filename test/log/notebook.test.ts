// Deno's kernel for Jupyter, which shows what goes through `console` and its own messages and nothing else. scripts/check-notebooks.ts
// runs the real one.

import { setImmediate } from "node:timers/promises";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { startProgress } from "../../lib/hub/progress.js";
import { Console } from "../../lib/log/console.js";
import { isNotebook, type Output, standardOutput, warn } from "../../lib/output.js";

let shown: string[] = [];
let displays: string[] = [];
let atOnce = 0;

beforeEach(() => {
  shown = [];
  displays = [];
  vi.stubGlobal("Deno", { jupyter: { broadcast } });
  vi.spyOn(console, "log").mockImplementation((text) => void shown.push(text));
  vi.spyOn(console, "warn").mockImplementation((text) => void shown.push(text));
});
afterEach(() => {
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
});

/** As the kernel takes messages: what comes while another is under way is never shown. */
async function broadcast(type: string, content: { data: object; transient: { display_id: string } }): Promise<void> {
  atOnce++;
  expect(atOnce).toBe(1);
  await setImmediate();
  atOnce--;
  if (type === "display_data") displays.push(content.transient.display_id);
  const display = displays.indexOf(content.transient.display_id);
  expect(display).toBeGreaterThanOrEqual(0);
  shown.push(`display ${display}: ${Object.values(content.data)}`);
}

async function settled(): Promise<void> {
  for (let i = 0; i < 20; i++) await setImmediate();
}

test("lines go through the console, and the status into a display that each cell has of its own", async () => {
  const console = new Console();
  console.line("the plan of 100%d steps");
  console.status("step 1");
  console.status("step 2");
  await settled();
  console.status("step 3");
  console.line("a step");
  await settled();
  console.close();
  await settled();
  console.status("step 4");
  console.close();
  console.status("step 5");
  await settled();
  expect(shown).toEqual([
    "the plan of 100%d steps",
    "display 0: step 2",
    "a step",
    "display 0: step 3",
    "display 0: ",
    "display 1: step 5",
  ]);
});

test("downloads at the same time show their progress without messages at the same time", async () => {
  const progress = ["one", "two"].map((name) => startProgress(name, [{ size: 3e6 }]));
  for (const one of progress) {
    one.add(3e6);
    one.done();
    one.end();
  }
  await settled();
  expect(shown.map((line) => line.replace(/, [\d.]+ MB\/s$/, ""))).toEqual([
    "display 0: one: 1/1 files, 3.0 of 3.0 MB",
    "display 1: two: 1/1 files, 3.0 of 3.0 MB",
  ]);
});

test("a notebook that is closed takes nothing with it", async () => {
  vi.stubGlobal("Deno", { jupyter: { broadcast: () => Promise.reject(new Error("closed")) } });
  const console = new Console();
  console.status("step 1");
  await settled();
  console.line("a step");
  expect(shown).toEqual(["a step"]);
});

test("warnings go through the console", () => {
  const emitted = vi.spyOn(process, "emitWarning").mockImplementation(() => {});
  warn("the Hub is down");
  expect(shown).toEqual(["Warning: the Hub is down"]);
  expect(emitted).not.toHaveBeenCalled();
});

test.each([
  ["Node", () => undefined],
  [
    "Deno elsewhere than in a notebook",
    () => ({
      get jupyter() {
        throw new Error("Deno.jupyter is only available in `deno jupyter` subcommand");
      },
    }),
  ],
])("%s has its own streams", (_, Deno) => {
  vi.stubGlobal("Deno", Deno());
  expect(standardOutput()).toBe(process.stdout);
  expect(standardOutput("stderr")).toBe(process.stderr);
  expect(isNotebook()).toBe(false);
});

test("an output of one's own that can show a status is given it, and what it throws ends no run", () => {
  const written: string[] = [];
  const status = vi.fn((text: string) => void written.push(`status ${text}`));
  const output: Output = { write: (text) => written.push(text), status };
  const console = new Console(output);
  console.status("step 1");
  console.line("a step");
  console.close();
  expect(written).toEqual(["status step 1", "a step\n", "status "]);
  status.mockImplementation(() => {
    throw new Error("gone");
  });
  console.status("step 2");
  console.line("a step");
  expect(written).toHaveLength(3);
});
