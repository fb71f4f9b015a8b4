// Which device a model runs on: the one that was asked for, if libtorch can use it, or the first accelerator.

import { badOption } from "../checks.js";
import { GrpoError } from "../errors.js";
import type { NativeCore } from "../native/native.js";

/** Where a model computes; "auto" is the first accelerator that libtorch can use, else the CPU. */
export type Device = "auto" | "cpu" | "mps" | "cuda" | `cuda:${number}`;

/**
 * The engine's name of the device: "cpu", "mps" or "cuda:N". `available` is core.devices(); what it has beside these, backends that
 * others register in libtorch, is named as CUDA's devices are.
 */
export function resolveDevice(wanted: string, available: ReturnType<NativeCore["devices"]>): string {
  const count = (type: string) => available.find((device) => device.type === type)?.count ?? 0;
  if (wanted === "auto") {
    const accelerator = available.find(({ type, count: n }) => type !== "cpu" && n > 0)?.type ?? "cpu";
    return accelerator === "cpu" || accelerator === "mps" ? accelerator : `${accelerator}:0`;
  }
  const match = typeof wanted === "string" ? /^([a-z]+)(?::(\d+))?$/.exec(wanted) : null;
  const [, type = "", index = "0"] = match ?? [];
  const single = type === "cpu" || type === "mps";
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
