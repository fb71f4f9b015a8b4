// Checks (or with --write applies) clang-format on native/ and the C++ of the tests. Without clang-format it says so and passes: the
// TypeScript side can be worked on without a C++ toolchain; CI has one.
import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";

const files = ["native", "test/device/fake"].flatMap((folder) =>
  readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((name) => /\.(c|cc|h)$/.test(name))
    .map((name) => `${folder}/${name}`),
);
const mode = process.argv.includes("--write") ? ["-i"] : ["--dry-run", "--Werror"];
const result = spawnSync("clang-format", [...mode, ...files], { stdio: "inherit" });
if (result.error) console.log("clang-format was not found: C++ is not checked");
else process.exitCode = result.status ?? 1;
