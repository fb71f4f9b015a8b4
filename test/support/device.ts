// The device that tests of the engine run on: the CPU, or what GRPO_TEST_DEVICE names, as `npm run test:device` does with the
// make-believe accelerator. What is about one device names it instead.

import type { Device } from "../../lib/model/device.js";
import { openFakeDevice } from "../device/fake-device.js";

/** Tests cast no device of theirs: that the public type has no such name is the point of a test elsewhere. */
export const DEVICE = (process.env.GRPO_TEST_DEVICE ?? "cpu") as Device;

if (DEVICE.startsWith("fake")) await openFakeDevice();
