// The device that tests of the engine run on: the CPU, or what GRPO_TEST_DEVICE names, as `npm run test:device` does with the
// make-believe accelerator. What is about one device names that one instead.

import type { Device } from "../../lib/model/device.js";
import { openFakeDevice } from "../device/fake-device.js";

/** The type is the public one, which knows nothing of backends that tests register. */
export const DEVICE = (process.env.GRPO_TEST_DEVICE ?? "cpu") as Device;

if (DEVICE.startsWith("fake")) await openFakeDevice();
