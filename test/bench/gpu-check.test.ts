// The check for a machine with a GPU and the archive that it is carried in, as far as a CPU can try them: docs/gpu.md.

import { spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { findLibtorch } from "../../lib/native/libtorch.js";
import { findings, type PartResult } from "../../scripts/gpu/part.js";
import { SPEED_SHAPES, speedCases } from "../../scripts/gpu/speed.js";

const root = fileURLToPath(new URL("../..", import.meta.url));
const tsx = path.join(root, "node_modules/tsx/dist/cli.mjs");
const folder = mkdtempSync(path.join(tmpdir(), "grpo-gpu-kit-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function run(program: string, args: readonly string[], env = process.env) {
  const { status, stdout, stderr } = spawnSync(program, args, { encoding: "utf8", env });
  return { status, output: stdout + stderr };
}

function resultOf(file: string): { ok: boolean; parts: PartResult[] } {
  return JSON.parse(readFileSync(file, "utf8"));
}

describe("the check", () => {
  const check = (...args: string[]) => {
    const file = path.join(folder, "check.json");
    const script = path.join(root, "scripts/gpu-check.ts");
    const common = ["--device", "cpu", "--quick", "--python", "no-such-python", "--json", file];
    return { ...run(process.execPath, [tsx, script, ...common, ...args]), file };
  };

  it("runs the parts whose names begin as asked, on the bundled model", { timeout: 240_000 }, () => {
    const { status, output, file } = check("--only", "determinism,graphs,speed-1.5b,peers-7b", "--slower", "10");
    expect(status, output).toBe(0);
    const { parts } = resultOf(file);
    expect(parts.map(({ name }) => name)).toEqual(["determinism", "graphs", "speed-1.5b", "peers-7b"]);
    expect(parts.flatMap(({ checks }) => checks.filter(({ ok }) => !ok))).toEqual([]);
    const measured = parts[2]?.numbers["1.5b update with LoRA"] as { update: number[] };
    expect(measured.update.every((seconds) => seconds > 0)).toBe(true);
    expect(parts[3]?.numbers["7b decode"]).toBe("not measured: no-such-python has no transformers");
  });

  it("ends a part whose time is over, and goes on with the next", { timeout: 120_000 }, () => {
    const { status, file } = check("--only", "speed-0.5b,peers-0.5b", "--slower", "0.001");
    expect(status).toBe(1);
    expect(resultOf(file).parts.map(({ name, ended }) => `${name} ${ended}`)).toEqual([
      "speed-0.5b out of time",
      "peers-0.5b out of time",
    ]);
  });

  it("leaves out what does not fit, and what needs a part that failed", { timeout: 120_000 }, () => {
    check("--only", "graphs", "--within", "0");
    expect(resultOf(path.join(folder, "check.json")).parts[0]).toMatchObject({ ended: "left out", ok: false });
    const { status, file } = check("--only", "machine,parity", "--device", "mps");
    expect(status).toBe(1);
    const [machine, parity] = resultOf(file).parts;
    expect(machine?.checks[0]).toMatchObject({ name: "device", ok: false });
    expect(parity).toMatchObject({ ended: "left out", reason: '"machine" failed' });
  });

  it("names its parts where it is asked for another", () => {
    const { status, output } = check("--only", "speed-9b");
    expect(status).toBe(1);
    expect(output).toContain('there is no part "speed-9b"; parts are build, machine, parity');
  });

  it("keeps what a part said before it broke off", () => {
    const text =
      'gpu-check: {"check":{"name":"a","ok":true,"found":"1"}}\nnoise\ngpu-check: {"number":{"name":"b","value":2}}\n';
    const { checks, numbers, rest } = findings(text);
    expect(checks).toEqual([{ name: "a", ok: true, found: "1" }]);
    expect(numbers).toEqual({ b: 2 });
    expect(rest).toContain("noise");
  });

  it("measures models of three sizes, with and without recorded steps", () => {
    for (const shape of SPEED_SHAPES) {
      const cases = speedCases(shape, false);
      expect(cases.filter(({ graphCapture }) => graphCapture)).toHaveLength(1);
      expect(new Set(cases.map(({ work }) => work))).toEqual(
        new Set(shape === "0.5b" ? ["rollout", "update", "step"] : ["rollout", "update"]),
      );
    }
  });
});

describe("the kit", () => {
  const kit = path.join(folder, "gpu-kit");
  const archive = path.join(folder, "kit.tar.gz");
  beforeAll(() => {
    // The running Node: to fetch another needs a registry.
    const made = run(process.execPath, [
      tsx,
      path.join(root, "scripts/gpu-kit.ts"),
      "--output",
      archive,
      "--node",
      process.execPath,
    ]);
    expect(made.status, made.output).toBe(0);
    const unpacked = run("tar", ["-xzf", archive, "-C", folder]);
    expect(unpacked.status, unpacked.output).toBe(0);
  }, 240_000);

  it("is small enough to be carried", () => {
    expect(statSync(archive).size).toBeLessThan(60 * 2 ** 20);
  });

  it("runs where there is no Node but its own, with a core that is there", { timeout: 240_000 }, () => {
    cpSync(path.join(root, "build/Release"), path.join(kit, "build/Release"), { recursive: true });
    const env = { PATH: "/usr/bin:/bin", HOME: folder, LIBTORCH: findLibtorch().dir, OUT: folder };
    const args = ["run.sh", "--device", "cpu", "--quick", "--only", "build,machine,parity", "--slower", "10"];
    const { status, output } = run("bash", [path.join(kit, args[0] ?? ""), ...args.slice(1)], env);
    expect(status, output).toBe(0);
    const { ok, parts } = resultOf(path.join(folder, "gpu-check.json"));
    expect(ok).toBe(true);
    expect(parts[0]?.checks[0]?.found).toMatch(/grpo-core-torch.* is there/);
    expect(parts[1]?.numbers.doctor).toContain(kit);
  });
});
