// The make-believe accelerator of the tests, opened in this process: "fake:0" and "fake:1" are then devices of libtorch like any
// other. It is built from fake/ at the first use, in about half a minute, by the compiler that the engine needs too.

import { constants } from "node:os";
import { loadCore } from "../../lib/native/native-loader.js";
import { buildFakeDevice } from "./build.js";

/** What reached the devices since the library was opened. */
export interface DeviceCounts {
  /** Operators that an accelerator runs as kernels, copies within a device among them. */
  readonly kernels: number;
  readonly graphReplays: number;
  readonly allocations: number;
  /** Copies from the host to a device, and back. */
  readonly uploads: number;
  readonly uploadBytes: number;
  readonly readBacks: number;
  readonly readBackBytes: number;
  /** Of both, those whose host memory is not pinned. */
  readonly pageableCopies: number;
  /** How often the host waited for a device. */
  readonly synchronisations: number;
}

export interface FakeDevice {
  counts(): DeviceCounts;
  /** Kernels by the name of their operator. */
  kernels(): Record<string, number>;
  /** Synchronisations by what they were for: an operator, or "upload", "read-back", "item", "stream", "event", "device". */
  waits(): Record<string, number>;
  /** How many bytes each device has, 16 GiB at first; beyond them an allocation fails as on any device. */
  setMemory(bytes: number): void;
  faults(): string[];
  /** Makes a mistake, or not: fake/planted_faults.h. */
  plantFault(name: string, faulty: boolean): number;
}

let opened: Promise<FakeDevice> | undefined;

/** The device, which `core.devices()` lists from now on. Throws where it cannot be built. */
export function openFakeDevice(): Promise<FakeDevice> {
  opened ??= open();
  return opened;
}

async function open(): Promise<FakeDevice> {
  const library = await buildFakeDevice();
  const core = loadCore();
  const addon = { exports: {} as FakeDevice };
  process.dlopen(addon, library, constants.dlopen.RTLD_NOW);
  const others = core.devices;
  Object.assign(core, { devices: () => [{ type: "fake", count: 2 }, ...others()] });
  return addon.exports;
}

/** What `job` adds to the counts. */
export async function countsOf(job: () => Promise<unknown>): Promise<DeviceCounts> {
  const device = await openFakeDevice();
  const before = device.counts();
  await job();
  const after = device.counts();
  const names = Object.keys(after) as (keyof DeviceCounts)[];
  return Object.fromEntries(names.map((name) => [name, after[name] - before[name]])) as unknown as DeviceCounts;
}
