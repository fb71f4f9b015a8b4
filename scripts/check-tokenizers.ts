// Compares tokenizers with what Python's tokenizers recorded for them, and reports the speed of one process:
//
//   npx tsx scripts/check-tokenizers.ts FOLDER [NAME ...]
//
// scripts/golden/tokenizer_families.py makes such a folder. Exit status 1 when anything differs.

import { readdirSync } from "node:fs";
import path from "node:path";
import type { TokenizerBackend } from "../lib/tokenizer/tokenizer-backend.js";
import { compareWithGolden, readFamily, readGzipJson } from "../test/support/tokenizer-golden.js";

const [folder, ...asked] = process.argv.slice(2);
if (!folder) throw new Error("Usage: npx tsx scripts/check-tokenizers.ts FOLDER [NAME ...]");

const texts = readGzipJson(path.join(folder, "texts.json.gz")) as string[];
const suffix = ".golden.json.gz";
const names = readdirSync(folder)
  .filter((file) => file.endsWith(suffix))
  .map((file) => file.slice(0, -suffix.length))
  .filter((name) => asked.length === 0 || asked.includes(name));

let different = 0;
for (const name of names) {
  const { backend, golden } = readFamily(folder, name);
  const { compared, mismatches, tokens } = compareWithGolden(backend, golden, texts);
  const speed = measure(backend, texts);
  console.log(
    `${name.padEnd(32)} ${String(mismatches.length).padStart(6)} of ${compared} differ  ${texts.length} texts, ` +
      `${tokens} tokens  encode ${perSecond(tokens, speed.encode)}  decode ${perSecond(tokens, speed.decode)}`,
  );
  for (const mismatch of mismatches.slice(0, 3)) console.log(`  ${mismatch.replaceAll("\n", "\n  ").slice(0, 1200)}`);
  different += mismatches.length;
}
process.exitCode = different > 0 ? 1 : 0;

/** Seconds of processor time for all texts, after one round to warm up. */
function measure(
  backend: TokenizerBackend,
  all: readonly string[],
): { readonly encode: number; readonly decode: number } {
  const ids = all.map((text) => backend.encode(text, false));
  const clock = (work: () => void): number => {
    const before = process.cpuUsage();
    work();
    const used = process.cpuUsage(before);
    return (used.user + used.system) / 1e6;
  };
  return {
    encode: clock(() => all.forEach((text) => void backend.encode(text, false))),
    decode: clock(() => ids.forEach((one) => void backend.decode(one, false))),
  };
}

function perSecond(tokens: number, seconds: number): string {
  return `${(tokens / seconds / 1e6).toFixed(2)} M tokens/s`;
}
