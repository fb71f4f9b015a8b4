// One process for each test file and one at a time: the engine owns the process's threads and memory, and a crash in native
// code must end that file only. "grpo" means the sources, as in tsconfig.json.
import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

export default defineConfig({
  resolve: {
    alias: [
      { find: /^grpo$/, replacement: fileURLToPath(new URL("./lib/index.ts", import.meta.url)) },
      { find: /^grpo\/math$/, replacement: fileURLToPath(new URL("./lib/rewards/math/index.ts", import.meta.url)) },
    ],
  },
  test: {
    include: ["test/**/*.test.ts"],
    globalSetup: fileURLToPath(new URL("./test/device/global-setup.ts", import.meta.url)),
    pool: "forks",
    maxWorkers: 1,
    testTimeout: 300_000,
    hookTimeout: 300_000,
    reporters: ["default", fileURLToPath(new URL("./scripts/vitest-summary.ts", import.meta.url))],
  },
});
