// What this process holds of memory, and held at most: what benchmarks and the checks of estimates measure.

import { readFileSync, writeFileSync } from "node:fs";

/** Bytes: VmRSS now, VmHWM at most since the process began or resetPeak(). */
export function processMemory(field: "VmRSS" | "VmHWM"): number {
  try {
    const line = readFileSync("/proc/self/status", "utf8").match(new RegExp(`${field}:\\s+(\\d+) kB`));
    return Number(line?.[1] ?? 0) * 1024;
  } catch {
    // Elsewhere than on Linux: kibibytes, and only the mark.
    return process.resourceUsage().maxRSS * 1024;
  }
}

/** VmHWM begins again from what is resident now. False where the kernel does not allow it: the mark is then still a bound. */
export function resetPeak(): boolean {
  try {
    writeFileSync("/proc/self/clear_refs", "5");
    return true;
  } catch {
    return false;
  }
}
