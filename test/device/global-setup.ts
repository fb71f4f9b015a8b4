// Has the make-believe accelerator built before the first test asks for it: no test should have to wait for a compiler.

import { buildFakeDevice } from "./build.js";

export async function setup(): Promise<void> {
  await buildFakeDevice();
}
