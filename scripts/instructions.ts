// The instructions that fixed small work of each kernel takes, beside those that were counted before: speed cannot be lost unseen, as it
// can where times are noisy. Counted by valgrind on the AVX2 kernels, which it can run; counts depend on the compiler alone.
//   npx tsx scripts/instructions.ts            fails where a count is more than 2 % from instructions/counts.json
//   npx tsx scripts/instructions.ts --write    writes them

import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const root = fileURLToPath(new URL("..", import.meta.url));
const recorded = path.join(root, "scripts", "instructions", "counts.json");
const TOLERANCE = 0.02;

interface Counts {
  readonly compiler: string;
  readonly instructions: Readonly<Record<string, number>>;
}

function run(command: string, ...args: string[]): string {
  return execFileSync(command, args, {
    encoding: "utf8",
    cwd: path.join(root, "native"),
    stdio: ["ignore", "pipe", "pipe"],
  });
}

function build(folder: string): string {
  const kernels = path.join(folder, "kernels.o");
  const program = path.join(folder, "cases");
  run(
    "g++",
    "-std=c++20",
    "-O3",
    "-ffp-contract=fast",
    "-mavx2",
    "-mfma",
    "-I.",
    "-c",
    "kernels/kernels_avx2.cc",
    "-o",
    kernels,
  );
  run(
    "g++",
    "-std=c++20",
    "-O2",
    "-I.",
    path.join(root, "scripts", "instructions", "cases.cc"),
    kernels,
    "-o",
    program,
  );
  return program;
}

function count(program: string, name: string, folder: string): number {
  const out = path.join(folder, "callgrind.out");
  run("valgrind", "--tool=callgrind", "--toggle-collect=measured", `--callgrind-out-file=${out}`, "-q", program, name);
  const total = /^(?:summary|totals): (\d+)/m.exec(readFileSync(out, "utf8"))?.[1];
  if (!total || Number(total) === 0) throw new Error(`valgrind counted nothing of "${name}"`);
  return Number(total);
}

function measure(): Counts {
  const folder = mkdtempSync(path.join(tmpdir(), "instructions-"));
  try {
    const program = build(folder);
    const names = run(program).trim().split("\n");
    const instructions = Object.fromEntries(names.map((name) => [name, count(program, name, folder)]));
    return { compiler: `g++ ${run("g++", "-dumpfullversion").trim()}`, instructions };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function compare(now: Counts, before: Counts): string[] {
  if (now.compiler !== before.compiler)
    return [
      `counted with ${before.compiler}, not ${now.compiler}: count again with --write on a commit that is known to be fast`,
    ];
  const names = new Set([...Object.keys(now.instructions), ...Object.keys(before.instructions)]);
  return [...names].flatMap((name) => {
    const [is, was] = [now.instructions[name], before.instructions[name]];
    const ratio = (is ?? Number.NaN) / (was ?? Number.NaN);
    console.log(`${name}: ${is} instructions, ${was} before`);
    return Math.abs(ratio - 1) <= TOLERANCE ? [] : [`${name}: ${is} instructions, ${was} were counted before`];
  });
}

const { values } = parseArgs({ options: { write: { type: "boolean", default: false } } });
const counts = measure();
if (values.write) {
  writeFileSync(recorded, `${JSON.stringify(counts, null, 2)}\n`);
} else {
  const wrong = compare(counts, JSON.parse(readFileSync(recorded, "utf8")) as Counts);
  for (const line of wrong) console.error(line);
  if (wrong.length > 0) {
    console.error("if the change is meant, write the counts anew with --write, and say in the commit what it bought");
    process.exitCode = 1;
  }
}
