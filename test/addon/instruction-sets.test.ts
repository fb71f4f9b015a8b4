// Every instruction set that this processor has, chosen by GRPO_INSTRUCTION_SET: decoding against the plain path, training against
// the kernels that every processor can run.

import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { loadCore } from "../../lib/native/native-loader.js";
import { largestDifference } from "./golden.js";
import type { KernelResults } from "./kernel-results.js";

const script = fileURLToPath(new URL("./kernel-results.ts", import.meta.url));

function run(instructionSet: string) {
  const env = { ...process.env, GRPO_INSTRUCTION_SET: instructionSet };
  return spawnSync(process.execPath, ["--import", "tsx", script], { encoding: "utf8", env });
}

function resultsWith(instructionSet: string): KernelResults {
  const { stdout, stderr } = run(instructionSet);
  expect(stderr).toBe("");
  return JSON.parse(stdout);
}

describe.each(loadCore().instructionSets())("with the instruction set %s", (instructionSet) => {
  const results = resultsWith(instructionSet);

  it("the kernels use it", () => {
    expect(results.instructionSet).toBe(instructionSet);
  });

  it("decoding draws the plain path's tokens", () => {
    // The plain path in bfloat16 rounds elsewhere: cpu-kernels.test.ts holds that against float64.
    for (const { plain, fast } of results.decoded.filter(({ dtype }) => dtype === "float32")) {
      expect(fast.ids).toEqual(plain.ids);
      expect(largestDifference(fast.logprobs, plain.logprobs)).toBeLessThan(2e-5);
    }
  });

  if (instructionSet !== "generic") {
    it("a run has the bits that every processor with AVX2 gives it", () => {
      expect(results.run).toEqual(resultsWith("avx2").run);
    });
  }

  it("training has the gradient of the generic kernels", () => {
    const generic = resultsWith("generic");
    expect(results.loss).toBeCloseTo(generic.loss, 6);
    for (const [name, gradient] of Object.entries(results.gradients)) {
      const expected = generic.gradients[name] ?? [];
      const scale = Math.max(...expected.map(Math.abs), 1e-3);
      expect(largestDifference(gradient, expected) / scale).toBeLessThan(1e-5);
    }
  });
});

it("a name that the processor does not have is refused with those it has", () => {
  const { status, stderr } = run("avx1024");
  expect(status).not.toBe(0);
  expect(stderr).toContain(
    `GRPO_INSTRUCTION_SET is "avx1024"; this processor has kernels for: ${loadCore().instructionSets().join(", ")}`,
  );
  expect(stderr).toContain("BAD_OPTION");
});

it("the last one is used where the variable is empty", () => {
  expect(resultsWith("").instructionSet).toBe(loadCore().instructionSets().at(-1));
});
