// The make-believe accelerator itself: each mistake that it is there for, made on purpose, is seen; and the same without the mistake
// gives the right number.

import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { beforeAll, expect, it } from "vitest";
import { countsOf, type FakeDevice, openFakeDevice } from "./fake-device.js";

let device: FakeDevice;
beforeAll(async () => {
  device = await openFakeDevice();
});

const FAULTS: Readonly<Record<string, RegExp | number>> = {
  "pinned memory read before its copy is done": Number.NaN,
  "pinned memory overwritten before its copy is done": 5,
  "two streams without an event": Number.NaN,
  "uninitialised memory": Number.NaN,
  "a tensor of the host among the device's": /on the same device.*fake:0 and cpu/,
  "indices on the host": /expected all tensors on fake:0, found one on cpu/,
  "tensors on two devices": /on the same device.*fake:0 and fake:1/,
};

it.each(Object.entries(FAULTS))("%s: seen", (fault, seen) => {
  expect(device.plantFault(fault, false)).toBe(1);
  const plant = () => device.plantFault(fault, true);
  if (seen instanceof RegExp) expect(plant).toThrow(seen);
  else expect(plant()).toBe(seen);
});

it("the host following a device's address: the process ends there, and says why", () => {
  const script = fileURLToPath(new URL("touch-memory.ts", import.meta.url));
  const { status, signal, stdout, stderr } = spawnSync(process.execPath, ["--import", "tsx", script], {
    encoding: "utf8",
  });
  expect(stdout).toBe("1\n");
  expect(stderr).toMatch(/fake device: the host touched device memory/);
  expect({ status, signal }).toEqual({ status: null, signal: "SIGSEGV" });
});

it("knows no other faults than those that are tested", () => {
  expect(device.faults().sort()).toEqual([...Object.keys(FAULTS), "host access"].sort());
});

it("counts kernels, copies and waits", async () => {
  // A tensor of a thousand ones is made on the device, and read back through pageable memory.
  expect(await countsOf(async () => device.plantFault("host access", false))).toEqual({
    kernels: 1,
    graphReplays: 0,
    allocations: 1,
    uploads: 0,
    uploadBytes: 0,
    readBacks: 1,
    readBackBytes: 4000,
    pageableCopies: 1,
    synchronisations: 1,
  });
});
