// The tests of the engine on the make-believe accelerator, for `npm run test:device`: every file that asks
// test/support/device.ts for its device, itself or through what it imports. On the second one, because the first is current wherever
// nobody has chosen.
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import config from "../../vitest.config.js";

const tests = fileURLToPath(new URL("..", import.meta.url));
const device = path.join(tests, "support", "device.ts");

/** Whether a file imports the device, directly or not; `seen` are files that have been asked. */
function asksForDevice(file: string, seen: Set<string>): boolean {
  if (file === device) return true;
  if (seen.has(file) || !file.startsWith(tests)) return false;
  seen.add(file);
  const imported = [...readFileSync(file, "utf8").matchAll(/ from "(\.[^"]+)\.js"/g)];
  return imported.some(([, name = ""]) => asksForDevice(path.join(path.dirname(file), `${name}.ts`), seen));
}

const files = readdirSync(tests, { recursive: true, encoding: "utf8" })
  .map((name) => path.join(tests, name))
  .filter((file) => file.endsWith(".test.ts"))
  .filter((file) => file.startsWith(path.join(tests, "device")) || asksForDevice(file, new Set()));

export default {
  ...config,
  test: { ...config.test, env: { GRPO_TEST_DEVICE: "fake:1" }, include: files },
};
