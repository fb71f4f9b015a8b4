// A process that reads a device's memory on the host: first through a copy, then by its address.

import { openFakeDevice } from "./fake-device.js";

const device = await openFakeDevice();
console.log(device.plantFault("host access", false));
console.log(device.plantFault("host access", true));
