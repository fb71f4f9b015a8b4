// What a run holds of memory, step by step: the process, and its device where that has memory of its own.

import type { Metrics } from "../log/metrics.js";
import type { Trainable } from "../model/learner.js";

/** In bytes. Some microseconds on the CPU; asking a device waits for what it is at. */
export async function memoryMetrics(model: Trainable): Promise<Metrics> {
  const resident = process.memoryUsage.rss();
  // Of getrusage, in kibibytes. It counts in other portions than the resident size, and may stay a little below it.
  const peak = Math.max(resident, process.resourceUsage().maxRSS * 1024);
  const device = await model.deviceBytes?.();
  return {
    "memory/resident": resident,
    "memory/peak": peak,
    ...(device === undefined ? {} : { "memory/device": device }),
  };
}
