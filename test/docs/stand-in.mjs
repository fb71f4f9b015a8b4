// What the shell blocks of the pages find in place of npm, npx and every other program: it runs the command in this checkout with
// settings that are small enough for a test (commands.json, "smaller"), or, where the command is listed there as not executed,
// checks that what it names exists. Any other command fails, and so does the block.
//
//   node stand-in.mjs npx grpo train recipe.yaml

import { spawn, spawnSync } from "node:child_process";
import { appendFileSync, existsSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url));
const table = JSON.parse(readFileSync(new URL("commands.json", import.meta.url), "utf8"));
const { scripts, version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
const words = process.argv.slice(2);

const starts = (command) => (entry) => `${command} `.startsWith(`${entry.command} `);

function fail(message) {
  console.error(`${words.join(" ")}: ${message}`);
  process.exit(64);
}

/** What is run for a command: of `npm run x`, the last part of the script; what comes before it has been done before the tests. */
function resolved() {
  const [program, first, ...rest] = words;
  if (program === "npx") return [first, ...rest];
  if (program !== "npm" || first !== "run") return undefined;
  const [name = "", ...args] = rest.filter((word) => word !== "--");
  return [...(scripts[name] ?? fail("there is no such script")).split("&&").at(-1).trim().split(" "), ...args];
}

/** Arguments for node. */
function nodeArguments([program, ...args]) {
  if (program === "grpo") return [join(root, "dist/cli.js"), ...args];
  if (program === "node") return args.map((word, i) => (i === 0 ? join(root, word) : word));
  if (program === "tsx") return ["--import", import.meta.resolve("tsx"), ...args];
  return fail("test/docs/commands.json says neither how it is run nor why it is not");
}

/** Of a command that is not executed: its script or subcommand is there and knows the options that are given. */
function check() {
  const [program, first = "", second = ""] = words;
  const known = knownText(program, first, second);
  for (const option of words.filter((word) => /^--./.test(word)).map((word) => word.slice(2).split("=")[0])) {
    if (known !== undefined && !known.includes(option)) fail(`there is no option --${option}`);
  }
  for (const word of words.filter((word) => word.endsWith(".tgz"))) {
    if (basename(word) !== `grpo-${version}.tgz`) fail(`the package is grpo-${version}.tgz`);
  }
}

/** Text in which the options of the command occur; undefined: it is not a program of this project. */
function knownText(program, first, second) {
  if (program === "npx" && first === "grpo") {
    const help = spawnSync(process.execPath, [join(root, "dist/cli.js"), second, "--help"], { encoding: "utf8" });
    return help.status === 0 ? help.stdout : fail(help.stderr);
  }
  const file = program === "npx" ? second : program === "node" ? first : undefined;
  if (file !== undefined)
    return existsSync(join(root, file)) ? readFileSync(join(root, file), "utf8") : fail("no file");
  if (program === "npm" && first === "run" && scripts[second] === undefined) fail("there is no such script");
  return undefined;
}

const exception = table.notExecuted.find(starts(words.join(" ")));
if (exception !== undefined) {
  check();
  appendFileSync(process.env.DOCS_NOT_EXECUTED, `${exception.command}\n`);
  process.exit(0);
}
const command = resolved() ?? fail("test/docs/commands.json says neither how it is run nor why it is not");
const smaller = command.includes("--help") ? undefined : table.smaller.find(starts(command.join(" ")));
// A run that an earlier block has made is not made again.
const done = process.env.DOCS_DONE;
if (smaller !== undefined && existsSync(done) && readFileSync(done, "utf8").split("\n").includes(command.join(" "))) {
  process.exit(0);
}
appendFileSync(done, `${command.join(" ")}\n`);
const more = smaller?.add ?? [];
const child = spawn(process.execPath, nodeArguments([...command, ...more]), {
  env: { ...process.env, PATH: process.env.DOCS_PATH },
  stdio: ["inherit", command.includes("--watch") ? "pipe" : "inherit", "inherit"],
});
// What goes on until it is stopped is stopped once it has said something.
let watched = false;
child.stdout?.once("data", (data) => {
  process.stdout.write(data);
  watched = child.kill("SIGTERM");
});
child.on("exit", (code) => process.exit(watched ? 0 : (code ?? 1)));
