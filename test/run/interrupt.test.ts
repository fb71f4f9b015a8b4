// What a real Ctrl-C does to a real process: the library is loaded in a child, which gets the signal.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const library = new URL("../../lib/run/interrupt.ts", import.meta.url).href;
const tsx = fileURLToPath(import.meta.resolve("tsx"));

async function child(
  body: string,
  signals: number,
): Promise<{ code: number | null; signal: string | null; out: string }> {
  const program = `
    import { watchInterrupts } from ${JSON.stringify(library)};
    const watch = watchInterrupts(undefined, () => console.log("first"));
    setTimeout(() => process.exit(9), 20_000);
    ${body}
    await null; // The handlers are there a moment after the call.
    console.log("ready");
  `;
  const node = spawn(process.execPath, ["--import", tsx, "--input-type=module", "-e", program]);
  let out = "";
  let sent = 0;
  node.stdout.on("data", (chunk) => {
    out += chunk;
    const next = ["ready", "first"][sent];
    if (sent < signals && next && out.includes(next)) {
      sent++;
      node.kill("SIGINT");
    }
  });
  const [code, signal] = await once(node, "close");
  return { code, signal, out };
}

const endWhenStopped = `watch.signal.addEventListener("abort", () => setTimeout(() => {
  console.log("saved");
  watch.dispose();
  watch.passOn();
}, 20));`;

test("the first Ctrl-C lets the run save, then ends the process as Ctrl-C does", async () => {
  const { code, signal, out } = await child(endWhenStopped, 1);
  expect(out).toContain("first");
  expect(out).toContain("saved");
  expect(signal === "SIGINT" || code === 130).toBe(true);
});

test("the second Ctrl-C ends the process at once", async () => {
  const { code, out } = await child("", 2);
  expect(out).toContain("first");
  expect(code).toBe(130);
});

test("a program with a handler of its own decides for itself", async () => {
  const own = `process.on("SIGINT", () => {}); ${endWhenStopped.replace("watch.passOn();", "watch.passOn(); setTimeout(() => process.exit(0), 50);")}`;
  const { code, signal } = await child(own, 1);
  expect([code, signal]).toEqual([0, null]);
});

test("a notebook's kernel lives on, however often its cell is interrupted", async () => {
  const kernel = `globalThis.__tslab__ = {};`;
  const { code, signal, out } = await child(
    `watch.dispose();
    ${kernel}
    const cell = watchInterrupts(undefined, (endsAtSecond) => console.log("first", endsAtSecond));
    ${endWhenStopped.replaceAll("watch.", "cell.").replace("20", "300").replace("cell.passOn();", "cell.passOn(); setTimeout(() => { console.log('next cell'); process.exit(0); }, 50);")}`,
    2,
  );
  expect(out).toContain("first false");
  expect(out).toContain("next cell");
  expect([code, signal]).toEqual([0, null]);
});

test("it works in what vm runs with breakOnSigint, as tslab and Node's REPL do", async () => {
  const cell = `
    watch.dispose();
    const vm = await import("node:vm");
    globalThis.begin = () => watchInterrupts(undefined, () => console.log("first"));
    const inCell = vm.runInThisContext("begin()", { breakOnSigint: true });
    ${endWhenStopped.replaceAll("watch.", "inCell.")}`;
  const { out } = await child(cell, 1);
  expect(out).toContain("first");
  expect(out).toContain("saved");
});
