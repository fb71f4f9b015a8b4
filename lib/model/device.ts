// Which device a model runs on: the one that was asked for, if libtorch can use it, or the first accelerator.

import { badOption } from "../checks.js";
import { readRankEnvironment } from "../distributed/environment.js";
import { GrpoError } from "../errors.js";
import type { NativeCore } from "../native/native.js";
import { warn } from "../output.js";

/** Where a model computes; "auto" is the first accelerator that computes when it is tried, else the CPU. Of several, a rank has that of its own number on its host. */
export type Device = "auto" | "cpu" | "mps" | "cuda" | `cuda:${number}`;

type Devices = Pick<NativeCore, "devices" | "tryDevice">;

/**
 * The engine's name of the device: "cpu", "mps" or "cuda:N"; what libtorch has beside these, backends that others register in it, is
 * named as CUDA's devices are.
 */
export function resolveDevice(wanted: string, core: Devices): string {
  if (wanted === "auto") return firstThatComputes(core);
  const available = core.devices();
  const count = (type: string) => available.find((device) => device.type === type)?.count ?? 0;
  const match = typeof wanted === "string" ? /^([a-z]+)(?::(\d+))?$/.exec(wanted) : null;
  const [, type = "", given] = match ?? [];
  const single = type === "cpu" || type === "mps";
  const index = given ?? String(single ? 0 : ownIndex(count(type)));
  const known = single || type === "cuda" || count(type) > 0;
  if (!known || (single && Number(index) !== 0)) {
    throw badOption("device", "device", "auto, cpu, cuda, cuda:N or mps", wanted);
  }
  if (type === "cpu" || Number(index) < count(type)) return single ? type : `${type}:${index}`;
  const found = count(type) === 0 ? `no ${type} device` : `${count(type)} ${type} device(s)`;
  throw new GrpoError("DEVICE_UNAVAILABLE", `device ${wanted} was asked for, but libtorch sees ${found}`, {
    hint:
      type === "cuda"
        ? 'use device "auto" or "cpu"; or see with `npx grpo doctor` whether the driver is there, and `npx grpo setup --cuda` for a CUDA libtorch'
        : 'use device "auto" or "cpu"',
  });
}

function ownIndex(count: number): number {
  const local = readRankEnvironment()?.localRank;
  return local === undefined || count === 0 ? 0 : local % count;
}

/** What libtorch sees may still be too old for its kernels, or full: that is said, and the next takes its place. */
function firstThatComputes(core: Devices): string {
  for (const { type, count } of core.devices()) {
    if (type === "cpu" || count === 0) continue;
    const device = type === "mps" ? type : `${type}:${ownIndex(count)}`;
    try {
      core.tryDevice(device);
      return device;
    } catch (error) {
      warn(error instanceof Error ? error.message : String(error));
    }
  }
  return "cpu";
}
